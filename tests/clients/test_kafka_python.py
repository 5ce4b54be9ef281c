"""kafka-python, unchanged: as it is today, pinned to Kafka 0.10.0, and as old as it still speaks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from tests.clients.cases import COMPRESSIONS, FIRST_TIMESTAMP_MS, Case, cases
from tests.floe_process import FloeProcess

LIMIT_MS = 30_000
OLD_COMPRESSIONS = ("none", "gzip", "snappy", "lz4")  # zstd came with Kafka 2.1
OLDEST = (0, 8, 0)  # the oldest api_version kafka-python still takes
OLDEST_COMPRESSIONS = ("none", "gzip", "snappy")


def produce(
    floe: FloeProcess, topic: str, records: Iterable[Case], compression: str, **settings: Any
) -> None:
    kind = None if compression == "none" else compression
    producer = KafkaProducer(bootstrap_servers=floe.bootstrap, compression_type=kind, linger_ms=5, **settings)
    with_headers = settings.get("api_version", (9,)) >= (0, 11)
    futures = [
        producer.send(
            topic,
            key=record.key,
            value=record.value,
            headers=list(record.headers) if with_headers else None,
            timestamp_ms=record.timestamp_ms,
            partition=0,
        )
        for record in records
    ]
    for future in futures:
        future.get(LIMIT_MS / 1000)
    producer.close()


def consume(floe: FloeProcess, topic: str, count: int, **settings: Any) -> list[ConsumerRecord]:
    consumer = KafkaConsumer(
        bootstrap_servers=floe.bootstrap,
        group_id=None,
        auto_offset_reset="earliest",
        consumer_timeout_ms=LIMIT_MS,
        **settings,
    )
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek(TopicPartition(topic, 0), 0)
    records = []
    for record in consumer:
        records.append(record)
        if len(records) == count:
            break
    consumer.close()
    return records


def as_case(record: ConsumerRecord) -> Case:
    return Case(record.key, record.value, tuple(record.headers), record.timestamp)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_records_come_back_as_they_went(shared_floe: FloeProcess, compression: str) -> None:
    topic = f"python-{compression}"
    produce(shared_floe, topic, cases(), compression)
    records = consume(shared_floe, topic, len(cases()))
    assert [as_case(record) for record in records] == cases()
    assert [record.offset for record in records] == list(range(len(cases())))


@pytest.mark.parametrize("compression", OLD_COMPRESSIONS)
def test_a_client_of_kafka_0_10(shared_floe: FloeProcess, compression: str) -> None:
    topic = f"python-0-10-{compression}"
    expected = [case._replace(headers=()) for case in cases()]  # magic 1 has none
    produce(shared_floe, topic, expected, compression, api_version=(0, 10, 0))
    records = consume(shared_floe, topic, len(expected), api_version=(0, 10, 0))
    assert [as_case(record) for record in records] == expected


@pytest.mark.parametrize("compression", OLDEST_COMPRESSIONS)
def test_the_oldest_client_it_can_be(shared_floe: FloeProcess, compression: str) -> None:
    topic = f"python-oldest-{compression}"
    sent = [case for case in cases() if case.value is not None]  # null values came with 0.8.1
    expected = [(case.key, case.value) for case in sent]  # magic 0 has neither headers nor timestamps
    produce(shared_floe, topic, sent, compression, api_version=OLDEST)
    records = consume(shared_floe, topic, len(expected), api_version=OLDEST)
    assert [(record.key, record.value) for record in records] == expected


def test_old_and_new_clients_read_each_other(shared_floe: FloeProcess) -> None:
    produce(shared_floe, "python-mixed", cases(), "gzip")
    produce(shared_floe, "python-mixed", cases(), "gzip", api_version=(0, 10, 0))
    expected = [(case.key, case.value, case.timestamp_ms) for case in cases()] * 2
    for settings in ({}, {"api_version": (0, 10, 0)}):
        records = consume(shared_floe, "python-mixed", len(expected), **settings)
        assert [(record.key, record.value, record.timestamp) for record in records] == expected


def test_offsets_by_time_and_ends(shared_floe: FloeProcess) -> None:
    topic = TopicPartition("python-times", 0)
    produce(shared_floe, topic.topic, cases(), "none")
    consumer = KafkaConsumer(bootstrap_servers=shared_floe.bootstrap, group_id=None)
    assert consumer.beginning_offsets([topic]) == {topic: 0}
    assert consumer.end_offsets([topic]) == {topic: len(cases())}
    assert consumer.offsets_for_times({topic: FIRST_TIMESTAMP_MS + 77})[topic].offset == 77
    consumer.close()
