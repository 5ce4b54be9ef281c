"""librdkafka's members of a group, of the classic protocol and of the new one, and what both are put through."""

from __future__ import annotations

from typing import ClassVar

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import AdminClient, ConsumerGroupDescription, NewTopic

from tests.clients.group_members import LIMIT_S, Seen, all_seen, members_of, share_evenly, wait_until
from tests.floe_process import FloeProcess

PARTITIONS = 6
PER_PARTITION = 50
QUICK = {
    "group.consumer.heartbeat.interval.ms": "300",
    "group.consumer.min.heartbeat.interval.ms": "300",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.session.timeout.ms": "6000",
}
"""What a broker is told so that members of the new protocol, whose time-outs are the broker's, do not wait."""


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


class Modern(Confluent):
    """A `GroupConsumer` of the new protocol: the broker has the time-outs."""

    TIME_OUTS: ClassVar[dict[str, object]] = {}

    def __init__(self, floe: FloeProcess, group: str, topic: str, **settings: object) -> None:
        super().__init__(floe, group, topic, **{"group.protocol": "consumer", **settings})


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


def come_and_go(floe: FloeProcess, kind: type[Confluent], topic: str, **settings: object) -> None:
    """Members of a group of the topic's name come and go: every record is delivered and committed."""
    create(floe, topic)
    expected = produce(floe, topic)
    with members_of(lambda: kind(floe, topic, topic, **settings), KafkaException) as start:
        one = start()
        wait_until(lambda: all_seen([one], expected), "one member reads everything")
        two, three = start(), start()
        wait_until(lambda: share_evenly([one, two, three], PARTITIONS), "three members share")
        expected |= produce(floe, topic, PER_PARTITION)
        wait_until(lambda: all_seen([one, two, three], expected), "three members read everything")
        one.stop()
        wait_until(lambda: share_evenly([two, three], PARTITIONS), "the others take over")
        expected |= produce(floe, topic, 2 * PER_PARTITION)
        wait_until(lambda: all_seen([one, two, three], expected), "nothing is missing")
    assert committed(floe, topic, topic) == [3 * PER_PARTITION] * PARTITIONS


def leave_and_return_as_the_same(floe: FloeProcess, kind: type[Confluent], topic: str) -> None:
    """A static member that returns has what it had, and so has the other."""
    admin = create(floe, topic)
    instances = iter(["a", "b", "a"])
    make = lambda: kind(floe, topic, topic, **{"group.instance.id": next(instances)})  # noqa: E731
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
        described = admin.describe_consumer_groups([topic])[topic].result(LIMIT_S)
        assert {member.group_instance_id for member in described.members} == {"a", "b"}


def described_at_work(
    floe: FloeProcess, kind: type[Confluent], topic: str
) -> tuple[AdminClient, ConsumerGroupDescription]:
    """A group while its one member has read everything; when this returns, the member has left."""
    admin = create(floe, topic)
    expected = produce(floe, topic)
    with members_of(lambda: kind(floe, topic, topic), KafkaException) as start:
        one = start()
        wait_until(lambda: all_seen([one], expected), "everything is read")
        described = admin.describe_consumer_groups([topic])[topic].result(LIMIT_S)
        (member,) = described.members
        assert member.host == "/127.0.0.1"
        assert {p.partition for p in member.assignment.topic_partitions} == set(range(PARTITIONS))
        with pytest.raises(KafkaException, match="NON_EMPTY"):
            admin.delete_consumer_groups([topic])[topic].result(LIMIT_S)
    return admin, described
