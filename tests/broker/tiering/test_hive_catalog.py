"""A Hive metastore as catalog: locks of the dead, columns it refuses, answers that are lost, more than one of them."""

from __future__ import annotations

import copy
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hive_metastore.ttypes import (
    EnvironmentContext,
    LockComponent,
    LockLevel,
    LockRequest,
    LockState,
    LockType,
    MetaException,
)
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.hive import HiveCatalog
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import LongType, NestedField, StringType, StructType
from thrift.transport.TTransport import TTransportException

from broker.tiering import catalogs, local_files
from broker.tiering.catalogs import CatalogUnusable
from broker.tiering.commit import CommitRefused, CommitUnknown
from broker.tiering.hive_catalog import Holder, LastingHiveCatalog
from broker.tiering.names import retired_identifier
from broker.tiering.tables import TopicTable, Writer
from tests.broker.tiering.metastore import Metastore, client, serving
from tests.broker.tiering.tables_of_tests import (
    IDENTIFIER,
    VALUE,
    WRITER,
    ManualTime,
    contents,
    live,
    once,
    put,
)

QUICK = {
    "lock-check-min-wait-time": "0.001",
    "lock-check-max-wait-time": "0.001",
    "lock-check-retries": "2",
}


@pytest.fixture
def running() -> Iterator[tuple[Metastore, str]]:
    with serving() as served:
        yield served


def _load(folder: Path, uri: str) -> Catalog:
    return catalogs.load(catalogs.properties({"uri": uri, "warehouse": str(folder)}, "/unused"))


def _open(made: Catalog) -> TopicTable:
    return TopicTable.open(made, IDENTIFIER, WRITER, VALUE, clock=ManualTime().clock())


def test_a_table_lives_in_it(tmp_path: Path, running: tuple[Metastore, str]) -> None:
    metastore, uri = running
    made = _load(tmp_path, uri)
    assert isinstance(made, LastingHiveCatalog)
    live(made)
    assert metastore.held == []
    recreated = Writer(WRITER.cluster_id, WRITER.topic, "another id", 1)
    put(TopicTable.open(made, IDENTIFIER, recreated, VALUE), {0: range(3)})
    assert contents(made) == once({0: 3})
    assert contents(made, retired_identifier(IDENTIFIER, WRITER.topic_id)) == once({0: 40})


def test_a_topic_takes_its_table_along(tmp_path: Path, running: tuple[Metastore, str]) -> None:
    """pyiceberg's own catalog says NotImplementedError."""
    made = _load(tmp_path, running[1])
    table = _open(made)
    put(table, {0: range(10)})
    table.drop()
    assert not made.table_exists(IDENTIFIER)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


# -- locks


def _take_lock(uri: str, holder: str) -> int:
    """What is left of a process that was killed in the middle of a commit."""
    component = LockComponent(
        level=LockLevel.TABLE, type=LockType.EXCLUSIVE, dbname="floe", tablename="orders"
    )
    request = LockRequest(component=[component], user="floe", hostname="elsewhere", agentInfo=holder)
    with client(uri) as raw:
        answer = raw.lock(request)
    assert answer.state == LockState.ACQUIRED
    return int(answer.lockid)


def _dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def _after_a_kill(here: Holder, died: str) -> Holder:
    if died == "a worker":
        return Holder(here.place, _dead_process(), "123")
    if died == "a worker whose process id is used again":
        return Holder(here.place, os.getppid(), "123")
    return here  # a connection of our own that broke


@pytest.mark.parametrize(
    "died", ["a worker", "a worker whose process id is used again", "a connection of our own"]
)
def test_a_lock_of_the_dead_is_released(tmp_path: Path, running: tuple[Metastore, str], died: str) -> None:
    metastore, uri = running
    table = _open(_load(tmp_path, uri))
    put(table, {0: range(10)})
    _take_lock(uri, str(_after_a_kill(Holder.of(os.getpid()), died)))
    put(table, {0: range(10, 20)})
    assert metastore.held == []
    assert table.marks() == {0: 20}


