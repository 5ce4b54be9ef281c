"""Tables of a real broker, from a client's record to PyIceberg reading it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer

from broker.cli import admin
from broker.cli.client import Client
from tests import tables
from tests.floe_process import FloeProcess
from tests.tables import LIMIT_S, ask, described, floe, offsets, produce, until, until_tabled


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FloeProcess]:
    """One for all that do not stop it: each test has topics of its own."""
    running = floe(tmp_path_factory.mktemp("tables") / "data")
    running.start()
    yield running
    running.end()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Of a broker of the test's own."""
    return tmp_path / "data"


def create(broker: FloeProcess, topic: str, partitions: int = 1, **configs: str) -> None:
    named = {name.replace("__", "."): text for name, text in configs.items()}
    with Client([("127.0.0.1", broker.port)]) as client:
        admin.create_topic(client, topic, partitions=partitions, configs=named)


def alter(broker: FloeProcess, topic: str, name: str, text: str) -> None:
    with Client([("127.0.0.1", broker.port)]) as client:
        admin.alter_configs(client, admin.TOPIC, topic, values={name: text})


def test_records_are_rows_soon_after(broker: FloeProcess) -> None:
    create(broker, "orders.v1", partitions=3)
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for number in range(300):
        producer.produce(
            "orders.v1",
            b"value %d" % number,
            key=b"key %d" % number,
            partition=number % 3,
            timestamp=1_700_000_000_000 + number,
            headers=[("trace", b"%d" % number)],
        )
    producer.flush(LIMIT_S)
    until_tabled(broker, "orders.v1", 300)
    found = tables.rows(broker.data_dir, "floe.orders_v1").to_pylist()
    assert [(row["kafka_partition"], row["kafka_offset"]) for row in found] == [
        (partition, offset) for partition in range(3) for offset in range(100)
    ]
    row = found[100 + 7]
    number = 7 * 3 + 1
    assert row["value"] == b"value %d" % number and row["kafka_key"] == b"key %d" % number
    assert row["kafka_headers"] == [{"key": "trace", "value": b"%d" % number}]
    assert round(row["kafka_timestamp"].timestamp() * 1000) == 1_700_000_000_000 + number
    told = described(broker, "orders.v1")
    assert told["table"] == "floe.orders_v1" and told["lag_records"] == 0 and told["records"] == 300
    assert Path(told["metadata_location"].removeprefix("file://")).exists()
    assert told["tabled"] == {"0": 100, "1": 100, "2": 100}


def test_the_broker_itself_never_loads_what_tables_need(broker: FloeProcess) -> None:
    produce(broker, "loaded", [b"x"])
    until_tabled(broker, "loaded", 1)
    loaded = Path(f"/proc/{broker.pid}/maps").read_text()
    assert not [library for library in ("numpy", "pyarrow", "libarrow", "pyiceberg") if library in loaded]


def test_a_topic_may_go_without_table(broker: FloeProcess) -> None:
    create(broker, "quiet", floe__table__enable="false")
    produce(broker, "quiet", [b"x"] * 10)
    create(broker, "loud")
    produce(broker, "loud", [b"x"])
    until_tabled(broker, "loud", 1)
    known = {entry["topic"] for entry in ask(broker, "tables.list")["tables"]}
    assert "loud" in known and "quiet" not in known


def test_a_table_switched_on_late_has_all_from_the_logs_start(broker: FloeProcess) -> None:
    create(broker, "late", floe__table__enable="false", floe__table__commit__bytes=str(1 << 20))
    values = [b"%d " % number + b"x" * 1_000 for number in range(3_000)]
    produce(broker, "late", values)
    alter(broker, "late", "floe.table.enable", "true")
    until_tabled(broker, "late", 3_000)
    found = tables.rows(broker.data_dir, "floe.late")
    assert found["value"].to_pylist() == values
    assert described(broker, "late")["records"] == 3_000


def test_a_stop_commits_what_is_there_and_a_start_needs_no_worker(data_dir: Path) -> None:
    broker = floe(data_dir, floe__table__commit__interval__ms="3600000")
    broker.start()
    try:
        produce(broker, "t", [b"1", b"2"])
        assert broker.stop() == 0
        assert offsets(data_dir, "floe.t") == {0: [0, 1]}
        broker.start()
        assert described(broker, "t")["tabled"] == {"0": 2}
        assert described(broker, "t")["lag_records"] == 0
        assert not tables.workers(broker)
        produce(broker, "t", [b"3"])
        assert described(broker, "t")["lag_records"] == 1
        assert ask(broker, "tables.commit", topics=["t"])["tables"][0]["lag_records"] == 0
        assert offsets(data_dir, "floe.t") == {0: [0, 1, 2]}
    finally:
        broker.end()


def test_the_broker_lives_on_without_its_catalog_and_catches_up(data_dir: Path) -> None:
    away = {"floe__table__catalog__uri": "http://127.0.0.1:9", "floe__table__catalog__type": "rest"}
    broker = floe(data_dir, **away)
    broker.start()
    try:
        produce(broker, "t", [b"1", b"2"])
        until(lambda: "could not be committed" in broker.log(), "a word of the failure")
        produce(broker, "t", [b"3"])
        told = described(broker, "t")
        assert told["lag_records"] == 3 and "catalog" in told["error"] and told["lag_seconds"] > 0
        assert broker.stop() == 0, "it does not wait for a catalog that is away"
    finally:
        broker.end()
    broker = floe(data_dir)
    broker.start()
    try:
        until_tabled(broker, "t", 3)
        assert offsets(data_dir, "floe.t") == {0: [0, 1, 2]}
    finally:
        broker.end()


