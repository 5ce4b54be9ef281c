"""What users of kafka-python do, checked by what comes back. Runs with kafka-python 1.4 and newer."""

import threading
import time
import uuid

import kafka
from features import BOOTSTRAP, Features, NotRun, closing_all, equal, until
from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewPartitions, NewTopic

VERSION = tuple(int(part) for part in kafka.__version__.split(".")[:2])
TIMESTAMP_MS = int(time.time() * 1000) - 3600000  # young enough for retention
COUNT = 300
features = Features()


def topic_name():
    return "topic-" + uuid.uuid4().hex[:8]


def producer_of(**settings):
    return KafkaProducer(bootstrap_servers=BOOTSTRAP, linger_ms=5, **settings)


def produce(topic, count=COUNT, first=0, **settings):
    producer = producer_of(**settings)
    with closing_all(producer):
        futures = [
            producer.send(
                topic,
                key=b"key-%d" % n,
                value=b"value-%d" % n,
                headers=[("n", b"%d" % n), ("n", b"")],
                timestamp_ms=TIMESTAMP_MS + n,
                partition=0,
            )
            for n in range(first, first + count)
        ]
        return [future.get(30).offset for future in futures]


def consumer_of(topic=None, **settings):
    settings.setdefault("auto_offset_reset", "earliest")
    topics = [topic] if topic else []
    return KafkaConsumer(*topics, bootstrap_servers=BOOTSTRAP, consumer_timeout_ms=20000, **settings)


def take(consumer, count):
    records = []
    for record in consumer:
        records.append(record)
        if len(records) == count:
            break
    return records


def assigned(topic, **settings):
    consumer = consumer_of(group_id=None, **settings)
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek_to_beginning()
    return consumer


def assert_came_back(records, first=0):
    expected = [
        (b"key-%d" % n, b"value-%d" % n, [("n", b"%d" % n), ("n", b"")], TIMESTAMP_MS + n)
        for n in range(first, first + len(records))
    ]
    equal([(r.key, r.value, list(r.headers), r.timestamp) for r in records], expected, "records")


def check_compression(kind):
    topic = topic_name()
    equal(produce(topic, compression_type=kind), list(range(COUNT)), "offsets")
    consumer = assigned(topic)
    with closing_all(consumer):
        records = take(consumer, COUNT)
    equal(len(records), COUNT, "count")
    assert_came_back(records)


@features.check("produce and consume")
def plain():
    check_compression(None)


@features.check("gzip")
def gzip():
    check_compression("gzip")


@features.check("snappy")
def snappy():
    check_compression("snappy")


@features.check("lz4")
def lz4():
    check_compression("lz4")


@features.check("zstd")
def zstd():
    if VERSION < (2, 0):
        raise NotRun("kafka-python has zstd since 2.0")
    check_compression("zstd")


@features.check("acks 0 and 1")
def acks():
    for level in (0, 1):
        topic = topic_name()
        produce(topic, 100, acks=level)
        consumer = assigned(topic)
        with closing_all(consumer):
            assert_came_back(take(consumer, 100))


@features.check("idempotent producer")
def idempotent():
    if VERSION < (2, 1):
        raise NotRun("kafka-python has the idempotent producer since 2.1")
    topic = topic_name()
    equal(produce(topic, enable_idempotence=True), list(range(COUNT)), "offsets")
    consumer = assigned(topic)
    with closing_all(consumer):
        assert_came_back(take(consumer, COUNT))


@features.check("api version 0.10")
def old_formats():
    topic = topic_name()
    producer = producer_of(api_version=(0, 10, 0), compression_type="gzip")
    with closing_all(producer):
        futures = [producer.send(topic, key=b"k", value=b"%d" % n, partition=0) for n in range(50)]
        equal([future.get(30).offset for future in futures], list(range(50)), "offsets")
    for settings in ({"api_version": (0, 10, 0)}, {}):
        consumer = assigned(topic, **settings)
        with closing_all(consumer):
            equal([r.value for r in take(consumer, 50)], [b"%d" % n for n in range(50)], "values")


@features.check("too large a record is refused")
def too_large():
    topic = topic_name()
    producer = producer_of(max_request_size=5000000)
    with closing_all(producer):
        try:
            producer.send(topic, value=b"x" * 2000000).get(30)
        except kafka.errors.MessageSizeTooLargeError:
            return
    raise AssertionError("2 MB were taken")


@features.check("offsets by time, beginning and end")
def offsets():
    topic = topic_name()
    produce(topic)
    partition = TopicPartition(topic, 0)
    consumer = consumer_of(group_id=None)
    with closing_all(consumer):
        equal(consumer.beginning_offsets([partition]), {partition: 0})
        equal(consumer.end_offsets([partition]), {partition: COUNT})
        found = consumer.offsets_for_times({partition: TIMESTAMP_MS + 77})[partition]
        equal((found.offset, found.timestamp), (77, TIMESTAMP_MS + 77))
        consumer.assign([partition])
        consumer.seek(partition, 200)
        assert_came_back(take(consumer, 100), first=200)


