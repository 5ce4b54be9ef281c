"""Tables hold exactly what a read_committed consumer reads, across aborts, open transactions and kills.

Two producers commit and abort at random, and leave some transactions lying until the broker aborts them; the broker and
the worker that writes the tables are killed meanwhile. FLOE_SEED=<seed> plays the same again, as far as threads do.
"""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from broker.cli import admin
from broker.cli.client import Client
from tests import tables
from tests.conftest import SOAK
from tests.floe_process import FloeProcess

ROUNDS = 100 if SOAK else 5
SEED = int(os.environ.get("FLOE_SEED", random.randrange(2**31)))
PARTITIONS = 2
TOPIC = "transacted"
LIMIT_S = 60.0
CALL_LIMIT_S = 20.0
TRANSACTION_TIMEOUT_MS = 2000

Row = tuple[int, int, bytes]
"""Partition, offset, value."""


class Writer:
    """A thread with a transactional id that goes on whatever happens to its producer."""

    def __init__(self, bootstrap: str, transactional_id: str, chance: random.Random) -> None:
        self._bootstrap = bootstrap
        self._transactional_id = transactional_id
        self._chance = chance
        self._is_stopping = threading.Event()
        self._progress = threading.Condition()
        self.committed = self.aborted = self.left = self.failed = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            try:
                self._live(self._begun())
            except KafkaException:  # the broker is away, or has given the transaction up
                self.failed += 1
        self._begun()  # whatever was left lying is aborted

    def _begun(self) -> Producer:
        while True:
            producer = Producer(
                {
                    "bootstrap.servers": self._bootstrap,
                    "transactional.id": self._transactional_id,
                    "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
                    "reconnect.backoff.max.ms": 200,
                    "log_level": 0,
                }
            )
            try:
                producer.init_transactions(CALL_LIMIT_S)
            except KafkaException:
                continue
            return producer

    def _live(self, producer: Producer) -> None:
        """Until it is told to stop, or leaves a transaction lying. Raises KafkaException."""
        while not self._is_stopping.is_set():
            producer.begin_transaction()
            for number in range(self._chance.randrange(1, 30)):
                value = f"{self._transactional_id} {self.committed + self.aborted} {number}".encode()
                producer.produce(TOPIC, value, partition=self._chance.randrange(PARTITIONS))
            how = self._chance.random()
            if how < 0.05:
                producer.flush(CALL_LIMIT_S)
                self.left += 1
                return
            if how < 0.35:
                producer.abort_transaction(CALL_LIMIT_S)
            else:
                producer.commit_transaction(CALL_LIMIT_S)
            with self._progress:
                self.committed += how >= 0.35
                self.aborted += 0.05 <= how < 0.35
                self._progress.notify_all()

    def wait_for(self, more: int) -> None:
        """So many transactions more."""
        with self._progress:
            target = self.committed + self.aborted + more
            is_there = self._progress.wait_for(lambda: self.committed + self.aborted >= target, LIMIT_S)
            assert is_there, f"{self._transactional_id} gets no further: {self}"

    def stop(self) -> None:
        self._is_stopping.set()
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive()

    def __repr__(self) -> str:
        return f"{self.committed} committed, {self.aborted} aborted, {self.left} left, {self.failed} failed"


def consumed(broker: FloeProcess) -> list[Row]:
    """Everything a read_committed consumer reads."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": "checker",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in range(PARTITIONS)])
    found: list[Row] = []
    at_end: set[int] = set()
    try:
        while len(at_end) < PARTITIONS:
            message = consumer.poll(LIMIT_S)
            assert message is not None
            error = message.error()
            if error is None:
                found.append((message.partition(), message.offset(), message.value()))
            elif error.code() == KafkaError._PARTITION_EOF:
                at_end.add(message.partition())
    finally:
        consumer.close()
    return sorted(found)


def tabled(broker: FloeProcess) -> list[Row]:
    columns = ("kafka_partition", "kafka_offset", "value")
    found = tables.rows(broker.data_dir, f"floe.{TOPIC}", columns)
    return list(zip(*(found[column].to_pylist() for column in columns), strict=True))


def strike(broker: FloeProcess, writers: list[Writer], chance: random.Random) -> str:
    chance.choice(writers).wait_for(chance.randrange(5, 40))
    if chance.random() < 0.5:
        tables.until(lambda: bool(tables.workers(broker)), "a worker")
        tables.kill_workers(broker)
        return "worker"
    broker.kill()
    broker.start()
    return "broker"


@pytest.mark.slow
def test_tables_hold_what_is_committed(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    broker = tables.floe(tmp_path / "data", floe__table__commit__interval__ms="100").start()
    writers: list[Writer] = []
    try:
        with Client([("127.0.0.1", broker.port)]) as client:
            admin.create_topic(client, TOPIC, partitions=PARTITIONS)
        writers = [
            Writer(broker.bootstrap, name, random.Random(chance.random()))
            for name in ("writer-a", "writer-b")
        ]
        struck = [strike(broker, writers, chance) for _ in range(ROUNDS)]
        for writer in writers:
            writer.stop()
        expected = consumed(broker)
        with Client([("127.0.0.1", broker.port)]) as client:
            ends = admin.list_offsets(client, TOPIC, range(PARTITIONS), admin.LATEST)
        tables.until_tabled(broker, TOPIC, sum(ends.values()))
        told = f"FLOE_SEED={SEED}: {len(expected)} records of {sum(ends.values())}, {struck}, {writers}"
        print(told)
        assert tabled(broker) == expected, told
    finally:
        broker.end()
