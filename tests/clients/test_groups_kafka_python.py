"""Consumer groups of kafka-python: sharing, taking over, administration."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import KafkaError

from tests.clients.group_members import LIMIT_S, Seen, all_seen, members_of, share_evenly, wait_until
from tests.clients.kafka_python_members import GivenAgain, KafkaPython, Punctual
from tests.floe_process import FloeProcess

PARTITIONS = 5
PER_PARTITION = 40


class Freezing(GivenAgain):
    """Stands still when something is first taken from it: after it has begun to rejoin, and before it has said so."""

    def __init__(self) -> None:
        super().__init__()
        self.stands_still = threading.Event()
        self.may_go_on = threading.Event()
        self.is_back = threading.Event()

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        super().on_partitions_revoked(revoked)
        if revoked and not self.stands_still.is_set():
            self.stands_still.set()
            self.may_go_on.wait(LIMIT_S)

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        super().on_partitions_assigned(assigned)
        if self.may_go_on.is_set():
            self.is_back.set()


@pytest.fixture(scope="module")
def quick_floe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FloeProcess]:
    settings = {"group.initial.rebalance.delay.ms": "100", "group.min.session.timeout.ms": "1000"}
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
    with members_of(lambda: KafkaPython(quick_floe.bootstrap, group, topic), KafkaError) as start:
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


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(
            KafkaPython,
            marks=pytest.mark.xfail(
                strict=True,
                raises=AssertionError,
                reason="kafka-python 3.0.12: compat/kafka-python/FINDINGS.md",
            ),
        ),
        Punctual,
    ],
)
def test_a_member_that_was_given_up_goes_on_from_what_is_committed(
    quick_floe: FloeProcess, kind: type[KafkaPython | Punctual]
) -> None:
    topic = group = f"kafka-python-frozen-{kind.__name__}"
    create(quick_floe, topic)
    expected = produce(quick_floe, topic)
    freezing = Freezing()
    members = iter(
        (
            lambda: kind(quick_floe.bootstrap, group, topic, freezing, session_timeout_ms=1_000),
            lambda: KafkaPython(quick_floe.bootstrap, group, topic),
        )
    )
    with members_of(lambda: next(members)(), KafkaError) as start:
        one = start()
        wait_until(lambda: all_seen([one], expected), "one member reads everything")
        two = start()
        assert freezing.stands_still.wait(LIMIT_S)
        of_the_other = produce(quick_floe, topic, PER_PARTITION)
        wait_until(lambda: all_seen([two], of_the_other), "the other takes over")
        two.stop()
        freezing.may_go_on.set()
        assert freezing.is_back.wait(LIMIT_S)
        expected = produce(quick_floe, topic, 2 * PER_PARTITION)
        wait_until(lambda: all_seen([one], expected), "the first reads on")
    assert not of_the_other & set(one.seen), "what the other had committed came again"


def test_what_administrators_see_and_do(quick_floe: FloeProcess) -> None:
    topic = group = "kafka-python-admin"
    create(quick_floe, topic)
    expected = produce(quick_floe, topic)
    admin = KafkaAdminClient(bootstrap_servers=quick_floe.bootstrap)
    with members_of(lambda: KafkaPython(quick_floe.bootstrap, group, topic), KafkaError) as start:
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
