"""Which batch is the last of each producer: compaction leaves it in the log, be it empty, for its sequence numbers.

What counts is the last *durable* one. A batch that is written and not synced may be gone after a crash; had compaction
taken the one before it, the producer's retry would be refused as out of order. (Kafka goes by the log's end.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from wal.log import Log

A_MARKER: Final = -1
"""In place of the last batch's offset: a marker was the last thing."""

NOT_KNOWN: Final = -2
"""In place of the last batch's offset: what is remembered of the producer is not durable, so all its batches stay."""


def last_batches(log: Log, end_offset: int) -> dict[str, tuple[int, int]]:
    """Producer id → (last offset of its last batch, epoch), where that batch may lie below `end_offset`."""
    found = {}
    is_all_durable = log.durable_offset == log.log_end_offset
    for entry in log.active_producers():
        durable = [batch.last_offset for batch in entry.batches if batch.last_offset < log.durable_offset]
        last_offset = durable[-1] if durable else A_MARKER if is_all_durable else NOT_KNOWN
        if last_offset < end_offset:
            found[str(entry.producer_id)] = (last_offset, entry.producer_epoch)
    return found
