"""Both brokers with the same settings, and what both hold before the first question."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from side_by_side import batches
from side_by_side.side import Side
from tests.bench.brokers import BrokerProcess, Floe, Kafka

# The same on both sides: what makes requests quick, and what answers would otherwise show as different.
SETTINGS = {
    "auto.create.topics.enable": "true",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "log.retention.ms": "-1",
}
# Kafka's own, which Floe has no use for.
KAFKA_SETTINGS = {
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "2",
}
_HEAP = (
    "-Xmx512M",
    "-Xms256M",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    f"-Djava.io.tmpdir={tempfile.gettempdir()}",
)


class KafkaBeside(Kafka):
    """Apache Kafka with the common settings; a small heap, and a JVM that need not become fast."""

    def __init__(self, folder: Path, jars: Path) -> None:
        super().__init__(folder, jars)
        given = self.properties.read_text().splitlines()
        known = {line.partition("=")[0] for line in given}
        more = {name: value for name, value in {**SETTINGS, **KAFKA_SETTINGS}.items() if name not in known}
        self.properties.write_text("\n".join([*given, *(f"{k}={v}" for k, v in more.items())]) + "\n")

    def command(self) -> list[str]:
        return ["java", *_HEAP, "-cp", self.class_path, "kafka.Kafka", str(self.properties)]


class FloeBeside(Floe):
    """Floe with the common settings."""

    def command(self) -> list[str]:
        return [
            *super().command(),
            *(
                part
                for key, value in {**SETTINGS, "node.id": "1"}.items()
                for part in ("--set", f"{key}={value}")
            ),
        ]


@contextmanager
def both(jars: Path) -> Iterator[tuple[BrokerProcess, BrokerProcess]]:
    """(Kafka, Floe), started; their data is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="side-by-side-"))
    started: list[BrokerProcess] = []
    try:
        for make in (lambda: KafkaBeside(folder / "kafka", jars), lambda: FloeBeside(folder / "floe")):
            started.append(make())
            started[-1].start()
        yield started[0], started[1]
    finally:
        for broker in started:
            broker.stop()
        shutil.rmtree(folder, ignore_errors=True)


EVENTS, EMPTY, COMPACTED, STAMPED = "events", "empty", "compacted", "stamped"


def prepare(side: Side) -> None:
    """The state that scenarios may read and must not change."""
    for name, partitions, configs in (
        (EVENTS, 3, {}),
        (EMPTY, 1, {}),
        (COMPACTED, 1, {"cleanup.policy": "compact", "segment.bytes": "2097152"}),
        (STAMPED, 1, {"message.timestamp.type": "LogAppendTime"}),
    ):
        side.topic(name, partitions=partitions, configs=configs)
    for number in range(4):
        stamp = batches.TIMESTAMP_MS + 1000 * number
        side.produce(EVENTS, batches.batch(count=5, timestamp_ms=stamp))
    side.produce(EVENTS, batches.batch(value=b"only"), partition=1)
    side.produce(COMPACTED, batches.batch(key=b"a"), batches.batch(key=b"b"))
