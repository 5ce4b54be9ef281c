"""Transactions of kafka-python, confluent-kafka and aiokafka: what commits is seen, what aborts never was."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tests.clients.transactional import (
    PRODUCERS,
    Confluent,
    Fenced,
    TransactionalProducer,
    committed_offset,
    committed_values,
)
from tests.floe_process import FloeProcess

Make = Callable[..., TransactionalProducer]
NOTHING_STORED = -1001


@pytest.fixture(params=PRODUCERS)
def make(request: pytest.FixtureRequest, shared_floe: FloeProcess) -> Iterator[Make]:
    made: list[TransactionalProducer] = []

    def make_producer(transactional_id: str) -> TransactionalProducer:
        producer = PRODUCERS[request.param](shared_floe, transactional_id)
        made.append(producer)
        return producer

    yield make_producer
    for producer in made:
        producer.close()


@pytest.fixture
def topic(request: pytest.FixtureRequest, shared_floe: FloeProcess) -> str:
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)
    admin = AdminClient({"bootstrap.servers": shared_floe.bootstrap})
    admin.create_topics([NewTopic(name, 1)])[name].result(30)
    return name


def test_what_commits_is_seen_and_what_aborts_is_not(
    make: Make, shared_floe: FloeProcess, topic: str
) -> None:
    producer = make(topic)
    for number in range(4):
        producer.begin()
        for value in range(3):
            producer.send(topic, b"%d-%d" % (number, value))
        if number % 2:
            producer.abort()
        else:
            producer.commit()
    expected = [b"%d-%d" % (number, value) for number in (0, 2) for value in range(3)]
    assert committed_values(shared_floe, topic) == expected
    everything = committed_values(shared_floe, topic, isolation="read_uncommitted")
    assert everything == [b"%d-%d" % (number, value) for number in range(4) for value in range(3)]


def test_an_open_transaction_holds_readers_back(make: Make, shared_floe: FloeProcess, topic: str) -> None:
    early, late = make(f"{topic}-early"), make(f"{topic}-late")
    early.begin()
    early.send(topic, b"early")
    late.begin()
    late.send(topic, b"late")
    late.commit()
    assert committed_values(shared_floe, topic) == []
    early.commit()
    assert committed_values(shared_floe, topic) == [b"early", b"late"]


def test_a_new_producer_fences_the_old(make: Make, shared_floe: FloeProcess, topic: str) -> None:
    old = make(topic)
    old.begin()
    old.send(topic, b"of the old")
    new = make(topic)
    new.begin()
    new.send(topic, b"of the new")
    new.commit()
    with pytest.raises(Fenced):
        old.commit()
    assert committed_values(shared_floe, topic) == [b"of the new"]


def test_offsets_are_committed_with_the_records(make: Make, shared_floe: FloeProcess, topic: str) -> None:
    producer = make(topic)
    producer.begin()
    producer.send(topic, b"aborted")
    producer.send_offsets(topic, topic, 7)
    producer.abort()
    assert committed_offset(shared_floe, topic, topic) == NOTHING_STORED
    producer.begin()
    producer.send(topic, b"committed")
    producer.send_offsets(topic, topic, 9)
    producer.commit()
    assert committed_offset(shared_floe, topic, topic) == 9
    assert committed_values(shared_floe, topic) == [b"committed"]


def test_a_transaction_that_takes_too_long_is_aborted(shared_floe: FloeProcess, topic: str) -> None:
    producer = Confluent(shared_floe, topic, **{"transaction.timeout.ms": 1000})
    other = Confluent(shared_floe, f"{topic}-other")
    producer.begin()
    producer.send(topic, b"too late")
    other.begin()
    other.send(topic, b"in time")
    other.commit()
    while committed_values(shared_floe, topic) != [
        b"in time"
    ]:  # each look takes its time; the test has a limit
        pass
    with pytest.raises(Fenced):
        producer.commit()
