"""`floe tables` and `floe sql` against a real broker."""

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from moto.server import ThreadedMotoServer
from pyiceberg.catalog import load_catalog

from broker.cli import tables_snippets
from broker.cli.root import floe
from broker.tiering.query import Database, MissingExtension, Relation
from broker.tiering.spilled_rows import RowStore
from tests.floe_process import FloeProcess

NEVER = "86400000"
SETTINGS = {"floe.table.enable": "true", "floe.table.commit.interval.ms": NEVER}
"""Nothing is committed unless the test says so."""


class Cli:
    def __init__(self, process: FloeProcess) -> None:
        self.process = process

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(floe, [*arguments, "--bootstrap-server", self.process.bootstrap])

    def ok(self, *arguments: str) -> str:
        result = self(*arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *arguments: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.ok(*arguments, "-o", "json").splitlines()]

    def create(self, topic: str, **settings: str) -> None:
        pairs = [f"floe.table.{name}={value}" for name, value in settings.items()]
        self.ok("topics", "create", topic, "-p", "2", *(part for pair in pairs for part in ("-c", pair)))

    def clicks(self, topic: str, count: int, seed: int = 1) -> None:
        self.ok("generate", "clickstream", topic, "-n", str(count), "--seed", str(seed))


class WithoutHttpfs(Database):
    def load(self, *extensions: str) -> None:
        if "httpfs" in extensions:
            raise MissingExtension("httpfs")
        super().load(*extensions)


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    process = FloeProcess(tmp_path_factory.mktemp("tables") / "data", SETTINGS).start()
    yield Cli(process)
    process.end()


def test_an_answer_is_never_older_than_the_last_acknowledged_write(cli: Cli) -> None:
    cli.create("clicks", value="json", key="text")
    ask = 'select count(*) n, count(distinct event_id) events, sum("order".items) items from clicks'
    cli.clicks("clicks", 3000)
    hot = cli.json("sql", ask)
    assert (hot[0]["n"], hot[0]["events"]) == (3000, 3000)
    assert cli.json("sql", "select count(*) n from clicks", "--tables-only") == [{"n": 0}]
    cli.ok("tables", "commit", "clicks")
    assert cli.json("sql", ask) == hot
    assert cli.json("sql", ask, "--tables-only") == hot
    cli.clicks("clicks", 500, seed=2)
    assert cli.json("sql", "select count(*) n from floe.clicks") == [{"n": 3500}]
    assert cli.json("sql", "select count(*) n from clicks", "--tables-only") == [{"n": 3000}]
    (behind,) = json.loads(cli.ok("tables", "lag", "clicks", "-o", "json"))
    assert (behind["lag_records"], behind["error"]) == (500, None)


def test_what_does_not_fit_can_be_asked_for_with_its_reason(cli: Cli, tmp_path: Path) -> None:
    cli.create("mixed", value="json")
    path = tmp_path / "lines"
    path.write_text('{"a": 1}\nnot JSON\n{"a": 2}\n')
    cli.ok("produce", "mixed", "--file", str(path), "-p", "0")
    letters = "select kafka_offset, value, reason from mixed__dlq"
    for _ in range(2):
        assert cli.json("sql", "select sum(a) total from mixed") == [{"total": 3}]
        (letter,) = cli.json("sql", letters)
        assert (letter["kafka_offset"], letter["value"]) == (1, "not JSON")
        assert letter["reason"]
        cli.ok("tables", "commit", "mixed")


def test_rows_as_a_table_and_as_csv(cli: Cli) -> None:
    ask = "select range as n, 'a,b' || range as t, null as empty from range(3)"
    assert cli.ok("sql", ask, "-o", "csv") == 'n,t,empty\n0,"a,b0",\n1,"a,b1",\n2,"a,b2",\n'
    shown = cli("sql", ask, "--max-rows", "2")
    assert shown.stdout == "n  t     empty\n0  a,b0  -\n1  a,b1  -\n"
    assert "1 more rows" in shown.stderr


