"""What is deleted from a log's beginning: by age, by size, by DeleteRecords.

Only whole segments below the high watermark go, oldest first, in this order:

    0  the producers' state at the first segment that stays is made durable: it cannot be replayed any more
    1  the new log start offset is saved durably (`log-start-offset-checkpoint`)
    2  it takes effect: nobody is given anything below it any more
    3  the files are renamed to `.deleted`, and the caller unlinks them later (`delete_due_files`)

A crash in between leaves files below a saved start, which the next start gives up. Without step 1, lost renames
could leave a hole between segments; so where the disk is too full to save the start, segments go one by one, each
rename synced before the next.

The checkpoint of step 1 names every partition, so a round over many logs (`RetentionRound`) takes step 0 for all of
them, then step 1 with one write, then 2 and 3. Others may use the logs in between.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from protocol.errors import ApiError, ErrorCode
from wal.checkpoint import TopicPartition
from wal.errors import DiskFull
from wal.recovery import give_up_segment
from wal.segment import Segment
from wal.snapshots import Snapshots

if TYPE_CHECKING:
    from wal.log import Log


class Planned(NamedTuple):
    """A log with segments that may go once its new start is saved."""

    key: TopicPartition
    log: Log
    log_start_offset: int


class RetentionRound:
    """Retention of many logs: `plan` each, `save` once, `carry_out` what was planned."""

    def __init__(self, save_log_starts: Callable[[Mapping[TopicPartition, int]], None], now_ms: int) -> None:
        """`save_log_starts` makes new log starts durable together, or raises DiskFull."""
        self._save_log_starts = save_log_starts
        self._now_ms = now_ms
        self._starts_are_saved = True
        self.planned: list[Planned] = []

    def plan(self, key: TopicPartition, log: Log, keep_from: int | None = None) -> None:
        """Find out what of a log is to go, see `enforce_retention`. Raises DiskFull, StorageFailed."""
        start = plan(log, self._now_ms, keep_from)
        if start is not None:
            self.planned.append(Planned(key, log, start))

    def save(self) -> None:
        """Save all new starts with one write. Raises StorageFailed; a full disk makes the rest slower, no more."""
        starts = {
            key: start
            for key, log, start in self.planned
            if log.offline is None and start > log.log_start_offset
        }
        if starts:
            try:
                self._save_log_starts(starts)
            except DiskFull:
                self._starts_are_saved = False

    def carry_out(self, planned: Planned) -> int:
        """Delete what was planned for one log, if that is still in service; bytes freed. Raises StorageFailed."""
        if planned.log.offline is not None:
            return 0
        return carry_out(planned.log, planned.log_start_offset, self._now_ms, self._starts_are_saved)


def enforce_retention(log: Log, now_ms: int, keep_from: int | None = None) -> int:
    """Delete the segments that retention.ms, retention.bytes and the log start let go; bytes freed.

    A segment with records from `keep_from` on goes only if it lies below the log start.
    """
    start = plan(log, now_ms, keep_from)
    if start is None:
        return 0
    is_saved = True
    if log.save_log_start is not None and start > log.log_start_offset:
        try:
            log.save_log_start(start)
        except DiskFull:
            is_saved = False
    return carry_out(log, start, now_ms, is_saved)


def plan(log: Log, now_ms: int, keep_from: int | None) -> int | None:
    """Forget idle producers, and step 0: where the log is to start, which is saved next; None if nothing goes."""
    log.producers.expire(now_ms, log.config.producer_id_expiration_ms)
    count = _count_deletable(log, now_ms, keep_from)
    if count and count == len(log.segments):
        if log.segments[-1].size == 0:
            count -= 1
        else:
            try:
                log.roll(now_ms)
            except DiskFull:  # no space for a new segment, so the last one stays: the others make some
                count -= 1
    if count == 0:
        return None
    snapshots = Snapshots(log.storage, log.directory, log.config, now_ms)
    snapshots.ensure(log.bases, count, log.loaded)
    return log.bases[count]


def carry_out(log: Log, start: int, now_ms: int, start_is_saved: bool) -> int:
    """Steps 2 and 3: everything below `start` goes; bytes freed."""
    count = bisect_left(log.bases, start)
    if count == len(log.bases) or log.bases[count] != start:
        return 0  # compaction has merged the segment that begins there: what is due is found again
    start_is_saved = start_is_saved or start <= log.log_start_offset
    log.log_start_offset = max(log.log_start_offset, start)
    deletable = log.segments[:count]
    log.segments, log.bases = log.segments[count:], log.bases[count:]
    freed = 0
    for segment in deletable:
        freed += segment.size
        _give_up(log, segment, now_ms, sync=not start_is_saved)
    log.flusher.mark_directory(log.directory)
    assert log.bases[0] <= log.log_start_offset
    return freed


def _count_deletable(log: Log, now_ms: int, keep_from: int | None) -> int:
    config = log.config
    segments = list(log.loaded_segments())
    excess = -1
    if config.delete_is_enabled and config.retention_bytes >= 0:
        excess = sum(segment.size for segment in segments) - config.retention_bytes
    count = 0
    for segment in segments:
        if segment.next_offset > log.high_watermark:
            break
        too_big = excess >= segment.size > 0
        too_old = config.delete_is_enabled and _is_too_old(segment, config.retention_ms, now_ms)
        if keep_from is not None and segment.next_offset > keep_from:
            too_big = too_old = False
        is_before_start = count + 1 < len(segments) and log.bases[count + 1] <= log.log_start_offset
        if not (too_big or too_old or is_before_start):
            break
        excess -= segment.size
        count += 1
    return count


def _is_too_old(segment: Segment, retention_ms: int, now_ms: int) -> bool:
    if retention_ms < 0:
        return False
    newest = segment.max_timestamp
    if newest < 0:  # records without timestamps: the file's own time, as in Kafka
        newest = segment.file.modified_ms()
    return now_ms - newest > retention_ms


def _give_up(log: Log, segment: Segment, now_ms: int, sync: bool) -> None:
    segment.log = None
    segment.close()
    due_ms = now_ms + log.config.file_delete_delay_ms
    give_up_segment(log.storage, log.directory, segment.base_offset, due_ms, log.pending_deletions)
    if sync:
        log.storage.sync_directory(log.directory)


def deletion_start(log: Log, offset: int) -> int:
    """Where the log starts once everything before `offset` (-1: the high watermark) is deleted.

    Raises ApiError OFFSET_OUT_OF_RANGE.
    """
    if offset == -1:
        offset = log.high_watermark
    if not 0 <= offset <= log.high_watermark:
        raise ApiError(
            ErrorCode.OFFSET_OUT_OF_RANGE, f"offset {offset} is not within 0 to {log.high_watermark}"
        )
    return max(offset, log.log_start_offset)


def delete_records_before(log: Log, offset: int) -> int:
    """Move the log start offset to `offset` (-1: the high watermark), durably; the log start offset.

    Segments that are wholly below it go with the next retention.
    Raises ApiError OFFSET_OUT_OF_RANGE, DiskFull, StorageFailed.
    """
    start = deletion_start(log, offset)
    if start > log.log_start_offset:
        if log.save_log_start is not None:
            log.save_log_start(start)
        log.log_start_offset = start
    return start


def delete_due_files(log: Log, now_ms: int) -> int:
    """Unlink files that were given up long enough ago; how many."""
    due = [path for due_ms, path in log.pending_deletions if due_ms <= now_ms]
    if due:
        log.pending_deletions = [entry for entry in log.pending_deletions if entry[0] > now_ms]
        for path in due:
            log.storage.unlink(path)
        log.flusher.mark_directory(log.directory)
    return len(due)
