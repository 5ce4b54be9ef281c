"""SQL over a table and what is not in it yet: each record once, whatever the table looks like."""

import tempfile
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from broker.tiering.hot_rows import HotRows
from broker.tiering.query import Database, MissingExtension, Relation, extension_path, local_path
from broker.tiering.rows import RowBuilder, initial_schema
from broker.tiering.spilled_rows import NoRoom, RowStore
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


def hot(store: RowStore, schema: pa.Schema | None = None) -> HotRows:
    return HotRows(RowBuilder("raw", "raw"), schema or initial_schema("raw", "raw"), store)


@pytest.fixture(params=[64 << 20, 0], ids=["memory", "files"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """One that keeps hot rows in memory, and one that puts each of them aside at once."""
    with Database(RowStore(request.param)) as made:
        yield made


def test_the_table_and_what_is_behind_it_are_one(tmp_path: Path, database: Database) -> None:
    table = open_table(catalog(tmp_path))
    put(table, {0: range(40), 1: range(7)})
    after = hot(database.store, table.arrow_schema())
    after.add(0, batch(35, [b"0:%d" % offset for offset in range(35, 52)]), start_offset=40, end_offset=50)
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


def test_a_topic_without_a_table_is_what_came_so_far(database: Database) -> None:
    rows = hot(database.store)
    rows.add(2, batch(5, [b"a", None, b"c"], compression=4), start_offset=0, end_offset=100)
    database.add(Relation("new.topic", "floe.new_topic", None, rows.rows, rows.schema))
    assert ask(database, 'select kafka_partition, kafka_offset, value from "new.topic" order by 2') == [
        (2, 5, b"a"),
        (2, 6, None),
        (2, 7, b"c"),
    ]


def test_an_empty_topic_has_its_columns() -> None:
    with Database() as database:
        database.add(Relation("empty", "floe.empty", None, None, initial_schema("text", "raw")))
        assert ask(database, "select count(*), max(kafka_offset), max(value) from empty") == [(0, None, None)]


def test_columns_that_only_new_rows_have_are_null_in_old_ones(database: Database) -> None:
    old = pa.table({"kafka_offset": [1], "place": pa.array([{"x": 1}])})
    new = pa.table({"kafka_offset": [2], "place": pa.array([{"x": 2.5, "name": "b"}]), "added": ["yes"]})
    rows = database.store.rows()
    rows.add(old)
    rows.add(new)
    database.add(Relation("t", "floe.t", None, rows, old.schema))
    assert ask(database, "select kafka_offset, place.x, place.name, added from t order by 1") == [
        (1, 1.0, None, None),
        (2, 2.5, "b", "yes"),
    ]


def every_type() -> pa.Table:
    """A row with a value of each type that Iceberg has, and a row of nulls."""
    moment = datetime(2026, 1, 31, 12, 30, 15, 123456)
    columns = {
        "boolean": (True, pa.bool_()),
        "int": (1, pa.int32()),
        "long": (1 << 40, pa.int64()),
        "float": (0.5, pa.float32()),
        "double": (0.1, pa.float64()),
        "date": (moment.date(), pa.date32()),
        "time": (moment.time(), pa.time64("us")),
        "timestamp": (moment, pa.timestamp("us")),
        "timestamptz": (moment, pa.timestamp("us", "UTC")),
        "timestamp_ns": (moment, pa.timestamp("ns")),
        "timestamptz_ns": (moment, pa.timestamp("ns", "UTC")),
        "string": ("text", pa.large_string()),
        "fixed": (b"1234567", pa.binary(7)),
        "binary": (b"\xff", pa.large_binary()),
        "decimal": (Decimal("1.5"), pa.decimal128(12, 3)),
        "unknown": (None, pa.null()),
        "list": ([["a", None], None], pa.large_list(pa.list_(pa.string()))),
        "map": ([("a", 1)], pa.map_(pa.large_string(), pa.int64())),
        "Map": (
            {"time": moment.time(), "T": [moment.time()]},
            pa.struct({"time": pa.time64("us"), "T": pa.list_(pa.time64("us"))}),
        ),
    }
    return pa.table({name: pa.array([value, None], kind) for name, (value, kind) in columns.items()})


def test_rows_put_aside_come_back_as_they_were() -> None:
    answers = []
    for memory_bytes in (64 << 20, 0):
        with Database(RowStore(memory_bytes)) as database:
            rows = database.store.rows()
            rows.add(every_type())
            assert bool(list(rows.files())) == (not memory_bytes)
            database.add(Relation("t", "", None, rows, None))
            answers.append((ask(database, "describe t"), ask(database, "from t")))
    assert answers[0] == answers[1]


def test_what_does_not_fit_into_memory_is_in_files_until_the_end() -> None:
    value = bytes(range(256)) * 4
    with Database(RowStore(1 << 20)) as database:
        rows = hot(database.store)
        most = 0
        for first in range(0, 20_000, 500):
            rows.add(0, batch(first, [value] * 500), 0, 20_000)
            most = max(most, pa.total_allocated_bytes())
        assert most < 8 << 20, "of 20 MB"
        folder = database.store.folder()
        database.add(Relation("t", "", None, rows.rows, rows.schema))
        assert ask(
            database, "select count(*), count(distinct kafka_offset), min(octet_length(value)) from t"
        ) == [(20_000, 20_000, 1024)]
    assert not folder.exists()


def test_no_room_for_rows_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with Database(RowStore(0)) as database:
        rows = hot(database.store)
        with pytest.raises(NoRoom, match=r"temporary files.*nowhere"):
            rows.add(0, batch(0, [b"a"]), 0, 1)


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
