"""Documents that fit, documents that make columns, documents that are no rows."""

from __future__ import annotations

import itertools
from typing import Any

import pyarrow as pa
import pytest

from broker.tiering import evolution
from broker.tiering.evolution import Misfit, Shape


def shape_of(*documents: dict[str, Any], known: list[pa.Field] | None = None) -> Shape:
    shape = Shape(known or [])
    for document in documents:
        shape.fit(document)
    return shape


def types_of(shape: Shape) -> dict[str, str]:
    return {field.name: str(field.type) for field in shape.columns()}


def test_types_of_first_values() -> None:
    document = {"b": True, "i": 1, "d": 0.5, "s": "x", "l": [1], "o": {"x": {"y": 1}}, "lo": [{"z": "a"}]}
    assert types_of(shape_of(document)) == {
        "b": "bool",
        "i": "int64",
        "d": "double",
        "s": "string",
        "l": "list<element: int64>",
        "o": "struct<x: struct<y: int64>>",
        "lo": "list<element: struct<z: string>>",
    }


@pytest.mark.parametrize("empty", [None, [], {}, [None], [[]], {"x": None}, {"x": [{}]}])
def test_no_column_until_a_type_is_known(empty: object) -> None:
    assert types_of(shape_of({"a": empty})) == {}


def test_columns_come_as_their_values_do() -> None:
    shape = shape_of({"a": None}, {"a": []}, {"a": [{}]}, {"a": [{"x": None}, {"x": 1}]})
    assert types_of(shape) == {"a": "list<element: struct<x: int64>>"}


@pytest.mark.parametrize(
    "known", [pa.int64(), pa.string(), pa.date32(), pa.list_(pa.int64()), pa.struct([("x", pa.int64())])]
)
@pytest.mark.parametrize("empty", [[], {}, [None], [[]], [{}], {"x": None}, {"x": [{}]}])
def test_what_says_nothing_fits_every_column_and_changes_none(known: pa.DataType, empty: object) -> None:
    shape = Shape([pa.field("a", known)])
    fitted = shape.fit({"a": empty, "new": 1})
    assert evolution.says_nothing(fitted["a"]) and fitted["new"] == 1
    assert shape.columns()[0].type == known


def test_what_is_empty_becomes_what_comes_with_a_type() -> None:
    shape = Shape([])
    empties: list[Any] = [{}, [], [{}], {"x": {}}, [[]]]
    for empty in empties:
        shape.fit({"a": empty})
    assert shape.fit({"a": [{}, [1]]}) == {"a": [None, [1]]}
    with pytest.raises(Misfit, match=r"a\.element: string where the column is list"):
        shape.fit({"a": ["x"]})
    assert types_of(shape) == {"a": "list<element: list<element: int64>>"}


def test_a_misfit_takes_back_what_it_made_of_an_empty_field() -> None:
    shape = shape_of({"a": {"x": {}}})
    with pytest.raises(Misfit):
        shape.fit({"a": [1], "kafka_x": 1})
    assert types_of(shape) == {} and shape.turned == 0
    assert shape.fit({"a": {"x": {"y": 1}}}) == {"a": {"x": {"y": 1}}}


def test_names_are_taken_by_values_not_by_nulls() -> None:
    shape = shape_of({"Id": None, "o": {"K": {}}}, {"id": 1, "o": {"k": 1}})
    assert types_of(shape) == {"id": "int64", "o": "struct<k: int64>"}
    assert shape.fit({"Id": ["x"], "o": {"K": 2}}) == {"Id__2": ["x"], "o": {"K__2": 2}}
    assert shape.fit({"Id": []}) == {"Id__2": []}


def test_any_number_of_fields_that_say_nothing() -> None:
    shape = shape_of({f"n{at}": None for at in range(5000)}, {f"e{at}": [{}] for at in range(5000)})
    shape.fit({f"c{at}": 1 for at in range(evolution.MAX_COLUMNS)})
    assert len(shape.columns()) == evolution.MAX_COLUMNS


def test_empties_however_deep() -> None:
    deep: Any = []
    for _ in range(evolution.MAX_DEPTH + 5):
        deep = [deep]
    assert types_of(shape_of({"a": deep}, {"a": 1})) == {"a": "int64"}


def test_a_long_that_is_not_in_the_table_yet_becomes_double() -> None:
    assert types_of(shape_of({"a": 1}, {"a": 1.5})) == {"a": "double"}


def test_a_fraction_goes_beside_a_long_column() -> None:
    shape = Shape([pa.field("a", pa.int64())])
    assert shape.fit({"a": 2.0}) == {"a": 2}
    assert shape.fit({"a": 1.5}) == {"a": None, "a__double": 1.5}
    assert types_of(shape) == {"a": "int64", "a__double": "double"}


