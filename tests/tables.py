"""A broker with tables, from outside: its admin API, its worker, and PyIceberg reading what it committed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from broker.cli.client import Client
from broker.cli.floe_admin import call
from tests.floe_process import FloeProcess

LIMIT_S = 60.0
_pause = threading.Event()  # never set
WITH_TABLES = {"floe.table.enable": "true", "floe.table.commit.interval.ms": "200"}


def floe(data_dir: Path, **settings: str) -> FloeProcess:
    """A broker whose tables are quick; `settings` with double underscores for dots."""
    named = {name.replace("__", "."): text for name, text in settings.items()}
    return FloeProcess(data_dir, {**WITH_TABLES, **named})


def ask(broker: FloeProcess, operation: str, **arguments: Any) -> dict[str, Any]:
    """An operation of the admin API."""
    with Client([("127.0.0.1", broker.port)]) as client:
        return call(client, operation, arguments)


def described(broker: FloeProcess, topic: str) -> dict[str, Any]:
    found: dict[str, Any] = ask(broker, "tables.describe", topics=[topic])["tables"][0]
    return found


def until(condition: Callable[[], bool], what: str = "the condition") -> None:
    """Wait for something another process does."""
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline_s, f"{what} did not come about in {LIMIT_S} s"
        _pause.wait(0.05)


def until_tabled(broker: FloeProcess, topic: str, count: int) -> None:
    """Wait until so many offsets of the topic, over its partitions, are in the table."""

    def is_tabled() -> bool:
        with Client([("127.0.0.1", broker.port)]) as client:
            tables = call(client, "tables.describe", {"topics": [topic]})["tables"]
        return sum(tables[0]["tabled"].values()) >= count

    until(is_tabled, f"{count} records in the table of {topic}")


def produce(broker: FloeProcess, topic: str, values: Sequence[bytes], **settings: Any) -> None:
    """Produce with confluent-kafka, and wait for the acknowledgements."""
    failures: list[Any] = []
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0, **settings})
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: failures.append(error) if error else None)
    producer.flush(LIMIT_S)
    assert not failures


def rows(data_dir: Path, table: str, columns: Sequence[str] = ("*",)) -> Any:
    """A table of the embedded catalog as PyIceberg reads it, as an Arrow table in the order of offsets."""
    from pyiceberg.catalog import load_catalog

    catalog = load_catalog("floe", type="sql", uri=f"sqlite:///{data_dir}/catalog.db")
    found = catalog.load_table(table).scan(selected_fields=tuple(columns)).to_arrow()
    return found.sort_by([("kafka_partition", "ascending"), ("kafka_offset", "ascending")])


def offsets(data_dir: Path, table: str) -> dict[int, list[int]]:
    """Every offset in the table by partition, as often as it is there."""
    found: dict[int, list[int]] = {}
    read = rows(data_dir, table, ("kafka_partition", "kafka_offset"))
    for partition, offset in zip(read["kafka_partition"].to_pylist(), read["kafka_offset"].to_pylist()):
        found.setdefault(partition, []).append(offset)
    return found


def workers(broker: FloeProcess) -> list[int]:
    """Process ids of the broker's children."""
    path = Path(f"/proc/{broker.pid}/task/{broker.pid}/children")
    return [int(pid) for pid in path.read_text().split()]


def kill_workers(broker: FloeProcess) -> int:
    """How many were there."""
    pids = workers(broker)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(pids)
