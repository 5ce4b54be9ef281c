"""Consumer groups of kafka-python: sharing, taking over, administration."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import KafkaError

from tests.clients.group_members import Seen, all_seen, members_of, share_evenly, wait_until
from tests.floe_process import FloeProcess

PARTITIONS = 5
PER_PARTITION = 40


class KafkaPython:
    """A `GroupConsumer`."""

    def __init__(self, floe: FloeProcess, group: str, topic: str, **settings: object) -> None:
        self._consumer = KafkaConsumer(
            topic,
            bootstrap_servers=floe.bootstrap,
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=6000,
            heartbeat_interval_ms=200,
            **settings,
        )

    def poll(self) -> list[Seen]:
        polled = self._consumer.poll(timeout_ms=100)
        return [(record.partition, record.offset) for records in polled.values() for record in records]

    def commit(self) -> None:
        self._consumer.commit()

    def assignment(self) -> set[int]:
        return {position.partition for position in self._consumer.assignment()}

    def close(self) -> None:
        self._consumer.close()


@pytest.fixture(scope="module")
def quick_floe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FloeProcess]:
    settings = {"group.initial.rebalance.delay.ms": "100"}
    process = FloeProcess(tmp_path_factory.mktemp("floe") / "data", settings).start()
    yield process
    process.end()


def create(floe: FloeProcess, topic: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=floe.bootstrap)
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    admin.close()


def produce(floe: FloeProcess, topic: str, first: int = 0) -> set[Seen]:
    producer = KafkaProducer(bootstrap_servers=floe.bootstrap)
    for partition in range(PARTITIONS):
        for number in range(PER_PARTITION):
            producer.send(topic, b"%d" % number, partition=partition)
    producer.flush()
    producer.close()
    return {(p, offset) for p in range(PARTITIONS) for offset in range(first, first + PER_PARTITION)}


def test_members_come_and_go_and_every_record_is_delivered(quick_floe: FloeProcess) -> None:
    topic = group = "kafka-python-share"
    create(quick_floe, topic)
    expected = produce(quick_floe, topic)
    with members_of(lambda: KafkaPython(quick_floe, group, topic), KafkaError) as start:
        one = start()
        wait_until(lambda: all_seen([one], expected), "one member reads everything")
        two = start()
        wait_until(lambda: share_evenly([one, two], PARTITIONS), "two members share")
        expected |= produce(quick_floe, topic, PER_PARTITION)
        wait_until(lambda: all_seen([one, two], expected), "two members read everything")
        one.stop()
        wait_until(lambda: share_evenly([two], PARTITIONS), "the other takes over")
        expected |= produce(quick_floe, topic, 2 * PER_PARTITION)
        wait_until(lambda: all_seen([one, two], expected), "nothing is missing")
    consumer = KafkaConsumer(bootstrap_servers=quick_floe.bootstrap, group_id=group)
    offsets = [consumer.committed(TopicPartition(topic, p)) for p in range(PARTITIONS)]
    consumer.close()
    assert offsets == [3 * PER_PARTITION] * PARTITIONS


def test_what_administrators_see_and_do(quick_floe: FloeProcess) -> None:
    topic = group = "kafka-python-admin"
    create(quick_floe, topic)
    expected = produce(quick_floe, topic)
    admin = KafkaAdminClient(bootstrap_servers=quick_floe.bootstrap)
    with members_of(lambda: KafkaPython(quick_floe, group, topic), KafkaError) as start:
        one = start()
        wait_until(lambda: all_seen([one], expected), "everything is read")
        described = str(admin.describe_groups([group]))
        assert "Stable" in described and group in described
        one.stop()
    assert group in str(admin.list_groups())
    offsets = admin.list_group_offsets(group)
    assert PER_PARTITION in {getattr(value, "offset", None) for value in _leaves(offsets)}
    admin.delete_groups([group])
    assert group not in str(admin.list_groups())
    admin.close()


def _leaves(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    else:
        yield value