def test_a_wrong_name_and_a_wrong_query_are_told(cli: Cli) -> None:
    cli.create("known")
    wrong = cli("sql", "select * from nonesuch")
    assert wrong.exit_code == 1
    assert "nonesuch does not exist" in wrong.output and "known" in wrong.output
    assert "syntax error" in cli("sql", "selec 1").output
    for empty in ("  ", ";", "/* nothing */"):
        assert cli("sql", empty).exit_code == 2
    assert "pg_" not in cli("sql", "select * from p_tables").output


def test_what_would_be_lost_is_refused(cli: Cli) -> None:
    cli.create("kept")
    for statement in ("insert into kept values (1)", "create table made as select 1", "drop view kept"):
        refused = cli("sql", statement)
        assert refused.exit_code == 1 and "floe sql answers questions" in refused.output
    assert cli.json("sql", "create temp table made as select 7 as n; from made") == [{"n": 7}]


def test_names_are_found_as_they_are_written(cli: Cli, tmp_path: Path) -> None:
    cli.create("dotted.v1")
    cli.create("switched-off", enable="false")
    shown = cli.ok("sql", "SHOW TABLES", "-o", "csv").splitlines()
    assert "dotted.v1" in shown and "switched-off" not in shown
    for name in ('"dotted.v1"', "floe.dotted_v1", 'floe."dotted_v1"', '"DOTTED.V1"'):
        assert cli.json("sql", f"select count(*) n from {name}") == [{"n": 0}]
    assert 'double quotes: "dotted.v1"' in cli("sql", "select * from dotted.v1").output
    cli.create("order")
    assert 'double quotes: "order"' in cli("sql", "select * from order").output
    assert "floe topics list" in cli("tables", "lag", "nonesuch").output
    assert "switched-off has no table" in cli("sql", 'select * from "switched-off"').output


def test_ctrl_c_ends_a_query_without_a_traceback(cli: Cli) -> None:
    assert cli.json("sql", "select 1 n") == [
        {"n": 1}
    ]  # whatever is imported is: an import may swallow a signal
    long = "select count(*) from range(100000) a, range(20000) b where hash(a.range, b.range) = 1"
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        result = cli("sql", long)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert result.exit_code == 1 and result.output.strip() == "Aborted!"


def test_names_that_differ_by_case_alone(cli: Cli) -> None:
    cli.create("cased", value="json")
    cli.create("Cased", value="json")
    cli.clicks("Cased", 10)
    assert cli.json("sql", "select count(*) n from Cased") == [{"n": 10}]
    assert cli.json("sql", 'select count(*) n from "cased"') == [{"n": 0}]
    assert "any of the topics" in cli("sql", "select count(*) from CASED").output


def test_two_topics_in_one_question(cli: Cli) -> None:
    for topic in ("left", "right"):
        cli.create(topic, value="json")
        cli.clicks(topic, 20, seed=3)
    (row,) = cli.json(
        "sql", 'select * from "left" a join "right" b using (event_id) order by event_id limit 1'
    )
    assert row["kafka_offset"] == row["kafka_offset_1"]
    assert row["kafka_timestamp_1"]


def test_a_description_can_be_pasted(cli: Cli) -> None:
    cli.create("orders.v1")
    cli.clicks("orders.v1", 100)
    cli.ok("tables", "commit", "orders.v1")
    (described,) = json.loads(cli.ok("tables", "describe", "orders.v1", "-o", "json"))
    assert sum(described["tabled"].values()) == 100
    text = cli.ok("tables", "describe", "orders.v1")
    assert described["metadata_location"] in text and "spark-sql" in text
    assert [table["topic"] for table in json.loads(cli.ok("tables", "list", "-o", "json"))].count(
        "orders.v1"
    ) == 1
    pasted: dict[str, object] = {"load_catalog": load_catalog}
    *lines, last = tables_snippets.pyiceberg(described).splitlines()
    exec("\n".join(lines), pasted)
    assert len(eval(last, pasted)) == 100
    # As somebody pastes it: what is printed, line by line into an interactive Python, on a terminal or not.
    pasted_lines = text[text.index("# PyIceberg") : text.index("# Spark")]
    ran = subprocess.run([sys.executable, "-i", "-q"], input=pasted_lines, capture_output=True, text=True)
    assert "Error" not in ran.stderr, ran.stderr
    assert "100" in ran.stdout and "pyarrow.Table" in ran.stdout
    assert cli.json("sql", 'select count(*) n from "orders.v1"') == [{"n": 100}]


