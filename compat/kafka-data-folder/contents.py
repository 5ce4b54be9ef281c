"""Fill a broker with everything a data folder can hold, and tell all that readers can see of it."""

import contextlib
import time

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic
from features import until

START_MS = 1_790_000_000_000
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
PARTITIONS = 3
COMPACTED_KEYS = 7
GROUP = "readers"
TOPICS = {
    "codecs": (PARTITIONS, {"retention.ms": "-1"}),
    "transactions": (1, {"retention.ms": "-1", "max.message.bytes": "2000000"}),
    "trimmed": (1, {"retention.ms": "-1"}),
    "compacted": (
        1,
        {
            "cleanup.policy": "compact",
            "segment.ms": "1000",
            "min.cleanable.dirty.ratio": "0.01",
            "delete.retention.ms": "86400000",
        },
    ),
}
TRIMMED_BEFORE = 40


def fill(bootstrap):
    """Topics, records, transactions, deleted records, a compacted topic, a group's offsets."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    topics = [NewTopic(name, count, 1, config=config) for name, (count, config) in TOPICS.items()]
    for future in admin.create_topics(topics).values():
        future.result(30)
    for number, codec in enumerate(CODECS):
        _codec(bootstrap, codec, number)
    _transactions(bootstrap)
    _trimmed(bootstrap, admin)
    _group(bootstrap, admin)
    _compacted(bootstrap)


def _codec(bootstrap, codec, number):
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "linger.ms": 20})
    for n in range(400):
        producer.produce(
            "codecs",
            key=None if n % 10 == 0 else f"{codec}-{n}".encode(),
            value=None if n % 17 == 0 else f"value {n} of {codec} ".encode() * 8,
            headers=[("codec", codec.encode()), ("empty", b""), ("null", None)] if n % 3 == 0 else [],
            partition=n % PARTITIONS,
            timestamp=START_MS + number * 400_000 + n * 1000,
        )
    assert producer.flush(60) == 0


def transactional(bootstrap, transactional_id="writer"):
    """A producer that is ready to begin a transaction."""
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": transactional_id})
    producer.init_transactions(60)
    return producer


def _transactions(bootstrap):
    producer = transactional(bootstrap)
    for number, commit in enumerate((True, False, True, False, True)):
        producer.begin_transaction()
        for n in range(50):
            producer.produce("transactions", key=str(n).encode(), value=f"{number}: {commit}".encode())
        assert producer.flush(60) == 0
        (producer.commit_transaction if commit else producer.abort_transaction)(60)


def _trimmed(bootstrap, admin):
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "batch.num.messages": 10})
    for n in range(100):
        producer.produce("trimmed", value=str(n).encode())
    assert producer.flush(60) == 0
    for future in admin.delete_records([TopicPartition("trimmed", 0, TRIMMED_BEFORE)]).values():
        assert future.result(30).low_watermark == TRIMMED_BEFORE


def _group(bootstrap, admin):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": GROUP})
    offsets = [
        TopicPartition("codecs", index, 100 + index, metadata=f"at {index}") for index in range(PARTITIONS)
    ]
    consumer.commit(offsets=offsets, asynchronous=False)
    consumer.close()


def _compacted(bootstrap):
    """The same keys over several segments, until the cleaner has been there."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    sent = 0

    def cleaned():
        nonlocal sent
        for key in range(COMPACTED_KEYS):
            value = None if key == 0 and sent < 5 else f"round {sent}".encode()
            producer.produce("compacted", key=f"key-{key}".encode(), value=value)
        assert producer.flush(60) == 0
        sent += 1
        time.sleep(1.2)  # segment.ms, in the broker's own time
        low, high = watermarks(bootstrap, "compacted", 0)
        return len(records(bootstrap, "compacted", 0)) < high - low

    until(cleaned, 60, "the compacted topic has been compacted")


def watermarks(bootstrap, topic, partition):
    """Log start and high watermark."""
    with _consumer(bootstrap) as consumer:
        return consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)


@contextlib.contextmanager
def _consumer(bootstrap, isolation="read_uncommitted", group="nobody"):
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "isolation.level": isolation,
            "check.crcs": True,
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


def records(bootstrap, topic, partition, isolation="read_uncommitted"):
    """Every record a reader of the partition is given: offset, timestamp, key, value, headers."""
    found = []
    with _consumer(bootstrap, isolation) as consumer:
        consumer.assign([TopicPartition(topic, partition, 0)])
        while True:
            message = consumer.poll(60)
            assert message is not None, f"nothing more of {topic}-{partition} after {len(found)} records"
            if message.error():
                if message.error().code() == KafkaError._PARTITION_EOF:
                    return found
                raise KafkaException(message.error())
            where = (message.offset(), message.timestamp())
            found.append((*where, message.key(), message.value(), message.headers()))


def snapshot(bootstrap):
    """All that can be seen of what `fill` left: by topic and partition, and of the group."""
    seen = {}
    for topic, (count, _settings) in TOPICS.items():
        for index in range(count):
            seen[f"{topic}-{index}"] = {
                "watermarks": watermarks(bootstrap, topic, index),
                "read_uncommitted": records(bootstrap, topic, index),
                "read_committed": records(bootstrap, topic, index, "read_committed"),
                "by time": _offsets_for_times(bootstrap, topic, index),
            }
    return seen


def _offsets_for_times(bootstrap, topic, partition):
    times = [START_MS + seconds * 1000 for seconds in (0, 1, 350, 400, 999, 1234, 1999)]
    with _consumer(bootstrap) as consumer:
        return [
            consumer.offsets_for_times([TopicPartition(topic, partition, time_ms)], timeout=30)[0].offset
            for time_ms in times
        ]


def committed(bootstrap):
    """The group's offsets and their metadata."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    wanted = [ConsumerGroupTopicPartitions(GROUP)]
    found = admin.list_consumer_group_offsets(wanted)[GROUP].result(30)
    return sorted((part.topic, part.partition, part.offset, part.metadata) for part in found.topic_partitions)


def described(bootstrap):
    """Of each topic its id, partitions and the settings that were given."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    found = {}
    for name, future in admin.describe_topics(TopicCollection(list(TOPICS))).items():
        topic = future.result(30)
        resource = ConfigResource(ConfigResource.Type.TOPIC, name)
        settings = next(iter(admin.describe_configs([resource]).values())).result(30)
        given = {key: settings[key].value for key in TOPICS[name][1]}
        found[name] = (str(topic.topic_id), len(topic.partitions), given)
    return found
