"""A topic's table: made, found again, evolved, its dead letters beside it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError

from broker.tiering.commit import TableMoved
from broker.tiering.marked_table import Layout, Writer
from broker.tiering.partitioning import InvalidPartitioning
from broker.tiering.schemas import IncompatibleSchema
from broker.tiering.tables import TableTaken, TopicTable, drop_tables
from tests.broker.tiering.tables_of_tests import (
    HOUR_US,
    IDENTIFIER,
    START_US,
    WRITER,
    Crash,
    Faults,
    catalog,
    contents,
    files,
    once,
    open_table,
    put,
)

DEAD = ("floe", "orders__dlq")
DEAD_COLUMNS = pa.schema([pa.field("kafka_key", pa.binary()), pa.field("value", pa.binary())])


def test_a_new_table_is_as_designed(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    put(open_table(made), {0: range(3)})
    table = made.load_table("floe.orders")
    assert [field.name for field in table.schema().fields][:4] == [
        "kafka_partition",
        "kafka_offset",
        "kafka_timestamp",
        "kafka_timestamp_type",
    ]
    assert str(table.schema().find_type("kafka_timestamp")) == "timestamptz"
    assert [field.name for field in table.spec().fields] == ["kafka_timestamp_hour"]
    assert [field.source_id for field in table.sort_order().fields] == [1, 2]
    assert table.format_version == 2
    assert table.properties["floe.topic-id"] == "id-of-orders"


def test_a_table_is_found_again(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    put(open_table(made), {0: range(3)})
    assert open_table(catalog(tmp_path)).marks() == {0: 3}


def test_a_topic_created_again_gets_a_new_table_and_the_old_one_is_kept(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    old = open_table(made)
    put(old, {0: range(3)})
    new = open_table(made, writer=Writer("cluster-1", "orders", "another-id", 1))
    assert new.marks() == {}
    put(new, {0: range(2)})
    assert contents(made) == once({0: 2})
    assert contents(made, ("floe", "orders__idoforde")) == once({0: 3})
    locations = {made.load_table(name).location() for name in ("floe.orders", "floe.orders__idoforde")}
    assert len(locations) == 2
    with pytest.raises(TableMoved):
        put(old, {0: range(3, 5)})  # a job that was on its way when the topic was deleted


@pytest.mark.parametrize(
    ("writer", "told"),
    [
        (Writer("cluster-2", "orders", "x", 1), r"another Floe .*floe.table.namespace"),
        (Writer("cluster-1", "orders.v1", "x", 1), r"table of topic orders, and topic orders.v1"),
    ],
)
def test_a_table_of_somebody_else_is_left_alone(tmp_path: Path, writer: Writer, told: str) -> None:
    made = catalog(tmp_path)
    put(open_table(made), {0: range(3)})
    with pytest.raises(TableTaken, match=told):
        open_table(made, writer=writer)
    assert contents(made) == once({0: 3})


def test_a_table_that_floe_did_not_make_is_left_alone(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    made.create_namespace("floe")
    made.create_table("floe.orders", pa.schema([pa.field("a", pa.int32())]))
    with pytest.raises(TableTaken, match="not made by Floe"):
        open_table(made)


def _with_column(name: str, kind: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind)])


def test_columns_grow_with_the_commit_that_needs_them(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    table = open_table(made)
    put(table, {0: range(3)})
    table.evolve(_with_column("amount", pa.int32()))
    assert "amount" not in made.load_table("floe.orders").schema()._name_to_id
    put(table, {0: range(3, 5)})
    table.evolve(_with_column("amount", pa.int64()))
    table.evolve(_with_column("buyer", pa.struct([pa.field("name", pa.string())])))
    put(table, {0: range(5, 6)})
    schema = made.load_table("floe.orders").schema()
    assert str(schema.find_type("amount")) == "long"
    assert str(schema.find_type("buyer.name")) == "string"
    assert contents(made) == once({0: 6})
    with pytest.raises(IncompatibleSchema, match="amount is long and cannot become string"):
        table.evolve(_with_column("amount", pa.string()))
    table.evolve(_with_column("amount", pa.int32()))  # narrower is nothing new
    before = table.metadata_location
    assert table.commit([], {}).metadata_location == before


def test_foreign_columns_with_the_same_ids_start_the_commit_over(tmp_path: Path) -> None:
    """Both number their new columns from the same id: files written under ours would be read as theirs."""
    made = catalog(tmp_path)
    table = open_table(made)
    put(table, {0: range(3)})
    table.evolve(_with_column("amount", pa.int32()))
    written = files(table.target(), {0: range(3, 5)})
    with made.load_table("floe.orders").update_schema() as change:
        from pyiceberg.types import StringType

        change.add_column("comment", StringType())
    with pytest.raises(TableMoved, match="columns"):
        table.commit(written, {0: 5})
    table.reopen()
    table.evolve(_with_column("amount", pa.int32()))
    put(table, {0: range(3, 5)})
    assert contents(made) == once({0: 5})


def test_partitions_follow_the_setting(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    put(open_table(made), {0: range(3)})
    table = open_table(
        made, layout=Layout(partition_by="day(kafka_timestamp), bucket(4, kafka_key), country")
    )
    put(table, {0: range(3, 8)}, START_US + HOUR_US)
    table.evolve(_with_column("country", pa.string()))
    put(table, {0: range(8, 9)})
    names = [field.name for field in made.load_table("floe.orders").spec().fields]
    assert names == ["kafka_timestamp_day", "kafka_key_bucket", "country"]
    put(open_table(made, layout=Layout(partition_by="")), {0: range(9, 12)})
    assert made.load_table("floe.orders").spec().is_unpartitioned()
    assert contents(made) == once({0: 12})
    with pytest.raises(InvalidPartitioning, match="hour"):
        open_table(made, layout=Layout(partition_by="hour(value)"))


def _commit_with_dead_letters(table: TopicTable, span: range, dead: range) -> None:
    target = table.dead_letters(DEAD_COLUMNS).target()
    bad = files(target, {0: dead})
    good = [file for part in _without(span, dead) for file in files(table.target(), {0: part})]
    table.commit(good, {0: span.stop}, bad)


def _without(span: range, dead: range) -> list[range]:
    return [part for part in (range(span.start, dead.start), range(dead.stop, span.stop)) if part]


def test_dead_letters_are_beside_the_table(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    table = open_table(made)
    _commit_with_dead_letters(table, range(10), range(4, 6))
    put(table, {0: range(10, 12)})
    _commit_with_dead_letters(open_table(made, epoch=2), range(12, 20), range(12, 13))
    assert contents(made, DEAD) + contents(made) == once({0: 20})
    assert sorted(offset for _, offset in contents(made, DEAD)) == [4, 5, 12]


@pytest.mark.parametrize(
    "plan",
    [["died-before"], ["died"], ["", "died-before"], ["", "died"], ["lost"], ["", "lost"]],
    ids="-".join,
)
def test_a_death_between_the_two_commits(tmp_path: Path, plan: list[str]) -> None:
    """The second time other records are dead: a foreign change of the columns has made room for the first."""
    faults = Faults()
    made = catalog(tmp_path, faults)
    table = open_table(made)
    _commit_with_dead_letters(table, range(10), range(4, 6))
    faults.plan = list(plan)
    try:
        _commit_with_dead_letters(table, range(10, 20), range(11, 15))
    except Crash:
        faults.plan = []
        table = open_table(catalog(tmp_path), epoch=2)
        if table.marks() == {0: 10}:
            _commit_with_dead_letters(table, range(10, 20), range(18, 19))
    assert table.marks() == {0: 20}
    assert contents(made, DEAD) + contents(made) == once({0: 20})


def test_rewind_takes_back_rows_and_dead_letters(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    table = open_table(made)
    _commit_with_dead_letters(table, range(10), range(4, 6))
    put(table, {0: range(10, 20), 1: range(5)})
    assert table.rewind({0: 5, 1: 99}).marks == {0: 5, 1: 5}
    assert contents(made, DEAD) + contents(made) == once({0: 5, 1: 5})
    table = open_table(made, epoch=2)
    assert table.marks() == {0: 5, 1: 5}
    put(table, {0: range(5, 22)})
    assert contents(made, DEAD) + contents(made) == once({0: 22, 1: 5})


@pytest.mark.parametrize("fault", ["lost", "refused", "died", "died-before"])
def test_a_rewind_at_a_bad_moment(tmp_path: Path, fault: str) -> None:
    faults = Faults()
    made = catalog(tmp_path, faults)
    table = open_table(made)
    put(table, {0: range(10)})
    put(table, {0: range(10, 20)})
    faults.plan = [fault]
    try:
        table.rewind({0: 13})
    except Crash:
        faults.plan = []
        table = open_table(catalog(tmp_path), epoch=2)
    ends = table.marks()
    assert ends == ({0: 20} if fault == "died-before" else {0: 13})
    assert contents(made) == once(ends)


def test_drop_takes_both_tables(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    table = open_table(made)
    _commit_with_dead_letters(table, range(10), range(4, 6))
    table.drop()
    for name in ("floe.orders", "floe.orders__dlq"):
        with pytest.raises(NoSuchTableError):
            made.load_table(name)
    assert list((tmp_path / "warehouse").rglob("*")) == []


def test_a_late_drop_takes_the_deleted_topics_tables_not_those_of_the_new_topic(tmp_path: Path) -> None:
    """The catalog was away when the topic was deleted; meanwhile there is another one of its name."""
    made = catalog(tmp_path)
    _commit_with_dead_letters(open_table(made), range(10), range(4, 6))
    again = Writer(WRITER.cluster_id, WRITER.topic, "another-id", 1)
    _commit_with_dead_letters(open_table(made, writer=again), range(7), range(2, 3))
    drop_tables(made, IDENTIFIER, WRITER)
    assert sorted(made.list_tables("floe")) == [("floe", "orders"), ("floe", "orders__dlq")]
    assert open_table(made, writer=again).marks() == {0: 7}
    assert sum(contents(made).values()) == 6
    drop_tables(made, IDENTIFIER, WRITER)
    drop_tables(made, IDENTIFIER, again)
    assert made.list_tables("floe") == []
    assert list((tmp_path / "warehouse").rglob("*")) == []


def test_sql_catalogs_without_names_for_it(tmp_path: Path) -> None:
    """A namespace of two levels is one too."""
    made: SqlCatalog = catalog(tmp_path)
    put(open_table(made, identifier=("lake", "raw", "orders")), {0: range(3)})
    assert contents(made, ("lake", "raw", "orders")) == once({0: 3})
