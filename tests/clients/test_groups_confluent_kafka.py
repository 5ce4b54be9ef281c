"""Consumer groups of librdkafka's classic protocol: sharing, taking over, static members, administration."""

from __future__ import annotations

from typing import ClassVar

import pytest
from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaException,
    Producer,
)
from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import AdminClient, NewTopic

from tests.clients.group_members import LIMIT_S, Seen, all_seen, members_of, share_evenly, wait_until
from tests.floe_process import FloeProcess

PARTITIONS = 6
PER_PARTITION = 50


class Confluent:
    """A `GroupConsumer`."""

    TIME_OUTS: ClassVar[dict[str, object]] = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 200}

    def __init__(self, floe: FloeProcess, group: str, topic: str, **settings: object) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": floe.bootstrap,
                "group.id": group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                **self.TIME_OUTS,
                **settings,
            }
        )
        self._consumer.subscribe([topic])
        self._topic = topic

    def poll(self) -> list[Seen]:
        messages = self._consumer.consume(100, 0.1)
        assert all(message.error() is None for message in messages)
        return [(message.partition(), message.offset()) for message in messages]

    def commit(self) -> None:
        self._consumer.commit(asynchronous=False)

    def assignment(self) -> set[int]:
        return {position.partition for position in self._consumer.assignment()}

    def close(self) -> None:
        self._consumer.close()


def create(floe: FloeProcess, topic: str, partitions: int = PARTITIONS) -> AdminClient:
    admin = AdminClient({"bootstrap.servers": floe.bootstrap})
    admin.create_topics([NewTopic(topic, partitions)])[topic].result(LIMIT_S)
    return admin


def produce(floe: FloeProcess, topic: str, first: int = 0) -> set[Seen]:
    producer = Producer({"bootstrap.servers": floe.bootstrap})
    for partition in range(PARTITIONS):
        for number in range(PER_PARTITION):
            producer.produce(topic, b"%d" % number, partition=partition)
    assert producer.flush(LIMIT_S) == 0
    return {(p, offset) for p in range(PARTITIONS) for offset in range(first, first + PER_PARTITION)}


def committed(floe: FloeProcess, group: str, topic: str) -> list[int]:
    consumer = Consumer({"bootstrap.servers": floe.bootstrap, "group.id": group})
    try:
        positions = consumer.committed([Position(topic, p) for p in range(PARTITIONS)], LIMIT_S)
        return [position.offset for position in positions]
    finally:
        consumer.close()


@pytest.fixture(scope="module")
def quick_floe(tmp_path_factory: pytest.TempPathFactory) -> object:
    settings = {"group.initial.rebalance.delay.ms": "100"}
    process = FloeProcess(tmp_path_factory.mktemp("floe") / "data", settings).start()
    yield process
    process.end()


@pytest.mark.parametrize("strategy", ["range", "roundrobin", "cooperative-sticky"])
def test_members_come_and_go_and_every_record_is_delivered(quick_floe: FloeProcess, strategy: str) -> None:
    topic = group = f"confluent-share-{strategy}"
    create(quick_floe, topic)
    expected = produce(quick_floe, topic)
    settings = {"partition.assignment.strategy": strategy}
    with members_of(lambda: Confluent(quick_floe, group, topic, **settings), KafkaException) as start:
        one = start()
        wait_until(lambda: all_seen([one], expected), "one member reads everything")
        two, three = start(), start()
        wait_until(lambda: share_evenly([one, two, three], PARTITIONS), "three members share")
        expected |= produce(quick_floe, topic, PER_PARTITION)
        wait_until(lambda: all_seen([one, two, three], expected), "three members read everything")
        one.stop()
        wait_until(lambda: share_evenly([two, three], PARTITIONS), "the others take over")
        expected |= produce(quick_floe, topic, 2 * PER_PARTITION)
        wait_until(lambda: all_seen([one, two, three], expected), "nothing is missing")
    assert committed(quick_floe, group, topic) == [3 * PER_PARTITION] * PARTITIONS


def test_a_new_member_goes_on_where_the_group_stopped(quick_floe: FloeProcess) -> None:
    topic = group = "confluent-resume"
    create(quick_floe, topic)
    expected = produce(quick_floe, topic)
    with members_of(lambda: Confluent(quick_floe, group, topic), KafkaException) as start:
        one = start()
        wait_until(lambda: all_seen([one], expected), "everything is read")
        one.stop()
        more = produce(quick_floe, topic, PER_PARTITION)
        two = start()
        wait_until(lambda: all_seen([two], more), "the rest is read")
        assert set(two.seen) == more, "what was committed came again"


def test_a_static_member_returns_without_a_rebalance(quick_floe: FloeProcess) -> None:
    topic = group = "confluent-static"
    admin = create(quick_floe, topic)
    instances = iter(["a", "b", "a"])
    make = lambda: Confluent(quick_floe, group, topic, **{"group.instance.id": next(instances)})  # noqa: E731
    with members_of(make, KafkaException) as start:
        one = start()
        wait_until(lambda: one.assigned, "the first has something")
        two = start()
        wait_until(lambda: share_evenly([one, two], PARTITIONS), "two members share")
        before, kept = set(one.assigned), set(two.assigned)
        one.stop()
        again = start()
        wait_until(lambda: again.assigned, "it has something again")
        assert again.assigned == before
        assert two.assigned == kept
    described = admin.describe_consumer_groups([group])[group].result(LIMIT_S)
    assert {member.group_instance_id for member in described.members} == {"a", "b"}


def test_what_administrators_see_and_do(quick_floe: FloeProcess) -> None:
    topic = group = "confluent-admin"
    admin = create(quick_floe, topic)
    expected = produce(quick_floe, topic)
    with members_of(lambda: Confluent(quick_floe, group, topic), KafkaException) as start:
        one = start()
        wait_until(lambda: all_seen([one], expected), "everything is read")
        described = admin.describe_consumer_groups([group])[group].result(LIMIT_S)
        assert described.state == ConsumerGroupState.STABLE
        assert described.partition_assignor == "range"
        (member,) = described.members
        assert member.host == "/127.0.0.1"
        assert {p.partition for p in member.assignment.topic_partitions} == set(range(PARTITIONS))
        with pytest.raises(KafkaException, match="NON_EMPTY"):
            admin.delete_consumer_groups([group])[group].result(LIMIT_S)
        one.stop()
    listed = admin.list_consumer_groups(states={ConsumerGroupState.EMPTY}).result(LIMIT_S)
    assert group in {listing.group_id for listing in listed.valid}
    moved = ConsumerGroupTopicPartitions(group, [Position(topic, p, 7) for p in range(PARTITIONS)])
    admin.alter_consumer_group_offsets([moved])[group].result(LIMIT_S)
    asked = ConsumerGroupTopicPartitions(group)
    offsets = admin.list_consumer_group_offsets([asked])[group].result(LIMIT_S)
    assert {p.offset for p in offsets.topic_partitions} == {7}
    admin.delete_consumer_groups([group])[group].result(LIMIT_S)
    listed = admin.list_consumer_groups().result(LIMIT_S)
    assert group not in {listing.group_id for listing in listed.valid}
    assert committed(quick_floe, group, topic) == [-1001] * PARTITIONS