def test_the_table_of_a_deleted_topic_is_read_by_its_metadata(cli: Cli) -> None:
    cli.create("gone")
    cli.clicks("gone", 20)
    cli.ok("tables", "commit", "gone")
    (described,) = json.loads(cli.ok("tables", "describe", "gone", "-o", "json"))
    cli.ok("topics", "delete", "gone")
    missing = cli("sql", "from gone")
    assert missing.exit_code == 1 and "iceberg_scan" in missing.output
    location = described["metadata_location"]
    assert cli.json("sql", f"select count(*) n from iceberg_scan('{location}')") == [{"n": 20}]


def test_a_rewound_table_is_read_again(cli: Cli) -> None:
    cli.create("again", value="text")
    cli.clicks("again", 200)
    cli.ok("tables", "commit", "again")
    cli.ok("topics", "alter", "again", "-c", "floe.table.value=json")
    assert cli("tables", "rewind", "again", "--to", "0=x").exit_code == 2
    assert "named twice" in cli("tables", "rewind", "again", "--to", "0=1", "--to", "0=2").output
    assert "no partition 7" in cli("tables", "rewind", "again", "--to", "7=0").output
    cli.ok("tables", "rewind", "again", "--to", "0=0", "--to", "1=0")
    cli.ok("tables", "commit", "again")
    assert cli.json("sql", "select count(*) n, count(distinct event_id) e from again", "--tables-only") == [
        {"n": 200, "e": 200}
    ]


def test_small_files_become_one(cli: Cli) -> None:
    cli.create("small", **{"partition.by": ""})
    for seed in (1, 2, 3):
        cli.clicks("small", 50, seed)
        cli.ok("tables", "commit", "small")
    merged = json.loads(cli.ok("tables", "compact", "small", "-o", "json"))
    assert (merged["files_before"], merged["files_after"]) == (3, 1)
    assert merged["snapshots_expired"] == 0
    assert "snapshots expired" in cli("tables", "expire", "small").output
    assert cli.json("sql", "select count(*) n from small") == [{"n": 150}]


@pytest.mark.parametrize(
    ("uri", "jdbc"),
    [
        ("sqlite:////data/catalog.db", "jdbc:sqlite:/data/catalog.db"),
        ("postgresql+psycopg2://floe:***@db:5433/lake", "jdbc:postgresql://db:5433/lake"),
    ],
)
def test_spark_is_told_jdbc(uri: str, jdbc: str) -> None:
    catalog = {"name": "floe", "properties": {"type": "sql", "uri": uri, "warehouse": "s3://my lake's"}}
    snippet = tables_snippets.spark({"catalog": catalog, "table": "floe.orders"})
    assert snippet is not None
    command = snippet[snippet.index("spark-sql") :]
    echoed = subprocess.run(["bash", "-c", f"echo {command}"], capture_output=True, text=True, check=True)
    assert f"uri={jdbc} " in echoed.stdout and "warehouse=s3://my lake's --conf" in echoed.stdout
    assert echoed.stdout.endswith("-e SELECT count(*) FROM floe.floe.`orders`\n") and not echoed.stderr


def test_spark_is_told_how_s3_is_reached() -> None:
    properties = {"type": "rest", "uri": "http://catalog:8181", "s3.endpoint": "http://store:9000"}
    catalog = {"name": "lake", "properties": {**properties, "s3.access-key-id": "***"}}
    described = {"catalog": catalog, "table": "floe.orders", "metadata_location": "s3://lake/x.json"}
    snippet = tables_snippets.spark(described)
    assert snippet is not None and snippet.startswith("# *** stands for")
    runtime, bundle = tables_snippets.SPARK_PACKAGE, tables_snippets.SPARK_AWS
    assert f"--packages {runtime},{bundle} " in snippet and runtime.split(":")[2] == bundle.split(":")[2]
    for setting in (
        "io-impl=org.apache.iceberg.aws.s3.S3FileIO",
        "s3.endpoint=http://store:9000",
        "s3.path-style-access=true",
        "client.region=us-east-1",
    ):
        assert f"--conf spark.sql.catalog.lake.{setting} " in snippet
    local = tables_snippets.spark({**described, "metadata_location": "file:///x.json"})
    assert local is not None and "s3" not in local and bundle not in local
    glue = {**described, "catalog": {"name": "lake", "properties": {"type": "glue", "s3.region": "eu"}}}
    assert "client.region=eu " in (tables_snippets.spark(glue) or "")


