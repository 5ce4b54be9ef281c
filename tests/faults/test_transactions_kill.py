"""Pipelines and the broker are killed at any time: under read_committed the output holds every input exactly once.

FLOE_SEED=<seed> kills others at other times. What is found missing is told with what everybody is doing.
"""

from __future__ import annotations

import os
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
from tests.floe_process import FLOE, FloeProcess

PARTITIONS = 2
LIMIT_S = 60.0
STALL_LIMIT_S = 90.0
"""Without a single record more in the output: sessions and transactions that were left lying are over by then."""
JAVA_PIPELINE = Path(__file__).parents[1] / "clients" / "java" / "Pipeline.java"
KILLING_S = 600.0 if SOAK else 6.0
SEED = int(os.environ.get("FLOE_SEED", "1"))
DUMP_LIMIT_S = 5.0
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
        self.lives = 0

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
                self.lives += 1
                arguments = [self._floe.bootstrap, f"pipeline-{name}", "input", "output", str(self.lives)]
                with self._log_path(name).open("ab") as log:
                    self._running[name] = subprocess.Popen(
                        [*self._command, *arguments],
                        stdout=log,
                        stderr=log,
                        cwd=Path(__file__).parents[2],
                    )

    def _log_path(self, name: str) -> Path:
        return self._floe.data_dir.with_name(f"pipeline-{name}.log")

    def doing(self) -> str:
        """The stacks of those that run, which both kinds write down when they get SIGQUIT."""
        told = []
        for name, process in self._running.items():
            path = self._log_path(name)
            size = path.stat().st_size
            if process.poll() is None:
                process.send_signal(signal.SIGQUIT)
                self.keep_alive(DUMP_LIMIT_S)
            told.append(f"pipeline {name}: {process.poll()}\n{path.read_text()[size:]}")
        return "\n".join(told)

    def kill(self, name: str) -> None:
        self._running[name].send_signal(signal.SIGKILL)
        self._running[name].wait(LIMIT_S)

    def end(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait(LIMIT_S)


def state_of(floe: FloeProcess) -> str:
    """What the broker says of transactions and the group."""
    told = []
    for command in (
        ["transactions", "list"],
        ["transactions", "describe", "pipeline-a"],
        ["transactions", "describe", "pipeline-b"],
        ["groups", "describe", "pipeline"],
    ):
        call = [str(FLOE), *command, "--bootstrap-server", floe.bootstrap]
        done = subprocess.run(call, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        told.append(f"floe {' '.join(command)}\n{done.stdout}{done.stderr}")
    return "\n".join(told)


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


def drained(floe: FloeProcess, running: Pipelines, count: int) -> Counter[int]:
    """What is in the output when as many are there as in the input."""
    last_count, deadline_s = -1, 0.0
    while (found_count := sum((found := committed(floe)).values())) < count:
        if found_count > last_count:
            last_count, deadline_s = found_count, time.monotonic() + STALL_LIMIT_S
        if time.monotonic() > deadline_s:
            missing = f"{count - len(found)} of {count} are missing, FLOE_SEED={SEED}"
            told = (missing, running.doing(), state_of(floe), floe.log()[-3000:])
            raise AssertionError("\n".join(told))
        running.keep_alive(0.5)
    return found


@pytest.mark.parametrize("command", [confluent_command, java_command], ids=["confluent-kafka", "java"])
def test_exactly_once(start_floe: Callable[..., FloeProcess], command: Callable[[], list[str]]) -> None:
    floe = start_floe(group_initial_rebalance_delay_ms="100")
    count = int(KILLING_S * PER_SECOND)
    fill(floe, count)
    chance = random.Random(SEED)
    with pipelines(floe, command()) as running:
        end_s = time.monotonic() + KILLING_S
        running.keep_alive()
        kills: Counter[str] = Counter()
        while time.monotonic() < end_s:
            victim = chance.choice(("a", "b", "broker", "broker"))
            kills[victim] += 1
            running.keep_alive(chance.uniform(0.3, 1.5))
            if victim == "broker":
                floe.kill()
                floe.start()
            else:
                running.kill(victim)
        started_s = time.monotonic()
        found = drained(floe, running, count)
        took_s = time.monotonic() - started_s
        print(f"{count} records, killed {dict(kills)}, {running.lives} pipelines, drained in {took_s:.0f} s")
    assert found == Counter(range(count))
