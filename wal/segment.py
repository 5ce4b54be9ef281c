"""One segment of a partition's log: a `.log` file of record batches and what finds things in it.

The last segment is *active*: appended to, preallocated in doubling steps, its indexes in memory. All others
are *sealed*: cut to their batches, indexes in their files, and loaded (sizes, last offset) when first read.

Positions are bytes from the start of the `.log` file; `size` is where the next batch goes, and what lies
behind it up to `allocated` is reserved space that reads as zeros. `written` is (next offset, size) in one
tuple, so that the flusher's thread reads a pair that belongs together.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from protocol.records import BATCH_OVERHEAD, NO_TIMESTAMP, CorruptBatch, RecordBatch, parse_header
from wal import txn_index
from wal.errors import Damage, DiskFull
from wal.index_file import MAX_RELATIVE_OFFSET
from wal.layout import LOG_SUFFIX, OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX, segment_path
from wal.offset_index import ENTRY_BYTES, OffsetIndex
from wal.storage import File, Storage, read_file
from wal.time_index import TimeIndex
from wal.txn_index import AbortedTransaction

if TYPE_CHECKING:
    from wal.log import Log

FIRST_ALLOCATION_BYTES: Final = 64 << 10
"""What a new segment reserves; the next steps double it, up to LogConfig.preallocate_bytes a step."""

TAIL_BATCHES: Final = 512
"""Batches at the end of the active segment whose positions are remembered: tail reads search no file."""

LOCATE_CHUNK_BYTES: Final = 8 << 10
"""Read at once when looking for a batch behind an index entry: more than `index.interval.bytes`."""

SCAN_CHUNK_BYTES: Final = 256 << 10
"""Read at once when walking headers over a distance."""


class Segment:
    """A base offset, its files, and where they end."""

    __slots__ = (
        "aborted",
        "allocated",
        "base_offset",
        "bytes_since_index",
        "created_ms",
        "damage",
        "directory",
        "dirty",
        "file",
        "first_timestamp",
        "is_loaded",
        "is_sealed",
        "log",
        "max_timestamp",
        "max_timestamp_offset",
        "name_suffix",
        "next_offset",
        "offset_index",
        "size",
        "storage",
        "tail_offsets",
        "tail_positions",
        "time_index",
        "written",
    )

    def __init__(self, storage: Storage, directory: str, base_offset: int, name_suffix: str = "") -> None:
        """`name_suffix` follows every name while compaction prepares the segment."""
        self.storage = storage
        self.directory = directory
        self.base_offset = base_offset
        self.name_suffix = name_suffix
        self.log: Log | None = None
        self.file = storage.open(self.path(LOG_SUFFIX))
        self.offset_index = OffsetIndex(storage, self.path(OFFSET_INDEX_SUFFIX), base_offset)
        self.time_index = TimeIndex(storage, self.path(TIME_INDEX_SUFFIX), base_offset)
        self.is_loaded = False
        self.is_sealed = False
        self.dirty = False  # waits in the flusher's queue
        self.size = 0
        self.allocated = 0
        self.next_offset = base_offset
        self.written = (base_offset, 0)
        self.bytes_since_index = 0
        self.created_ms = NO_TIMESTAMP
        self.first_timestamp = NO_TIMESTAMP  # of the first batch: segment.ms counts from it
        self.max_timestamp = NO_TIMESTAMP
        self.max_timestamp_offset = base_offset  # last offset of the batch that has it
        self.tail_offsets: list[int] = []
        self.tail_positions: list[int] = []
        self.aborted: list[AbortedTransaction] | None = None  # not read yet
        self.damage: Sequence[Damage] = ()

    def __repr__(self) -> str:
        return f"Segment({self.directory}, {self.base_offset}..{self.next_offset}, {self.size} bytes)"

    @classmethod
    def create(
        cls, storage: Storage, directory: str, base_offset: int, now_ms: int, name_suffix: str = ""
    ) -> Segment:
        """A new, empty, active segment; its name is not durable yet. Raises DiskFull."""
        segment = cls(storage, directory, base_offset, name_suffix)
        segment.file = storage.open(segment.path(LOG_SUFFIX), create=True)
        if segment.file.size():
            segment.file.truncate(0)  # a leftover of a roll that failed half way
        segment.created_ms = now_ms
        segment.aborted = []
        segment.is_loaded = True
        return segment

    def path(self, suffix: str) -> str:
        return segment_path(self.directory, self.base_offset, suffix) + self.name_suffix

    # --- writing ---

    def append(
        self, data: memoryview, batches: Sequence[RecordBatch], index_interval_bytes: int, step_bytes: int
    ) -> None:
        """Write batches that lie one after the other in `data`, already placed. Raises DiskFull,
        StorageFailed.

        A refused write leaves the segment as it was.
        """
        position = self.size
        end = position + len(data)
        if end > self.allocated and step_bytes:
            self._allocate(end, step_bytes)
        try:
            self.file.write_at(data, position)
        except DiskFull:
            self.cut_back()
            raise
        for batch in batches:
            self.note(batch, position, index_interval_bytes)
            position += batch.size
        assert position == end
        self.size = end
        self.written = (self.next_offset, end)

    def note(self, batch: RecordBatch, position: int, index_interval_bytes: int) -> None:
        """Take a batch at `position`, the end so far, into indexes and tail."""
        base_offset = batch.base_offset
        last_offset = base_offset + batch.last_offset_delta
        timestamp = batch.max_timestamp
        if timestamp > self.max_timestamp:
            self.max_timestamp, self.max_timestamp_offset = timestamp, last_offset
        if position == 0:
            self.first_timestamp = timestamp
        if self.bytes_since_index > index_interval_bytes:
            # The last offset, not the first: that is what Kafka writes and DumpLogSegments checks.
            self.offset_index.append(last_offset, position)
            self.time_index.maybe_append(self.max_timestamp, self.max_timestamp_offset)
            self.bytes_since_index = 0
        self.bytes_since_index += batch.size
        tail = self.tail_offsets
        if base_offset != self.next_offset:  # behind a gap that compaction left
            self._forget_tail()
        tail.append(base_offset)
        self.tail_positions.append(position)
        if len(tail) > 2 * TAIL_BATCHES:
            del tail[:TAIL_BATCHES]
            del self.tail_positions[:TAIL_BATCHES]
        self.next_offset = last_offset + 1

    def _forget_tail(self) -> None:
        # The tail is searched by base offsets alone, so the offsets in it have to be gapless.
        self.tail_offsets.clear()
        self.tail_positions.clear()

    def _allocate(self, end: int, step_bytes: int) -> None:
        doubled = max(FIRST_ALLOCATION_BYTES, 2 * self.allocated)
        target = max(end, min(doubled, self.allocated + step_bytes))
        try:
            self.file.allocate(target)
            self.allocated = target
        except DiskFull:
            # Reserving may fail where writing a few bytes still fits. What it took meanwhile is given back.
            self.cut_back()

    def cut_back(self) -> None:
        """Cut the file to the last whole batch, reserved space included."""
        self.file.truncate(self.size)
        self.allocated = self.size

    def add_aborted(self, transaction: AbortedTransaction) -> None:
        """Note an aborted transaction whose marker is in this segment; its file is written like the
        indexes.
        """
        assert not self.is_sealed
        self.aborted_transactions().append(transaction)

    def is_full(self, incoming: int, end_offset: int, segment_bytes: int, segment_index_bytes: int) -> bool:
        """Whether `incoming` bytes that end at `end_offset` (exclusive) need a new segment."""
        return (
            self.size + incoming > segment_bytes
            or end_offset - 1 - self.base_offset > MAX_RELATIVE_OFFSET
            or (self.offset_index.count + 1) * ENTRY_BYTES > segment_index_bytes
        )

    def save_indexes(self) -> None:
        """Write what the index files miss; not synced. Raises DiskFull; may be called again."""
        if self.size:
            self.time_index.maybe_append(self.max_timestamp, self.max_timestamp_offset)
        self.offset_index.flush()
        self.time_index.flush()
        if self.aborted is not None:
            self._save_aborted(self.aborted)

    def _save_aborted(self, aborted: Sequence[AbortedTransaction]) -> None:
        # What a file says beyond this is of transactions that a crash has taken back. Their offsets have been given
        # out again, and whoever believed the file would leave out committed records.
        path = self.path(TXN_INDEX_SUFFIX)
        if not aborted:
            self.storage.unlink(path)
            return
        data = b"".join(map(txn_index.encode, aborted))
        file = self.storage.open(path, create=True)
        file.write_at(data, 0)
        if file.size() != len(data):
            file.truncate(len(data))

    def index_files(self) -> list[File]:
        """What `save_indexes` wrote, to be synced when the segment is sealed."""
        files = [self.offset_index.file, self.time_index.file]
        if self.aborted:
            files.append(self.storage.open(self.path(TXN_INDEX_SUFFIX)))
        return files

    def seal(self) -> None:
        """Cut off reserved space and write the indexes: nothing will be appended. Raises DiskFull."""
        assert self.is_loaded and not self.is_sealed
        if self.allocated != self.size:
            self.cut_back()
        self.save_indexes()
        self.is_sealed = True
        self.tail_offsets, self.tail_positions = [], []

    def seal_as_it_is(self) -> None:
        """Seal without cutting the file: its end is damaged, or was cut already. Reads go on if the disk
        is full.
        """
        self.is_sealed = True
        self.tail_offsets, self.tail_positions = [], []
        try:
            self.save_indexes()
        except DiskFull:
            return  # the indexes stay in memory, and the next start builds them again

    # --- being rebuilt (recovery) ---

    def begin_walk(self, file_size: int) -> None:
        """Forget what the indexes say: batches will be noted one by one."""
        self.offset_index.reset()
        self.time_index.reset()
        self.aborted = []
        self.tail_offsets, self.tail_positions = [], []
        self.is_loaded, self.is_sealed = True, False
        self.bytes_since_index = 0
        self.max_timestamp, self.max_timestamp_offset = NO_TIMESTAMP, self.base_offset
        self.next_offset = self.base_offset
        self.allocated = file_size
        self.end_at(0)

    def end_at(self, position: int) -> None:
        """Everything up to `position` has been noted."""
        self.size = position
        self.written = (self.next_offset, position)

    def cut_at(self, position: int, next_offset: int) -> None:
        """The file is cut at `position`, where offset `next_offset` would be, by the caller. Recovery only."""
        assert 0 <= position <= self.size and not self.is_sealed
        self.size = self.allocated = position
        self.next_offset = next_offset
        self.written = (next_offset, position)

    # --- loading ---

    def load(self, sealed: bool, next_base_offset: int | None = None) -> str | None:
        """Take over the files as they are after a clean stop: nothing is read but the end.

        Returns why they cannot be trusted and have to be walked; None if they can. `next_base_offset` is
        where the following segment starts.
        """
        assert not self.is_loaded
        self.size = self.allocated = self.file.size()
        reason = self.offset_index.load() or self.time_index.load()
        if reason is None:
            reason = self._load_tail(sealed)
        if reason is None and next_base_offset is not None and self.next_offset > next_base_offset:
            reason = f"it reaches to offset {self.next_offset}, past the next segment's {next_base_offset}"
        self.is_loaded, self.is_sealed = True, sealed
        return reason

    def _load_tail(self, sealed: bool) -> str | None:
        newest = self.time_index.last()
        self.max_timestamp, self.max_timestamp_offset = newest.timestamp, newest.offset
        last = self.offset_index.last()
        if last.position > max(0, self.size - BATCH_OVERHEAD):
            return f"the offset index points at {last.position}, past the end at {self.size}"
        position = last.position
        try:
            for batch in self.scan(position, self.size, LOCATE_CHUNK_BYTES):
                if position == last.position > 0 and batch.last_offset != last.offset:
                    return f"the offset index has {last.offset} at {position}, not {batch.last_offset}"
                if batch.base_offset < self.next_offset and position != last.position:
                    return f"offset {batch.base_offset} at {position} comes after {self.next_offset - 1}"
                self._note_loaded(batch, position, sealed)
                position += batch.size
            if position != self.size:
                return f"{self.size - position} bytes follow the last batch, at {position}"
            if self.size:
                self.first_timestamp = self.header_at(0).max_timestamp
        except CorruptBatch as error:
            return str(error)
        self.written = (self.next_offset, self.size)
        return None

    def _note_loaded(self, batch: RecordBatch, position: int, sealed: bool) -> None:
        if batch.max_timestamp > self.max_timestamp:
            self.max_timestamp, self.max_timestamp_offset = batch.max_timestamp, batch.last_offset
        if batch.base_offset != self.next_offset:
            self._forget_tail()
        self.next_offset = batch.next_offset
        self.bytes_since_index += batch.size
        if not sealed:
            self.tail_offsets.append(batch.base_offset)
            self.tail_positions.append(position)

    def aborted_transactions(self) -> list[AbortedTransaction]:
        """Transactions whose ABORT marker is in this segment, from its file when first asked."""
        if self.aborted is None:
            data = read_file(self.storage, self.path(TXN_INDEX_SUFFIX))
            self.aborted = [] if data is None else txn_index.decode(data, self.base_offset)
        return self.aborted

    # --- reading ---

    def header_at(self, position: int) -> RecordBatch:
        """The header of the batch at `position`. Raises CorruptBatch."""
        batch = parse_header(self.file.read_at(position, BATCH_OVERHEAD), 0)
        batch.position = position
        return batch

    def scan(self, position: int, end: int, chunk_bytes: int = SCAN_CHUNK_BYTES) -> Iterator[RecordBatch]:
        """The headers of the batches in [position, end). Raises CorruptBatch where there is none.

        Damaged ranges are skipped.
        """
        while position < end:
            if self.damage:
                position = self._skip_damage(position)
            chunk = self.file.read_at(position, min(max(chunk_bytes, BATCH_OVERHEAD), end - position))
            at = 0
            while len(chunk) - at >= BATCH_OVERHEAD or at == 0:
                batch = parse_header(chunk, at)
                batch.position = position + at
                at += batch.size
                if position + at > end:
                    raise CorruptBatch(f"the batch at {batch.position} reaches past the end at {end}")
                yield batch
                if self.damage and self._skip_damage(position + at) != position + at:
                    break
            position += at

    def _skip_damage(self, position: int) -> int:
        for damage in self.damage:
            if damage.start_position <= position < damage.end_position:
                return damage.end_position
        return position

    def locate(self, offset: int) -> int | None:
        """Where the batch starts that holds `offset` or, if none does, the next one; None past the end."""
        tail = self.tail_offsets
        if tail and tail[0] <= offset < self.next_offset:
            return self.tail_positions[bisect_right(tail, offset) - 1]
        if offset >= self.next_offset:
            return None
        start = self.offset_index.lookup(offset).position
        for batch in self.scan(start, self.size, LOCATE_CHUNK_BYTES):
            if batch.last_offset >= offset:
                return batch.position
        return None

    def boundary(self, start: int, target: int) -> int:
        """The end of the last batch known to end at or before `target`, from `start` on; `start` if none
        does.

        The index or the tail answers where it can, so the range may be up to an index interval shorter than
        a walk over the headers would make it.
        """
        assert start <= target
        if target >= self.size:
            return self.size
        positions = self.tail_positions
        if positions and positions[0] <= target:
            found = positions[bisect_right(positions, target) - 1]
            if found > start:
                return found
        found = self.offset_index.lookup_position(target).position
        if found > start:
            return found
        end = start
        for batch in self.scan(start, self.size, LOCATE_CHUNK_BYTES):
            if batch.position + batch.size > target:
                break
            end = batch.position + batch.size
        return end

    def close(self) -> None:
        """Give back the descriptors; they open again when used."""
        self.file.close()
        self.offset_index.close()
        self.time_index.close()
