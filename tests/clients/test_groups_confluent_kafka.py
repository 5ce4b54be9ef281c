"""Consumer groups of librdkafka's classic protocol: sharing, taking over, static members, administration."""

from __future__ import annotations

import pytest
from confluent_kafka import ConsumerGroupState, ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka import TopicPartition as Position

from tests.clients.confluent_members import (
    PARTITIONS,
    PER_PARTITION,
    Confluent,
    come_and_go,
    committed,
    create,
    described_at_work,
    leave_and_return_as_the_same,
    produce,
)
from tests.clients.group_members import LIMIT_S, all_seen, members_of, wait_until
from tests.floe_process import FloeProcess


@pytest.fixture(scope="module")
def quick_floe(tmp_path_factory: pytest.TempPathFactory) -> object:
    settings = {"group.initial.rebalance.delay.ms": "100"}
    process = FloeProcess(tmp_path_factory.mktemp("floe") / "data", settings).start()
    yield process
    process.end()


@pytest.mark.parametrize("strategy", ["range", "roundrobin", "cooperative-sticky"])
def test_members_come_and_go_and_every_record_is_delivered(quick_floe: FloeProcess, strategy: str) -> None:
    settings = {"partition.assignment.strategy": strategy}
    come_and_go(quick_floe, Confluent, f"confluent-share-{strategy}", **settings)


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
    leave_and_return_as_the_same(quick_floe, Confluent, "confluent-static")


def test_what_administrators_see_and_do(quick_floe: FloeProcess) -> None:
    topic = group = "confluent-admin"
    admin, described = described_at_work(quick_floe, Confluent, topic)
    assert described.state == ConsumerGroupState.STABLE
    assert described.partition_assignor == "range"
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
