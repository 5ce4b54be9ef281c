"""Log compaction: of every key the last value stays. One round over one partition, as Kafka's LogCleaner does it.

    clean part              dirty part                        not cleanable
    ├───────────────────────┼─────────────────────────────────┼──────────────────────────► active segment
    0           first_dirty_offset                       end_offset

    1  map       the keys of the dirty part are read: hash → newest offset, until the map is full
    2  group     all segments up to where the map reaches, neighbours together while they fit segment.bytes
    3  rewrite   a group becomes one segment `<base>.log.cleaned` with its indexes, synced; its originals stay as they
                 are until the log's owner swaps them (compaction_swap.py)

Offsets never change, so that what was committed or remembered stays right; a reader finds gaps where records went.
Transactions: aborted records go at once, a marker goes after its data and its horizon (compaction_transactions.py).
The last batch of a cleaned segment stays even without records, so that the segment reaches to the next one: a missing
end is then always damage, never compaction.

Everything goes through the storage port, and the log it reads may live on: nothing below `end_offset` changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from protocol.records import (
    BATCH_OVERHEAD,
    CorruptBatch,
    RecordBatch,
    crc_is_valid,
    parse_batches,
    parse_header,
)
from wal import txn_index
from wal.compaction_map import SEED_WORDS, OffsetMap
from wal.compaction_records import Group, LastOfProducer, Left, Rules, clean, control_type, groups
from wal.compaction_transactions import CleanedTransactions
from wal.errors import StorageFailed
from wal.layout import CLEANED_SUFFIX, LOG_SUFFIX, SEGMENT_SUFFIXES, TXN_INDEX_SUFFIX, segment_path
from wal.segment import Segment
from wal.storage import File, Storage, read_file
from wal.txn_index import AbortedTransaction

CHUNK_BYTES: Final = 4 << 20
"""Read at once; a batch may be larger and is then read whole."""

MAX_SEGMENT_BYTES: Final = (1 << 31) - 1
"""Positions in an index are signed 32-bit numbers."""

Progress = Callable[[int], None]
"""Called with the bytes read since the last call."""


class CannotCompact(Exception):
    """The partition cannot be compacted: `str()` says what stands in the way. Nothing was changed."""


@dataclass(slots=True)
class SegmentToClean:
    """A sealed segment as the owner of the log knows it."""

    base_offset: int
    size: int


@dataclass(slots=True)
class Round:
    """One round's orders: plain data, so that it can be handed to another process."""

    directory: str
    segments: list[SegmentToClean]
    first_dirty_offset: int
    end_offset: int
    """Exclusive; where the first segment begins that may not be touched."""
    now_ms: int
    delete_retention_ms: int
    segment_bytes: int
    segment_index_bytes: int
    index_interval_bytes: int
    dedupe_buffer_bytes: int
    load_factor: float
    seed: list[int]
    """SEED_WORDS random numbers of 64 bits."""
    aborted: list[tuple[int, int, int, int]] = field(default_factory=list)
    """Aborted transactions that reach into the segments and whose markers lie behind them."""
    producers: dict[str, tuple[int, int]] = field(default_factory=dict)
    """`compaction_producers.last_batches`."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Round:
        found = cls(**values)
        found.segments = [SegmentToClean(**segment) for segment in values["segments"]]
        return found


@dataclass(slots=True)
class CleanedSegment:
    """A segment that is ready to take the place of others: `.cleaned` files, synced."""

    base_offset: int
    replaced: list[int]
    """Base offsets of the segments it replaces, in order; the first is its own."""
    size: int
    size_before: int


@dataclass(slots=True)
class Totals:
    """What a round did."""

    end_offset: int = 0
    """How far it came: the next round's first dirty offset."""
    map_is_full: bool = False
    keys: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    records_before: int = 0
    records_after: int = 0