def test_without_this_the_table_is_locked_for_ever(tmp_path: Path, running: tuple[Metastore, str]) -> None:
    _metastore, uri = running
    properties = catalogs.properties({"uri": uri, "warehouse": str(tmp_path)}, "/unused")
    table = _open(HiveCatalog("floe", **{"py-io-impl": local_files.IMPLEMENTATION, **properties, **QUICK}))
    _take_lock(uri, str(Holder(Holder.of(os.getpid()).place, _dead_process(), "123")))
    with pytest.raises(CommitRefused, match="Failed to acquire lock"):
        put(table, {0: range(10)})


def _impatient(folder: Path, uri: str) -> Catalog:
    given = {"uri": uri, "warehouse": str(folder), **QUICK}
    return catalogs.load(catalogs.properties(given, "/unused"))


@pytest.mark.parametrize("holder", ["Unknown", "somebody's engine 7", "the living", "floe-worker x y z"])
def test_a_lock_of_the_living_is_respected(
    tmp_path: Path, running: tuple[Metastore, str], holder: str
) -> None:
    metastore, uri = running
    table = _open(_impatient(tmp_path, uri))
    if holder == "the living":
        holder = str(Holder.of(os.getppid()))
    held = _take_lock(uri, holder)
    metastore.now_ms += 3_600_000
    with pytest.raises(CommitRefused, match="floe@elsewhere") as told:
        put(table, {0: range(10)})
    assert holder in str(told.value)
    assert [one.lockid for one in metastore.held] == [held], "those that waited are gone"


def test_a_lock_from_another_machine_is_released_after_five_minutes(
    tmp_path: Path, running: tuple[Metastore, str]
) -> None:
    metastore, uri = running
    table = _open(_impatient(tmp_path, uri))
    _take_lock(uri, "floe-worker another-kernel/1 4711 123")
    metastore.now_ms += 299_000
    with pytest.raises(CommitRefused):
        put(table, {0: range(10)})
    metastore.now_ms += 2_000
    put(table, {0: range(10)})
    assert metastore.held == []


def test_an_answer_about_a_lock_that_is_lost(tmp_path: Path, running: tuple[Metastore, str]) -> None:
    metastore, uri = running
    made = _load(tmp_path, uri)
    table = _open(made)
    metastore.answers_lost.append("lock")
    put(table, {0: range(10)})
    assert (metastore.alters, metastore.held) == (1, [])
    assert contents(made) == once({0: 10})


def test_an_answer_about_a_commit_that_is_lost(tmp_path: Path, running: tuple[Metastore, str]) -> None:
    metastore, uri = running
    made = _load(tmp_path, uri)
    table = _open(made)
    metastore.answers_lost.append("alter")
    put(table, {0: range(10)})
    assert metastore.alters == 1
    put(table, {0: range(10, 20)})
    assert metastore.held == [], "the connection broke while it held the lock"
    assert contents(made) == once({0: 20})


def test_a_commit_names_what_it_is_built_upon(tmp_path: Path, running: tuple[Metastore, str]) -> None:
    """Two of them under a lock that was released too early: the second is refused by the metastore itself."""
    metastore, uri = running
    made = _load(tmp_path, uri)
    assert isinstance(made, LastingHiveCatalog)
    table = _open(made)
    stale = copy.deepcopy(metastore.get_table(*IDENTIFIER))
    put(table, {0: range(10)})
    stale.parameters["previous_metadata_location"] = stale.parameters["metadata_location"]
    with made._client as open_client, pytest.raises(MetaException, match="modified"):
        open_client.alter_table_with_environment_context(
            *IDENTIFIER, stale, EnvironmentContext(properties={})
        )
    assert contents(made) == once({0: 10})


# -- columns


def _struct(*names: str) -> StructType:
    return StructType(*(NestedField(100 + index, name, LongType()) for index, name in enumerate(names)))


def _shown(metastore: Metastore) -> list[tuple[str, str]]:
    return [(one.name, one.type) for one in metastore.get_table("floe", "grows").sd.cols]


def _growing(folder: Path, uri: str) -> Table:
    made = _load(folder, uri)
    made.create_namespace("floe")
    fields = [
        NestedField(1, "i", LongType()),
        NestedField(2, "s", _struct("x")),
        NestedField(3, "z", LongType()),
    ]
    return made.create_table(("floe", "grows"), Schema(*fields), str(folder / "grows"))


