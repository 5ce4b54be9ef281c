"""Catalogs and warehouses: the embedded one, a real PostgreSQL, an S3 endpoint, and what is said when it fails."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyiceberg.catalog.glue import GlueCatalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.sql import SqlCatalog

from broker.tiering import catalogs
from broker.tiering.catalogs import CatalogUnusable
from broker.tiering.local_files import FileFailed
from broker.tiering.names import retired_identifier
from broker.tiering.tables import TopicTable, Writer
from tests.broker.tiering.rest_catalog import serving
from tests.broker.tiering.tables_of_tests import (
    IDENTIFIER,
    VALUE,
    WRITER,
    catalog,
    contents,
    live,
    once,
    put,
)

DEADLINE_S = 60


def test_without_settings_it_is_a_file_of_the_data_folder(tmp_path: Path) -> None:
    found = catalogs.properties({}, str(tmp_path))
    assert found == {
        "type": "sql",
        "uri": f"sqlite:///{tmp_path}/catalog.db",
        "warehouse": f"file://{tmp_path}/warehouse",
    }


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"uri": "http://lake:8181", "warehouse": "prod"}, "rest"),
        ({"uri": "postgresql+psycopg2://me@db/lake", "warehouse": "s3://lake/floe"}, "sql"),
        ({"uri": "thrift://hive:9083", "warehouse": "s3://lake/floe"}, "hive"),
        ({"type": "glue", "warehouse": "s3://lake/floe"}, "glue"),
    ],
)
def test_the_kind_follows_from_the_address(given: dict[str, str], kind: str) -> None:
    found = catalogs.properties(given, "/data")
    assert found["type"] == kind
    assert found["warehouse"] == given["warehouse"]
    assert catalogs.properties(given, "/data", "/mnt/lake")["warehouse"] == "file:///mnt/lake"


def test_timestamps_of_a_hive_catalog_are_what_hive_2_knows() -> None:
    given = {"uri": "thrift://hive:9083"}
    assert catalogs.properties(given, "/data")["hive.hive2-compatible"] == "true"
    chosen = {**given, "hive.hive2-compatible": "false"}
    assert catalogs.properties(chosen, "/data")["hive.hive2-compatible"] == "false"


@pytest.mark.parametrize("character", "%#?")
def test_a_folder_that_locations_cannot_name_is_refused(tmp_path: Path, character: str) -> None:
    data = tmp_path / f"a{character}20b"
    with pytest.raises(CatalogUnusable, match=r"another folder by floe\.table\.warehouse"):
        catalogs.load(catalogs.properties({}, str(data)))
    assert list(tmp_path.iterdir()) == []


def test_the_embedded_catalog(tmp_path: Path) -> None:
    made = catalogs.load(catalogs.properties({}, str(tmp_path / "new folder")))
    assert isinstance(made, SqlCatalog)
    live(made)
    assert (tmp_path / "new folder" / "catalog.db").exists()


# -- PostgreSQL


def _postgres_folder() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("postgres")
    return Path(on_path).parent if on_path else None


def _not_root() -> str | None:
    """PostgreSQL refuses to run as root; None where we are somebody else already."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The URI of a server of our own."""
    binaries = _postgres_folder()
    if binaries is None:
        pytest.skip(
            "PostgreSQL is not installed (Debian: apt-get install postgresql): its catalog is not tested"
        )
    user, port = _not_root(), _free_port()
    folder = Path(tempfile.mkdtemp(prefix="floe-postgres-"))
    if user is not None:
        shutil.chown(folder, user)
    data = folder / "data"
    initialise = [
        str(binaries / "initdb"),
        "-D",
        str(data),
        "-U",
        "floe",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--no-sync",
    ]
    subprocess.run(initialise, check=True, user=user, capture_output=True, cwd=folder)
    options = ["-p", str(port), "-h", "127.0.0.1", "-k", "", "-c", "fsync=off"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [str(binaries / "postgres"), "-D", str(data), *options],
            user=user,
            stderr=log,
            stdout=log,
            cwd=folder,
        )
    try:
        _await_port(server, port, folder / "log")
        yield f"postgresql+psycopg2://floe@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)  # a fast shutdown: does not wait for clients
        server.wait(DEADLINE_S)
        shutil.rmtree(folder)