class Compaction:
    """One round. `run` does it, a group at a time."""

    def __init__(self, storage: Storage, order: Round, on_progress: Progress | None = None) -> None:
        assert len(order.seed) == SEED_WORDS
        assert order.segments, "there is something to compact"
        self._storage = storage
        self._order = order
        self._progress = on_progress or (lambda _: None)
        self._seed = np.array(order.seed, np.uint64)
        self._keys = OffsetMap(order.dedupe_buffer_bytes, order.load_factor)
        self._latest_offset = -1
        self._aborted = self._read_aborted()
        self.totals = Totals()

    def run(self) -> Iterator[CleanedSegment]:
        """Rewrite group by group; a group is on disk when it is given out. Raises CannotCompact, StorageFailed."""
        try:
            self._fill_map()
            totals = self.totals
            totals.end_offset = self._latest_offset + 1
            totals.keys = self._keys.size
            if totals.end_offset <= self._order.first_dirty_offset:
                raise CannotCompact(
                    "the first dirty batch has more keys than log.cleaner.dedupe.buffer.size holds"
                )
            transactions = CleanedTransactions(self._aborted)
            rules = Rules(
                self._keys,
                self._seed,
                self._latest_offset,
                self._order.end_offset,
                transactions,
                {int(key): LastOfProducer(*last) for key, last in self._order.producers.items()},
                self._order.now_ms,
                self._order.delete_retention_ms,
            )
            for group in self._groups(totals.end_offset):
                yield self._rewrite(group, rules)
        except (CorruptBatch, txn_index.CorruptTransactionIndex) as error:
            raise CannotCompact(str(error)) from error

    # --- 1: the map -------------------------------------------------------------------------------------------

    def _fill_map(self) -> None:
        order = self._order
        transactions = CleanedTransactions(
            transaction
            for transaction in self._aborted
            if transaction.last_offset >= order.first_dirty_offset
        )
        following = [segment.base_offset for segment in order.segments[1:]] + [order.end_offset]
        for segment, next_base in zip(order.segments, following, strict=True):
            if next_base <= order.first_dirty_offset:
                continue
            for chunk, batches in self._chunks(segment):
                dirty = [batch for batch in batches if batch.last_offset >= order.first_dirty_offset]
                if not self._map_chunk(chunk, dirty, transactions):
                    self.totals.map_is_full = True
                    return
            self._latest_offset = max(self._latest_offset, next_base - 1)  # behind a gap

    def _map_chunk(
        self, chunk: bytes, batches: Sequence[RecordBatch], transactions: CleanedTransactions
    ) -> bool:
        """Take in the keys of a chunk; False if the map is full, which then knows those of the first batches."""
        with_keys = []
        for batch in batches:
            if batch.is_control:
                transactions.is_needless(batch, control_type(chunk, batch))
            elif not transactions.is_aborted(batch) and batch.record_count:
                with_keys.append(batch)
        for group in groups(chunk, with_keys):
            if not self._put(chunk, group):
                for batch in group:  # one by one, as far as they fit
                    if not self._put(chunk, [batch]):
                        return False
                    self._latest_offset = batch.last_offset
        if batches:
            self._latest_offset = batches[-1].last_offset
        return True

    def _put(self, chunk: bytes, batches: list[RecordBatch]) -> bool:
        group = Group(chunk, batches)
        first_dirty = self._order.first_dirty_offset
        chosen = np.flatnonzero((group.layout.key_lengths >= 0) & (group.offsets >= first_dirty))
        return self._keys.put(*group.hashes(chosen, self._seed), group.offsets[chosen])

    # --- 2: groups --------------------------------------------------------------------------------------------

    def _groups(self, end_offset: int) -> Iterator[list[SegmentToClean]]:
        order = self._order
        segments = [segment for segment in order.segments if segment.base_offset < end_offset]
        ends = [segment.base_offset for segment in order.segments[1:]] + [order.end_offset]
        limit = min(order.segment_bytes, MAX_SEGMENT_BYTES)
        group: list[SegmentToClean] = []
        size = index_size = 0
        for segment, end in zip(segments, ends):
            entries = 12 * (segment.size // max(BATCH_OVERHEAD, order.index_interval_bytes) + 1)
            fits = (
                size + segment.size <= limit
                and index_size + entries <= order.segment_index_bytes
                and bool(group)
                and end - 1 - group[0].base_offset <= (1 << 31) - 1
            )
            if group and not fits:
                yield group
                group, size, index_size = [], 0, 0
            group.append(segment)
            size += segment.size
            index_size += entries
        if group:
            yield group

    # --- 3: rewriting -----------------------------------------------------------------------------------------

    def _rewrite(self, group: list[SegmentToClean], rules: Rules) -> CleanedSegment:
        order, storage = self._order, self._storage
        base_offset = group[0].base_offset
        remove_cleaned(storage, order.directory, base_offset)
        segment = Segment.create(storage, order.directory, base_offset, order.now_ms, CLEANED_SUFFIX)
        rules.transactions.retained.clear()
        for number, source in enumerate(group):
            is_last = number == len(group) - 1
            position = 0
            for chunk, batches in self._chunks(source):
                end_position = source.size - position if is_last else -1
                self._write(segment, clean(chunk, batches, rules, end_position))
                position += batches[-1].position + batches[-1].size
                self.totals.records_before += sum(batch.record_count for batch in batches)
        for transaction in rules.transactions.retained:
            segment.add_aborted(transaction)
        segment.seal()
        modified_ms = storage.open(
            segment_path(order.directory, group[-1].base_offset, LOG_SUFFIX)
        ).modified_ms()
        for file in (segment.file, *segment.index_files()):
            file.sync()
        segment.file.set_modified_ms(modified_ms)  # retention goes by it where records have no timestamps
        storage.sync_directory(order.directory)
        size_before = sum(source.size for source in group)
        self.totals.bytes_before += size_before
        self.totals.bytes_after += segment.size
        segment.close()
        return CleanedSegment(
            base_offset, [source.base_offset for source in group], segment.size, size_before
        )

    def _write(self, segment: Segment, left: Left) -> None:
        if not left.batches:
            return
        data = b"".join(left.parts)
        if segment.size + len(data) > MAX_SEGMENT_BYTES:
            raise CannotCompact(f"{segment!r} would grow beyond {MAX_SEGMENT_BYTES} bytes")
        segment.append(memoryview(data), left.batches, self._order.index_interval_bytes, 0)
        self.totals.records_after += left.records

    # --- reading ----------------------------------------------------------------------------------------------

    def _chunks(self, segment: SegmentToClean) -> Iterator[tuple[bytes, list[RecordBatch]]]:
        """Whole batches of a segment with their CRCs checked. Raises CorruptBatch."""
        path = segment_path(self._order.directory, segment.base_offset, LOG_SUFFIX)
        file = self._storage.open(path)
        position = 0
        while position < segment.size:
            chunk = _read_whole(file, position, segment.size)
            batches = parse_batches(chunk, allow_partial_tail=True)
            if not batches:
                raise CorruptBatch(f"{path}: the batch at {position} is cut short")
            with memoryview(chunk) as view:
                for batch in batches:
                    if not crc_is_valid(view, batch):
                        raise CorruptBatch(
                            f"{path}: the CRC of the batch at {position + batch.position} is wrong"
                        )
            yield chunk, batches
            read = batches[-1].position + batches[-1].size
            position += read
            self._progress(read)
        file.close()

    def _read_aborted(self) -> list[AbortedTransaction]:
        found = [AbortedTransaction(*entry) for entry in self._order.aborted]
        for segment in self._order.segments:
            data = read_file(
                self._storage, segment_path(self._order.directory, segment.base_offset, TXN_INDEX_SUFFIX)
            )
            if data is not None:
                found += txn_index.decode(data, segment.base_offset)
        return found


def _read_whole(file: File, position: int, end: int) -> bytes:
    """At least one whole batch from `position` on."""
    chunk = file.read_at(position, min(CHUNK_BYTES, end - position))
    if len(chunk) < BATCH_OVERHEAD:
        raise StorageFailed(f"{file.path} ends at {position + len(chunk)}, not at {end}")
    size = parse_header(chunk, 0).size
    if len(chunk) < size <= end - position:
        chunk = file.read_at(position, size)
    return chunk


def remove_cleaned(storage: Storage, directory: str, base_offset: int) -> None:
    """Remove what an earlier attempt left of a cleaned segment."""
    for suffix in SEGMENT_SUFFIXES:
        path = segment_path(directory, base_offset, suffix) + CLEANED_SUFFIX
        if storage.exists(path):
            storage.unlink(path)