def test_what_is_hidden_is_said_where_it_is_pasted() -> None:
    uri = "postgresql+psycopg2://fl%20oe:***@db/lake"
    described = {
        "catalog": {"name": "lake", "properties": {"type": "sql", "uri": uri}},
        "table": "floe.orders",
    }
    spark = tables_snippets.spark(described)
    assert spark is not None and "org.postgresql:postgresql:" in spark
    assert "'spark.sql.catalog.lake.jdbc.user=fl oe'" in spark
    assert "jdbc.password=***" in spark and "uri=jdbc:postgresql://db/lake" in spark
    for snippet in (spark, tables_snippets.pyiceberg(described)):
        assert snippet.startswith("# *** stands for")
    described["catalog"]["properties"]["uri"] = "postgresql+psycopg2://floe@db/lake"
    assert "***" not in tables_snippets.pyiceberg(described)


def test_duckdb_is_told_how_s3_is_reached() -> None:
    properties = {"s3.endpoint": "http://store:9000", "s3.region": "eu", "s3.access-key-id": "***"}
    described = {"metadata_location": "s3://lake/o's.json", "catalog": {"properties": properties}}
    snippet = tables_snippets.duckdb(described)
    assert snippet is not None and "duckdb-extension-httpfs==" in snippet and "# *** stands for" in snippet
    assert "ENDPOINT 'store:9000', URL_STYLE 'path', USE_SSL false" in snippet
    assert "iceberg_scan('s3://lake/o''s.json')" in snippet
    compile(snippet, "snippet", "exec")
    for nowhere in (None, "gs://lake/x.json"):
        assert tables_snippets.duckdb({**described, "metadata_location": nowhere}) is None


def test_a_warehouse_in_s3_is_reached_by_what_the_broker_knows(tmp_path: Path) -> None:
    store = ThreadedMotoServer("127.0.0.1", port=0)
    store.start()
    host, port = store.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/lake", method="PUT")).close()
    properties = {
        "endpoint": endpoint,
        "region": "us-east-1",
        "access-key-id": "ak",
        "secret-access-key": "sk",
    }
    settings = {f"floe.table.catalog.s3.{name}": value for name, value in properties.items()}
    process = FloeProcess(
        tmp_path / "data", {**SETTINGS, **settings, "floe.table.warehouse": "s3://lake/w"}
    ).start()
    try:
        cli = Cli(process)
        cli.create("far")
        cli.clicks("far", 10)
        cli.ok("tables", "commit", "far")
        keys = ("--property", "s3.access-key-id=ak", "--property", "s3.secret-access-key=sk")
        assert cli.json("sql", "select count(*) n from far", *keys) == [{"n": 10}]
        assert "ICEBERG_SCAN" in cli.ok("sql", "explain from far", *keys)
        cli.clicks("far", 5, seed=2)
        assert cli.json("sql", "select count(*) n from far", *keys) == [{"n": 15}]
        (described,) = json.loads(cli.ok("tables", "describe", "far", "-o", "json"))
        login = {f"s3.{name}": value for name, value in properties.items()}
        with WithoutHttpfs(RowStore(0)) as database:
            database.add(Relation("far", "", described["metadata_location"], None, None, login))
            _names, batches = database.query("select count(*), count(distinct value) from far")
            assert list(batches) == [[(10, 10)]]
            assert database.columns(described["metadata_location"], login) is not None
        scan = f"select count(*) n from iceberg_scan('{described['metadata_location']}')"
        told = ("s3.endpoint", endpoint), ("s3.region", "us-east-1")
        told_too = (part for name, value in told for part in ("--property", f"{name}={value}"))
        assert cli.json("sql", scan, *keys, *told_too) == [{"n": 10}]
        store.stop()
        failed = cli("sql", "select count(*) from far", *keys)
        assert failed.exit_code == 1 and "cannot be read" in failed.output and "--property" in failed.output
    finally:
        process.end()