def test_a_list_with_a_fraction_goes_beside_whole() -> None:
    shape = Shape([pa.field("o", pa.struct([pa.field("l", pa.list_(pa.int64()))]))])
    assert shape.fit({"o": {"l": [1, 1.5]}}) == {"o": {"l": None, "l__double": [1, 1.5]}}
    assert types_of(shape) == {"o": "struct<l: list<element: int64>, l__double: list<element: double>>"}


def test_narrow_columns_of_others_are_promoted() -> None:
    shape = Shape([pa.field("i", pa.int32()), pa.field("f", pa.float32())])
    assert types_of(shape) == {"i": "int64", "f": "double"}


@pytest.mark.parametrize(
    ("known", "document", "reason"),
    [
        (pa.int64(), {"a": "x"}, "a: string where the column is long"),
        (pa.string(), {"a": 1}, "a: long where the column is string"),
        (pa.bool_(), {"a": 1}, "a: long where the column is boolean"),
        (pa.int64(), {"a": True}, "a: boolean where the column is long"),
        (pa.int64(), {"a": 2**63}, "a: an integer beyond 64 bits"),
        (pa.int64(), {"a": 1e19, "a__double": 1}, "a: a fraction, and a__double has a value of its own"),
        (pa.float64(), {"a": 10**400}, "a: a number beyond what a double holds"),
        (pa.float64(), {"a": float("inf")}, "a: a number beyond what a double holds"),
        (
            pa.date32(),
            {"a": "2026-01-01"},
            "a: string where the column is of a type JSON has not, date32[day]",
        ),
        (pa.list_(pa.int64()), {"a": [["x"]]}, "a.element: list where the column is long"),
        (pa.struct([("x", pa.int64())]), {"a": {"x": [0]}}, "a.x: list where the column is long"),
        (pa.int64(), {"": 1}, ": a field without a name"),
        (pa.int64(), {"kafka_offset": 1}, "kafka_offset: names that begin with kafka_ are the table's own"),
        (pa.int64(), {"x\n": 1}, ": control characters in a field's name"),
        (pa.int64(), {"x" * 256: 1}, ": a field's name of 256 characters, above 255"),
        (pa.int64(), {"s": "\ud800"}, "s: half of a surrogate pair"),
    ],
)
def test_misfits_change_nothing(known: pa.DataType, document: dict[str, Any], reason: str) -> None:
    shape = Shape([pa.field("a", known)])
    before = shape.columns()
    with pytest.raises(Misfit) as misfit:
        shape.fit({"new": 1, **document})
    assert str(misfit.value) == reason
    assert shape.columns() == before
    shape.fit({"new": "the name is free again"})


def test_names_that_engines_or_files_cannot_tell_apart_are_numbered() -> None:
    document = {
        "id": 1,
        "Id": "x",
        "ID": True,
        "a-b": 1,
        "a_x2Db": "y",
        "a": {"b": 1},
        "a.b": "z",
        "o": {"k": 1, "K": 2},
    }
    shape = shape_of(document)
    expected = {
        "id": "int64",
        "Id__2": "string",
        "ID__3": "bool",
        "a-b": "int64",
        "a_x2Db__2": "string",
        "a": "struct<b: int64>",
        "a.b__2": "string",
        "o": "struct<k: int64, K__2: int64>",
    }
    assert types_of(shape) == expected
    again = Shape(shape.columns())  # as the next piece finds the table
    fitted = again.fit({"ID": False, "Id": "y", "o": {"K": 3}})
    assert fitted == {"ID__3": False, "Id__2": "y", "o": {"K__2": 3}}
    assert types_of(again) == expected
    with pytest.raises(Misfit, match="Id__2: two fields for one column"):
        again.fit({"Id": "y", "Id__2": "z"})


def test_more_names_than_can_be_numbered() -> None:
    names = ["".join(pair) for pair in itertools.product("aA", "bB", "cC", "dD")]
    shape = shape_of(dict.fromkeys(names[: evolution.MAX_SAME_NAMES], 1))
    with pytest.raises(Misfit, match="only in case"):
        shape.fit({names[-1]: 1})


def test_limits() -> None:
    shape = shape_of({f"c{at}": 1 for at in range(evolution.MAX_COLUMNS)})
    with pytest.raises(Misfit, match="more than 1000 columns"):
        shape.fit({"one_more": 1})
    deep: Any = 1
    for _ in range(evolution.MAX_DEPTH + 2):
        deep = [deep]
    with pytest.raises(Misfit, match="in one another"):
        shape_of({"a": deep})
