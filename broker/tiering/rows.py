"""Records of one partition as rows of its topic's table.

Every record becomes exactly one row or exactly one dead letter. The columns, in order:

    kafka_partition       int
    kafka_offset          long
    kafka_timestamp       timestamptz   null where the producer gave none
    kafka_timestamp_type  int           0 CreateTime, 1 LogAppendTime
    kafka_headers         list<struct<key string, value binary>>
    kafka_key             binary (raw), string (text), or what the keys' JSON is (json)
    value                 binary (raw) or string (text); with json the fields of the object are columns instead

A column keeps its type when the mode changes: with a binary `kafka_key` keys stay bytes, with a string one they have
to be UTF-8. A tombstone is a row whose value columns are null.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa

from broker.tiering import dead_letters, json_values
from broker.tiering.json_values import ValueColumns
from broker.tiering.kafka_columns import binary_array, kafka_arrays, kafka_fields, utf8_or_null
from protocol.columns import BytesColumn, RecordColumns

RAW: Final = "raw"
TEXT: Final = "text"
JSON: Final = "json"
KEY: Final = "kafka_key"
VALUE: Final = "value"

MAX_CELLS: Final = 1 << 22
"""Columns times records of one conversion: eight bytes each where a column has fixed width, null or not."""

LEAST_RECORDS: Final = 1 << 12
"""Records of a conversion however many the columns are: each has a cost of its own."""

MAX_ODD: Final = 32
"""Records of a piece that fail for a reason nobody thought of. With more it is not the records."""

Reasons = dict[int, str]
"""Why a record is no row, by its place in the columns."""


@dataclass(frozen=True, slots=True)
class Converted:
    """`schema` is what was given, or what `rows` needs beyond it: more columns, wider types."""

    rows: pa.Table
    dead_letters: pa.Table
    schema: pa.Schema

    @property
    def record_count(self) -> int:
        return len(self.rows) + len(self.dead_letters)


def initial_schema(value_mode: str, key_mode: str) -> pa.Schema:
    """The columns of a new table. Those of JSON come with the first rows that have them."""
    fields = kafka_fields()
    if key_mode != JSON:
        fields.append(pa.field(KEY, pa.string() if key_mode == TEXT else pa.binary()))
    if value_mode != JSON:
        fields.append(pa.field(VALUE, pa.string() if value_mode == TEXT else pa.binary()))
    return pa.schema(fields)


def records_at_once(schema: pa.Schema) -> int:
    """How many records to convert at once, so that memory does not grow with the number of columns."""
    return max(LEAST_RECORDS, MAX_CELLS // max(1, sum(_leaves(field.type) for field in schema)))


def _leaves(kind: pa.DataType) -> int:
    return sum(_leaves(kind.field(index).type) for index in range(kind.num_fields)) if kind.num_fields else 1


class RowBuilder:
    """Converts by `floe.table.value` and `floe.table.key` of one topic; keeps nothing between two calls."""

    def __init__(self, value_mode: str = RAW, key_mode: str = RAW) -> None:
        assert value_mode in (RAW, TEXT, JSON) and key_mode in (RAW, TEXT, JSON)
        self._value_mode = value_mode
        self._key_mode = key_mode

    def convert(self, columns: RecordColumns, partition: int, schema: pa.Schema) -> Converted:
        """Rows under `schema`, the table's as it is (`initial_schema` at first), extended where they need it."""
        return self._convert(columns, partition, schema, None)

    def convert_in_parts(
        self, columns: RecordColumns, partition: int, schema: pa.Schema
    ) -> Iterator[Converted]:
        """The same for as many records at a time as keep memory bounded however many columns there are or come.

        A record that Arrow fails on for a reason nobody thought of is a dead letter, so that it cannot stop its topic.
        """
        first = odd = 0
        while first < len(columns):
            part = columns.part(first, first + records_at_once(schema))
            try:
                converted = self._convert(part, partition, schema, MAX_CELLS)
            except pa.ArrowException as error:
                if isinstance(error, MemoryError) or odd == MAX_ODD:
                    raise
                converted = self._up_to_the_first_odd(part, partition, schema)
                odd += not len(converted.rows)
            yield converted
            schema = converted.schema
            first += converted.record_count

    def _up_to_the_first_odd(self, columns: RecordColumns, partition: int, schema: pa.Schema) -> Converted:
        """What comes before the first record that fails; where there is nothing before it, that one."""
        sound: Converted | None = None
        low, high = 0, len(columns)  # the first so many can be converted, the first so many cannot
        while high - low > 1:
            middle = (low + high) // 2
            try:
                sound = self._convert(columns.part(0, middle), partition, schema, None)
                low = middle
            except pa.ArrowException:
                high = middle
        if sound is not None:
            return sound
        odd = columns.part(0, 1)
        try:
            return self._convert(odd, partition, schema, None)
        except pa.ArrowException as error:
            reasons = {0: f"it cannot be converted: {type(error).__name__}: {error}"}
            return Converted(schema.empty_table(), dead_letters.table(odd, partition, reasons), schema)

    def _convert(
        self, columns: RecordColumns, partition: int, schema: pa.Schema, max_cells: int | None
    ) -> Converted:
        reasons: Reasons = {}
        key = self._column(columns.keys, KEY, self._key_mode, schema, max_cells)
        value = self._column(
            columns.values.part(0, key.record_count), VALUE, self._value_mode, key.schema, max_cells
        )
        columns = columns.part(0, value.record_count)
        arrays = kafka_arrays(columns, partition, reasons)
        for found in (key, value):
            arrays |= {name: array[: len(columns)] for name, array in found.arrays.items()}
            for index, reason in found.reasons.items():
                if index < len(columns):
                    reasons.setdefault(index, reason)
        fields = [field for field in value.schema if field.name in arrays]
        rows = pa.table([arrays[field.name] for field in fields], names=[field.name for field in fields])
        letters = dead_letters.table(columns, partition, reasons)
        if reasons:
            kept = np.ones(len(columns), bool)
            kept[list(reasons)] = False
            rows = rows.filter(pa.array(kept))
        assert len(rows) + len(letters) == len(columns)
        return Converted(rows, letters, value.schema)

    def _column(
        self, column: BytesColumn, name: str, mode: str, schema: pa.Schema, max_cells: int | None
    ) -> ValueColumns:
        what = "key" if name == KEY else "value"
        there = schema.field(name).type if name in schema.names else None
        if mode == JSON and not (name == KEY and there is not None and _is_binary(there)):
            found = json_values.convert(column, schema, KEY if name == KEY else None, max_cells)
            reasons = {index: f"{what}: {reason}" for index, reason in found.reasons.items()}
            return replace(found, reasons=reasons)
        if there is None:
            there = pa.string() if mode == TEXT else pa.binary()
            schema = schema.append(pa.field(name, there))
        array = binary_array(column)
        if _is_binary(there):
            return ValueColumns({name: array}, schema, {}, len(column))
        if not (pa.types.is_string(there) or pa.types.is_large_string(there)):
            reason = f"the column {name} is {there}, which does not hold a {what} as it is"
            reasons = dict.fromkeys(np.flatnonzero(column.lengths >= 0).tolist(), reason)
            return ValueColumns({}, schema, reasons, len(column))
        text, invalid = utf8_or_null(array)
        reasons = dict.fromkeys(invalid, f"the {what} is not UTF-8")
        return ValueColumns({name: text}, schema, reasons, len(column))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
