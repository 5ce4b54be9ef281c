"""Remembering the last five batches of a producer across a restart.

A client keeps five requests in flight, so after a restart it may send again any of its last five batches. Kafka's
snapshot format has room for the last one only; a replicated Kafka asks another broker, a single one refuses the
retry as out of order. Here the others are read back from the end of the log, once, when such a retry comes.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from protocol.records import CONTROL_BIT, CorruptBatch, RecordBatch
from wal.producer_state import RETAINED_BATCHES, AppendedBatch

if TYPE_CHECKING:
    from wal.log import Log

SEARCHED_BYTES: Final = 16 << 20
"""How far back from the log's end is looked: more than five requests of a few producers."""


def remember_batches(log: Log) -> None:
    """Complete the producers' last batches from the headers at the end of the log."""
    found: dict[tuple[int, int], deque[AppendedBatch]] = {}
    try:
        for batch in _tail(log):
            if batch.producer_id >= 0 and not batch.attributes & CONTROL_BIT:
                key = batch.producer_id, batch.producer_epoch
                found.setdefault(key, deque(maxlen=RETAINED_BATCHES)).append(_appended(batch))
    except CorruptBatch:
        return  # damage: what is remembered stays as it is
    for (producer_id, producer_epoch), batches in found.items():
        entry = log.producers.get(producer_id)
        if entry is None or entry.producer_epoch != producer_epoch or not entry.batches:
            continue
        if batches[-1].last_offset == entry.batches[-1].last_offset and len(batches) > len(entry.batches):
            entry.batches[:] = batches


def _tail(log: Log) -> list[RecordBatch]:
    """The headers of the last SEARCHED_BYTES, in order."""
    headers: list[RecordBatch] = []
    left = SEARCHED_BYTES
    for segment in reversed(list(log.loaded_segments())):
        start = segment.offset_index.lookup_position(max(0, segment.size - left)).position
        headers[:0] = segment.scan(start, segment.size)
        left -= segment.size - start
        if left <= 0:
            break
    return headers


def _appended(batch: RecordBatch) -> AppendedBatch:
    return AppendedBatch(
        batch.base_sequence, batch.last_sequence, batch.base_offset, batch.last_offset, batch.max_timestamp
    )
