"""JSON as columns: every record once, values as they were sent, whatever comes between."""

from __future__ import annotations

import json
import math
import os
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.tiering import json_values, rows
from protocol.records import Record
from tests.broker.tiering.sample_records import as_columns, of_values

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0.5, 1.0, -0.0])
    | st.text(st.characters(codec="utf-8"), max_size=5)
)
names = st.sampled_from(["a", "b", "c", "A", "a-b", "", "kafka_x", "é", "a.b"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
documents = st.dictionaries(names, values, max_size=4).map(lambda d: json.dumps(d).encode())
odd = st.sampled_from(
    [
        b"",
        b"{",
        b"}",
        b"{}{}",
        b'{"a":1}{"a":2}',
        b'{"a":NaN}',
        b'{"a":Inf}',
        b'{"a":1,"a":2}',
        b'{"a":"x\ny"}',
        b'{"a":[{}',
        b'{"a":"x}',
        b' {"a" :\n 1}\r\n',
        b"[1]",
        b"5",
        b'"s"',
        b"null",
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b'{"a":1e400}',
        b'{"a":{"b":1}} ',
        b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}",
        b'{"b":' + b"9" * 5000 + b"}",
    ]
)


def convert(source: list[bytes | None], schema: pa.Schema | None = None) -> rows.Converted:
    builder = rows.RowBuilder(rows.JSON)
    return builder.convert(of_values(source), 0, schema or rows.initial_schema(rows.JSON, rows.RAW))


SUFFIXES = ("", "__double", "__2", "__2__double")


def is_shown(sent: Any, row: Any) -> bool:
    """Whether a value is what the row has, nulls and what has no type yet aside."""
    if sent in (None, [], {}) or (isinstance(sent, list) and not any(map(_has_type, sent))):
        return row in (None, [], {}) or not _has_type(row)
    if isinstance(sent, dict):
        if not _has_type(sent):
            return not _has_type(row)
        return row is not None and all(
            any(is_shown(part, row.get(name + suffix)) for suffix in SUFFIXES) for name, part in sent.items()
        )
    if isinstance(sent, list):
        return row is not None and len(row) == len(sent) and all(map(is_shown, sent, row))
    if isinstance(sent, float | int) and isinstance(row, float):
        return math.isclose(sent, row, rel_tol=1e-15) or sent == row
    return bool(sent == row and isinstance(sent, bool) == isinstance(row, bool))


def _has_type(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_type, value.values()))
    if isinstance(value, list):
        return any(map(_has_type, value))
    return value is not None


@settings(max_examples=2000 if os.environ.get("FLOE_SOAK") else 150, deadline=None)
@given(st.lists(st.none() | documents | odd, min_size=1, max_size=12), st.integers(1, 12))
def test_every_offset_once_and_values_as_sent(source: list[bytes | None], cut: int) -> None:
    schema = rows.initial_schema(rows.JSON, rows.RAW)
    for part in (source[:cut], source[cut:]):
        if not part:
            continue
        converted = convert(part, schema)
        schema = converted.schema
        found = {row["kafka_offset"]: row for row in converted.rows.to_pylist()}
        letters = {letter["kafka_offset"]: letter for letter in converted.dead_letters.to_pylist()}
        assert sorted([*found, *letters]) == list(range(len(part)))
        assert list(found) == sorted(found)
        for offset, row in found.items():
            sent = part[offset]
            fields = {name: value for name, value in row.items() if not name.startswith("kafka_")}
            assert is_shown({} if sent is None else json.loads(sent), fields), (sent, fields)
        for offset, letter in letters.items():
            assert letter["value"] == part[offset] and letter["reason"]


def test_one_bad_record_among_many() -> None:
    good = [
        json.dumps({"id": at, "price": at / 4, "tags": ["x"] * (at % 3)}).encode() for at in range(20_000)
    ]
    bad = {5: b"{", 8191: b'{"id":"text"}', 8192: b'{"id":1}{"id":2}', 19_999: b""}
    source: list[bytes | None] = [bad.get(at, one) for at, one in enumerate(good)]
    converted = convert(source)
    assert [(one["kafka_offset"], one["value"]) for one in converted.dead_letters.to_pylist()] == list(
        bad.items()
    )
    assert converted.rows["id"].to_pylist() == [at for at in range(20_000) if at not in bad]
    assert converted.rows["price"].to_pylist() == [at / 4 for at in range(20_000) if at not in bad]


def test_columns_that_come_late_are_null_before() -> None:
    count = json_values.BLOCK_RECORDS
    source = [b'{"a":1,"o":{"x":1},"l":[]}'] * count + [
        b'{"a":2,"o":{"y":"z"},"l":[{"q":true}],"n":"x"}'
    ] * count
    converted = convert(list(source))
    assert len(converted.dead_letters) == 0
    first, last = (
        converted.rows.slice(0, 1).to_pylist()[0],
        converted.rows.slice(2 * count - 1).to_pylist()[0],
    )
    assert {name: first[name] for name in "aoln"} == {"a": 1, "o": {"x": 1, "y": None}, "l": [], "n": None}
    assert {name: last[name] for name in "aoln"} == {
        "a": 2,
        "o": {"x": None, "y": "z"},
        "l": [{"q": True}],
        "n": "x",
    }


