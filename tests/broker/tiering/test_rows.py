"""Records as rows: every offset once, in the rows or among the dead letters."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.tiering import rows
from protocol.records import Record
from tests.broker.tiering.sample_records import as_columns, of_values

some_bytes = st.none() | st.binary(max_size=20) | st.text(max_size=10).map(str.encode)
record = st.builds(
    Record,
    timestamp=st.just(-1) | st.integers(-(2**62), 2**62) | st.integers(0, 2**41),
    key=some_bytes,
    value=some_bytes,
    headers=st.lists(st.tuples(st.text(max_size=4), some_bytes), max_size=3),
)


def convert(source: list[Record], value_mode: str, key_mode: str = rows.RAW) -> rows.Converted:
    builder = rows.RowBuilder(value_mode, key_mode)
    return builder.convert(as_columns(source, 100), 7, rows.initial_schema(value_mode, key_mode))


@given(
    st.lists(record, max_size=8).filter(bool),
    st.sampled_from([rows.RAW, rows.TEXT]),
    st.sampled_from([rows.RAW, rows.TEXT]),
)
def test_every_record_is_a_row_or_a_dead_letter(source: list[Record], value_mode: str, key_mode: str) -> None:
    converted = convert(source, value_mode, key_mode)
    found = {row["kafka_offset"]: row for row in converted.rows.to_pylist()}
    letters = {row["kafka_offset"]: row for row in converted.dead_letters.to_pylist()}
    assert sorted([*found, *letters]) == list(range(100, 100 + len(source)))
    assert list(found) == sorted(found)
    for offset, row in (found | letters).items():
        sent = source[offset - 100]
        plain = {"key": row["kafka_key"], "value": row["value"]}
        for name, got in plain.items():
            assert (got.encode() if isinstance(got, str) else got) == getattr(sent, name)
        assert [(one["key"], one["value"]) for one in row["kafka_headers"]] == sent.headers
    assert all(row["reason"] for row in letters.values())


def test_a_row_in_full() -> None:
    sent = Record(timestamp=1_700_000_000_123, key=b"k", value=b"v", headers=[("h", None), ("h", b"1")])
    assert convert([sent], rows.RAW).rows.to_pylist() == [
        {
            "kafka_partition": 7,
            "kafka_offset": 100,
            "kafka_timestamp": datetime(2023, 11, 14, 22, 13, 20, 123000, UTC),
            "kafka_timestamp_type": 0,
            "kafka_headers": [{"key": "h", "value": None}, {"key": "h", "value": b"1"}],
            "kafka_key": b"k",
            "value": b"v",
        }
    ]


def test_no_timestamp_is_null_and_an_impossible_one_a_dead_letter() -> None:
    converted = convert([Record(timestamp=-1, value=b"a"), Record(timestamp=2**60, value=b"b")], rows.RAW)
    assert converted.rows["kafka_timestamp"].to_pylist() == [None]
    [letter] = converted.dead_letters.to_pylist()
    assert letter["kafka_offset"] == 101 and letter["value"] == b"b" and "timestamp" in letter["reason"]


@pytest.mark.parametrize("count", [1, 5000])
def test_text_that_is_not_utf8_is_a_dead_letter(count: int) -> None:
    values = [f"grün {at}".encode() for at in range(count)] + [b"\xff\xfe"] + [None, b""]
    converted = rows.RowBuilder(rows.TEXT).convert(
        of_values(values), 0, rows.initial_schema(rows.TEXT, rows.RAW)
    )
    assert converted.rows["value"].to_pylist() == [f"grün {at}" for at in range(count)] + [None, ""]
    assert converted.rows.schema.field("value").type == pa.string()
    assert converted.dead_letters["reason"].to_pylist() == ["the value is not UTF-8"]


@pytest.mark.parametrize(
    ("column", "mode", "rows_of", "letters_of"),
    [
        (pa.binary(), rows.TEXT, [b"1", b"\xff", None], []),
        (pa.string(), rows.RAW, ["1", None], [b"\xff"]),
        (pa.large_string(), rows.TEXT, ["1", None], [b"\xff"]),
        (pa.binary(), rows.JSON, [b"1", b"\xff", None], []),
        (pa.int64(), rows.JSON, [1, None], [b"\xff"]),
        (None, rows.RAW, [b"1", b"\xff", None], []),
    ],
)
def test_a_column_keeps_its_type_when_the_mode_changes(
    column: pa.DataType | None, mode: str, rows_of: list[object], letters_of: list[bytes]
) -> None:
    schema = pa.schema([pa.field("kafka_key", column)] if column is not None else [])
    source = as_columns([Record(timestamp=1, key=key) for key in (b"1", b"\xff", None)])
    converted = rows.RowBuilder(rows.RAW, mode).convert(source, 0, schema)
    assert converted.rows["kafka_key"].to_pylist() == rows_of
    assert converted.dead_letters["kafka_key"].to_pylist() == letters_of
    assert column is None or converted.schema.field("kafka_key").type == column


def test_a_column_that_cannot_hold_bytes_sends_them_to_the_dead_letters() -> None:
    schema = pa.schema([pa.field("value", pa.int64())])
    converted = rows.RowBuilder(rows.RAW).convert(of_values([b"1", None]), 0, schema)
    assert len(converted.rows) == 1 and "value" not in converted.rows.column_names
    assert converted.dead_letters["value"].to_pylist() == [b"1"]


def test_the_wider_the_table_the_fewer_records_at_once() -> None:
    narrow = rows.initial_schema(rows.RAW, rows.RAW)
    nested = pa.struct([pa.field(f"f{at}", pa.list_(pa.int64())) for at in range(500)])
    assert rows.records_at_once(narrow) > 250_000
    assert 5_000 < rows.records_at_once(pa.schema([*narrow, pa.field("a", nested)])) < 10_000


def test_a_table_that_grows_wide_at_once_is_converted_in_parts() -> None:
    """Each part is small, though it was not known before that it would have to be; none is twice or missing."""
    wide = [{f"c{at}": at for at in range(block * 300, block * 300 + 300)} for block in range(3)]
    source: list[bytes | None] = [json.dumps({"id": at}).encode() for at in range(50_000)]
    for place, document in zip((5_000, 20_000, 45_000), wide, strict=True):
        source[place] = json.dumps(document).encode()
    source[49_000] = b"{"
    keys = [Record(timestamp=0, key=b"%d" % at, value=value) for at, value in enumerate(source)]
    schema = rows.initial_schema(rows.JSON, rows.JSON)
    found: list[int] = []
    for converted in rows.RowBuilder(rows.JSON, rows.JSON).convert_in_parts(as_columns(keys), 0, schema):
        assert converted.record_count * len(converted.schema) <= rows.MAX_CELLS + 2 * 8192 * 1000
        assert converted.rows["kafka_key"].to_pylist() == converted.rows["kafka_offset"].to_pylist()
        found += (
            converted.rows["kafka_offset"].to_pylist() + converted.dead_letters["kafka_offset"].to_pylist()
        )
        schema = converted.schema
    assert sorted(found) == list(range(50_000))
    assert len(schema) == 6 + 1 + 900


class FailingBuilder(rows.RowBuilder):
    """As if Arrow had a fault at some offsets."""

    def __init__(self, odd: set[int]) -> None:
        super().__init__()
        self.odd = odd

    def _convert(
        self, columns: Any, partition: int, schema: pa.Schema, max_cells: int | None
    ) -> rows.Converted:
        if self.odd & set(columns.offsets.tolist()):
            raise pa.ArrowIndexError("array slice would exceed array length")
        return super()._convert(columns, partition, schema, max_cells)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.sets(st.integers(0, 299), max_size=rows.MAX_ODD))
def test_a_record_that_arrow_fails_on_is_a_dead_letter(count: int, odd: set[int]) -> None:
    source = as_columns([Record(timestamp=1, value=b"%d" % at) for at in range(count)])
    schema = rows.initial_schema(rows.RAW, rows.RAW)
    parts = list(FailingBuilder(odd).convert_in_parts(source, 0, schema))
    found = [offset for part in parts for offset in part.rows["kafka_offset"].to_pylist()]
    letters = [row for part in parts for row in part.dead_letters.to_pylist()]
    assert found == [at for at in range(count) if at not in odd]
    assert [row["kafka_offset"] for row in letters] == sorted(at for at in odd if at < count)
    assert all("exceed array length" in row["reason"] and row["value"] for row in letters)


def test_a_fault_that_is_not_the_records_is_told() -> None:
    source = as_columns([Record(timestamp=1, value=b"v") for _ in range(200)])
    parts = FailingBuilder(set(range(200))).convert_in_parts(
        source, 0, rows.initial_schema(rows.RAW, rows.RAW)
    )
    with pytest.raises(pa.ArrowIndexError):
        list(parts)
