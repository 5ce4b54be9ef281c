"""A real broker under load from two client libraries, killed with SIGKILL again and again.

What was acknowledged is there, at the offset it was acknowledged at; offsets have no gap; an idempotent producer's
records are there once. The kills come after so and so many acknowledgements, not after so and so many seconds.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from kafka import KafkaProducer
from kafka.errors import KafkaError as PythonKafkaError

from tests.floe_process import FloeProcess

SOAK = os.environ.get("FLOE_SOAK") == "1"
KILLS = 40 if SOAK else 6
TOPIC = "killed"
PARTITIONS = 3
LIMIT_S = 120.0
IN_FLIGHT = 300
LARGE_RECORD_BYTES = 20_000
TOLD_APART_BYTES = 32  # at a value's beginning; what follows is covered by its batch's CRC


class Acknowledged(NamedTuple):
    partition: int
    offset: int
    value: bytes


class Load:
    """One producing client in a thread of its own; counts what was acknowledged and wakes who waits for that."""

    def __init__(self, name: str, progress: threading.Condition) -> None:
        self.name = name
        self.acknowledged: list[Acknowledged] = []
        self.failed: list[str] = []
        self._progress = progress
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive(), f"{self.name} does not finish"

    def value(self, number: int) -> bytes:
        return b"%s-%d" % (self.name.encode(), number)

    def acknowledge(self, partition: int, offset: int, value: bytes) -> None:
        with self._progress:
            self.acknowledged.append(Acknowledged(partition, offset, value[:TOLD_APART_BYTES]))
            self._progress.notify_all()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def _run(self) -> None:
        raise NotImplementedError


class ConfluentLoad(Load):
    """librdkafka, idempotent: retries for ever, and may lose or double nothing."""

    def __init__(
        self,
        floe: FloeProcess,
        progress: threading.Condition,
        name: str = "confluent",
        in_flight: int = IN_FLIGHT,
    ) -> None:
        super().__init__(name, progress)
        self._in_flight = in_flight
        self._producer = Producer(
            {
                "bootstrap.servers": floe.bootstrap,
                "enable.idempotence": True,
                "message.timeout.ms": 0,
                "reconnect.backoff.ms": 10,
                "reconnect.backoff.max.ms": 100,
                "linger.ms": 1,
                "batch.num.messages": 20,
                "log_level": 0,
            }
        )

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failed.append(str(error))
            return
        value, partition, offset = message.value(), message.partition(), message.offset()
        assert isinstance(value, bytes) and partition is not None and offset is not None
        self.acknowledge(partition, offset, value)

    def _run(self) -> None:
        number = 0
        while not self.stopping:
            self._producer.produce(
                TOPIC, self.value(number), partition=number % PARTITIONS, on_delivery=self._delivered
            )
            number += 1
            self._producer.poll(0)
            while len(self._producer) > self._in_flight:
                self._producer.poll(0.05)
        assert self._producer.flush(LIMIT_S) == 0


class LargeLoad(ConfluentLoad):
    """The same with batches of hundreds of kilobytes."""

    def __init__(self, floe: FloeProcess, progress: threading.Condition) -> None:
        super().__init__(floe, progress, "large", IN_FLIGHT // 2)

    def value(self, number: int) -> bytes:
        return super().value(number).ljust(LARGE_RECORD_BYTES, b".")


class PythonLoad(Load):
    """kafka-python, idempotent as well; its futures tell where each record went."""

    def __init__(self, floe: FloeProcess, progress: threading.Condition) -> None:
        super().__init__("python", progress)
        self._producer = KafkaProducer(
            bootstrap_servers=floe.bootstrap,
            enable_idempotence=True,
            acks="all",
            retries=1_000_000,
            delivery_timeout_ms=int(LIMIT_S * 1000),
            max_block_ms=int(LIMIT_S * 1000),
            reconnect_backoff_ms=10,
            reconnect_backoff_max_ms=100,
            retry_backoff_ms=20,
            linger_ms=1,
        )

    def _run(self) -> None:
        number = 0
        while not self.stopping:
            futures = []
            for _ in range(30):
                value = self.value(number)
                futures.append((value, self._producer.send(TOPIC, value, partition=number % PARTITIONS)))
                number += 1
            for value, future in futures:
                try:
                    sent = future.get(LIMIT_S)
                except PythonKafkaError as error:
                    self.failed.append(repr(error))
                else:
                    self.acknowledge(sent.partition, sent.offset, value)
        self._producer.close(LIMIT_S)


def read_everything(floe: FloeProcess) -> dict[int, list[tuple[int, bytes]]]:
    """(offset, beginning of the value) of every record, by partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": floe.bootstrap,
            "group.id": "unused",
            "enable.auto.commit": False,
            "check.crcs": True,
        }
    )
    try:
        found: dict[int, list[tuple[int, bytes]]] = {}
        for partition in range(PARTITIONS):
            low, high = consumer.get_watermark_offsets(TopicPartition(TOPIC, partition), LIMIT_S)
            assert low == 0
            consumer.assign([TopicPartition(TOPIC, partition, 0)])
            records: list[tuple[int, bytes]] = []
            while len(records) < high:
                message = consumer.poll(LIMIT_S)
                assert message is not None and message.error() is None
                offset, value = message.offset(), message.value()
                assert offset is not None and isinstance(value, bytes)
                records.append((offset, value[:TOLD_APART_BYTES]))
            found[partition] = records
        return found
    finally:
        consumer.close()


def check(found: dict[int, list[tuple[int, bytes]]], loads: list[Load]) -> None:
    for partition, records in found.items():
        assert [offset for offset, _ in records] == list(range(len(records))), (
            f"a gap in partition {partition}"
        )
    places = {(partition, offset): value for partition, records in found.items() for offset, value in records}
    for load in loads:
        assert not load.failed
        lost = [ack for ack in load.acknowledged if places.get((ack.partition, ack.offset)) != ack.value]
        assert not lost, (
            f"{load.name}: {len(lost)} acknowledged records are not where they were, first {lost[0]}"
        )
    counts = Counter(places.values())
    doubled = [value for value, count in counts.items() if count > 1]
    assert not doubled, f"{len(doubled)} records are there twice, first {doubled[0]!r}"


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_nor_doubled(start_floe: Callable[..., FloeProcess]) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    floe = start_floe(log_segment_bytes="1048576", log_index_interval_bytes="512")
    admin = AdminClient({"bootstrap.servers": floe.bootstrap})
    admin.create_topics([NewTopic(TOPIC, PARTITIONS)])[TOPIC].result(LIMIT_S)
    progress = threading.Condition()
    loads: list[Load] = [
        ConfluentLoad(floe, progress),
        LargeLoad(floe, progress),
        PythonLoad(floe, progress),
    ]
    for load in loads:
        load.start()
    try:
        for _ in range(KILLS):
            wanted = {load: len(load.acknowledged) + chance.randint(50, 1500) for load in loads}
            with progress:
                moved = progress.wait_for(
                    lambda wanted=wanted: all(len(load.acknowledged) >= n for load, n in wanted.items()),
                    LIMIT_S,
                )
            assert moved, (
                f"no progress: {[(load.name, len(load.acknowledged)) for load in loads]}\n{floe.log()}"
            )
            floe.kill()
            floe.start()
    finally:
        for load in loads:
            load.stop()
    check(read_everything(floe), loads)
    assert floe.stop() == 0
    floe.start()
    check(read_everything(floe), loads)
