"""JSON keys and values as typed columns.

Arrow reads blocks of values, joined by newlines, under an explicit schema: it infers nothing, and refuses a block with
anything that does not fit. Such a block is halved until the records in question are found; those are read by Python,
which adds columns, brings the document into the columns' form or says why it is no row (`evolution`), and the block is
read again. So one odd record costs its block, not the million around it. Fractions where the column is long are so
common that they have a way of their own: once some were seen, such columns are read as doubles, and split.

Why each line is one row: a value begins with `{` and ends with `}`, else Python looks at it. Inside an object or a list
that the value leaves open, the next value's `{` is an error, for a comma is missing; inside a string the newline is.
So every value gives at least one row, and the rows are as many as the values.

JSON is RFC 8259's, in UTF-8: no NaN, no Infinity. Of equal names in an object the last counts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json

from broker.tiering.evolution import DOUBLE_SUFFIX, NOTHING, RESERVED_PREFIX, Misfit, Shape, same_column
from broker.tiering.kafka_columns import binary_array, utf8_or_null
from broker.tiering.retyping import by_name, retyped
from broker.tiering.split_numbers import split
from protocol.columns import BytesColumn

BLOCK_RECORDS: Final = 8192
"""Records that Arrow reads at once, and that are read again because of one among them."""

LEAF_RECORDS: Final = 32
"""Records that are not halved any more: Python reads them in a third of a millisecond."""

HOPELESS_RECORDS: Final = BLOCK_RECORDS // 8
"""Records of a block that Python reads before halving is given up for the rest of it."""

FRACTION_ROUNDS: Final = 4
"""How often a block is read again because one more long column turned out to have fractions."""

Places = np.ndarray[tuple[int], np.dtype[np.int64]]

_PLACEHOLDER: Final = "{}"


@dataclass(frozen=True, slots=True)
class ValueColumns:
    """`arrays` by column; `reasons` of records that are no rows, by place (their row is all null).

    Of the first `record_count` records.
    """

    arrays: dict[str, pa.Array]
    schema: pa.Schema
    reasons: dict[int, str]
    record_count: int


def convert(
    column: BytesColumn, schema: pa.Schema, wrapped_as: str | None = None, max_cells: int | None = None
) -> ValueColumns:
    """Objects as one column per field, under those of `schema` that are not `kafka_*`, and more where needed.

    With `wrapped_as` any JSON goes to the one column of that name. Null is a row of nulls. With `max_cells` ends after
    the block that makes columns times records more than that.
    """
    if wrapped_as is None:
        known = [field for field in schema if not field.name.startswith(RESERVED_PREFIX)]
        shape = Shape(known)
    else:
        known = [field for field in schema if field.name in (wrapped_as, wrapped_as + DOUBLE_SUFFIX)]
        shape = Shape(known, reserved_prefix=None)
    conversion = _Conversion(shape, wrapped_as)
    tables = conversion.run(column, max_cells)
    found = shape.columns()
    count = min(len(column), len(tables) * BLOCK_RECORDS)
    reasons = {place: reason for place, reason in conversion.reasons.items() if place < count}
    return ValueColumns(_joined(tables, found), _extended(schema, found), reasons, count)


def _joined(tables: list[pa.Table], fields: list[pa.Field]) -> dict[str, pa.Array]:
    """Tables that were read under different states of the schema, one below the other."""
    return {
        field.name: pa.chunked_array(
            [retyped(_column(table, field.name), field.type, by_name) for table in tables], field.type
        ).combine_chunks()
        for field in fields
    }


def _extended(schema: pa.Schema, found: list[pa.Field]) -> pa.Schema:
    grown = {field.name: field for field in found}
    fields = []
    for field in schema:
        now = grown.pop(field.name, field)
        fields.append(field if same_column(field.type, now.type) else now)
    return pa.schema([*fields, *grown.values()])


class _Conversion:
    def __init__(self, shape: Shape, wrapped_as: str | None) -> None:
        self._shape = shape
        self._wrapped_as = wrapped_as
        self._head = f'{{"{wrapped_as}":'
        self._schema = shape.parse_schema()
        self._with_fractions = False
        self.reasons: dict[int, str] = {}

    def run(self, column: BytesColumn, max_cells: int | None) -> list[pa.Table]:
        """A table for each BLOCK_RECORDS."""
        texts, invalid = utf8_or_null(binary_array(column))
        for place in invalid:
            self.reasons[place] = "not UTF-8"
        if self._wrapped_as is not None:
            texts = pc.binary_join_element_wise(self._head, texts, "}", "")
        texts = texts.fill_null(_PLACEHOLDER) if texts.null_count else texts
        places = np.arange(len(texts))
        texts = self._replace(texts, places, self._look_at(texts))
        tables: list[pa.Table] = []
        for first in range(0, len(texts), BLOCK_RECORDS):
            block = slice(first, first + BLOCK_RECORDS)
            tables.append(self._block(texts[block], places[block]))
            if max_cells is not None and block.stop * self._shape.column_count > max_cells:
                break
        return tables

    def _look_at(self, texts: pa.Array) -> dict[int, str]:
        """What stands for the values that do not begin and end as objects do."""
        suspects = _not_braced(texts)
        if not len(suspects):
            return {}
        trimmed = pc.ascii_trim_whitespace(texts.take(pa.array(suspects)))
        still = set(_not_braced(trimmed).tolist())
        return {
            place: self._examine(text, place) if index in still else text
            for index, (place, text) in enumerate(zip(suspects.tolist(), trimmed.to_pylist(), strict=True))
        }

    def _block(self, texts: pa.Array, places: Places) -> pa.Table:
        for _ in range(FRACTION_ROUNDS):
            table = self._read_either(texts, places)
            if table is not None:
                return table
            known = self._shape.fractions
            found: dict[int, str] = {}
            self._search(texts, places, found, until_fractions=known + 1)
            texts = self._replace(texts, places, found)
            if self._shape.fractions == known:
                break
        return self._exact(texts, places)

    def _read_either(self, texts: pa.Array, places: Places) -> pa.Table | None:
        """As the columns are, or with doubles for longs that had fractions; first as the last block was read."""
        table = None if self._with_fractions else self._read(texts)
        if table is not None or not self._shape.fractions:
            return table
        doubles = self._read(texts, self._shape.parse_schema(fractions=True))
        if doubles is None:
            return None
        table, unclear = split(doubles, self._shape.root)
        self._with_fractions = not unclear.any()
        return self._with_exact(table, texts, places, unclear) if unclear.any() else table

    def _with_exact(
        self,
        table: pa.Table,
        texts: pa.Array,
        places: Places,
        unclear: np.ndarray[tuple[int], np.dtype[np.bool_]],
    ) -> pa.Table:
        """The table with the rows in question as each is for itself."""
        exact = self._exact(texts.filter(pa.array(unclear)), places[unclear])
        rows = pa.table(_joined([table.filter(pa.array(~unclear)), exact], self._shape.columns()))
        return rows.take(pa.array(np.argsort(np.argsort(unclear, kind="stable"))))

    def _exact(self, texts: pa.Array, places: Places) -> pa.Table:
        table, turned = self._read(texts), -1
        while table is None:
            if self._shape.turned == turned:
                return self._read_singly(texts, places)
            turned = self._shape.turned
            found: dict[int, str] = {}
            self._search(texts, places, found)
            texts = self._replace(texts, places, found)
            table = self._read(texts)
        return table

    def _search(
        self, texts: pa.Array, places: Places, found: dict[int, str], until_fractions: int | None = None
    ) -> None:
        """Halves a block that is not read; what Python makes of the records in question goes to `found`.

        Ends early when `until_fractions` columns with fractions are known: the block is read in another way then.
        """
        if until_fractions is not None and self._shape.fractions >= until_fractions:
            return
        if len(texts) <= LEAF_RECORDS or len(found) >= HOPELESS_RECORDS:
            for place, text in zip(places.tolist(), texts.to_pylist(), strict=True):
                found[place] = self._examine(text, place)
            return
        middle = len(texts) // 2
        for half in (slice(0, middle), slice(middle, len(texts))):
            if self._read(texts[half]) is None:
                self._search(texts[half], places[half], found, until_fractions)

    def _read_singly(self, texts: pa.Array, places: Places) -> pa.Table:
        """What Arrow still refuses after all: each for itself, so that nothing can stop a topic."""
        found = dict(zip(places.tolist(), texts.to_pylist(), strict=True))
        turned = -1
        while (
            self._shape.turned != turned
        ):  # what was empty so far has another type: what fitted is to fit again
            turned = self._shape.turned
            for place, text in found.items():
                found[place] = self._examine(text, place)
        for place, text in found.items():
            if self._read(pa.array([text])) is None:
                self.reasons[place] = "not readable as JSON"
                found[place] = _PLACEHOLDER
        table = self._read(self._replace(texts, places, found))
        assert table is not None
        return table

    def _read(self, texts: pa.Array, schema: pa.Schema | None = None) -> pa.Table | None:
        """One row per text, or None where anything does not fit."""
        lines = pa.ListArray.from_arrays(pa.array([0, len(texts)], pa.int32()), texts)
        joined = pc.binary_join(lines, "\n")[0].as_buffer()
        try:
            table = pa_json.read_json(
                pa.BufferReader(joined),
                # One chunk, so that newlines between tokens do not matter.
                read_options=pa_json.ReadOptions(use_threads=False, block_size=len(joined) + 1),
                parse_options=pa_json.ParseOptions(
                    explicit_schema=schema or self._schema, unexpected_field_behavior="error"
                ),
            )
        except pa.ArrowException:
            return None
        if len(table) != len(texts) or not all(map(_may_stand, table.columns)):
            return None
        return table

    def _examine(self, text: str, place: int) -> str:
        """The text with the document in the columns' form; a placeholder where it is no row."""
        try:
            document = self._document(text)
            fitted = self._shape.fit(document)
        except Misfit as misfit:
            self.reasons[place] = str(misfit)
        except RecursionError:
            self.reasons[place] = "too many objects and lists in one another"
        except ValueError as error:
            self.reasons[place] = f"invalid JSON: {error}"
        else:
            self._schema = self._shape.parse_schema()
            return json.dumps(fitted, ensure_ascii=False)
        return _PLACEHOLDER

    def _document(self, text: str) -> dict[str, Any]:
        if self._wrapped_as is not None and text != _PLACEHOLDER:
            inner = text[len(self._head) : -1]
            return {self._wrapped_as: json.loads(inner, parse_constant=_refuse_constant)}
        document = json.loads(text, parse_constant=_refuse_constant)
        if not isinstance(document, dict):
            raise Misfit("not a JSON object")
        return document

    @staticmethod
    def _replace(texts: pa.Array, places: Places, found: dict[int, str]) -> pa.Array:
        """Other texts for the records of some places; `places` are those of `texts`, ascending."""
        if not found:
            return texts
        changed = sorted(found)
        mask = np.zeros(len(texts), bool)
        mask[np.searchsorted(places, changed)] = True
        return pc.replace_with_mask(texts, pa.array(mask), pa.array([found[place] for place in changed]))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _not_braced(texts: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The places of texts that do not begin with { and end with }."""
    if not len(texts):
        return np.empty(0, np.int64)
    _, offsets_buffer, data_buffer = texts.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    if data_buffer is None or not len(data_buffer):
        return np.arange(len(texts))
    data = np.frombuffer(data_buffer, np.uint8)
    begins = data.take(offsets[:-1], mode="clip") == ord("{")
    ends = data.take(offsets[1:] - 1, mode="clip") == ord("}")
    return np.flatnonzero(~(begins & ends & (np.diff(offsets) >= 2)))


def _may_stand(column: pa.ChunkedArray) -> bool:
    """Arrow reads NaN and Infinity, which are not JSON, and numbers in lists of NOTHING."""
    kind = column.type
    if pa.types.is_float64(kind):
        return pc.all(pc.is_finite(column), min_count=0).as_py() is not False
    if kind == NOTHING:
        return bool(column.null_count == len(column))
    if pa.types.is_list(kind):
        return _may_stand(pc.list_flatten(column))
    if pa.types.is_struct(kind):
        return all(_may_stand(part) for part in column.flatten())
    return True


def _column(table: pa.Table, name: str) -> pa.Array:
    if name not in table.column_names:
        return pa.nulls(len(table))
    column: Any = table[name].combine_chunks()
    return column
