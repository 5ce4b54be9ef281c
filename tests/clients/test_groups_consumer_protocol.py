"""Consumer groups of the new protocol (KIP-848), with librdkafka: `group.protocol=consumer`."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from confluent_kafka import ConsumerGroupState, ConsumerGroupType, KafkaException
from confluent_kafka.admin import AdminClient, NewPartitions

from tests.clients.confluent_members import (
    PARTITIONS,
    PER_PARTITION,
    QUICK,
    Modern,
    come_and_go,
    committed,
    create,
    described_at_work,
    leave_and_return_as_the_same,
    produce,
)
from tests.clients.group_members import LIMIT_S, Seen, all_seen, members_of, share_evenly, wait_until
from tests.floe_process import FloeProcess


@pytest.fixture(scope="module")
def quick_floe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FloeProcess]:
    process = FloeProcess(tmp_path_factory.mktemp("floe") / "data", QUICK).start()
    yield process
    process.end()


@pytest.mark.parametrize("assignor", ["uniform", "range"])
def test_members_come_and_go_and_every_record_is_delivered(quick_floe: FloeProcess, assignor: str) -> None:
    come_and_go(quick_floe, Modern, f"modern-share-{assignor}", **{"group.remote.assignor": assignor})


def test_a_killed_broker_comes_back_and_the_group_goes_on(start_floe: Callable[..., FloeProcess]) -> None:
    floe = start_floe(**{name.replace(".", "_"): value for name, value in QUICK.items()})
    topic = group = "modern-kill"
    create(floe, topic)
    expected = produce(floe, topic)
    with members_of(lambda: Modern(floe, group, topic), KafkaException) as start:
        one, two = start(), start()
        wait_until(lambda: all_seen([one, two], expected), "everything is read")
        three = start()  # a rebalance begins
        floe.kill()
        floe.start()
        wait_until(lambda: share_evenly([one, two, three], PARTITIONS), "three members share")
        expected |= produce(floe, topic, PER_PARTITION)
        wait_until(lambda: all_seen([one, two, three], expected), "nothing is missing")
    assert committed(floe, group, topic) == [2 * PER_PARTITION] * PARTITIONS


def test_subscriptions_by_regular_expression(quick_floe: FloeProcess) -> None:
    admin = create(quick_floe, "modern-regex-1", 2)
    create(quick_floe, "other-regex", 2)
    with members_of(lambda: Modern(quick_floe, "modern-regex", "^modern-regex-.*"), KafkaException) as start:
        one = start()
        wait_until(
            lambda: _assigned(admin, "modern-regex") == {("modern-regex-1", 0), ("modern-regex-1", 1)}, "one"
        )
        create(quick_floe, "modern-regex-2", 1)
        wait_until(lambda: ("modern-regex-2", 0) in _assigned(admin, "modern-regex"), "a new topic")
        admin.create_partitions([NewPartitions("modern-regex-2", 2)])["modern-regex-2"].result(LIMIT_S)
        wait_until(lambda: ("modern-regex-2", 1) in _assigned(admin, "modern-regex"), "a new partition")
        admin.delete_topics(["modern-regex-1"])["modern-regex-1"].result(LIMIT_S)
        wait_until(lambda: len(_assigned(admin, "modern-regex")) == 2, "a topic less")
        one.stop()


def _assigned(admin: AdminClient, group: str) -> set[tuple[str, int]]:
    described = admin.describe_consumer_groups([group])[group].result(LIMIT_S)
    return {
        (p.topic, p.partition) for member in described.members for p in member.assignment.topic_partitions
    }


def test_a_static_member_returns_to_what_it_had(quick_floe: FloeProcess) -> None:
    leave_and_return_as_the_same(quick_floe, Modern, "modern-static")


def test_what_administrators_see_and_do(quick_floe: FloeProcess) -> None:
    topic = group = "modern-admin"
    admin, described = described_at_work(quick_floe, Modern, topic)
    assert (described.state, described.type) == (ConsumerGroupState.STABLE, ConsumerGroupType.CONSUMER)
    assert described.partition_assignor == "uniform"
    listed = admin.list_consumer_groups(types={ConsumerGroupType.CONSUMER}).result(LIMIT_S)
    assert group in {listing.group_id for listing in listed.valid}
    admin.delete_consumer_groups([group])[group].result(LIMIT_S)
    assert committed(quick_floe, group, topic) == [-1001] * PARTITIONS


class Subprocess:
    """A consumer in a process of its own; `seen` is what it read and committed."""

    def __init__(self, floe: FloeProcess, group: str, topic: str) -> None:
        command = [sys.executable, "-m", "tests.clients.consuming_process", floe.bootstrap, group, topic]
        command += ["group.protocol=consumer"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.seen: list[Seen] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with suppress(ValueError):  # the last line of a killed process may be torn
                partition, offset = line.split()
                self.seen.append((int(partition), int(offset)))

    def end(self) -> None:
        self.process.kill()
        self.process.wait(LIMIT_S)
        self._reader.join(LIMIT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()


def test_members_are_killed_and_frozen_and_nothing_is_missing(quick_floe: FloeProcess) -> None:
    topic = group = "modern-processes"
    create(quick_floe, topic)
    members = [Subprocess(quick_floe, group, topic) for _ in range(3)]
    try:
        expected = produce(quick_floe, topic)
        wait_until(lambda: all_seen(members, expected), "everything is read")  # type: ignore[arg-type]
        members[0].process.kill()
        members[1].process.send_signal(signal.SIGSTOP)
        before = committed(quick_floe, group, topic)
        expected |= produce(quick_floe, topic, PER_PARTITION)
        wait_until(
            lambda: committed(quick_floe, group, topic) == [2 * PER_PARTITION] * PARTITIONS,
            "the third takes over",
        )
        members[1].process.send_signal(signal.SIGCONT)
        expected |= produce(quick_floe, topic, 2 * PER_PARTITION)
        wait_until(lambda: all_seen(members, expected), "nothing is missing")  # type: ignore[arg-type]
        assert before == [PER_PARTITION] * PARTITIONS
        assert committed(quick_floe, group, topic) == [3 * PER_PARTITION] * PARTITIONS
    finally:
        for member in members:
            member.end()
