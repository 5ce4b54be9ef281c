"""Consumer groups of aiokafka, which speaks no flexible version: sharing and taking over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from tests.clients.group_members import in_python
from tests.floe_process import FloeProcess

LIMIT_S = 60.0
PARTITIONS = 4
PER_PARTITION = 40
Seen = tuple[int, int]


@pytest.fixture(scope="module")
def quick_floe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FloeProcess]:
    settings = {"group.initial.rebalance.delay.ms": "100"}
    process = FloeProcess(tmp_path_factory.mktemp("floe") / "data", settings).start()
    yield process
    process.end()


class Member:
    """A consumer in a task of its own."""

    def __init__(self, floe: FloeProcess, group: str, topic: str, progress: asyncio.Condition) -> None:
        self.progress = progress
        self.seen: list[Seen] = []
        self.consumer = AIOKafkaConsumer(topic, **in_python(floe.bootstrap, group))
        self.is_stopping = False
        self.task = asyncio.create_task(self.run())

    async def run(self) -> None:
        await self.consumer.start()
        try:
            while not self.is_stopping:
                polled = await self.consumer.getmany(timeout_ms=100)
                self.seen += [(r.partition, r.offset) for records in polled.values() for r in records]
                if polled:
                    with suppress(KafkaError):  # a rebalance came between: it is read again
                        await self.consumer.commit()
                async with self.progress:
                    self.progress.notify_all()
        finally:
            await self.consumer.stop()

    async def stop(self) -> None:
        self.is_stopping = True
        await self.task

    def owned(self) -> set[int]:
        return {position.partition for position in self.consumer.assignment()}


async def produce(floe: FloeProcess, topic: str, first: int) -> set[Seen]:
    producer = AIOKafkaProducer(bootstrap_servers=floe.bootstrap)
    await producer.start()
    for partition in range(PARTITIONS):
        for number in range(PER_PARTITION):
            await producer.send(topic, b"%d" % number, partition=partition)
    await producer.stop()
    return {(p, offset) for p in range(PARTITIONS) for offset in range(first, first + PER_PARTITION)}


def all_seen(members: list[Member], expected: set[Seen]) -> bool:
    return {seen for member in members for seen in member.seen} >= expected


def share(members: list[Member]) -> bool:
    owned = sorted(partition for member in members for partition in member.owned())
    return owned == list(range(PARTITIONS)) and all(member.owned() for member in members)


async def come_and_go(floe: FloeProcess, topic: str) -> list[int | None]:
    progress = asyncio.Condition()

    async def wait_until(condition: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(LIMIT_S), progress:
                await progress.wait_for(condition)
        except TimeoutError:
            raise AssertionError(f"not within {LIMIT_S} s: {what}") from None

    admin = AIOKafkaAdminClient(bootstrap_servers=floe.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    expected = await produce(floe, topic, 0)
    one = Member(floe, topic, topic, progress)
    await wait_until(lambda: all_seen([one], expected), "one member reads everything")
    two = Member(floe, topic, topic, progress)
    await wait_until(lambda: share([one, two]), "two members share")
    expected |= await produce(floe, topic, PER_PARTITION)
    await wait_until(lambda: all_seen([one, two], expected), "two members read everything")
    await one.stop()
    await wait_until(lambda: share([two]), "the other takes over")
    expected |= await produce(floe, topic, 2 * PER_PARTITION)
    await wait_until(lambda: all_seen([one, two], expected), "nothing is missing")
    await two.stop()
    assert topic in {group[0] for group in await admin.list_consumer_groups()}
    offsets = await admin.list_consumer_group_offsets(topic)
    await admin.close()
    return [offsets[TopicPartition(topic, partition)].offset for partition in range(PARTITIONS)]


def test_members_come_and_go_and_every_record_is_delivered(quick_floe: FloeProcess) -> None:
    offsets = asyncio.run(come_and_go(quick_floe, "aio-share"))
    assert offsets == [3 * PER_PARTITION] * PARTITIONS