def test_lists_of_nothing_but_nulls_in_a_column_that_is_there() -> None:
    sent = [
        {"o": [{"a": 1, "b": [None, None]}]},
        {"o": [{"b": [None]}, None]},
        {"o": [{"b": [[None, None]]}]},
    ]
    converted = convert([json.dumps(one).encode() for one in sent])
    converted.rows.validate(full=True)
    assert converted.rows["o"].to_pylist() == [[{"a": 1}], [{"a": None}, None], [{"a": None}]]
    again = convert([b'{"o":[{"b":[null,5]}]}', b'{"o":[{"b":[null]}]}'], converted.schema)
    assert again.rows["o"].to_pylist() == [[{"a": None, "b": [None, 5]}], [{"a": None, "b": [None]}]]


def test_a_list_of_nulls_becomes_whatever_comes_after_it() -> None:
    count = json_values.BLOCK_RECORDS
    source: list[bytes | None] = [*[b'{"o":{"a":1,"b":[null,null]}}'] * count, b'{"o":{"b":[{"c":[7]}]}}']
    found = convert(source).rows["o"].to_pylist()
    assert found[0] == {"a": 1, "b": [None, None]} and found[-1] == {"a": None, "b": [{"c": [7]}]}


def test_a_value_in_a_list_of_a_type_that_json_has_not_is_a_dead_letter() -> None:
    schema = rows.initial_schema(rows.JSON, rows.RAW).append(pa.field("d", pa.list_(pa.date32())))
    sent: list[bytes | None] = [b'{"d":[null,null]}', b'{"d":[5]}', b'{"d":["2026-01-01"]}', b'{"d":[{}]}']
    converted = convert(sent, schema)
    assert converted.rows["d"].to_pylist() == [[None, None], [None]], "an empty object says nothing"
    assert converted.dead_letters["kafka_offset"].to_pylist() == [1, 2]


def test_a_new_column_with_integers_first_becomes_double() -> None:
    count = json_values.BLOCK_RECORDS
    source: list[bytes | None] = [b'{"p":1}'] * count
    converted = convert([*source, b'{"p":1.5}'])
    assert converted.schema.field("p").type == pa.float64()
    assert converted.rows["p"].to_pylist() == [1.0] * count + [1.5]


@pytest.mark.parametrize("text", [b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Inf}', b'{"b":{"c":[NaN]}}'])
def test_what_is_not_json_is_refused_also_where_the_column_is_there(text: bytes) -> None:
    converted = convert([b'{"a":0.5,"b":{"c":[0.5]}}', text])
    assert len(converted.rows) == len(converted.dead_letters) == 1


def test_a_tombstone_is_a_row_of_nulls() -> None:
    converted = convert([b'{"a":1}', None])
    assert converted.rows["a"].to_pylist() == [1, None]


def test_what_the_table_has_stays_as_it_is() -> None:
    schema = rows.initial_schema(rows.JSON, rows.RAW)
    table_schema = pa.schema(
        [*schema, pa.field("s", pa.large_string()), pa.field("l", pa.large_list(pa.int64()))]
    )
    converted = convert([b'{"s":"x","l":[1]}'], table_schema)
    assert converted.schema == table_schema
    assert converted.rows.to_pylist()[0]["l"] == [1]


keys = st.none() | values.map(lambda value: json.dumps(value).encode()) | odd


@settings(deadline=None)
@given(st.lists(keys, min_size=1, max_size=6))
def test_json_keys_of_any_type(source: list[bytes | None]) -> None:
    schema = rows.initial_schema(rows.RAW, rows.JSON)
    columns = as_columns([Record(timestamp=1, key=key, value=b"v") for key in source])
    converted = rows.RowBuilder(rows.RAW, rows.JSON).convert(columns, 0, schema)
    assert len(converted.rows) + len(converted.dead_letters) == len(source)
    for row in converted.rows.to_pylist():
        sent = source[row["kafka_offset"]]
        assert is_shown(None if sent is None else json.loads(sent), row.get("kafka_key"))


@pytest.mark.parametrize(
    "key", [b'1,"kafka_key":2', b'1}{"kafka_key":2', b'1}\n{"kafka_key":2', b'1,"other":2', b"1 2"]
)
def test_a_key_cannot_leave_its_column(key: bytes) -> None:
    columns = as_columns([Record(timestamp=1, key=one, value=b"v") for one in (b"7", key, b"8")])
    schema = rows.initial_schema(rows.RAW, rows.JSON)
    converted = rows.RowBuilder(rows.RAW, rows.JSON).convert(columns, 0, schema)
    assert converted.rows["kafka_key"].to_pylist() == [7, 8]
    assert converted.dead_letters["kafka_offset"].to_pylist() == [1]


def test_documents_with_names_that_differ_in_case_are_rows() -> None:
    converted = convert([b'{"Id":%d,"id":"x"}' % at for at in range(3000)])
    assert len(converted.dead_letters) == 0
    assert converted.rows["Id"].to_pylist() == list(range(3000))
    assert set(converted.rows["id__2"].to_pylist()) == {"x"}
    again = convert([b'{"id":"y"}', b'{"Id":7}'], converted.schema)
    assert again.schema == converted.schema
    assert again.rows.select(["Id", "id__2"]).to_pylist() == [
        {"Id": None, "id__2": "y"},
        {"Id": 7, "id__2": None},
    ]