def _await_port(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while "ready to accept connections" not in log.read_text():
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < deadline_s, log.read_text()
        os.sched_yield()
    with socket.create_connection(("127.0.0.1", port), DEADLINE_S):
        pass


def test_a_catalog_in_postgresql(tmp_path: Path, postgresql: str) -> None:
    made = catalogs.load(catalogs.properties({"uri": postgresql, "warehouse": str(tmp_path)}, "/unused"))
    assert isinstance(made, SqlCatalog)
    live(made)


def test_a_password_is_not_told(postgresql: str) -> None:
    wrong = postgresql.replace("floe@", "nobody:secret@").replace("/postgres", "/nothing")
    with pytest.raises(CatalogUnusable) as told:
        catalogs.load(catalogs.properties({"uri": wrong}, "/unused"))
    assert "127.0.0.1" in str(told.value)
    assert "secret" not in str(told.value)


# -- S3


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """Properties for an endpoint with the bucket `lake`."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    secrets = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=endpoint, **secrets).create_bucket(Bucket="lake")
    try:
        yield {
            "s3.endpoint": endpoint,
            "s3.access-key-id": "a",
            "s3.secret-access-key": "b",
            "s3.region": "us-east-1",
        }
    finally:
        server.stop()


def test_a_warehouse_in_s3(tmp_path: Path, s3: dict[str, str]) -> None:
    made = catalogs.load(catalogs.properties(s3, str(tmp_path), "s3://lake/floe"))
    assert isinstance(made, SqlCatalog)
    live(made)
    assert made.load_table("floe.orders").location() == "s3://lake/floe/floe/orders-id-of-orders"
    assert not list(tmp_path.rglob("*.parquet"))


def test_keys_that_s3_refuses_are_told_with_the_warehouse(tmp_path: Path, s3: dict[str, str]) -> None:
    """When the table is made, each time, and in the middle of a commit."""
    from moto.core import set_initial_no_auth_action_count

    made = catalogs.load(catalogs.properties(s3, str(tmp_path), "s3://lake/floe"))
    table = TopicTable.open(made, IDENTIFIER, WRITER, VALUE)
    put(table, {0: range(10)})
    said: list[str] = []

    @set_initial_no_auth_action_count(0)
    def refused() -> None:
        for _ in range(2):
            with pytest.raises(FileFailed) as failed:
                TopicTable.open(made, ("floe", "others"), WRITER, VALUE)
            said.append(str(failed.value))
        with pytest.raises(FileFailed) as failed:
            put(table, {0: range(10, 20)})
        said.append(str(failed.value))

    refused()
    for text in said:
        assert text.startswith("looking for a file in s3://lake/floe/floe/o"), text
        assert "(warehouse s3://lake/floe) failed" in text and "ACCESS_DENIED" in text
        assert "floe.table.catalog.s3.access-key-id" in text
    assert said[0] == said[1] != said[2], "the same words for the same problem"
    put(table, {0: range(10, 20)})
    assert contents(made) == once({0: 20})


def test_a_catalog_in_glue(s3: dict[str, str]) -> None:
    """AWS's catalog and S3, as moto plays them, through settings alone."""
    given = {
        "type": "glue",
        "glue.endpoint": s3["s3.endpoint"],
        "glue.region": "us-east-1",
        "glue.access-key-id": "a",
        "glue.secret-access-key": "b",
        **s3,
    }
    made = catalogs.load(catalogs.properties(given, "/unused", "s3://lake/glue"))
    assert isinstance(made, GlueCatalog)
    live(made)
    assert made.load_table("floe.orders").location() == "s3://lake/glue/floe/orders-id-of-orders"
    recreated = Writer(WRITER.cluster_id, WRITER.topic, "another id", 1)
    put(TopicTable.open(made, IDENTIFIER, recreated, VALUE), {0: range(3)})
    assert contents(made) == once({0: 3})
    assert contents(made, retired_identifier(IDENTIFIER, WRITER.topic_id)) == once({0: 40})


# -- REST


def test_a_rest_catalog(tmp_path: Path) -> None:
    with serving(catalog(tmp_path)) as (server, uri):
        made = catalogs.load(catalogs.properties({"uri": uri}, "/unused"))
        assert isinstance(made, RestCatalog)
        live(made)
        assert server.commits == 7, (
            "three commits, a compaction, an expiry, a rewind, and one more, each once"
        )
        again = TopicTable.open(
            made, IDENTIFIER, Writer(WRITER.cluster_id, WRITER.topic, "another id", 1), VALUE
        )
        put(again, {0: range(3)})
        assert contents(made, retired_identifier(IDENTIFIER, WRITER.topic_id)) == once({0: 40})
        again.drop()
        assert not made.table_exists(IDENTIFIER)


@pytest.mark.parametrize("status", [500, 503])
def test_a_rest_catalog_that_loses_its_answer(tmp_path: Path, status: int) -> None:
    with serving(catalog(tmp_path)) as (server, uri):
        made = catalogs.load(catalogs.properties({"uri": uri}, "/unused"))
        table = TopicTable.open(made, IDENTIFIER, WRITER, VALUE)
        put(table, {0: range(10)})
        server.answer_lost = status
        put(table, {0: range(10, 20)})
        assert server.commits == 2
        assert table.marks() == {0: 20}
        assert contents(made) == once({0: 20})


@pytest.fixture
def silent() -> Iterator[str]:
    """The URI of a server that takes requests and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_rest_catalog_that_never_answers(silent: str) -> None:
    given = {"uri": silent, "rest.client.socket-timeout-ms": "100"}
    with pytest.raises(
        CatalogUnusable, match=r"the catalog at http://127.0.0.1:\d+ cannot be used: .*timed out"
    ):
        catalogs.load(catalogs.properties(given, "/unused"))


# -- what is said


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"type": "cassandra", "uri": "x"}, "floe.table.catalog.*"),
        ({"type": "rest", "uri": "http://127.0.0.1:9"}, "the catalog at http://127.0.0.1:9 cannot be used"),
        (
            {"type": "sql", "uri": "sqlite:////proc/none/x.db"},
            "the catalog at sqlite:////proc/none/x.db cannot be",
        ),
        ({"type": "sql", "uri": "nonsense"}, "cannot be used"),
        (
            {"type": "sql", "uri": "mysql://db/lake"},
            "needs the Python package mysqlclient, which is not installed: pip install 'mysqlclient'",
        ),
    ],
)
def test_a_catalog_that_cannot_be_used(given: dict[str, str], told: str) -> None:
    with pytest.raises(CatalogUnusable, match=told.replace("*", r"\*")):
        catalogs.load(catalogs.properties(given, "/unused"))


def test_where_tables_of_other_catalogs_go() -> None:
    assert catalogs.warehouse_url({"warehouse": "prod"}) is None
    assert catalogs.warehouse_url({"warehouse": "s3://lake/floe/"}) == "s3://lake/floe"
