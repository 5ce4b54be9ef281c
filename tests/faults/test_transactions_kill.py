"""Pipelines and the broker are killed at any time: under read_committed the output holds every input exactly once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.bench.brokers import find_kafka_jars
from tests.conftest import SOAK
from tests.floe_process import FloeProcess

PARTITIONS = 2
LIMIT_S = 60.0
DRAIN_LIMIT_S = 180.0
JAVA_PIPELINE = Path(__file__).parents[1] / "clients" / "java" / "Pipeline.java"
KILLING_S = 300.0 if SOAK else 6.0
PER_SECOND = 150  # records of the input for each second of killing


def confluent_command() -> list[str]:
    return [sys.executable, "-m", "tests.clients.pipeline_process"]


def java_command() -> list[str]:
    jars = find_kafka_jars()
    if isinstance(jars, str):
        pytest.skip(f"without Kafka's Java client: {jars}")
    if not SOAK:
        pytest.skip("a JVM for each kill is for FLOE_SOAK=1")
    return ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{jars}/*", str(JAVA_PIPELINE)]


class Pipelines:
    """Processes that are started again whenever they end; two share a transactional id and fence each other."""

    def __init__(self, floe: FloeProcess, command: list[str]) -> None:
        self._floe, self._command = floe, command
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._lives = 0

    def keep_alive(self, seconds: float = 0.0) -> None:
        """Start what has ended; and what ends in the next `seconds`."""
        end_s = time.monotonic() + seconds
        self._start_ended()
        while (left_s := end_s - time.monotonic()) > 0:
            with suppress(subprocess.TimeoutExpired):
                self._running["a"].wait(min(left_s, 0.2))
            self._start_ended()

    def _start_ended(self) -> None:
        for name in ("a", "b"):
            process = self._running.get(name)
            if process is None or process.poll() is not None:
                self._lives += 1
                arguments = [self._floe.bootstrap, f"pipeline-{name}", "input", "output", str(self._lives)]
                self._running[name] = subprocess.Popen(
                    [*self._command, *arguments],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd=Path(__file__).parents[2],
                )

    def __repr__(self) -> str:
        return str({name: process.poll() for name, process in self._running.items()})

    def kill(self, name: str) -> None:
        self._running[name].send_signal(signal.SIGKILL)
        self._running[name].wait(LIMIT_S)

    def end(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait(LIMIT_S)


@contextmanager
def pipelines(floe: FloeProcess, command: list[str]) -> Iterator[Pipelines]:
    running = Pipelines(floe, command)
    try:
        yield running
    finally:
        running.end()


def fill(floe: FloeProcess, count: int) -> None:
    admin = AdminClient({"bootstrap.servers": floe.bootstrap})
    for created in admin.create_topics(
        [NewTopic("input", PARTITIONS), NewTopic("output", PARTITIONS)]
    ).values():
        created.result(LIMIT_S)
    producer = Producer({"bootstrap.servers": floe.bootstrap, "enable.idempotence": True})
    for number in range(count):
        producer.produce("input", str(number), partition=number % PARTITIONS)
    assert producer.flush(LIMIT_S) == 0


def committed(floe: FloeProcess, isolation: str = "read_committed") -> Counter[int]:
    """How often each number is in the output."""
    consumer = Consumer(
        {
            "bootstrap.servers": floe.bootstrap,
            "group.id": "checker",
            "isolation.level": isolation,
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition("output", partition, 0) for partition in range(PARTITIONS)])
    found: Counter[int] = Counter()
    missing = PARTITIONS
    try:
        while missing:
            message = consumer.poll(LIMIT_S)
            assert message is not None
            error = message.error()
            if error is None:
                found[int(message.value())] += 1
            elif error.code() == KafkaError._PARTITION_EOF:
                missing -= 1
    finally:
        consumer.close()
    return found


@pytest.mark.parametrize("command", [confluent_command, java_command], ids=["confluent-kafka", "java"])
def test_exactly_once(start_floe: Callable[..., FloeProcess], command: Callable[[], list[str]]) -> None:
    floe = start_floe(group_initial_rebalance_delay_ms="100")
    count = int(KILLING_S * PER_SECOND)
    fill(floe, count)
    chance = random.Random(1)
    with pipelines(floe, command()) as running:
        end_s = time.monotonic() + KILLING_S
        running.keep_alive()
        while time.monotonic() < end_s:
            victim = chance.choice(("a", "b", "broker", "broker"))
            running.keep_alive(chance.uniform(0.3, 1.5))
            if victim == "broker":
                floe.kill()
                floe.start()
            else:
                running.kill(victim)
        deadline_s = time.monotonic() + DRAIN_LIMIT_S
        while sum((found := committed(floe)).values()) < count:
            told = f"{count - len(found)} of {count} are missing, running: {running!r}\n{floe.log()[-3000:]}"
            assert time.monotonic() < deadline_s, told
            running.keep_alive()
    assert found == Counter(range(count))
