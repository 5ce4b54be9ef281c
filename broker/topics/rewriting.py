"""Where the broker must look inside a batch: old message formats, recompression, keys on compacted topics.

Kept out of the byte path: imported when first needed. Every way in has a limit on what decompression may yield.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.compression import Codec
from protocol.errors import ApiError, ErrorCode
from protocol.legacy import down_convert, up_convert
from protocol.record_checks import RecordsRefused, record_errors
from protocol.records import RecordBatch, assemble, parse_batches, records_bytes

if TYPE_CHECKING:
    from broker.config import TopicConfig
    from broker.topics.partition import Partition
    from wal.file_slice import FileSlice

MAX_DECOMPRESSED_BYTES: Final = 64 << 20
"""The most one batch may decompress to when the broker looks inside: sixty times the default max.message.bytes. It is
done on the loop, so it also limits how long the others wait: a quarter of a second."""

_NEWEST_MAGIC_0_FETCH_VERSION: Final = 1


def convert_up(records: memoryview) -> memoryview:
    """A message set of magic 0 or 1 as one batch of magic 2. Raises CorruptBatch."""
    return memoryview(up_convert(records, MAX_DECOMPRESSED_BYTES))


def for_old_fetcher(partition: Partition, piece: FileSlice, fetch_offset: int, version: int) -> bytearray:
    """What a Fetch before v4 gets: the records as magic 0 (v0 and v1) or magic 1."""
    data = piece.read()
    return down_convert(
        data,
        parse_batches(data),
        0 if version <= _NEWEST_MAGIC_0_FETCH_VERSION else 1,
        first_offset=fetch_offset,
        max_decompressed_bytes=MAX_DECOMPRESSED_BYTES,
        max_bytes=piece.length,
    )


def rewrite(
    partition: Partition, records: memoryview, batches: list[RecordBatch], config: TopicConfig
) -> tuple[memoryview, list[RecordBatch]]:
    """Check the records where the topic asks for it, and recompress to its `compression.type`.

    Raises RecordsRefused naming the records at fault, ApiError, and CorruptBatch.
    """
    if config.validates_records:
        for batch in batches:
            _validate_records(partition, records, batch, config)
    if config.codec is None or all(batch.compression == config.codec for batch in batches):
        return records, batches
    out = bytearray()
    for batch in batches:
        block = records_bytes(records, batch, MAX_DECOMPRESSED_BYTES)
        batch.attributes = batch.attributes & ~0x07 | config.codec
        level = config.compression_level if config.codec != Codec.NONE else None
        rewritten = assemble(batch, block, level)
        if len(rewritten) > config.max_message_bytes:
            raise ApiError(
                ErrorCode.MESSAGE_TOO_LARGE,
                f"{partition}: a batch of {len(rewritten)} bytes as {config.compression_type}, max.message.bytes is "
                f"{config.max_message_bytes}",
            )
        out += rewritten
    view = memoryview(out)
    return view, parse_batches(view)


def _validate_records(
    partition: Partition, records: memoryview, batch: RecordBatch, config: TopicConfig
) -> None:
    errors = record_errors(records, batch, MAX_DECOMPRESSED_BYTES, require_key=config.is_compacted)
    if errors:
        for error in errors:
            error.message += f" in topic partition {partition}"
        raise RecordsRefused(errors)


def refuse_timestamps(
    partition: Partition, records: memoryview, batch: RecordBatch, config: TopicConfig, now_ms: int
) -> None:
    """For a batch whose header has a timestamp out of bounds: find the records that have. Raises RecordsRefused."""
    errors = record_errors(
        records,
        batch,
        MAX_DECOMPRESSED_BYTES,
        min_timestamp=now_ms - config.message_timestamp_before_max_ms,
        max_timestamp=now_ms + config.message_timestamp_after_max_ms,
    )
    errors = [error for error in errors if error.is_timestamp]
    if errors:
        raise RecordsRefused(errors)