def test_columns_that_may_not_change_are_given_anew(tmp_path: Path, running: tuple[Metastore, str]) -> None:
    """Other engines send a metastore the columns as they are: they could not write if it had others."""
    metastore, uri = running
    table = _growing(tmp_path, uri)
    with table.update_schema() as change:
        change.add_column(("s", "y"), StringType())
    grown = [("i", "bigint"), ("s", "struct<x:bigint,y:string>"), ("z", "bigint")]
    assert _shown(metastore) == grown
    refused = metastore.refused
    with table.update_schema() as change:
        change.add_column(("later",), StringType())
    assert _shown(metastore) == [*grown, ("later", "string")]
    assert metastore.refused == refused


def test_columns_that_a_metastore_does_not_take_do_not_stop_a_table(
    tmp_path: Path, running: tuple[Metastore, str]
) -> None:
    metastore, uri = running
    metastore.longest_type = 20
    table = _growing(tmp_path, uri)
    with table.update_schema() as change:
        change.add_column(("s", "y"), StringType())
    assert _shown(metastore) == [("i", "bigint")]
    refused = metastore.refused
    table.transaction().set_properties({"a": "b"}).commit_transaction()
    assert metastore.refused == refused, "it is not asked again"
    assert table.refresh().schema().find_field("s.y").field_type == StringType()
    assert table.properties["a"] == "b"


def test_a_change_of_the_first_column_does_not_stop_a_table(
    tmp_path: Path, running: tuple[Metastore, str]
) -> None:
    table = _growing(tmp_path, running[1])
    with table.update_schema(allow_incompatible_changes=True) as change:
        change.move_first("s")
    assert table.refresh().schema().fields[0].name == "s"


def test_names_that_hive_cannot_parse(tmp_path: Path, running: tuple[Metastore, str]) -> None:
    """A metastore takes such a type at first, and then no change whatever."""
    metastore, uri = running
    made = _load(tmp_path, uri)
    made.create_namespace("floe")
    schema = Schema(NestedField(1, "s", _struct("a-b", "c:d", "e<f", '"', "ü")))
    table = made.create_table(("floe", "odd"), schema, str(tmp_path / "odd"))
    with table.update_schema() as change:
        change.add_column(("later",), StringType())
    found = metastore.get_table("floe", "odd").sd.cols
    assert found[0].type == "struct<a_b:bigint,c_d:bigint,e_f:bigint,_:bigint,ü:bigint>"
    assert made.load_table(("floe", "odd")).schema().find_field("s.a-b").field_type == LongType()


# -- more than one, and none


def _nobody_listens() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"thrift://127.0.0.1:{probe.getsockname()[1]}"


def test_the_next_metastore_is_tried(tmp_path: Path, running: tuple[Metastore, str]) -> None:
    made = _load(tmp_path, f"{_nobody_listens()}, {_nobody_listens()},{running[1]}")
    put(_open(made), {0: range(10)})
    assert contents(made) == once({0: 10})


def test_a_metastore_that_is_away_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving() as (_, uri):
        table = _open(_load(tmp_path, uri))
    with pytest.raises(CommitUnknown, match=uri.rpartition(":")[2]):
        put(table, {0: range(10)})
    assert [one for one in caplog.records if one.name.startswith("thrift")] == []


def test_a_metastore_that_goes_away_in_the_middle_is_named(
    tmp_path: Path, running: tuple[Metastore, str]
) -> None:
    metastore, uri = running
    made = _load(tmp_path, uri)
    metastore.answers_lost.append("get_table")
    with pytest.raises(TTransportException, match=f"the metastore at {uri}"):
        made.load_table(IDENTIFIER)


def test_what_has_to_be_installed_is_said(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['thrift'] = None\n"
        "from broker.tiering import catalogs\n"
        "catalogs.load(catalogs.properties({'uri': 'thrift://nowhere:9083'}, '/unused'))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert CatalogUnusable.__name__ in done.stderr
    assert "needs the Python package thrift, which is not installed: pip install 'floe[hive]'" in done.stderr
