"""Transactional producers of every Python client under one roof, and what a read_committed consumer finds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import aiokafka
import confluent_kafka
import kafka
from kafka.consumer.group import ConsumerGroupMetadata

from tests.floe_process import FloeProcess

LIMIT_S = 30.0


class Fenced(Exception):
    """A newer producer has the transactional id."""


class TransactionalProducer(Protocol):
    """One producer, initialised."""

    def begin(self) -> None: ...
    def send(self, topic: str, value: bytes) -> None: ...
    def send_offsets(self, group: str, topic: str, offset: int) -> None:
        """Offsets of partition 0."""

    def commit(self) -> None:
        """Raises Fenced."""

    def abort(self) -> None: ...
    def close(self) -> None: ...


class Confluent:
    def __init__(self, floe: FloeProcess, transactional_id: str, **settings: Any) -> None:
        self._bootstrap = floe.bootstrap
        self._producer = confluent_kafka.Producer(
            {"bootstrap.servers": floe.bootstrap, "transactional.id": transactional_id, **settings}
        )
        self._producer.init_transactions(LIMIT_S)

    def begin(self) -> None:
        self._producer.begin_transaction()

    def send(self, topic: str, value: bytes) -> None:
        self._producer.produce(topic, value, partition=0)
        self._producer.flush(LIMIT_S)

    def send_offsets(self, group: str, topic: str, offset: int) -> None:
        consumer = confluent_kafka.Consumer({"bootstrap.servers": self._bootstrap, "group.id": group})
        position = confluent_kafka.TopicPartition(topic, 0, offset)
        self._producer.send_offsets_to_transaction([position], consumer.consumer_group_metadata(), LIMIT_S)
        consumer.close()

    def commit(self) -> None:
        try:
            self._producer.commit_transaction(LIMIT_S)
        except confluent_kafka.KafkaException as error:
            raise Fenced(str(error)) from error

    def abort(self) -> None:
        self._producer.abort_transaction(LIMIT_S)

    def close(self) -> None:
        del self._producer


class KafkaPython:
    def __init__(self, floe: FloeProcess, transactional_id: str) -> None:
        self._producer = kafka.KafkaProducer(
            bootstrap_servers=floe.bootstrap, transactional_id=transactional_id
        )
        self._producer.init_transactions()

    def begin(self) -> None:
        self._producer.begin_transaction()

    def send(self, topic: str, value: bytes) -> None:
        self._producer.send(topic, value, partition=0).get(LIMIT_S)

    def send_offsets(self, group: str, topic: str, offset: int) -> None:
        offsets = {kafka.TopicPartition(topic, 0): kafka.OffsetAndMetadata(offset, "", -1)}
        self._producer.send_offsets_to_transaction(offsets, ConsumerGroupMetadata(group))

    def commit(self) -> None:
        try:
            self._producer.commit_transaction()
        except kafka.errors.KafkaError as error:
            raise Fenced(str(error)) from error

    def abort(self) -> None:
        self._producer.abort_transaction()

    def close(self) -> None:
        self._producer.close(LIMIT_S)


class Aiokafka:
    """Speaks transaction version 1 only."""

    def __init__(self, floe: FloeProcess, transactional_id: str) -> None:
        self._runner = asyncio.Runner()
        self._runner.run(self._start(floe.bootstrap, transactional_id))

    async def _start(self, bootstrap: str, transactional_id: str) -> None:
        self._producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=bootstrap, transactional_id=transactional_id
        )
        await self._producer.start()

    def begin(self) -> None:
        self._runner.run(self._producer.begin_transaction())

    def send(self, topic: str, value: bytes) -> None:
        self._runner.run(self._producer.send_and_wait(topic, value, partition=0))

    def send_offsets(self, group: str, topic: str, offset: int) -> None:
        offsets = {aiokafka.TopicPartition(topic, 0): offset}
        self._runner.run(self._producer.send_offsets_to_transaction(offsets, group))

    def commit(self) -> None:
        try:
            self._runner.run(self._producer.commit_transaction())
        except aiokafka.errors.KafkaError as error:
            raise Fenced(str(error)) from error

    def abort(self) -> None:
        self._runner.run(self._producer.abort_transaction())

    def close(self) -> None:
        self._runner.run(self._producer.stop())
        self._runner.close()


PRODUCERS: dict[str, Callable[[FloeProcess, str], TransactionalProducer]] = {
    "confluent-kafka": Confluent,
    "kafka-python": KafkaPython,
    "aiokafka": Aiokafka,
}


def committed_values(floe: FloeProcess, topic: str, *, isolation: str = "read_committed") -> list[bytes]:
    """Every value of partition 0 up to where its reader may go."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": floe.bootstrap,
            "group.id": "reader",
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
    values: list[bytes] = []
    try:
        while True:
            message = consumer.poll(LIMIT_S)
            assert message is not None, f"nothing came for {LIMIT_S} s after {len(values)} records"
            error = message.error()
            if error is None:
                values.append(message.value())
                continue
            assert error.code() == confluent_kafka.KafkaError._PARTITION_EOF, error
            return values
    finally:
        consumer.close()


def committed_offset(floe: FloeProcess, group: str, topic: str) -> int:
    """What the group has stored for partition 0, once nothing is pending; -1001 for nothing."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": floe.bootstrap, "group.id": group})
    (position,) = consumer.committed([confluent_kafka.TopicPartition(topic, 0)], LIMIT_S)
    consumer.close()
    return int(position.offset)
