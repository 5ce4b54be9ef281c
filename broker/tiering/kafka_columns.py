"""The `kafka_*` columns, and byte strings as Arrow arrays."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from protocol.columns import BytesColumn, HeaderColumns, RecordColumns
from protocol.records import NO_TIMESTAMP

TIMESTAMP: Final = pa.timestamp("us", tz="UTC")
HEADERS: Final = pa.list_(
    pa.field("element", pa.struct([pa.field("key", pa.string()), pa.field("value", pa.binary())]))
)

MIN_TIMESTAMP_MS: Final = -62_135_596_800_000  # 0001-01-01: what SQL engines and Python can show
MAX_TIMESTAMP_MS: Final = 253_402_300_799_999  # 9999-12-31

UTF8_BLOCK: Final = 1024
"""Values validated together; only in blocks with an invalid one each is looked at."""


def kafka_fields() -> list[pa.Field]:
    return [
        pa.field("kafka_partition", pa.int32()),
        pa.field("kafka_offset", pa.int64()),
        pa.field("kafka_timestamp", TIMESTAMP),
        pa.field("kafka_timestamp_type", pa.int32()),
        pa.field("kafka_headers", HEADERS),
    ]


def kafka_arrays(columns: RecordColumns, partition: int, reasons: dict[int, str]) -> dict[str, pa.Array]:
    """The columns without the key. A timestamp no engine can show is null, and gets a reason."""
    count = len(columns)
    timestamps = columns.timestamps
    unusable = (timestamps < MIN_TIMESTAMP_MS) | (timestamps > MAX_TIMESTAMP_MS)
    for index in np.flatnonzero(unusable).tolist():
        reasons[index] = f"the timestamp {timestamps[index]} ms is outside of the years 1 to 9999"
    missing = unusable | (timestamps == NO_TIMESTAMP)
    micros = np.where(missing, 0, timestamps) * 1000
    return {
        "kafka_partition": pa.array(np.full(count, partition, np.int32)),
        "kafka_offset": pa.array(columns.offsets),
        "kafka_timestamp": pa.array(micros, TIMESTAMP, mask=missing),
        "kafka_timestamp_type": pa.array(columns.timestamp_types.astype(np.int32)),
        "kafka_headers": _headers(columns.headers),
    }


def _headers(headers: HeaderColumns) -> pa.Array:
    keys = binary_array(headers.keys)
    text, invalid = utf8_or_null(keys)
    if invalid:  # as Kafka's own clients: replacement characters
        text = pa.array([one.decode("utf-8", "replace") for one in keys.to_pylist()], pa.string())
    pairs = pa.StructArray.from_arrays([text, binary_array(headers.values)], fields=list(HEADERS.value_type))
    offsets = pa.array(headers.list_offsets.astype(np.int32))
    return pa.ListArray.from_arrays(offsets, pairs, type=HEADERS)


def binary_array(column: BytesColumn) -> pa.Array:
    """Copied together by Arrow: an array over the whole buffer with what lies between as its odd elements."""
    count = len(column)
    if count == 0:
        return pa.array([], pa.binary())
    assert len(column.data) < 1 << 31, "Arrow's offsets are int32"
    ends = column.starts + np.maximum(column.lengths, 0)
    offsets = np.empty(2 * count + 1, np.int32)
    offsets[:-1:2] = column.starts
    offsets[1::2] = ends
    offsets[-1] = ends[-1]
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(column.data)]
    everything = pa.Array.from_buffers(pa.binary(), 2 * count, buffers)
    taken = everything.take(pa.array(np.arange(0, 2 * count, 2, dtype=np.int32)))
    nulls = column.lengths < 0
    if not nulls.any():
        return taken
    validity = pa.array(~nulls).buffers()[1]
    return pa.Array.from_buffers(pa.binary(), count, [validity, *taken.buffers()[1:]])


def utf8_or_null(values: pa.Array) -> tuple[pa.Array, list[int]]:
    """Binary as strings, null where it is not UTF-8, and the places of those."""
    try:
        return values.cast(pa.string()), []
    except pa.ArrowInvalid:
        invalid = [
            index
            for first in range(0, len(values), UTF8_BLOCK)
            for index in _invalid_in(values.slice(first, UTF8_BLOCK), first)
        ]
    keep = np.ones(len(values), bool)
    keep[invalid] = False
    return pc.if_else(pa.array(keep), values, pa.scalar(None, pa.binary())).cast(pa.string()), invalid


def _invalid_in(block: pa.Array, first: int) -> list[int]:
    try:
        block.cast(pa.string())
        return []
    except pa.ArrowInvalid:
        return [first + at for at, value in enumerate(block.to_pylist()) if not _is_utf8(value)]


def _is_utf8(value: bytes | None) -> bool:
    try:
        if value is not None:
            value.decode()
        return True
    except UnicodeDecodeError:
        return False
