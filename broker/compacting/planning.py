"""Which partition is to be compacted next, and what a round over it is to do: Kafka's LogCleanerManager, as functions.

    clean part     dirty part                 too young, not stable, not in its table, or active
    ├──────────────┼──────────────────────────┼─────────────────────────────────────────────►
                   first_dirty_offset         end_offset

A partition is due when its dirty part has more than min.cleanable.dirty.ratio of the bytes up to `end_offset`, or a
dirty record is older than max.compaction.lag.ms. Of those that are due, one overdue comes first, then the dirtiest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from wal.checkpoint import TopicPartition
from wal.compaction_producers import last_batches

if TYPE_CHECKING:
    from broker.config import BrokerConfig, TopicConfig
    from wal.log import Log


SHORTEST_PAUSE_MS: Final = 1_000
LONGEST_PAUSE_MS: Final = 3_600_000
"""Pauses after rounds that failed: a worker that dies of a partition costs a read of it each time."""

_MOST_DOUBLINGS: Final = 20


class Candidate(NamedTuple):
    """What compaction of a partition would have to do. Offsets: the dirty part is [first_dirty_offset, end_offset)."""

    key: TopicPartition
    first_dirty_offset: int
    end_offset: int
    clean_bytes: int
    dirty_bytes: int
    is_overdue: bool
    """A dirty record is older than max.compaction.lag.ms."""
    held_by: str | None
    """What keeps `end_offset` from the active segment: "table", "transaction" or "lag"; None if nothing does."""

    @property
    def dirty_ratio(self) -> float:
        total = self.clean_bytes + self.dirty_bytes
        return self.dirty_bytes / total if total else 0.0


def measure(
    key: TopicPartition,
    log: Log,
    config: TopicConfig,
    compacted_up_to: int | None,
    now_ms: int,
    keep_from: int | None = None,
) -> Candidate:
    """The candidate that a partition is. `keep_from` is the first offset that somebody still has to read as it is."""
    first_dirty = log.log_start_offset if compacted_up_to is None else compacted_up_to
    if not log.log_start_offset <= first_dirty <= log.log_end_offset:
        first_dirty = log.log_start_offset  # deleted meanwhile, or the log's end was lost: all of it is dirty
    limit, holder = log.last_stable_offset, "transaction"
    if keep_from is not None and keep_from < limit:
        limit, holder = keep_from, "table"
    held_by = None
    lag_ms = config["min.compaction.lag.ms"]
    clean_bytes = dirty_bytes = 0
    end_offset = log.bases[0] if log.bases else 0
    oldest = now_ms
    for index in range(len(log.bases) - 1):  # all but the active one
        segment, next_base = log.loaded(index), log.bases[index + 1]
        is_dirty = next_base > first_dirty
        is_young = is_dirty and lag_ms > 0 and segment.max_timestamp > now_ms - lag_ms
        if next_base > limit or is_young:
            held_by = holder if next_base > limit else "lag"
            break
        end_offset = next_base
        if is_dirty:
            dirty_bytes += segment.size
            if segment.first_timestamp > 0:
                oldest = min(oldest, segment.first_timestamp)
        else:
            clean_bytes += segment.size
    is_overdue = dirty_bytes > 0 and now_ms - oldest > config["max.compaction.lag.ms"]
    end_offset = max(first_dirty, end_offset)
    return Candidate(key, first_dirty, end_offset, clean_bytes, dirty_bytes, is_overdue, held_by)


def pause_ms(failures: int, backoff_ms: int) -> int:
    """How long a partition is left alone after so many failed rounds in a row: twice as long each time."""
    assert failures > 0
    shortest = max(backoff_ms, SHORTEST_PAUSE_MS)
    return max(shortest, min(shortest << min(failures - 1, _MOST_DOUBLINGS), LONGEST_PAUSE_MS))


def is_due(candidate: Candidate, config: TopicConfig) -> bool:
    if candidate.dirty_bytes == 0:
        return False
    return candidate.is_overdue or candidate.dirty_ratio > config["min.cleanable.dirty.ratio"]


def choose(due: Iterable[Candidate]) -> Candidate | None:
    """The one to be compacted next."""
    return max(due, key=lambda candidate: (candidate.is_overdue, candidate.dirty_ratio), default=None)


def job(
    candidate: Candidate, log: Log, config: TopicConfig, broker: BrokerConfig, now_ms: int, seed: list[int]
) -> dict[str, object]:
    """The round as the worker gets it: `wal.compaction.Round` in JSON, and the limit on its speed."""
    end_offset = candidate.end_offset
    count = log.bases.index(end_offset)
    segments = [log.loaded(index) for index in range(count)]
    aborted = [
        list(transaction)
        for segment in log.segments[count:]
        for transaction in segment.aborted_transactions()
        if transaction.first_offset < end_offset
    ]
    return {
        "bytes_per_second": broker["log.cleaner.io.max.bytes.per.second"],
        "round": {
            "directory": log.directory,
            "segments": [{"base_offset": segment.base_offset, "size": segment.size} for segment in segments],
            "first_dirty_offset": candidate.first_dirty_offset,
            "end_offset": end_offset,
            "now_ms": now_ms,
            "delete_retention_ms": config.delete_retention_ms,
            "segment_bytes": config.segment_bytes,
            "segment_index_bytes": config.segment_index_bytes,
            "index_interval_bytes": config.index_interval_bytes,
            "dedupe_buffer_bytes": broker["log.cleaner.dedupe.buffer.size"],
            "load_factor": broker["log.cleaner.io.buffer.load.factor"],
            "seed": seed,
            "aborted": aborted,
            "producers": last_batches(log, end_offset),
        },
    }
