"""SQL over a table and what is not in it yet: each record once, whatever the table looks like."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from broker.tiering.query import Database, HotRows, MissingExtension, Relation, extension_path, local_path
from broker.tiering.rows import RowBuilder, initial_schema
from protocol import records
from protocol.records import Record
from tests.broker.tiering.tables_of_tests import START_US, catalog, open_table, put

START_MS = START_US // 1000


def ask(database: Database, sql: str) -> list[tuple[Any, ...]]:
    _names, batches = database.query(sql)
    return [row for batch in batches for row in batch]


def batch(first_offset: int, values: list[bytes | None], compression: int = 0) -> bytes:
    made = [Record(-1, START_MS + index, b"key", value, []) for index, value in enumerate(values)]
    data = bytearray(records.build(made, compression=compression))
    data[:8] = first_offset.to_bytes(8, "big")
    return bytes(data)


def hot(schema: pa.Schema | None = None) -> HotRows:
    return HotRows(RowBuilder("raw", "raw"), schema or initial_schema("raw", "raw"))


def test_the_table_and_what_is_behind_it_are_one(tmp_path: Path) -> None:
    table = open_table(catalog(tmp_path))
    put(table, {0: range(40), 1: range(7)})
    after = hot(table.arrow_schema())
    after.add(0, batch(35, [b"0:%d" % offset for offset in range(35, 52)]), start_offset=40, end_offset=50)
    with Database() as database:
        database.add(Relation("orders", "floe.orders", table.metadata_location, after.rows, after.schema))
        assert ask(
            database, "select kafka_partition, count(*), max(kafka_offset) from orders group by 1 order by 1"
        ) == [
            (0, 50, 49),
            (1, 7, 6),
        ]
        assert ask(database, 'select count(distinct value) from "floe"."orders"') == [(57,)]
        assert ask(database, "select value from orders where kafka_offset = 44 and kafka_partition = 0") == [
            (b"0:44",)
        ]


def test_a_topic_without_a_table_is_what_came_so_far() -> None:
    rows = hot()
    rows.add(2, batch(5, [b"a", None, b"c"], compression=4), start_offset=0, end_offset=100)
    with Database() as database:
        database.add(Relation("new.topic", "floe.new_topic", None, rows.rows, rows.schema))
        assert ask(database, 'select kafka_partition, kafka_offset, value from "new.topic" order by 2') == [
            (2, 5, b"a"),
            (2, 6, None),
            (2, 7, b"c"),
        ]


def test_an_empty_topic_has_its_columns() -> None:
    with Database() as database:
        database.add(Relation("empty", "floe.empty", None, [], initial_schema("text", "raw")))
        assert ask(database, "select count(*), max(kafka_offset), max(value) from empty") == [(0, None, None)]


def test_columns_that_only_new_rows_have_are_null_in_old_ones() -> None:
    old = pa.table({"kafka_offset": [1], "place": pa.array([{"x": 1}])})
    new = pa.table({"kafka_offset": [2], "place": pa.array([{"x": 2.5, "name": "b"}]), "added": ["yes"]})
    with Database() as database:
        database.add(Relation("t", "floe.t", None, [old, new], old.schema))
        assert ask(database, "select kafka_offset, place.x, place.name, added from t order by 1") == [
            (1, 1.0, None, None),
            (2, 2.5, "b", "yes"),
        ]


def test_times_are_utc() -> None:
    with Database() as database:
        assert ask(database, "select strftime(timestamptz '2026-01-01 02:00:00+02', '%H:%M')") == [("00:00",)]


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("file:///data/wh/a%20b.json", "/data/wh/a b.json"),
        ("/data/x.json", "/data/x.json"),
        ("s3://bucket/x.json", None),
    ],
)
def test_what_lies_on_this_machine(location: str, path: str | None) -> None:
    assert local_path(location) == path


def test_an_extension_that_is_not_installed_is_named() -> None:
    with pytest.raises(MissingExtension, match="duckdb-extension-nonesuch"):
        extension_path("nonesuch")