@features.check("group: commit and resume")
def group_resumes():
    topic = topic_name()
    produce(topic)
    first = consumer_of(topic, group_id="group-" + topic, enable_auto_commit=False)
    with closing_all(first):
        assert_came_back(take(first, 100))
        partition = TopicPartition(topic, 0)
        metadata = (
            OffsetAndMetadata(100, "so far", -1) if VERSION >= (2, 1) else OffsetAndMetadata(100, "so far")
        )
        first.commit({partition: metadata})
        equal(first.committed(partition), 100, "committed")
    second = consumer_of(topic, group_id="group-" + topic)
    with closing_all(second):
        assert_came_back(take(second, COUNT - 100), first=100)


@features.check("group: two members share, one leaves")
def group_rebalances():
    topic = topic_name()
    with admin() as client:
        client.create_topics([NewTopic(topic, 4, 1)])
    seen = {}
    stop = [threading.Event(), threading.Event()]
    members = [
        consumer_of(topic, group_id="group-" + topic, session_timeout_ms=6000, heartbeat_interval_ms=500)
        for _ in range(2)
    ]
    for member in members:
        member.topics()  # a leader that learns of the topic after it has joined may stall: see FINDINGS.md

    def live(number):
        while not stop[number].is_set():
            members[number].poll(timeout_ms=100)
            seen[number] = members[number].assignment()
        members[number].close()

    threads = [threading.Thread(target=live, args=(number,), daemon=True) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: sorted(len(seen.get(n, ())) for n in range(2)) == [2, 2], what="a half each")
        equal(seen[0] | seen[1], {TopicPartition(topic, n) for n in range(4)}, "union")
        stop[0].set()
        until(lambda: len(seen[1]) == 4, what="all for the one that is left")
    finally:
        for event in stop:
            event.set()
        for thread in threads:
            thread.join(20)


class admin:  # noqa: N801
    """`with admin() as client`."""

    def __enter__(self):
        self.client = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)
        return self.client

    def __exit__(self, *error):
        self.client.close()


@features.check("admin: create, list, delete topics")
def admin_topics():
    topic = topic_name()
    with admin() as client:
        client.create_topics([NewTopic(topic, 3, 1, topic_configs={"retention.ms": "60000"})])
        consumer = consumer_of(group_id=None)
        with closing_all(consumer):
            equal(consumer.partitions_for_topic(topic), {0, 1, 2}, "partitions")
        try:
            client.create_topics([NewTopic(topic, 3, 1)])
            raise AssertionError("created twice")
        except kafka.errors.TopicAlreadyExistsError:
            pass
        client.delete_topics([topic])
        consumer = consumer_of(group_id=None)
        with closing_all(consumer):
            assert topic not in consumer.topics(), "still there"


@features.check("admin: create partitions")
def admin_partitions():
    topic = topic_name()
    with admin() as client:
        client.create_topics([NewTopic(topic, 1, 1)])
        client.create_partitions({topic: 3 if VERSION >= (3, 0) else NewPartitions(3)})
    consumer = consumer_of(group_id=None)
    with closing_all(consumer):
        equal(consumer.partitions_for_topic(topic), {0, 1, 2}, "partitions")


@features.check("admin: configs")
def admin_configs():
    topic = topic_name()
    with admin() as client:
        client.create_topics([NewTopic(topic, 1, 1)])
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "123456"})
        client.alter_configs([resource])
        found = client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        assert "123456" in repr(found if VERSION >= (3, 0) else described(found)), (
            "retention.ms is not 123456"
        )


def described(found):
    responses = found if isinstance(found, list) else [found]
    return [response.resources for response in responses]


@features.check("admin: groups")
def admin_groups():
    topic = topic_name()
    group = "group-" + topic
    produce(topic)
    consumer = consumer_of(topic, group_id=group, enable_auto_commit=False)
    with closing_all(consumer):
        take(consumer, 10)
        consumer.commit({TopicPartition(topic, 0): offset_of(10)})
    with admin() as client:
        if VERSION >= (3, 0):
            assert group in repr(client.list_groups()), "the group is not listed"
            assert "10" in repr(client.list_group_offsets([group])), "no offset"
            assert group in repr(client.describe_groups([group]))
            return
        assert group in [name for name, _ in client.list_consumer_groups()], "the group is not listed"
        equal(client.list_consumer_group_offsets(group)[TopicPartition(topic, 0)].offset, 10, "offset")
        until(lambda: described_state(client, group) == "Empty", what="an empty group")


def described_state(client, group):
    found = client.describe_consumer_groups([group])[0]
    if hasattr(found, "state"):
        return found.state
    return found[2]  # 1.4: error, group, state, …


def offset_of(offset):
    return OffsetAndMetadata(offset, "", -1) if VERSION >= (2, 1) else OffsetAndMetadata(offset, "")


@features.check("transactions: committed and aborted")
def transactions():
    if VERSION < (2, 1):
        raise NotRun("kafka-python has transactions since 2.1")
    topic = topic_name()
    producer = producer_of(transactional_id="tx-" + topic)
    with closing_all(producer):
        producer.init_transactions()
        for number, end in enumerate((producer.commit_transaction, producer.abort_transaction) * 2):
            producer.begin_transaction()
            for n in range(10):
                producer.send(topic, value=b"%d-%d" % (number, n), partition=0)
            end()
    consumer = assigned(topic, isolation_level="read_committed")
    with closing_all(consumer):
        expected = [b"%d-%d" % (number, n) for number in (0, 2) for n in range(10)]
        equal([r.value for r in take(consumer, 20)], expected, "committed values")


features.run()