def test_aborted_transactions_are_no_rows_and_open_ones_hold_the_table_back(broker: FloeProcess) -> None:
    create(broker, "transacted")
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": "tx", "log_level": 0})
    producer.init_transactions(LIMIT_S)
    for number, commits in enumerate((True, False, True)):
        producer.begin_transaction()
        producer.produce("transacted", b"%d" % number)
        producer.flush(LIMIT_S)
        if commits:
            producer.commit_transaction(LIMIT_S)
        else:
            producer.abort_transaction(LIMIT_S)
    until_tabled(broker, "transacted", 6)
    assert tables.rows(broker.data_dir, "floe.transacted")["value"].to_pylist() == [b"0", b"2"]
    producer.begin_transaction()
    producer.produce("transacted", b"3")
    producer.flush(LIMIT_S)
    partition = described(broker, "transacted")["partitions"][0]
    assert partition["lag_records"] == 0
    assert partition["held_back_by"] == "a transaction that is open since offset 6: tx, producer 0"
    producer.commit_transaction(LIMIT_S)
    until_tabled(broker, "transacted", 8)
    assert tables.rows(broker.data_dir, "floe.transacted")["value"].to_pylist() == [b"0", b"2", b"3"]


class TestDeletedTopics:
    def test_the_last_records_still_get_into_the_table(self, data_dir: Path) -> None:
        broker = floe(data_dir, floe__table__commit__interval__ms="3600000")
        broker.start()
        try:
            produce(broker, "t", [b"1", b"2"])
            with Client([("127.0.0.1", broker.port)]) as client:
                admin.delete_topic(client, "t")
            until(lambda: "completed after the topic was deleted" in broker.log(), "the last commit")
            assert offsets(data_dir, "floe.t") == {0: [0, 1]}
        finally:
            broker.end()

    def test_the_table_goes_with_the_topic_if_it_is_to(self, broker: FloeProcess) -> None:
        create(broker, "going", floe__table__delete__with__topic="true")
        produce(broker, "going", [b"1"])
        until_tabled(broker, "going", 1)
        with Client([("127.0.0.1", broker.port)]) as client:
            admin.delete_topic(client, "going")
        until(lambda: "deleted with its topic" in broker.log(), "the drop")
        assert not list((broker.data_dir / "warehouse/floe").glob("going-*/**/*.parquet"))
        produce(broker, "going", [b"again"])
        until_tabled(broker, "going", 1)
        assert tables.rows(broker.data_dir, "floe.going")["value"].to_pylist() == [b"again"]


def test_rewound_partitions_are_tabled_again(broker: FloeProcess) -> None:
    produce(broker, "rewound", [b"%d" % number for number in range(10)])
    until_tabled(broker, "rewound", 10)
    ask(broker, "tables.rewind", topic="rewound", offsets={"0": 4})
    until_tabled(broker, "rewound", 10)
    assert offsets(broker.data_dir, "floe.rewound") == {0: list(range(10))}


def test_an_idle_worker_killed_is_nobodys_loss(broker: FloeProcess) -> None:
    produce(broker, "widowed", [b"1"])
    until_tabled(broker, "widowed", 1)
    assert tables.kill_workers(broker) == 1
    produce(broker, "widowed", [b"2"])
    until_tabled(broker, "widowed", 2)
    assert offsets(broker.data_dir, "floe.widowed") == {0: [0, 1]}


def test_a_worker_that_is_frozen_holds_nobody_up(broker: FloeProcess) -> None:
    produce(broker, "frozen", [b"1"])
    until_tabled(broker, "frozen", 1)
    [pid] = tables.workers(broker)
    os.kill(pid, signal.SIGSTOP)
    produce(broker, "frozen", [b"%d" % number for number in range(1_000)])
    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": "g",
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )
    consumer.subscribe(["frozen"])
    seen = 0
    while seen < 1_001:
        seen += len(consumer.consume(1_000, 0.2))
    consumer.close()
    os.kill(pid, signal.SIGCONT)
    until_tabled(broker, "frozen", 1_001)
    assert offsets(broker.data_dir, "floe.frozen") == {0: list(range(1_001))}


def test_a_table_that_could_not_be_dropped_goes_after_the_next_start(data_dir: Path) -> None:
    broker = floe(data_dir, floe__shutdown__timeout__ms="1000")
    broker.start()
    try:
        create(broker, "t", floe__table__delete__with__topic="true")
        produce(broker, "t", [b"1"])
        until_tabled(broker, "t", 1)
        [pid] = tables.workers(broker)
        os.kill(pid, signal.SIGSTOP)  # it will not get round to it
        with Client([("127.0.0.1", broker.port)]) as client:
            admin.delete_topic(client, "t")
        broker.stop()
        assert list((data_dir / "warehouse").rglob("*.parquet"))
        assert str(data_dir / "catalog.db") not in (data_dir / "table-checkpoint.json").read_text()
        broker.start()
        until(lambda: "deleted with its topic" in broker.log(), "the drop")
        assert not list((data_dir / "warehouse").rglob("*.parquet"))
    finally:
        broker.end()
