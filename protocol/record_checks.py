"""What a broker checks in a client's batch beyond its lengths and CRC, as Kafka's LogValidator does."""

from typing import Final

from protocol.errors import ApiError, ErrorCode
from protocol.records import (
    CODEC_MASK,
    CONTROL_BIT,
    LOG_APPEND_TIME_BIT,
    NO_TIMESTAMP,
    Buffer,
    RecordBatch,
    records_bytes,
    scan,
)

SHOWN_RECORD_ERRORS: Final = 3
"""How many of a batch's record errors are in its error message, as with Kafka."""

MAX_TIMESTAMP: Final = 2**63 - 1

MAX_RECORD_ERRORS: Final = 100
"""Enough to see what is wrong; a batch of nothing but refused records must not become as many objects."""


def header_refusal(batch: RecordBatch) -> str | None:
    """Why a client's batch is refused as INVALID_RECORD by its header alone; None if it is not."""
    count = batch.last_offset_delta + 1
    if count <= 0:
        return f"Batch has an invalid offset range: last offset delta is {batch.last_offset_delta}"
    if batch.record_count <= 0:
        return f"Invalid reported count for record batch: {batch.record_count}"
    if count != batch.record_count:
        return f"Inconsistent batch offset range: {count} offsets for {batch.record_count} records"
    if batch.producer_id >= 0 and batch.base_sequence < 0:
        return f"Invalid sequence number {batch.base_sequence} in a batch of producerId {batch.producer_id}"
    if batch.attributes & CONTROL_BIT:
        return "Clients are not allowed to write control records"
    if batch.attributes & CODEC_MASK > 4:
        return f"Unknown compression type id: {batch.attributes & CODEC_MASK}"
    return None


def timestamp_refusal(batch: RecordBatch, now_ms: int, before_max_ms: int, after_max_ms: int) -> str | None:
    """Why a client's batch is refused as INVALID_TIMESTAMP by its header; None if it is not.

    The bounds are message.timestamp.before.max.ms and .after.max.ms, for a topic with CreateTime; otherwise
    the caller passes MAX_TIMESTAMP for both. The header has the first and the largest timestamp: a record in
    between that is too old is found by `record_errors` only.
    """
    if batch.attributes & LOG_APPEND_TIME_BIT:
        return "Producer should not set timestamp type to LogAppendTime"
    for timestamp in (batch.max_timestamp, batch.base_timestamp):
        if timestamp != NO_TIMESTAMP and not -after_max_ms <= now_ms - timestamp <= before_max_ms:
            return f"Timestamp {timestamp} is outside [{now_ms - before_max_ms}, {now_ms + after_max_ms}]"
    return None


class RecordError:
    """One refused record: its index in the batch and why. `is_timestamp` tells INVALID_TIMESTAMP apart."""

    __slots__ = ("index", "is_timestamp", "message")

    def __init__(self, index: int, message: str, is_timestamp: bool = False) -> None:
        self.index = index
        self.message = message
        self.is_timestamp = is_timestamp


class RecordsRefused(ApiError):
    """A batch refused for some of its records, which producers are told one by one (KIP-467)."""

    def __init__(self, errors: list[RecordError]) -> None:
        assert errors
        self.errors = errors
        if errors[0].is_timestamp:
            text = "One or more records have been rejected due to invalid timestamp"
            super().__init__(ErrorCode.INVALID_TIMESTAMP, text)
            return
        shown = ", ".join(
            f"RecordError(batchIndex={error.index}, message='{error.message}')"
            for error in errors[:SHOWN_RECORD_ERRORS]
        )
        super().__init__(
            ErrorCode.INVALID_RECORD,
            f"One or more records have been rejected due to {len(errors)} record errors in total, and only showing the "
            f"first three errors at most: [{shown}]",
        )


def record_errors(
    buffer: Buffer,
    batch: RecordBatch,
    max_decompressed_bytes: int,
    *,
    require_key: bool = False,
    min_timestamp: int | None = None,
    max_timestamp: int | None = None,
) -> list[RecordError]:
    """The records that are refused: keyless ones on a compacted topic, offsets that are not 0..n-1,
    timestamps out of bounds (CreateTime only; -1, no timestamp, is let through).

    The first MAX_RECORD_ERRORS of them. Raises CorruptBatch where the records cannot even be walked.
    """
    errors: list[RecordError] = []
    earliest = NO_TIMESTAMP if min_timestamp is None else min_timestamp
    latest = MAX_TIMESTAMP if max_timestamp is None else max_timestamp
    check_time = not batch.attributes & LOG_APPEND_TIME_BIT
    data = records_bytes(buffer, batch, max_decompressed_bytes)
    for index, (offset_delta, timestamp_delta, has_key) in enumerate(scan(data, batch.record_count)):
        timestamp = batch.base_timestamp + timestamp_delta
        if offset_delta != index:
            errors.append(RecordError(index, f"Record {index} has the offset delta {offset_delta}"))
        elif require_key and not has_key:
            errors.append(RecordError(index, "Compacted topic cannot accept message without key"))
        elif check_time and timestamp != NO_TIMESTAMP and not earliest <= timestamp <= latest:
            message = (
                f"Timestamp {timestamp} of message with offset {index} is out of range. The timestamp should be within "
                f"[{earliest}, {latest}]"
            )
            errors.append(RecordError(index, message, is_timestamp=True))
        if len(errors) >= MAX_RECORD_ERRORS:
            break
    return errors
