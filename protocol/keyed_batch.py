"""A batch as a coordinator writes it: keys and values of one moment, without headers, uncompressed.

The format is that of `records.py`. Where every request is a batch of a record or a few, `records.build`, which knows
all of the format, and reading the header of what was just built would be a third of the work.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from protocol.batch import (
    NO_LEADER_EPOCH,
    NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID,
    NO_SEQUENCE,
    TRANSACTIONAL_BIT,
    RecordBatch,
    assemble,
)
from protocol.primitives import uvarint

KeyedRecord = tuple[bytes, bytes | None]
"""Key and value; None deletes."""

_REMEMBERED_NUMBERS: Final = 4096
_PLAIN: Final = b"\0\0"
"""Attributes, of which no bit is in use, and the time since the batch's."""
_NO_HEADERS: Final = b"\0"
_NULL: Final = -1


@lru_cache(_REMEMBERED_NUMBERS)
def _varint(value: int) -> bytes:
    """A zig-zag varint."""
    return uvarint((value << 1) ^ (value >> 63))


def build_keyed(
    records: Iterable[KeyedRecord],
    timestamp_ms: int,
    producer_id: int = NO_PRODUCER_ID,
    producer_epoch: int = NO_PRODUCER_EPOCH,
) -> tuple[bytearray, RecordBatch]:
    """One whole batch, and its header; in a transaction of the producer if there is one."""
    block = bytearray()
    offset_delta = -1
    for offset_delta, (key, value) in enumerate(records):
        body = b"".join(
            (
                _PLAIN,
                _varint(offset_delta),
                _varint(len(key)),
                key,
                _varint(_NULL if value is None else len(value)),
                value or b"",
                _NO_HEADERS,
            )
        )
        block += _varint(len(body))
        block += body
    header = RecordBatch()
    header.base_offset, header.partition_leader_epoch = 0, NO_LEADER_EPOCH
    header.attributes = TRANSACTIONAL_BIT if producer_id != NO_PRODUCER_ID else 0
    header.last_offset_delta, header.record_count = offset_delta, offset_delta + 1
    header.base_timestamp = header.max_timestamp = timestamp_ms
    header.producer_id, header.producer_epoch = producer_id, producer_epoch
    header.base_sequence = NO_SEQUENCE
    return assemble(header, block), header
