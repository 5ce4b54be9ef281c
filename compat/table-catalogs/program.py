"""A topic with nested JSON whose table is in a Hive metastore or behind a REST catalog, real ones: program.py KIND.

The broker is one of this program's own, with the catalog's address as its only setting of it. What the table must hold
is worked out from the documents. Records are numbered; document n is `document(n)`.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE.parent), str(ROOT)]

from confluent_kafka import Producer  # noqa: E402
from features import Features, equal, until  # noqa: E402
from pyiceberg.catalog import load_catalog  # noqa: E402
from pyiceberg.exceptions import NoSuchTableError  # noqa: E402
from servers import HiveMetastore, RestServer  # noqa: E402
from workers import free_port  # noqa: E402

from tests import tables  # noqa: E402
from tests.floe_process import FloeProcess  # noqa: E402

KIND = sys.argv[1]
SCRATCH = Path(os.environ["SCRATCH"])
TOPIC = "Clicks.v1"
ODD = "odd-names"
ODD_DOCUMENTS = (
    [{"o": {"a-b": 1}}],
    [{"o": {"price: net": 2}, "a b": 1}, {"o": {"e<f": 4}, "a:b": 1}],
    [{"o": {'"': 8}, "[{list}]": [{"a,b": 1}]}],
)
"""Names that Hive cannot parse in the type of a column. Iceberg's readers can, its Java writers in Hive cannot."""
PARTITIONS = 2
ROUND = 500
KILLS = 3
"""With locks: so many kills must have left one behind."""
MOST_KILLS = 12
READER_LIMIT_S = 150.0
PATIENCE_S = 60.0

features = Features()
server = (HiveMetastore if KIND == "hive" else RestServer)(SCRATCH, free_port())
settings = {
    "floe.table.enable": "true",
    "floe.table.value": "json",
    "floe.table.commit.interval.ms": "200",
    "floe.table.catalog.uri": server.uri,
}
if KIND == "hive":
    settings["floe.table.warehouse"] = f"file://{SCRATCH}/warehouse"
floe = FloeProcess(SCRATCH / "data-with-catalog", settings)
produced = 0


def document(n):
    """What there is more of with time: a field, one in an object, one in an object of a list."""
    found = {"id": n, "amount": n / 4, "user": {"name": f"user-{n % 7}"}}
    if n >= ROUND:
        found |= {"country": "NO", "items": [{"sku": n}]}
        found["user"]["age"] = n % 90
    if n >= 2 * ROUND:
        found["user"]["first_seen"] = "today"
        found["items"][0]["price"] = n / 2
    return found


def expected(count):
    """Count, sums of id, amount and user.age, counts of user.first_seen and country: of the first `count` documents."""
    documents = [document(n) for n in range(count)]
    return [
        count,
        sum(one["id"] for one in documents),
        sum(one["amount"] for one in documents),
        sum(one["user"].get("age", 0) for one in documents),
        sum("first_seen" in one["user"] for one in documents),
        sum("country" in one for one in documents),
    ]


class Producing:
    """Documents one after the other, exactly once each, whatever happens to the broker."""

    def __init__(self):
        self._producer = Producer(
            {
                "bootstrap.servers": floe.bootstrap,
                "enable.idempotence": True,
                "message.timeout.ms": 0,
                "log_level": 0,
            }
            | {"reconnect.backoff.max.ms": 200}
        )

    def some(self, count):
        """The next documents, acknowledged."""
        global produced
        for n in range(produced, produced + count):
            self._producer.produce(TOPIC, json.dumps(document(n)), partition=n % PARTITIONS)
            self._producer.poll(0)
        produced += count
        equal(self._producer.flush(PATIENCE_S), 0, "what is not acknowledged")


class Steadily(threading.Thread):
    """Some documents all the time, for as long as a `with` takes."""

    def __init__(self):
        super().__init__(daemon=True)
        self._producing = Producing()
        self._ended = threading.Event()
        self.error = None

    def run(self):
        try:
            while not self._ended.wait(0.02):
                self._producing.some(10)
        except Exception as error:
            self.error = error

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self.join(2 * PATIENCE_S)
        assert not self.is_alive() and self.error is None, f"the producer: {self.error}"


