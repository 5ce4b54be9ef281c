"""What compaction leaves of a chunk of whole batches: bytes as they were wherever a batch loses nothing.

Kafka's rules (Cleaner.checkBatchRetention and shouldRetainRecord, MemoryRecords.filterTo), for records at once:

    record            stays if it is above what the map covers, or the newest of its key and either has a value
                      or is a tombstone whose horizon has not passed
    batch             goes with its last record, but stays as an empty one where it is its producer's last
                      (sequences!) or the end of what is cleaned; offsets and sequences are never changed
    aborted batch     as one without records
    marker            stays while a batch of its transaction does, then until its horizon
    horizon           now + delete.retention.ms, set when a tombstone or a needless marker is first met; it stands in
                      place of the base timestamp (KIP-534), so that the records' timestamp deltas are rewritten
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocol.record_layout import RecordLayout, span_layout
from protocol.records import (
    BATCH_OVERHEAD,
    CODEC_MASK,
    CONTROL_BIT,
    DELETE_HORIZON_BIT,
    LOG_APPEND_TIME_BIT,
    NO_TIMESTAMP,
    TRANSACTIONAL_BIT,
    Buffer,
    RecordBatch,
    assemble,
    iterate,
    parse_control_key,
    parse_header,
    records_bytes,
)
from wal.compaction_map import WORD_BYTES, OffsetMap, hash_keys
from wal.compaction_producers import A_MARKER, NOT_KNOWN
from wal.compaction_transactions import CleanedTransactions

MAX_BATCH_BYTES: Final = 256 << 20
"""Decompressed bytes of one batch: what a producer may make of a message.max.bytes of 1 MiB with zeros."""

GROUP_BYTES: Final = 32 << 20
"""Decompressed bytes that are looked at together."""

MAX_CONTROL_BYTES: Final = 1 << 16

_KEPT_ATTRIBUTES: Final = (
    LOG_APPEND_TIME_BIT | TRANSACTIONAL_BIT | CONTROL_BIT
)  # of a batch that became empty
_NO_TIME: Final = np.int64(np.iinfo(np.int64).min)

Bools = NDArray[np.bool_]


class LastOfProducer(NamedTuple):
    """The last thing a producer wrote; `last_offset` may be A_MARKER or NOT_KNOWN."""

    last_offset: int
    producer_epoch: int


class Rules:
    """What decides, beside the batch itself."""

    __slots__ = (
        "delete_retention_ms",
        "end_offset",
        "keys",
        "latest_offset",
        "now_ms",
        "producers",
        "seed",
        "transactions",
    )

    def __init__(
        self,
        keys: OffsetMap,
        seed: NDArray[np.uint64],
        latest_offset: int,
        end_offset: int,
        transactions: CleanedTransactions,
        producers: Mapping[int, LastOfProducer],
        now_ms: int,
        delete_retention_ms: int,
    ) -> None:
        self.keys = keys
        self.seed = seed
        self.latest_offset = latest_offset  # inclusive: the map knows all keys from the dirty part up to here
        self.end_offset = end_offset  # of this round: its last batch stays
        self.transactions = transactions
        self.producers = producers
        self.now_ms = now_ms
        self.delete_retention_ms = delete_retention_ms

    def stays_empty(self, batch: RecordBatch) -> bool:
        """Whether the batch stays though no record of it does."""
        if batch.next_offset == self.end_offset:
            return True
        last = self.producers.get(batch.producer_id) if batch.producer_id >= 0 else None
        if last is None:
            return False
        if last.last_offset == NOT_KNOWN:
            return True
        if last.last_offset != A_MARKER:
            return batch.last_offset == last.last_offset
        return batch.is_control and batch.producer_epoch == last.producer_epoch


class Left:
    """What is left of a chunk: bytes and headers, batch after batch."""

    __slots__ = ("batches", "parts", "records")

    def __init__(self) -> None:
        self.parts: list[Buffer] = []
        self.batches: list[RecordBatch] = []
        self.records = 0  # control records included


class Group:
    """The records of some batches, decoded together."""

    __slots__ = ("counts", "data", "firsts", "layout", "offsets", "owners")

    def __init__(self, chunk: bytes, batches: Sequence[RecordBatch]) -> None:
        """Raises CorruptBatch, TooLarge."""
        self.data, spans = _spans(chunk, batches)
        self.layout: RecordLayout = span_layout(self.data, spans)
        self.counts = np.array([batch.record_count for batch in batches], np.int64)
        self.firsts = np.cumsum(self.counts) - self.counts
        self.owners = np.repeat(np.arange(len(batches)), self.counts)
        bases = np.array([batch.base_offset for batch in batches], np.int64)
        self.offsets = bases[self.owners] + self.layout.offset_deltas

    def hashes(
        self, chosen: NDArray[np.intp], seed: NDArray[np.uint64]
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """The hashes of the keys of `chosen` records, which have one."""
        layout = self.layout
        data = np.frombuffer(self.data, np.uint8)
        return hash_keys(data, layout.key_starts[chosen], layout.key_lengths[chosen], seed)


def _spans(chunk: bytes, batches: Sequence[RecordBatch]) -> tuple[bytes, list[tuple[int, int, int]]]:
    if not any(batch.attributes & CODEC_MASK for batch in batches):
        return chunk, [
            (batch.position + BATCH_OVERHEAD, batch.position + batch.size, batch.record_count)
            for batch in batches
        ]
    blocks = [bytes(WORD_BYTES)]  # keys are hashed by words that may begin before them
    spans = []
    position = WORD_BYTES
    for batch in batches:
        block = records_bytes(chunk, batch, MAX_BATCH_BYTES)
        blocks.append(block)
        spans.append((position, position + len(block), batch.record_count))
        position += len(block)
    return b"".join(blocks), spans


def groups(chunk: bytes, batches: Iterable[RecordBatch]) -> Iterable[list[RecordBatch]]:
    """Batches with records, as many together as memory allows; what compressed ones hold is guessed."""
    group: list[RecordBatch] = []
    size = 0
    for batch in batches:
        estimate = batch.size * (8 if batch.attributes & CODEC_MASK else 1)
        if group and size + estimate > GROUP_BYTES:
            yield group
            group, size = [], 0
        group.append(batch)
        size += estimate
    if group:
        yield group


def clean(chunk: bytes, batches: Sequence[RecordBatch], rules: Rules, end_position: int) -> Left:
    """What stays of `batches` of `chunk`. The one that ends at `end_position` stays, be it empty.

    Raises CorruptBatch, TooLarge.
    """
    replaced: dict[int, Buffer | None] = {}  # by position; None: it goes
    to_look_at: list[RecordBatch] = []
    stays = {batch.position: _emptied(batch) for batch in batches if rules.stays_empty(batch)}
    last = batches[-1]
    if last.position + last.size == end_position and last.position not in stays:
        stays[last.position] = _placeholder(last)
    for batch in batches:
        if batch.is_control:
            _clean_control(chunk, batch, rules, stays, replaced)
        elif rules.transactions.is_aborted(batch) or batch.record_count == 0:
            replaced[batch.position] = stays.get(batch.position)
        else:
            to_look_at.append(batch)
    for group in groups(chunk, to_look_at):
        _clean_group(chunk, group, rules, stays, replaced)
    left = Left()
    untouched_from = batches[0].position
    for batch in batches:
        if batch.position in replaced:
            if untouched_from < batch.position:
                left.parts.append(memoryview(chunk)[untouched_from : batch.position])
            untouched_from = batch.position + batch.size
            block = replaced[batch.position]
            if block is None:
                continue
            left.parts.append(block)
            batch = parse_header(block, 0)
        left.batches.append(batch)
        left.records += batch.record_count
    if untouched_from < (end := batches[-1].position + batches[-1].size):
        left.parts.append(memoryview(chunk)[untouched_from:end])
    return left


def control_type(chunk: bytes, batch: RecordBatch) -> int | None:
    """What a control batch says; None if it has become empty. Raises CorruptBatch."""
    if batch.record_count == 0:
        return None
    return parse_control_key(next(iterate(chunk, batch, MAX_CONTROL_BYTES)).key)


def _clean_control(
    chunk: bytes,
    batch: RecordBatch,
    rules: Rules,
    stays: Mapping[int, Buffer],
    replaced: dict[int, Buffer | None],
) -> None:
    kind = control_type(chunk, batch)
    is_needless = rules.transactions.is_needless(batch, kind)
    has_horizon = bool(batch.attributes & DELETE_HORIZON_BIT)
    has_passed = is_needless and has_horizon and batch.base_timestamp <= rules.now_ms
    if has_passed or kind is None:
        replaced[batch.position] = stays.get(batch.position)
    elif is_needless and not has_horizon:
        group = Group(chunk, [batch])
        replaced[batch.position] = _with_horizon(group, batch, np.arange(batch.record_count), rules)


def _clean_group(
    chunk: bytes,
    batches: list[RecordBatch],
    rules: Rules,
    stays: Mapping[int, Buffer],
    replaced: dict[int, Buffer | None],
) -> None:
    group = Group(chunk, batches)
    keep, tombstones = _kept(group, batches, rules)
    kept = np.add.reduceat(keep, group.firsts, dtype=np.int64)
    has_tombstone = np.logical_or.reduceat(keep & tombstones, group.firsts)
    rewriting: _Rewriting | None = None
    for index in np.flatnonzero((kept < group.counts) | has_tombstone).tolist():
        batch = batches[index]
        sets_horizon = bool(has_tombstone[index]) and not batch.attributes & DELETE_HORIZON_BIT
        if kept[index] == 0:
            replaced[batch.position] = stays.get(batch.position)
        elif sets_horizon:
            first = int(group.firsts[index])
            chosen = first + np.flatnonzero(keep[first : first + int(group.counts[index])])
            replaced[batch.position] = _with_horizon(group, batch, chosen, rules)
        elif kept[index] < group.counts[index]:
            rewriting = rewriting or _Rewriting(group, batches, keep)
            replaced[batch.position] = rewriting.batch(index, batch, int(kept[index]))


def _kept(group: Group, batches: Sequence[RecordBatch], rules: Rules) -> tuple[Bools, Bools]:
    """Which records stay, and which are tombstones."""
    layout = group.layout
    tombstones = layout.value_lengths < 0
    keeps_tombstones = np.array(
        [
            not batch.attributes & DELETE_HORIZON_BIT or rules.now_ms < batch.base_timestamp
            for batch in batches
        ]
    )
    keyed = np.flatnonzero(layout.key_lengths >= 0)
    newest = np.zeros(len(layout), np.bool_)
    newest[keyed] = group.offsets[keyed] >= rules.keys.get(*group.hashes(keyed, rules.seed))
    keep = newest & (~tombstones | keeps_tombstones[group.owners])
    keep |= group.offsets > rules.latest_offset
    return keep, tombstones


class _Rewriting:
    """Batches that lose some of their records: runs of records that stay, as ranges of bytes."""

    def __init__(self, group: Group, batches: Sequence[RecordBatch], keep: Bools) -> None:
        layout = group.layout
        first_of_batch = np.zeros(len(keep), np.bool_)
        first_of_batch[group.firsts] = True
        before = np.concatenate((np.zeros(1, np.bool_), keep[:-1]))
        begins = np.flatnonzero(keep & (first_of_batch | ~before))
        after = np.concatenate((keep[1:], np.zeros(1, np.bool_)))
        last_of_batch = np.concatenate((first_of_batch[1:], np.ones(1, np.bool_)))
        ends = np.flatnonzero(keep & (last_of_batch | ~after))
        self._data = memoryview(group.data)
        self._starts: list[int] = layout.starts[begins].tolist()
        self._ends: list[int] = layout.ends[ends].tolist()
        self._bounds: list[int] = np.searchsorted(group.owners[begins], np.arange(len(batches) + 1)).tolist()
        bases = np.array([batch.base_timestamp for batch in batches], np.int64)
        timestamps = np.where(keep, bases[group.owners] + layout.timestamp_deltas, _NO_TIME)
        self._newest = np.maximum.reduceat(timestamps, group.firsts)

    def batch(self, index: int, batch: RecordBatch, record_count: int) -> bytearray:
        first, end = self._bounds[index], self._bounds[index + 1]
        data = self._data
        block = b"".join(
            [data[start:stop] for start, stop in zip(self._starts[first:end], self._ends[first:end])]
        )
        return _rebuilt(batch, block, record_count, int(self._newest[index]), batch.base_timestamp)


def _with_horizon(group: Group, batch: RecordBatch, chosen: NDArray[np.intp], rules: Rules) -> bytearray:
    """The batch with `chosen` records and the delete horizon for base timestamp, as from now."""
    horizon = rules.now_ms + rules.delete_retention_ms
    layout, data = group.layout, group.data
    timestamps = batch.base_timestamp + layout.timestamp_deltas[chosen]
    block = bytearray()
    for start, end, timestamp in zip(
        layout.starts[chosen].tolist(), layout.ends[chosen].tolist(), timestamps.tolist()
    ):
        position = _behind_varint(data, start)
        body = bytearray((data[position],))  # attributes
        _append_varint(body, timestamp - horizon)
        body += data[_behind_varint(data, position + 1) : end]
        _append_varint(block, len(body))
        block += body
    attributes = batch.attributes | DELETE_HORIZON_BIT
    return _rebuilt(batch, block, len(chosen), int(timestamps.max()), horizon, attributes)


def _behind_varint(data: bytes, position: int) -> int:
    while data[position] >= 0x80:
        position += 1
    return position + 1


def _append_varint(out: bytearray, value: int) -> None:
    value = (value << 1) ^ (value >> 63)
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _rebuilt(
    batch: RecordBatch,
    block: Buffer,
    record_count: int,
    newest: int,
    base_timestamp: int,
    attributes: int | None = None,
) -> bytearray:
    header = _copy(batch)
    header.record_count = record_count
    header.base_timestamp = base_timestamp
    if attributes is not None:
        header.attributes = attributes
    if not header.attributes & LOG_APPEND_TIME_BIT:
        header.max_timestamp = newest
    return assemble(header, block)


def _emptied(batch: RecordBatch) -> bytearray:
    """The batch without records: what is left to say are its offsets and sequences."""
    header = _copy(batch)
    header.attributes = batch.attributes & _KEPT_ATTRIBUTES
    header.base_timestamp = NO_TIMESTAMP
    header.record_count = 0
    return assemble(header, b"")


def _placeholder(batch: RecordBatch) -> bytearray:
    """A batch that stays for nothing but its offsets: of no producer and no transaction, so that it keeps no marker."""
    header = _copy(batch)
    header.attributes = batch.attributes & LOG_APPEND_TIME_BIT
    header.base_timestamp = NO_TIMESTAMP
    header.producer_id = header.producer_epoch = header.base_sequence = -1
    header.record_count = 0
    return assemble(header, b"")


def _copy(batch: RecordBatch) -> RecordBatch:
    copy = RecordBatch()
    for name in RecordBatch.__slots__:
        setattr(copy, name, getattr(batch, name))
    return copy
