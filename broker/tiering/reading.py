"""Ranges of a partition's log as chunks of whole batches, read while the broker goes on writing, rolling, deleting.

What a read_committed consumer is shown, and nothing else: batches below `end_offset` (the last stable offset), without
control batches and aborted transactions. The files belong to the broker; this side opens, reads, and believes nothing:

- A batch is taken if it lies whole below `end_offset` and its CRC is right. Bytes behind that are never looked at: the
  active segment's end is being written.
- Files are opened by name when they are reached. One that is gone (deleted, or swapped by compaction) makes the folder
  be listed again; what was read stays read, batches below the next offset are skipped. Offsets that no file has are
  gone: that is what compaction and deletion leave.
- A folder without a segment is one that was taken away, as that of a deleted topic: nothing is known of its records.
- Bytes that are no batch are looked at again, with files opened anew. If they still are none, the partition is damaged
  there: `Damaged` says where, and the caller keeps what came before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from protocol.records import (
    BATCH_OVERHEAD,
    TRANSACTIONAL_BIT,
    Buffer,
    CorruptBatch,
    RecordBatch,
    crc_is_valid,
    parse_header,
)
from wal.errors import StorageFailed
from wal.layout import LOG_SUFFIX, OFFSET_INDEX_SUFFIX, parse_base_offset, segment_path
from wal.offset_index import OffsetIndex
from wal.storage import OpenFile, Storage

CHUNK_BYTES: Final = 8 << 20
"""Read at once, and the most one chunk holds unless one batch alone is larger. Each chunk is a row group: of small
ones files are larger and take longer to write, large ones add to the worker's memory several times over."""

LOOKS: Final = 3
"""How often one offset is looked for, the files listed anew each time, before it counts as damaged."""


class AbortedRange(NamedTuple):
    """What a producer wrote in an aborted transaction; offsets inclusive."""

    producer_id: int
    first_offset: int
    last_offset: int


@dataclass(frozen=True, slots=True)
class LogRange:
    """What is to be read of one partition: [start_offset, end_offset) of the log in `folder`."""

    folder: str
    start_offset: int
    end_offset: int
    aborted: Sequence[AbortedRange] = ()


@dataclass(slots=True)
class Chunk:
    """Whole batches one after the other, and the offset behind the last one, left out ones included."""

    data: Buffer = b""
    next_offset: int = 0


class Damaged(Exception):
    """There is no sound batch where one has to be; `offset` is the first one that is missing."""

    def __init__(self, folder: str, offset: int, reason: str) -> None:
        super().__init__(f"{folder}: the log cannot be read at offset {offset}: {reason}")
        self.offset = offset


class _Gone(Exception):
    """The file is not what it was when the folder was listed."""