def command(*arguments):
    """What a command of Floe's own prints."""
    words = [str(ROOT / ".venv/bin/floe"), *arguments, "--bootstrap-server", floe.bootstrap]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S)
    if ended.returncode:
        raise AssertionError(f"floe {' '.join(arguments)}: {ended.stderr[-500:]}")
    return ended.stdout


def ask(*arguments):
    """The same as JSON."""
    return json.loads(command(*arguments, "--output", "json"))


def create(topic, *configs):
    with_configs = [part for one in configs for part in ("-c", one)]
    command("topics", "create", topic, "-p", str(PARTITIONS), *with_configs)


def described(topic=TOPIC):
    return ask("tables", "describe", topic)[0]


def catalog():
    """As pasted from `floe tables describe` into PyIceberg, which is not Floe's."""
    told = tables.described(floe, TOPIC)["catalog"]
    return load_catalog(told["name"], **told["properties"])


def until_tabled():
    tables.until_tabled(floe, TOPIC, produced)


def check_table():
    """Every record is in the table once, and says what it said, as PyIceberg reads it."""
    read = catalog().load_table(tables.described(floe, TOPIC)["table"]).scan().to_arrow()
    found = list(zip(read["kafka_partition"].to_pylist(), read["kafka_offset"].to_pylist()))
    wanted = [(index, offset) for index in range(PARTITIONS) for offset in range(produced // PARTITIONS)]
    equal(sorted(found), wanted, "partitions and offsets")
    ids = read["id"].to_pylist()
    equal(sorted(ids), list(range(produced)), "ids")
    for row in read.select(["id", "amount", "user", "country", "items"]).to_pylist():
        said = document(row["id"])
        row["user"] = {name: value for name, value in row["user"].items() if value is not None}
        for name in ("amount", "user", "country"):
            equal(row[name], said.get(name), f"{name} of {row['id']}")
        items = [{k: v for k, v in one.items() if v is not None} for one in row["items"] or ()]
        equal(items, said.get("items", []), f"items of {row['id']}")


@features.check("the table comes, grows and is committed to")
def _():
    create(TOPIC)
    producing = Producing()
    for _ in range(4):
        producing.some(ROUND)
        until_tabled()
    create(ODD)
    for values in ODD_DOCUMENTS:
        tables.produce(floe, ODD, [json.dumps(one).encode() for one in values])
        tables.until_tabled(
            floe, ODD, sum(len(one) for one in ODD_DOCUMENTS[: ODD_DOCUMENTS.index(values) + 1])
        )
    for topic in (TOPIC, ODD):
        equal(described(topic)["dead_letters_metadata_location"], None, f"dead letters of {topic}")


@features.check("PyIceberg reads it with what describe prints")
def _():
    check_table()


@features.check("floe tables list, lag and describe; floe sql at once")
def _():
    table = described()["table"]
    equal([one["table"] for one in ask("tables", "list") if one["topic"] == TOPIC], [table], "list")
    equal(ask("tables", "lag", TOPIC)[0]["lag_records"], 0, "lag")
    Producing().some(ROUND)
    wanted = 'count(*), sum(id), sum(amount), sum("user".age), count("user"."first_seen"), count(country)'
    query = f'select {wanted} from "{TOPIC}"'
    equal(list(ask("sql", query).values()), expected(produced), "floe sql")
    until_tabled()


@features.check("files are merged, snapshots expire, orphans are looked for")
def _():
    merged = ask("tables", "compact", TOPIC)
    assert merged["files_before"] > merged["files_after"] > 0, merged
    command(
        "topics", "alter", TOPIC, "-c", "floe.table.snapshot.keep=1", "-c", "floe.table.snapshot.expire.ms=0"
    )
    expired = ask("tables", "expire", TOPIC)
    assert expired["snapshots_expired"] > 0, expired
    ask("tables", "remove-orphans", TOPIC)
    command("topics", "alter", TOPIC, "-c", "floe.table.snapshot.expire.ms=3600000")
    check_table()


@features.check("Spark reads the same, and rewrites files while Floe commits")
def _():
    count = produced
    names = [described(topic)["table"] for topic in (TOPIC, ODD)]
    # Iceberg's Java writers try five times: beside a commit every 200 ms they would not get their turn. And who has
    # somebody else merge a table's files leaves that to him.
    meanwhile = {"floe.table.commit.interval.ms": "2000", "floe.table.maintenance.compact": "false"}
    command(
        "topics",
        "alter",
        TOPIC,
        *(part for name in meanwhile for part in ("-c", f"{name}={meanwhile[name]}")),
    )
    words = [os.environ["SPARK_PYTHON"], str(HERE / "pyspark_reader.py"), KIND, server.uri, *names]
    with Steadily():
        ended = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=READER_LIMIT_S,
            env={**os.environ, "LAST_ID": str(count - 1)},
        )
    said = [
        line for line in ended.stderr.splitlines() if line.startswith(("pyspark.", "Caused by", "ValueError"))
    ]
    assert ended.returncode == 0, " ".join(said[-3:]) or ended.stderr[-500:]
    told = json.loads(ended.stdout.splitlines()[-1])
    equal(told["before"], expected(count), "before the rewrite")
    equal(told["after"], expected(count), "after the rewrite")
    equal(told["odd"], [4, 1, 2, 4, 8], "odd names")
    assert told["rewritten"] > 0, told
    assert produced > count, "nothing was produced meanwhile"
    command("topics", "alter", TOPIC, *(part for name in meanwhile for part in ("--unset", name)))
    until_tabled()
    check_table()


@features.check("a catalog that is away is named, and caught up with")
def _():
    server.kill()
    try:
        Producing().some(ROUND)
        error = until(lambda: ask("tables", "lag", TOPIC)[0]["error"], PATIENCE_S, "an error is told")
        assert str(server.port) in error, f"it does not say where: {error}"
        query = f'select count(*) from "{TOPIC}"'
        equal(list(ask("sql", query).values()), [produced], "floe sql meanwhile")
    finally:
        server.start()
    until_tabled()
    equal(tables.described(floe, TOPIC)["error"], None, "error")
    log = floe.log()
    assert "could not be committed to its table" in log and "is committed again" in log, log[-800:]
    assert "Traceback" not in log, log[log.index("Traceback") :][:800]
    check_table()


def kill_everything():
    """Broker and worker, in the middle of whatever it is."""
    pids = [*tables.workers(floe), floe.pid]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    floe.kill()
    floe.start()


@features.check("killed in the middle of commits: every record once")
def _():
    with Steadily():
        if KIND == "hive":
            kill_with_locks()
        else:
            for _ in range(KILLS):
                before = tables.described(floe, TOPIC)["snapshot_id"]
                until(
                    lambda before=before: tables.described(floe, TOPIC)["snapshot_id"] != before,
                    PATIENCE_S,
                    "a commit",
                )
                kill_everything()
    until_tabled()
    check_table()


def kill_with_locks():
    """Until some of them have left a lock behind, which without more would lock the table for ever."""
    table = tables.described(floe, TOPIC)["table"]
    left = 0
    with server.client() as client:
        for _ in range(MOST_KILLS):
            before = max(server.locks(client, table), default=0)
            until(
                lambda before=before: max(server.locks(client, table), default=0) > before,
                PATIENCE_S,
                "a commit takes its lock",
            )
            kill_everything()
            left += max(server.locks(client, table), default=0) > before
            if left == KILLS:
                return
    raise AssertionError(f"{MOST_KILLS} kills left {left} locks behind")


@features.check("a deleted topic's table stays, unless it is to go with it")
def _():
    create("gone", "floe.table.delete.with.topic=true")
    tables.produce(floe, "gone", [b'{"id": 1}'])
    tables.until_tabled(floe, "gone", 1)
    gone, kept = described("gone"), described()
    folder = Path(gone["metadata_location"].removeprefix("file://")).parent.parent
    loaded = catalog()
    command("topics", "delete", TOPIC)
    command("topics", "delete", "gone")

    def is_gone():
        try:
            loaded.load_table(gone["table"])
        except NoSuchTableError:
            return True
        return False

    until(is_gone, PATIENCE_S, "the table is gone")
    until(lambda: not [one for one in folder.rglob("*") if one.is_file()], PATIENCE_S, "its files are gone")
    equal(
        len(loaded.load_table(kept["table"]).scan(selected_fields=("id",)).to_arrow()),
        produced,
        "rows that stay",
    )


server.start()
floe.start()
try:
    features.run()
    sys.stderr.write(floe.log()[-20000:])
finally:
    floe.end()
    server.kill()
