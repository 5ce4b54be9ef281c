"""Record batches, good and bad, written and read here so that no code of Floe's takes part."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import crc32c

_HEADER = struct.Struct(">qiibI")
_BODY = struct.Struct(">hiqqqhii")
TIMESTAMP_MS = 1_700_000_000_000
TRANSACTIONAL = 0x10
CONTROL = 0x20
LOG_APPEND_TIME = 0x08
GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4


def varint(value: int) -> bytes:
    """Zigzag, as records use it."""
    number = (value << 1) ^ (value >> 63)
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def record(
    value: bytes | None,
    key: bytes | None = b"k",
    offset_delta: int = 0,
    timestamp_delta: int = 0,
    headers: Sequence[tuple[bytes, bytes | None]] = (),
) -> bytes:
    """One record with its length."""
    body = b"\0" + varint(timestamp_delta) + varint(offset_delta) + _sized(key) + _sized(value)
    body += varint(len(headers)) + b"".join(_sized(name) + _sized(content) for name, content in headers)
    return varint(len(body)) + body


def _sized(data: bytes | None) -> bytes:
    return varint(-1) if data is None else varint(len(data)) + data


def batch(
    records: Sequence[bytes] = (),
    *,
    count: int = 1,
    value: bytes | None = b"value",
    key: bytes | None = b"k",
    base_offset: int = 0,
    magic: int = 2,
    attributes: int = 0,
    last_offset_delta: int | None = None,
    record_count: int | None = None,
    timestamp_ms: int = TIMESTAMP_MS,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
    crc: int | None = None,
    payload: bytes | None = None,
) -> bytes:
    """A batch of `records`, or of `count` records made here, one ms apart; what is given is written as given."""
    rows = list(records) or [
        record(None if value is None else value + b"-%d" % n, key, n, n) for n in range(count)
    ]
    body = _BODY.pack(
        attributes,
        len(rows) - 1 if last_offset_delta is None else last_offset_delta,
        timestamp_ms,
        timestamp_ms + (len(rows) - 1 if not records else 0),
        producer_id,
        producer_epoch,
        base_sequence,
        len(rows) if record_count is None else record_count,
    )
    body += b"".join(rows) if payload is None else payload
    checksum = crc32c.crc32c(body) if crc is None else crc
    return _HEADER.pack(base_offset, len(body) + 9, -1, magic, checksum) + body


def read(data: bytes | None) -> Any:
    """What a fetched `records` field holds: every batch's header and its records as hex."""
    if data is None:
        return None
    found: list[dict[str, Any]] = []
    position = 0
    while position + 61 <= len(data):
        base_offset, length, leader_epoch, magic, crc = _HEADER.unpack_from(data, position)
        names = "attributes last_offset_delta base_timestamp max_timestamp producer_id producer_epoch base_sequence"
        values = _BODY.unpack_from(data, position + _HEADER.size)
        end = position + 12 + length
        found.append(
            {
                "base_offset": base_offset,
                "partition_leader_epoch": leader_epoch,
                "magic": magic,
                **dict(zip([*names.split(), "record_count"], values, strict=True)),
                "is_crc_right": crc == crc32c.crc32c(data[position + _HEADER.size : end]),
                "records": data[position + 61 : end].hex(),
            }
        )
        position = end
    if position != len(data):
        found.append({"bytes_of_an_unfinished_batch": len(data) - position})
    return found
