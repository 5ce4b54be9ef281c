"""A group of librdkafka's classic protocol is taken over by members of the new protocol, and back (KIP-848)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import ConsumerGroupType, KafkaException
from confluent_kafka.admin import AdminClient

from tests.clients.confluent_members import (
    PARTITIONS,
    PER_PARTITION,
    QUICK,
    Confluent,
    Modern,
    committed,
    create,
    produce,
)
from tests.clients.group_members import LIMIT_S, all_seen, members_of, share_evenly, wait_until
from tests.floe_process import FloeProcess


@pytest.fixture(scope="module")
def quick_floe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FloeProcess]:
    settings = {"group.initial.rebalance.delay.ms": "100", **QUICK}
    process = FloeProcess(tmp_path_factory.mktemp("floe") / "data", settings).start()
    yield process
    process.end()


def group_type(admin: AdminClient, group: str) -> ConsumerGroupType:
    return admin.describe_consumer_groups([group])[group].result(LIMIT_S).type


@pytest.mark.parametrize("strategy", ["range", "cooperative-sticky"])
def test_a_group_is_taken_over_and_given_back(quick_floe: FloeProcess, strategy: str) -> None:
    topic = group = f"migration-{strategy}"
    admin = create(quick_floe, topic)
    expected = produce(quick_floe, topic)
    settings = {"partition.assignment.strategy": strategy}
    makers = {
        "classic": lambda: Confluent(quick_floe, group, topic, **settings),
        "modern": lambda: Modern(quick_floe, group, topic),
    }
    kinds = iter(("classic", "classic", "modern", "modern", "classic"))
    with members_of(lambda: makers[next(kinds)](), KafkaException) as start:
        one, two = start(), start()
        wait_until(lambda: share_evenly([one, two], PARTITIONS), "two classic members share")
        wait_until(lambda: all_seen([one, two], expected), "they read everything")
        assert group_type(admin, group) is ConsumerGroupType.CLASSIC
        three = start()
        wait_until(lambda: share_evenly([one, two, three], PARTITIONS), "a modern member shares with them")
        assert group_type(admin, group) is ConsumerGroupType.CONSUMER
        expected |= produce(quick_floe, topic, PER_PARTITION)
        wait_until(lambda: all_seen([one, two, three], expected), "all three read")
        one.stop()
        four = start()
        two.stop()
        wait_until(lambda: share_evenly([three, four], PARTITIONS), "only modern members are left")
        five = start()
        wait_until(lambda: share_evenly([three, four, five], PARTITIONS), "a classic member joins them")
        expected |= produce(quick_floe, topic, 2 * PER_PARTITION)
        wait_until(lambda: all_seen([one, two, three, four, five], expected), "all of them read")
        three.stop()
        four.stop()
        wait_until(
            lambda: group_type(admin, group) is ConsumerGroupType.CLASSIC, "the group is classic again"
        )
        wait_until(lambda: share_evenly([five], PARTITIONS), "the last has everything")
        expected |= produce(quick_floe, topic, 3 * PER_PARTITION)
        wait_until(lambda: all_seen([one, two, three, four, five], expected), "nothing is missing")
    assert committed(quick_floe, group, topic) == [4 * PER_PARTITION] * PARTITIONS