def read(
    storage: Storage, log_range: LogRange, max_bytes: int, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[Chunk]:
    """The batches of a range, at most about `max_bytes` of them (at least one batch).

    The last chunk's `next_offset` is `end_offset` if all was read. A batch that begins below `start_offset` is given
    whole. A chunk may be empty: all in it was left out. Raises Damaged (chunks before it stay valid), StorageFailed.
    """
    reader = _Reader(storage, log_range, chunk_bytes)
    return reader.chunks(max_bytes)


class _Reader:
    def __init__(self, storage: Storage, log_range: LogRange, chunk_bytes: int) -> None:
        self._storage = storage
        self._folder = log_range.folder
        self._end_offset = log_range.end_offset
        self._next_offset = log_range.start_offset
        self._chunk_bytes = chunk_bytes
        self._aborted = _by_producer(log_range.aborted)
        self._bytes_read = 0
        self._looks = 0
        self._looked_at = -1

    def chunks(self, max_bytes: int) -> Iterator[Chunk]:
        while self._next_offset < self._end_offset:
            bases = self._segments()
            if bases is None:
                self._look_again("there is no segment")
                continue
            for base_offset in bases:
                try:
                    for chunk in self._segment_chunks(base_offset):
                        yield chunk
                        if self._bytes_read >= max_bytes:
                            return
                except _Gone as gone:
                    self._look_again(str(gone))
                    break
                if self._next_offset >= self._end_offset:
                    return
            else:
                # Every file was read to its end: what is missing up to the end was compacted away.
                yield Chunk(next_offset=self._end_offset)
                return

    def _look_again(self, reason: str) -> None:
        if self._looked_at != self._next_offset:
            self._looked_at, self._looks = self._next_offset, 0
        self._looks += 1
        if self._looks >= LOOKS:
            raise Damaged(self._folder, self._next_offset, reason)

    def _segments(self) -> list[int] | None:
        """Base offsets of the segments from the one with the next offset on, as the folder is now; None if it has not
        a single one."""
        names = self._storage.list(self._folder)
        bases = sorted(base for name in names if (base := parse_base_offset(name, LOG_SUFFIX)) is not None)
        if not bases:
            return None
        first = max(0, bisect_right(bases, self._next_offset) - 1)
        return [base for base in bases[first:] if base < self._end_offset]

    def _segment_chunks(self, base_offset: int) -> Iterator[Chunk]:
        path = segment_path(self._folder, base_offset, LOG_SUFFIX)
        try:
            file = self._storage.open(path).open_file()
        except (StorageFailed, FileNotFoundError) as error:
            if self._storage.exists(path):
                raise
            raise _Gone(f"{path} is gone") from error
        position = self._position(base_offset)
        while self._next_offset < self._end_offset:
            next_offset = self._next_offset
            chunk, position = self._next_chunk(file, path, position)
            if chunk is None:
                return
            if self._next_offset > next_offset:  # else all of it lies before the range
                yield chunk

    def _position(self, base_offset: int) -> int:
        """Where to begin in a segment: at or before the batch with the next offset, as far as the index knows."""
        if self._next_offset <= base_offset:
            return 0
        index = OffsetIndex(
            self._storage, segment_path(self._folder, base_offset, OFFSET_INDEX_SUFFIX), base_offset
        )
        try:
            if index.load() is not None:
                return 0
            return index.lookup(self._next_offset).position
        except (StorageFailed, FileNotFoundError):
            return 0  # gone between the two looks, or never written
        finally:
            index.close()

    def _next_chunk(self, file: OpenFile, path: str, position: int) -> tuple[Chunk | None, int]:
        """The batches at `position` and where the next ones are; None at the end of the segment's batches."""
        data = file.read_at(position, self._chunk_bytes)
        if _is_end(data):
            return None, position
        try:
            first = parse_header(data, 0)
            if first.size > len(data) and first.base_offset < self._end_offset:
                data = file.read_at(position, first.size)
            chunk, length = self._take(data)
        except CorruptBatch as error:
            raise _Gone(f"{path}, byte {position}: {error}") from error
        self._bytes_read += len(chunk.data)
        return chunk, position + length

    def _take(self, data: bytes) -> tuple[Chunk, int]:
        """The wanted ones of the whole batches in `data`, and how many bytes were looked at: at least a batch.

        Raises CorruptBatch where not even the first is sound.
        """
        wanted: list[tuple[int, int]] = []  # spans, neighbours as one
        at = 0
        view = memoryview(data)
        while len(data) - at >= BATCH_OVERHEAD and self._next_offset < self._end_offset:
            try:
                batch = self._batch_at(view, at)
            except CorruptBatch:
                if at:
                    break  # what came before is sound; the next look begins here
                raise
            if batch is None:
                self._next_offset = self._end_offset
                break
            begin, at = at, at + batch.size
            if batch.last_offset < self._next_offset:
                continue
            if self._is_wanted(batch):
                if wanted and wanted[-1][1] == begin:
                    begin = wanted.pop()[0]
                wanted.append((begin, at))
            self._next_offset = batch.next_offset
        parts = [view[begin:end] for begin, end in wanted]
        return Chunk(parts[0] if len(parts) == 1 else b"".join(parts), self._next_offset), at

    def _batch_at(self, view: memoryview, at: int) -> RecordBatch | None:
        """The batch there, checked if it is in the range; None if it lies behind it. Raises CorruptBatch."""
        batch = parse_header(view, at)
        if batch.base_offset >= self._end_offset:
            return None
        if at + batch.size > len(view):
            raise CorruptBatch(f"a batch of {batch.size} bytes, where {len(view) - at} are left")
        if batch.last_offset >= self._next_offset:
            if not crc_is_valid(view, batch):
                raise CorruptBatch(f"the CRC of the batch at offset {batch.base_offset} is wrong")
            if batch.next_offset > self._end_offset:
                raise CorruptBatch(f"the batch at offset {batch.base_offset} reaches past {self._end_offset}")
        return batch

    def _is_wanted(self, batch: RecordBatch) -> bool:
        if batch.is_control or batch.record_count == 0:
            return False
        if not batch.attributes & TRANSACTIONAL_BIT:
            return True
        return not any(
            first <= batch.base_offset <= last for first, last in self._aborted.get(batch.producer_id, ())
        )


def _is_end(data: bytes | memoryview) -> bool:
    """Whether the batches end here: with the file, or with space that was reserved and reads as zeros."""
    return len(data) < BATCH_OVERHEAD or not any(data[:BATCH_OVERHEAD])


def _by_producer(aborted: Sequence[AbortedRange]) -> dict[int, list[tuple[int, int]]]:
    ranges: dict[int, list[tuple[int, int]]] = {}
    for producer_id, first_offset, last_offset in aborted:
        ranges.setdefault(producer_id, []).append((first_offset, last_offset))
    return ranges
