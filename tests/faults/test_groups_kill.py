"""The broker is killed while a group rebalances: the group goes on, and what was committed is committed."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import ClassVar

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from tests.clients.confluent_members import PARTITIONS, PER_PARTITION, QUICK, Confluent, create, produce
from tests.clients.group_members import Member, all_seen, members_of, share_evenly, wait_until
from tests.floe_process import FloeProcess

KILLS = 20 if os.environ.get("FLOE_SOAK") == "1" else 2
TOPIC = GROUP = "killed-group"


class Recording(Confluent):
    """Remembers what was acknowledged: (partition, offset) of every commit that came back without an error."""

    SAYS: ClassVar[dict[str, object]] = {"partition.assignment.strategy": "range"}
    STATES: ClassVar = ("PreparingRebalance", "CompletingRebalance")
    """What a rebalance goes through."""

    def __init__(self, floe: FloeProcess, acknowledged: dict[int, int]) -> None:
        quick = {"reconnect.backoff.max.ms": 200, "log_level": 0}
        super().__init__(floe, GROUP, TOPIC, **quick, **self.SAYS)
        self._acknowledged = acknowledged

    def poll(self) -> list[tuple[int, int]]:
        messages = self._consumer.consume(100, 0.1)
        return [(m.partition(), m.offset()) for m in messages if m.error() is None]

    def commit(self) -> None:
        for position in self._consumer.commit(asynchronous=False):
            if position.error is None and position.offset >= 0:  # else there was nothing to commit
                before = self._acknowledged.get(position.partition, 0)
                self._acknowledged[position.partition] = max(before, position.offset)


class Cooperative(Recording):
    SAYS: ClassVar[dict[str, object]] = {"partition.assignment.strategy": "cooperative-sticky"}


class Modern(Recording):
    """Of the new protocol (KIP-848): the broker has the time-outs."""

    TIME_OUTS: ClassVar[dict[str, object]] = {}
    SAYS: ClassVar[dict[str, object]] = {"group.protocol": "consumer"}
    STATES: ClassVar = ("Reconciling",)


def committed(floe: FloeProcess) -> dict[int, int]:
    consumer = Consumer({"bootstrap.servers": floe.bootstrap, "group.id": GROUP})
    try:
        positions = consumer.committed([TopicPartition(TOPIC, p) for p in range(PARTITIONS)], 60)
        return {position.partition: position.offset for position in positions}
    finally:
        consumer.close()


@pytest.mark.parametrize("kind", [Recording, Cooperative, Modern])
def test_a_group_goes_on_after_its_broker_was_killed_in_mid_rebalance(
    start_floe: Callable[..., FloeProcess], kind: type[Recording]
) -> None:
    quick = {name.replace(".", "_"): value for name, value in QUICK.items()}
    # The middle of a rebalance, in which it is killed, is told only at this level.
    floe = start_floe(group_initial_rebalance_delay_ms="100", floe_log_level="debug", **quick)
    create(floe, TOPIC)
    expected = produce(floe, TOPIC)
    acknowledged: dict[int, int] = {}
    chance = random.Random(kind.__name__)
    with members_of(lambda: kind(floe, acknowledged), KafkaException) as start:
        members: list[Member] = [start(), start()]
        everybody = list(members)
        wait_until(lambda: share_evenly(members, PARTITIONS), "two members share")
        for number in range(1, KILLS + 1):
            wanted = _seen(everybody) + chance.randrange(PER_PARTITION)
            expected |= produce(floe, TOPIC, number * PER_PARTITION)
            _wait_for_work(everybody, wanted)
            newcomer = _begin_rebalance(floe, start, kind.STATES[number % len(kind.STATES)])
            everybody.append(newcomer)
            floe.kill()
            told = dict(acknowledged)
            floe.start()
            found = committed(floe)
            assert all(found[partition] >= offset for partition, offset in told.items()), (told, found)
            members.append(newcomer)
            if len(members) > 3:
                members.pop(0).stop()
            wait_until(lambda: share_evenly(members, PARTITIONS), "everybody has a part again")
        wait_until(lambda: all_seen(everybody, expected), "nothing is missing")
        wait_until(lambda: set(committed(floe).values()) == {(KILLS + 1) * PER_PARTITION}, "all is committed")


def _seen(members: list[Member]) -> int:
    return sum(len(member.seen) for member in members)


def _begin_rebalance(floe: FloeProcess, start: Callable[[], Member], state: str) -> Member:
    """Start a member, and come back as soon as the group is in this state on its account."""
    before = floe.log().count(state)
    newcomer = start()
    wait_until(lambda: floe.log().count(state) > before, f"the group is {state}")
    return newcomer


def _wait_for_work(members: list[Member], count: int) -> None:
    wait_until(lambda: _seen(members) > count, "the group is at work")
