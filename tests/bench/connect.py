"""What people run otherwise: Apache Kafka, and Kafka Connect with Iceberg's own sink writing events to a table.

One connector, one task (two race on a SQLite catalog), a commit every ten seconds, as Floe's default is. Both JVMs get
1 GB. The first million warms it up: the compiler's work is in nobody's figure.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from broker.cli import admin
from broker.cli.errors import CommandFailed
from tests.bench.brokers import KAFKA_VERSION, Kafka, fetch_jars, free_port

ICEBERG_VERSION: Final = "1.11.0"
TOPIC: Final = "sustained"
LIMIT_S: Final = 600.0

_JARS: Final = (
    *(
        f"org.apache.iceberg:iceberg-{name}:{ICEBERG_VERSION}"
        for name in ("kafka-connect", "kafka-connect-events", "parquet", "orc", "data")
    ),
    "org.apache.hadoop:hadoop-client-api:3.4.1",
    "org.apache.hadoop:hadoop-client-runtime:3.4.1",
    f"org.apache.kafka:connect-runtime:{KAFKA_VERSION}",
    f"org.apache.kafka:connect-json:{KAFKA_VERSION}",
    "org.xerial:sqlite-jdbc:3.49.1.0",
)
_JSON_CONVERTER: Final = "org.apache.kafka.connect.json.JsonConverter"


def find_connect_jars() -> Path | str:
    """The folder of Connect's and the sink's jars, fetched if need be, or why there are none."""
    return fetch_jars(f"iceberg-sink-{ICEBERG_VERSION}", _JARS)


class Connect:
    """A standalone Connect process that writes TOPIC of `kafka` to the table floe.TOPIC."""

    def __init__(self, folder: Path, jars: Path, kafka: Kafka) -> None:
        self._catalog = folder / "catalog.db"
        self._log = folder / "log"
        folder.mkdir()
        worker, sink = folder / "worker.properties", folder / "sink.properties"
        worker.write_text(_lines(_worker(folder, kafka.bootstrap)))
        sink.write_text(_lines(_sink(folder)))
        main = "org.apache.kafka.connect.cli.ConnectStandalone"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["java", "-Xmx1G", "-cp", f"{jars}/*", main, str(worker), str(sink)], stdout=log, stderr=log
            )

    def end(self) -> None:
        self._process.kill()
        self._process.wait()

    def rows(self) -> int:
        """In the table's current snapshot; 0 while there is no table."""
        location = self._metadata_location()
        if location is None:
            return 0
        try:
            metadata = json.loads(Path(location.removeprefix("file:")).read_text())
        except FileNotFoundError:  # a newer one took its place meanwhile
            return 0
        totals = {one["snapshot-id"]: int(one["summary"]["total-records"]) for one in metadata["snapshots"]}
        return totals.get(metadata.get("current-snapshot-id"), 0)

    def _metadata_location(self) -> str | None:
        if not self._catalog.exists():
            return None
        with sqlite3.connect(f"file:{self._catalog}?mode=ro", uri=True) as database:
            try:
                row = database.execute(
                    "SELECT metadata_location FROM iceberg_tables WHERE table_name = ?", (TOPIC,)
                ).fetchone()
            except sqlite3.OperationalError:  # no table of tables yet, or it is being written
                return None
        return str(row[0]) if row else None

    def until_rows(self, count: int) -> float:
        """Wait; how many seconds that took. Raises CommandFailed."""
        started_s = time.monotonic()
        while (there := self.rows()) < count:
            if self._process.poll() is not None:
                raise CommandFailed(f"Connect ended:\n{self._last_words()}")
            if time.monotonic() - started_s > LIMIT_S:
                raise CommandFailed(f"{there} of {count} rows after {LIMIT_S:.0f} s:\n{self._last_words()}")
            time.sleep(0.25)
        return time.monotonic() - started_s

    def _last_words(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]

    def cpu_s(self) -> float:
        """Processor time since its start."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_mb(self) -> float:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024


@contextmanager
def beside_kafka(
    folder: Path, kafka_jars: Path, jars: Path, partitions: int
) -> Iterator[tuple[Kafka, Connect]]:
    """Kafka with TOPIC, and Connect at work on it."""
    kafka = Kafka(folder / "kafka", kafka_jars)
    connect = None
    try:
        kafka.start()
        with kafka.client() as client:
            admin.create_topic(client, TOPIC, partitions=partitions)
            admin.create_topic(client, "control-iceberg", partitions=1)
        connect = Connect(folder / "connect", jars, kafka)
        yield kafka, connect
    finally:
        if connect is not None:
            connect.end()
        kafka.stop()


def _worker(folder: Path, bootstrap: str) -> dict[str, str]:
    return {
        "bootstrap.servers": bootstrap,
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": _JSON_CONVERTER,
        "value.converter.schemas.enable": "false",
        "offset.storage.file.filename": str(folder / "offsets"),
        "listeners": f"HTTP://127.0.0.1:{free_port()}",
        "consumer.auto.offset.reset": "earliest",
    }


def _sink(folder: Path) -> dict[str, str]:
    return {
        "name": "iceberg",
        "connector.class": "org.apache.iceberg.connect.IcebergSinkConnector",
        "tasks.max": "1",
        "topics": TOPIC,
        "iceberg.tables": f"floe.{TOPIC}",
        "iceberg.tables.auto-create-enabled": "true",
        "iceberg.tables.evolve-schema-enabled": "true",
        "iceberg.catalog.catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
        "iceberg.catalog.uri": f"jdbc:sqlite:{folder / 'catalog.db'}",
        "iceberg.catalog.warehouse": f"file://{folder / 'warehouse'}",
        "iceberg.catalog.jdbc.schema-version": "V1",
        "iceberg.control.commit.interval-ms": "10000",
    }


def _lines(properties: dict[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in properties.items())
