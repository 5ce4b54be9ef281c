"""Records that are no rows, for `<table>__dlq`: with their bytes and the reason, whatever the table's modes are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from broker.tiering.kafka_columns import binary_array, kafka_arrays, kafka_fields
from protocol.columns import BytesColumn, HeaderColumns, RecordColumns


def initial_schema() -> pa.Schema:
    """The schema of a dead-letter table; it never changes."""
    return pa.schema(
        [
            *kafka_fields(),
            pa.field("kafka_key", pa.binary()),
            pa.field("value", pa.binary()),
            pa.field("reason", pa.string()),
        ]
    )


def table(columns: RecordColumns, partition: int, reasons: Mapping[int, str]) -> pa.Table:
    """The records that `reasons` names by their place, in their order."""
    places = np.array(sorted(reasons), np.int64)
    chosen = _take(columns, places)
    arrays = kafka_arrays(chosen, partition, {})
    arrays["kafka_key"] = binary_array(chosen.keys)
    arrays["value"] = binary_array(chosen.values)
    arrays["reason"] = pa.array([reasons[place] for place in places.tolist()], pa.string())
    schema = initial_schema()
    return pa.table([arrays[field.name] for field in schema], schema=schema)


def _take(columns: RecordColumns, places: np.ndarray[tuple[int], np.dtype[np.int64]]) -> RecordColumns:
    offsets = columns.headers.list_offsets
    counts = offsets[places + 1] - offsets[places]
    list_offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    headers = np.repeat(offsets[places] - list_offsets[:-1], counts) + np.arange(int(list_offsets[-1]))
    return RecordColumns(
        columns.offsets[places],
        columns.timestamps[places],
        columns.timestamp_types[places],
        _take_bytes(columns.keys, places),
        _take_bytes(columns.values, places),
        HeaderColumns(
            list_offsets,
            _take_bytes(columns.headers.keys, headers),
            _take_bytes(columns.headers.values, headers),
        ),
    )


def _take_bytes(column: BytesColumn, places: np.ndarray[tuple[int], np.dtype[np.int64]]) -> BytesColumn:
    return BytesColumn(column.data, column.starts[places], column.lengths[places])
