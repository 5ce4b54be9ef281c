"""Fractions where the column is long: the same for all rows at once as for each document by itself."""

from __future__ import annotations

import json
import sys
from types import FrameType
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.tiering import evolution, json_values, rows
from broker.tiering.evolution import Misfit, Shape
from tests.broker.tiering.sample_records import of_values

numbers = (
    st.none()
    | st.integers(-(2**66), 2**66)
    | st.integers(-9, 9)
    | st.sampled_from([2**53, 2**53 + 1, -(2**63), 2**63 - 1, 1e15, 2.0**53, 2.0**62, 2.0**63, 1e300, -0.0])
    | st.floats(-1e4, 1e4)
    | st.integers(-9, 9).map(float)
)
inner = st.fixed_dictionaries(
    {}, optional={"b": numbers, "b__double": st.none() | st.floats(0, 1), "c": st.booleans()}
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "a": numbers,
        "a__double": st.none() | st.floats(0, 1),
        "o": st.none() | inner,
        "l": st.lists(numbers, max_size=2),
    },
)
LONGS = [
    pa.field("a", pa.int64()),
    pa.field("l", pa.list_(pa.int64())),
    pa.field("o", pa.struct([("b", pa.int64()), ("c", pa.bool_())])),
]
BESIDE = [*LONGS, pa.field("a__double", pa.float64())]


def convert(source: list[dict[str, Any]], fields: list[pa.Field]) -> rows.Converted:
    schema = pa.schema([*rows.initial_schema(rows.JSON, rows.RAW), *fields])
    texts: list[bytes | None] = [json.dumps(one).encode() for one in source]
    return rows.RowBuilder(rows.JSON).convert(of_values(texts), 0, schema)


def counted(source: list[dict[str, Any]], fields: list[pa.Field]) -> tuple[int, rows.Converted]:
    """How many functions of Python's are called, without those it takes to make the records."""
    schema = pa.schema([*rows.initial_schema(rows.JSON, rows.RAW), *fields])
    columns = of_values([json.dumps(one).encode() for one in source])
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        converted = rows.RowBuilder(rows.JSON).convert(columns, 0, schema)
    finally:
        sys.setprofile(before)
    return calls, converted


def expected(source: list[dict[str, Any]], shape: Shape) -> dict[int, dict[str, Any]]:
    found = {}
    for offset, document in enumerate(source):
        try:
            found[offset] = shape.fit(document)
        except Misfit:
            continue
    return found


def as_double(value: Any) -> Any:
    """What a column of doubles makes of it: the nearest one, also where a list holds integers beyond 2**53."""
    if isinstance(value, list):
        return [as_double(one) for one in value]
    return value if value is None else float(value)


def without_nulls(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: without_nulls(value)
        if isinstance(value, dict)
        else as_double(value)
        if name.endswith("__double")
        else value
        for name, value in row.items()
        if value is not None and not name.startswith("kafka_")
    }


@settings(max_examples=60, deadline=None)
@given(st.lists(documents, min_size=1, max_size=30), st.sampled_from([LONGS, BESIDE]), st.randoms())
def test_as_each_document_by_itself(
    source: list[dict[str, Any]], fields: list[pa.Field], chance: Any
) -> None:
    """Among many that fit, so that the block is halved and read in every way there is."""
    many = [*source, {"a": 0.5, "a__double": 0.5}, {"o": {"b": 1.5}}] + [{"a": 1, "o": {"b": 2}}] * 200
    chance.shuffle(many)
    converted = convert(many, fields)
    found = {row["kafka_offset"]: without_nulls(row) for row in converted.rows.to_pylist()}
    shape = Shape(fields)
    assert found == {offset: without_nulls(row) for offset, row in expected(many, shape).items()}
    assert len(found) + len(converted.dead_letters) == len(many)
    assert {field.name for field in shape.columns()} <= set(converted.schema.names)


@pytest.mark.parametrize("fields", [LONGS, BESIDE])
def test_a_stream_of_fractions_is_not_looked_at_one_by_one(fields: list[pa.Field]) -> None:
    count = 4 * json_values.BLOCK_RECORDS
    calls, converted = counted(
        [{"a": at + 0.5 * (at % 3), "o": {"b": at / 4}} for at in range(count)], fields
    )
    assert calls < count  # one by one it is ten a record
    read = converted.rows
    assert read["a"].to_pylist() == [None if at % 3 == 1 else at + 0.5 * (at % 3) for at in range(count)]
    assert read["a__double"].to_pylist() == [at + 0.5 if at % 3 == 1 else None for at in range(count)]
    assert read["o"][5].as_py() == {"b": None, "b__double": 1.25, "c": None}


def test_large_integers_beside_fractions_are_exact() -> None:
    source = [{"a": 2**62 + at if at % 2 else at + 0.5} for at in range(1000)]
    converted = convert(source, LONGS)
    assert converted.rows["a"].to_pylist() == [2**62 + at if at % 2 else None for at in range(1000)]
    assert converted.rows["a__double"].null_count == 500


def test_a_new_column_that_becomes_double_after_large_integers() -> None:
    converted = convert([{"p": 2**53 + 1}] * json_values.BLOCK_RECORDS + [{"p": 1.5}], [])
    assert converted.rows["p"].to_pylist()[:: json_values.BLOCK_RECORDS] == [2.0**53, 1.5]


def test_a_column_beside_that_is_long_takes_no_fraction() -> None:
    shape = Shape([pa.field("a", pa.int64()), pa.field("a__double", pa.int64())])
    with pytest.raises(Misfit, match="a__double: a fraction where the column is long"):
        shape.fit({"a": 1.5})
    assert shape.fit({"a": 2.0, "a__double": None}) == {"a": 2, "a__double": None}
    assert evolution.DOUBLE_SUFFIX == "__double"
