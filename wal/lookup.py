"""Finding offsets by time (ListOffsets), as Kafka does: to the record, not to the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from protocol import records
from protocol.records import NO_TIMESTAMP, CorruptBatch, RecordBatch
from wal.segment import LOCATE_CHUNK_BYTES, Segment

if TYPE_CHECKING:
    from wal.log import Log

MAX_DECOMPRESSED_BYTES: Final = 64 << 20
"""Limit for the one batch that has to be looked into."""

LATEST: Final = -1
EARLIEST: Final = -2


class TimestampOffset(NamedTuple):
    timestamp: int
    offset: int


def find_by_timestamp(log: Log, timestamp: int, end_offset: int) -> TimestampOffset | None:
    """The first record below `end_offset` with a timestamp of at least `timestamp`."""
    for segment in log.loaded_segments():
        if segment.max_timestamp >= timestamp and segment.next_offset > log.log_start_offset:
            found = _find_in_segment(segment, timestamp, log.log_start_offset)
            if found is not None:
                return found if found.offset < end_offset else None
    return None


def _find_in_segment(segment: Segment, timestamp: int, start_offset: int) -> TimestampOffset | None:
    # Nothing up to the entry's offset is newer than the entry, and the batch that ends there is the first one
    # as new as it.
    entry = segment.time_index.lookup(timestamp)
    position = segment.offset_index.lookup(max(entry.offset, start_offset)).position
    for batch in segment.scan(position, segment.size, LOCATE_CHUNK_BYTES):
        if batch.max_timestamp >= timestamp and batch.last_offset >= start_offset:
            found = _find_in_batch(segment, batch, timestamp, start_offset)
            if found is not None:
                return found
    return None


def _find_in_batch(
    segment: Segment, batch: RecordBatch, timestamp: int, start_offset: int
) -> TimestampOffset | None:
    position, batch.position = batch.position, 0
    data = segment.file.read_at(position, batch.size)
    try:
        found = records.find_by_timestamp(data, batch, timestamp, MAX_DECOMPRESSED_BYTES, start_offset)
    except CorruptBatch:
        # A producer may put anything into its batch. Its header is what there is to go by.
        return TimestampOffset(batch.max_timestamp, max(batch.base_offset, start_offset))
    return None if found is None else TimestampOffset(found[1], found[0])


def find_max_timestamp(log: Log, end_offset: int) -> TimestampOffset | None:
    """The first record with the largest timestamp below `end_offset` (KIP-734)."""
    best: TimestampOffset | None = None
    for segment in log.loaded_segments():
        if segment.next_offset <= log.log_start_offset or segment.base_offset >= end_offset:
            continue
        if best is None or segment.max_timestamp > best.timestamp:
            found = _newest_in_segment(segment, log.log_start_offset, end_offset)
            if found is not None and (best is None or found.timestamp > best.timestamp):
                best = found
    return best


def _newest_in_segment(segment: Segment, start_offset: int, end_offset: int) -> TimestampOffset | None:
    if segment.max_timestamp == NO_TIMESTAMP:
        return None
    if start_offset <= segment.base_offset and segment.max_timestamp_offset < end_offset:
        return _find_in_segment(segment, segment.max_timestamp, start_offset)
    newest = NO_TIMESTAMP  # the segment's own maximum may lie outside the range
    for batch in segment.scan(0, segment.size):
        if start_offset <= batch.last_offset < end_offset:
            newest = max(newest, _newest_in_batch(segment, batch, start_offset))
    if newest == NO_TIMESTAMP:
        return None
    return _find_in_segment(segment, newest, start_offset)


def _newest_in_batch(segment: Segment, batch: RecordBatch, start_offset: int) -> int:
    if batch.base_offset >= start_offset:
        return batch.max_timestamp
    position, batch.position = batch.position, 0  # some of its records are deleted
    data = segment.file.read_at(position, batch.size)
    try:
        found = records.iterate(data, batch, MAX_DECOMPRESSED_BYTES)
        return max(
            (record.timestamp for record in found if record.offset >= start_offset), default=NO_TIMESTAMP
        )
    except CorruptBatch:
        return batch.max_timestamp


def offsets_before(log: Log, timestamp: int, max_offsets: int) -> list[int]:
    """Starts of segments older than `timestamp`, newest first: what ListOffsets v0 asks for.

    LATEST begins with the high watermark, EARLIEST gives the log's start.
    """
    starts = [
        (max(segment.base_offset, log.log_start_offset), segment.max_timestamp)
        for segment in log.loaded_segments()
    ]
    if not starts or log.segments[-1].size:
        starts.append((log.high_watermark, log.newest_timestamp()))
    if timestamp == EARLIEST:
        starts = starts[:1]
    elif timestamp != LATEST:
        starts = [(offset, newest) for offset, newest in starts if newest <= timestamp]
    return [offset for offset, _ in reversed(starts)][: max(0, max_offsets)]
