"""A process that stands still under load and goes on: nothing lost, nothing doubled.

It stands still until its client has given up on requests and sends them again, which is when something can be doubled;
no test sleeps.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from tests.faults.wire import RawClient, assert_healthy, end_offset, make_topic
from tests.floe_process import FloeProcess

TOPIC = "frozen"
LIMIT_S = 120.0
ROUNDS = 2
REQUEST_TIMEOUT_MS = 1000


class FrozenLoad:
    """An idempotent producer that gives up on a request after a second, and counts how often it had to."""

    def __init__(self, floe: FloeProcess) -> None:
        self.progress = threading.Condition()
        self.acknowledged: dict[bytes, int] = {}
        self.failed: list[str] = []
        self.timeouts = 0
        self.queued = 0
        self._stopping = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": floe.bootstrap,
                "enable.idempotence": True,
                "socket.timeout.ms": REQUEST_TIMEOUT_MS,
                "request.timeout.ms": REQUEST_TIMEOUT_MS,
                "message.timeout.ms": int(LIMIT_S * 1000),
                "statistics.interval.ms": 100,
                "stats_cb": self._statistics,
                "retry.backoff.ms": 20,
                "reconnect.backoff.ms": 10,
                "reconnect.backoff.max.ms": 50,
                "linger.ms": 1,
                "log_level": 0,
            }
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _statistics(self, text: str) -> None:
        statistics = json.loads(text)
        with self.progress:
            self.timeouts = sum(broker["req_timeouts"] for broker in statistics["brokers"].values())
            self.progress.notify_all()

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        value, offset = message.value(), message.offset()
        with self.progress:
            if error is not None:
                self.failed.append(str(error))
            else:
                assert isinstance(value, bytes) and offset is not None
                self.acknowledged[value] = offset
            self.progress.notify_all()

    def _run(self) -> None:
        number = 0
        while not self._stopping.is_set():
            if len(self._producer) < 500:
                self._producer.produce(TOPIC, b"%d" % number, partition=0, on_delivery=self._delivered)
                number += 1
                self._producer.poll(0)
            else:
                self._producer.poll(0.05)

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        with self.progress:
            assert self.progress.wait_for(condition, LIMIT_S), f"waited in vain for {what}"

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(LIMIT_S)
        assert self._producer.flush(LIMIT_S) == 0


def everything(floe: FloeProcess) -> list[tuple[int, bytes]]:
    with RawClient(floe.port) as client:
        end = end_offset(client, TOPIC)
    consumer = Consumer(
        {"bootstrap.servers": floe.bootstrap, "group.id": "reader", "auto.offset.reset": "earliest"}
    )
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    found: list[tuple[int, bytes]] = []
    try:
        while len(found) < end:
            messages = consumer.consume(min(10_000, end - len(found)), LIMIT_S)
            assert messages, f"{len(found)} of {end} records came"
            for message in messages:
                assert message.error() is None
                found.append((message.offset(), message.value()))
    finally:
        consumer.close()
    return found


@pytest.fixture
def load(floe: FloeProcess) -> Iterator[FrozenLoad]:
    with RawClient(floe.port) as client:
        make_topic(client, TOPIC)
    yield FrozenLoad(floe)


@pytest.mark.slow
def test_frozen_under_load(floe: FloeProcess, load: FrozenLoad) -> None:
    for _ in range(ROUNDS):
        count, timeouts = len(load.acknowledged), load.timeouts
        load.wait(lambda count=count: len(load.acknowledged) >= count + 500, "acknowledgements")
        floe.freeze()
        try:
            load.wait(lambda timeouts=timeouts: load.timeouts > timeouts, "a request that is given up")
        finally:
            floe.thaw()
    count = len(load.acknowledged)
    load.wait(lambda: len(load.acknowledged) >= count + 500, "acknowledgements after the thaw")
    load.stop()
    assert not load.failed
    found = everything(floe)
    assert [offset for offset, _ in found] == list(range(len(found))), "a gap"
    places = {value: offset for offset, value in found}
    lost = [value for value, offset in load.acknowledged.items() if places.get(value) != offset]
    assert not lost, f"{len(lost)} acknowledged records are not where they were"
    doubled = [value for value, times in Counter(value for _, value in found).items() if times > 1]
    assert not doubled, f"{len(doubled)} records are there twice"
    assert [int(value) for _, value in found] == sorted(int(value) for _, value in found), "out of order"
    assert_healthy(floe)
    assert floe.stop() == 0
