"""What users of aiokafka do, checked by what comes back."""

import asyncio
import time
import uuid

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from features import BOOTSTRAP, Features, equal

try:
    from aiokafka.errors import MessageSizeTooLargeError
except ImportError:  # 0.8 takes its errors from kafka-python
    from kafka.errors import MessageSizeTooLargeError

TIMESTAMP_MS = int(time.time() * 1000) - 3600000  # young enough for retention
COUNT = 300
features = Features()


def check(feature):
    def register(function):
        features.check(feature)(lambda: asyncio.run(asyncio.wait_for(function(), 60)))
        return function

    return register


def topic_name():
    return "topic-" + uuid.uuid4().hex[:8]


class running:  # noqa: N801
    """`async with running(client)`: started, and stopped at the end."""

    def __init__(self, client):
        self.client = client

    async def __aenter__(self):
        await self.client.start()
        return self.client

    async def __aexit__(self, *error):
        await getattr(self.client, "stop", getattr(self.client, "close", None))()


def producer_of(**settings):
    return running(AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, linger_ms=5, **settings))


def consumer_of(*topics, **settings):
    settings.setdefault("auto_offset_reset", "earliest")
    return running(AIOKafkaConsumer(*topics, bootstrap_servers=BOOTSTRAP, **settings))


async def send(producer, topic, count=COUNT, first=0):
    futures = [
        await producer.send(
            topic,
            key=b"key-%d" % n,
            value=b"value-%d" % n,
            partition=0,
            timestamp_ms=TIMESTAMP_MS + n,
            headers=[("n", b"%d" % n)],
        )
        for n in range(first, first + count)
    ]
    return [(await future).offset for future in futures]


async def produce(topic, count=COUNT, first=0, **settings):
    async with producer_of(**settings) as producer:
        return await send(producer, topic, count, first)


async def take(consumer, count):
    return [await consumer.getone() for _ in range(count)]


async def read(topic, count, **settings):
    async with consumer_of(**settings) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.seek_to_beginning()
        return await take(consumer, count)


def came_back(records, count=COUNT, first=0):
    expected = [
        (b"key-%d" % n, b"value-%d" % n, TIMESTAMP_MS + n, n, (("n", b"%d" % n),))
        for n in range(first, first + count)
    ]
    found = [(r.key, r.value, r.timestamp, r.offset, tuple(r.headers)) for r in records]
    equal(found, expected, "records")


async def round_trip(**settings):
    topic = topic_name()
    await produce(topic, **settings)
    came_back(await read(topic, COUNT))


for kind in (None, "gzip", "snappy", "lz4", "zstd"):
    check(kind or "produce and consume")(lambda kind=kind: round_trip(compression_type=kind))


@check("acks 0 and 1")
async def acks():
    for level in (0, 1):
        topic = topic_name()
        async with producer_of(acks=level) as producer:
            for n in range(50):
                await producer.send(topic, b"%d" % n, partition=0)
        equal([r.value for r in await read(topic, 50)], [b"%d" % n for n in range(50)], "values")


@check("idempotent producer")
async def idempotent():
    await round_trip(enable_idempotence=True)


@check("too large a record is refused")
async def too_large():
    async with producer_of(max_request_size=5000000) as producer:
        try:
            await producer.send_and_wait(topic_name(), b"x" * 2000000)
        except MessageSizeTooLargeError:
            return
    raise AssertionError("2 MB were taken")


@check("offsets by time, beginning and end")
async def offsets():
    topic = topic_name()
    await produce(topic)
    partition = TopicPartition(topic, 0)
    async with consumer_of() as consumer:
        equal(await consumer.beginning_offsets([partition]), {partition: 0}, "beginning")
        equal(await consumer.end_offsets([partition]), {partition: COUNT}, "end")
        found = await consumer.offsets_for_times({partition: TIMESTAMP_MS + 77})
        equal(found[partition].offset, 77, "by time")


@check("group: commit and resume")
async def group_resumes():
    topic = topic_name()
    await produce(topic)
    async with consumer_of(topic, group_id="group-" + topic, enable_auto_commit=False) as first:
        came_back(await take(first, COUNT))
        await first.commit({TopicPartition(topic, 0): 100})
        equal(await first.committed(TopicPartition(topic, 0)), 100, "committed")
    async with consumer_of(topic, group_id="group-" + topic) as second:
        came_back(await take(second, COUNT - 100), COUNT - 100, 100)


async def until(condition, what):
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("in 30 s it did not come true: " + what)
        await asyncio.sleep(0.05)


@check("group: two members share, one leaves")
async def group_shares():
    topics = [topic_name() for _ in range(4)]
    for topic in topics:
        await produce(topic, 1)
    settings = {"group_id": "group-" + topics[0], "heartbeat_interval_ms": 200}
    async with consumer_of(*topics, **settings) as first:
        await until(lambda: len(first.assignment()) == 4, "all for one")
        async with consumer_of(*topics, **settings) as second:
            await until(lambda: (len(first.assignment()), len(second.assignment())) == (2, 2), "a half each")
        await until(lambda: len(first.assignment()) == 4, "all for the one that is left")


@check("transactions: committed and aborted")
async def transactions():
    topic = topic_name()
    async with producer_of(transactional_id="tx-" + topic) as producer:
        for number in range(4):
            await producer.begin_transaction()
            await send(producer, topic, 10, number * 10)
            await (producer.commit_transaction if number % 2 == 0 else producer.abort_transaction)()
    records = await read(topic, 20, isolation_level="read_committed")
    expected = [b"value-%d" % n for first in (0, 20) for n in range(first, first + 10)]
    equal([r.value for r in records], expected, "committed")


@check("transactions: offsets and records together")
async def transactions_copy():
    topic = topic_name()
    await produce(topic)
    async with producer_of(transactional_id="tx-" + topic) as producer, producer.transaction():
        await send(producer, topic + "-copy", 100)
        await producer.send_offsets_to_transaction({TopicPartition(topic, 0): 100}, "group-" + topic)
    async with consumer_of(topic, group_id="group-" + topic) as consumer:
        came_back(await take(consumer, COUNT - 100), COUNT - 100, 100)
    came_back(await read(topic + "-copy", 100, isolation_level="read_committed"), 100)


features.run()
