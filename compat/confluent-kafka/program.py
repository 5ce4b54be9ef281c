"""What users of confluent-kafka do, checked by what comes back. Runs with 0.11.4 (librdkafka 0.11.4) and newer."""

import time
import uuid

import confluent_kafka
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from features import BOOTSTRAP, Features, NotRun, equal, until

try:
    from confluent_kafka import admin as admin_module
except ImportError:
    admin_module = None

_told = confluent_kafka.version()  # a tuple before 2.0
VERSION = tuple(int(part) for part in (_told if isinstance(_told, str) else _told[0]).split(".")[:2])
TIMESTAMP_MS = int(time.time() * 1000) - 3600000  # young enough for retention
COUNT = 500
features = Features()


def topic_name():
    return "topic-" + uuid.uuid4().hex[:8]


def since(version, what):
    if version > VERSION:
        raise NotRun("confluent-kafka has {} since {}".format(what, ".".join(map(str, version))))


def producer_of(**settings):
    settings = {name.replace("_", "."): value for name, value in settings.items()}
    return Producer(dict({"bootstrap.servers": BOOTSTRAP, "linger.ms": 5}, **settings))


def send(producer, topic, count=COUNT, first=0):
    failures = []
    for n in range(first, first + count):
        producer.produce(
            topic,
            key=f"key-{n}",
            value=f"value-{n}",
            partition=0,
            timestamp=TIMESTAMP_MS + n,
            headers=[("n", b"%d" % n), ("empty", b""), ("null", None)],
            on_delivery=lambda error, _: failures.append(error) if error else None,
        )
    equal(producer.flush(30), 0, "undelivered")
    equal(failures, [], "failures")


def produce(topic, count=COUNT, first=0, **settings):
    send(producer_of(**settings), topic, count, first)


def consumer_of(group=None, **settings):
    settings = {name.replace("_", "."): value for name, value in settings.items()}
    base = {
        "bootstrap.servers": BOOTSTRAP,
        "group.id": group or topic_name(),
        "auto.offset.reset": "earliest",
        "fetch.wait.max.ms": 100,
        "api.version.request": True,
    }
    if VERSION < (1, 0):
        base["default.topic.config"] = {"auto.offset.reset": base.pop("auto.offset.reset")}
    return Consumer(dict(base, **settings))


def take(consumer, count, limit_s=30):
    records = []
    deadline = time.monotonic() + limit_s
    while len(records) < count and time.monotonic() < deadline:
        message = consumer.poll(0.2)
        if message is None:
            continue
        if message.error():
            if message.error().code() == KafkaError._PARTITION_EOF:
                continue
            raise KafkaException(message.error())
        records.append(message)
    return records


def read(topic, count, offset=0, **settings):
    consumer = consumer_of(**settings)
    try:
        consumer.assign([TopicPartition(topic, 0, offset)])
        return take(consumer, count)
    finally:
        consumer.close()


def came_back(records, count=COUNT, first=0):
    equal(len(records), count, "count")
    for n, record in enumerate(records, first):
        equal((record.key(), record.value()), (b"key-%d" % n, b"value-%d" % n), "key and value")
        equal((record.offset(), record.timestamp()[1]), (n, TIMESTAMP_MS + n), "offset and timestamp")
        equal(record.headers(), [("n", b"%d" % n), ("empty", b""), ("null", None)], "headers")


def round_trip(**settings):
    topic = topic_name()
    produce(topic, **settings)
    came_back(read(topic, COUNT))


for kind in ("none", "gzip", "snappy", "lz4"):
    features.check("produce and consume" if kind == "none" else kind)(
        lambda kind=kind: round_trip(compression_codec=kind)
    )


@features.check("zstd")
def zstd():
    since((1, 0), "zstd")
    round_trip(compression_codec="zstd")


@features.check("acks 0 and 1")
def acks():
    for level in (0, 1):
        topic = topic_name()
        producer = producer_of(**{"request.required.acks" if VERSION < (1, 0) else "acks": level})
        send(producer, topic)
        came_back(read(topic, COUNT))


@features.check("idempotent producer")
def idempotent():
    since((1, 0), "the idempotent producer")
    round_trip(enable_idempotence=True)


@features.check("as a client of Kafka 0.10")
def old_broker():
    topic = topic_name()
    producer = producer_of(
        api_version_request=False, broker_version_fallback="0.10.0.0", compression_codec="gzip"
    )
    for n in range(100):
        producer.produce(topic, value=f"value-{n}", partition=0)
    equal(producer.flush(30), 0, "undelivered")
    for settings in ({}, {"api_version_request": False, "broker_version_fallback": "0.10.0.0"}):
        equal(
            [r.value() for r in read(topic, 100, **settings)], [b"value-%d" % n for n in range(100)], "values"
        )


@features.check("as a client of Kafka 0.9")
def older_broker():
    topic = topic_name()
    settings = {"api_version_request": False, "broker_version_fallback": "0.9.0.0"}
    producer = producer_of(**settings)
    for n in range(100):
        producer.produce(topic, value=f"value-{n}", partition=0)
    equal(producer.flush(30), 0, "undelivered")
    equal([r.value() for r in read(topic, 100, **settings)], [b"value-%d" % n for n in range(100)], "values")


@features.check("too large a record is refused")
def too_large():
    errors = []
    producer = producer_of(message_max_bytes=5000000)
    producer.produce(topic_name(), value=b"x" * 2000000, on_delivery=lambda error, _: errors.append(error))
    producer.flush(30)
    equal(errors[0].code(), KafkaError.MSG_SIZE_TOO_LARGE, "error")


@features.check("offsets by time, beginning and end")
def offsets():
    topic = topic_name()
    produce(topic)
    consumer = consumer_of()
    try:
        equal(consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10), (0, COUNT), "watermarks")
        found = consumer.offsets_for_times([TopicPartition(topic, 0, TIMESTAMP_MS + 77)], timeout=10)
        equal(found[0].offset, 77, "by time")
    finally:
        consumer.close()
    came_back(read(topic, 100, offset=400), 100, 400)


@features.check("group: commit and resume")
def group_resumes():
    topic = topic_name()
    produce(topic)
    check_resumes(topic)


def check_resumes(topic, **settings):
    first = consumer_of("group-" + topic, enable_auto_commit=False, **settings)
    first.subscribe([topic])
    came_back(take(first, COUNT))
    first.commit(
        offsets=[TopicPartition(topic, 0, 200)], **{"async" if VERSION < (1, 0) else "asynchronous": False}
    )
    equal(first.committed([TopicPartition(topic, 0)], timeout=10)[0].offset, 200, "committed")
    first.close()
    second = consumer_of("group-" + topic, **settings)
    second.subscribe([topic])
    try:
        came_back(take(second, COUNT - 200), COUNT - 200, 200)
    finally:
        second.close()


@features.check("group: two members share, one leaves")
def group_shares():
    check_shares()


@features.check("group: cooperative")
def group_cooperative():
    since((1, 6), "cooperative rebalancing")
    check_shares(partition_assignment_strategy="cooperative-sticky")


@features.check("consumer protocol: commit and resume")
def protocol_resumes():
    since((2, 12), "the consumer protocol as Kafka 4 speaks it")
    topic = topic_name()
    produce(topic)
    check_resumes(topic, group_protocol="consumer")


@features.check("consumer protocol: two members share, one leaves")
def protocol_shares():
    since((2, 12), "the consumer protocol as Kafka 4 speaks it")
    check_shares(group_protocol="consumer")


def check_shares(**settings):
    topics = [topic_name() for _ in range(4)]  # old versions cannot create partitions
    for topic in topics:
        produce(topic, 1)
    if not settings:
        settings = {"partition_assignment_strategy": "roundrobin"}
    group = "group-" + topics[0]
    first, second = (consumer_of(group, **settings) for _ in range(2))
    members = [first]

    def sizes():
        for member in members:
            member.poll(0.1)
        return [len(member.assignment()) for member in members]

    first.subscribe(topics)
    until(lambda: sizes() == [4], 40, "all for one")
    second.subscribe(topics)
    members.append(second)
    until(lambda: sizes() == [2, 2], 40, "a half each")
    members.remove(second)
    second.close()
    until(lambda: sizes() == [4], 40, "all for the one that is left")
    first.close()


def admin_client():
    if admin_module is None:
        raise NotRun("confluent-kafka has an admin client since 0.11.6")
    return admin_module.AdminClient({"bootstrap.servers": BOOTSTRAP})


def results(futures):
    return [future.result(30) for future in futures.values()]


@features.check("admin: topics")
def admin_topics():
    client = admin_client()
    topic = topic_name()
    results(client.create_topics([admin_module.NewTopic(topic, 3, 1, config={"retention.ms": "77777"})]))
    equal(len(client.list_topics(topic, timeout=10).topics[topic].partitions), 3, "partitions")
    try:
        results(client.create_topics([admin_module.NewTopic(topic, 3, 1)]))
        raise AssertionError("created twice")
    except KafkaException as error:
        equal(error.args[0].code(), KafkaError.TOPIC_ALREADY_EXISTS, "error")
    results(client.create_partitions([admin_module.NewPartitions(topic, 4)]))
    until(
        lambda: len(client.list_topics(topic, timeout=10).topics[topic].partitions) == 4, what="4 partitions"
    )
    results(client.delete_topics([topic]))
    until(lambda: topic not in client.list_topics(timeout=10).topics, what="deleted")


@features.check("admin: configs")
def admin_configs():
    client = admin_client()
    topic = topic_name()
    results(client.create_topics([admin_module.NewTopic(topic, 1, 1)]))
    resource = admin_module.ConfigResource("topic", topic, set_config={"retention.ms": "55555"})
    results(client.alter_configs([resource]))
    (found,) = results(client.describe_configs([admin_module.ConfigResource("topic", topic)]))
    equal(found["retention.ms"].value, "55555", "retention.ms")


@features.check("admin: groups")
def admin_groups():
    since((2, 2), "the administration of groups")
    client = admin_client()
    topic = topic_name()
    produce(topic, 10)
    consumer = consumer_of("group-" + topic)
    consumer.subscribe([topic])
    take(consumer, 10)
    consumer.close()
    group = "group-" + topic
    assert group in [one.group_id for one in client.list_consumer_groups().result(30).valid], "listed"
    equal(results(client.describe_consumer_groups([group]))[0].state.name, "EMPTY", "state")
    asked = [confluent_kafka.ConsumerGroupTopicPartitions(group)]
    (found,) = results(client.list_consumer_group_offsets(asked))
    equal([(p.topic, p.offset) for p in found.topic_partitions], [(topic, 10)], "offsets")
    results(client.delete_consumer_groups([group]))
    assert group not in [one.group_id for one in client.list_consumer_groups().result(30).valid], "deleted"


@features.check("admin: offsets and delete records")
def admin_offsets():
    since((2, 6), "list_offsets and delete_records")
    client = admin_client()
    topic = topic_name()
    produce(topic)
    partition = TopicPartition(topic, 0)
    (found,) = results(client.list_offsets({partition: admin_module.OffsetSpec.latest()}))
    equal(found.offset, COUNT, "latest")
    (deleted,) = results(client.delete_records([TopicPartition(topic, 0, 100)]))
    equal(deleted.low_watermark, 100, "low watermark")
    came_back(read(topic, COUNT - 100, offset=confluent_kafka.OFFSET_BEGINNING), COUNT - 100, 100)


def transactional(topic):
    since((1, 4), "transactions")
    producer = producer_of(transactional_id="tx-" + topic)
    producer.init_transactions(30)
    return producer


@features.check("transactions: committed and aborted")
def transactions():
    topic = topic_name()
    producer = transactional(topic)
    for number in range(4):
        producer.begin_transaction()
        send(producer, topic, 10, number * 10)
        (producer.commit_transaction if number % 2 == 0 else producer.abort_transaction)(30)
    found = [r.value() for r in read(topic, 20, isolation_level="read_committed")]
    equal(found, [b"value-%d" % n for first in (0, 20) for n in range(first, first + 10)], "committed")


@features.check("transactions: offsets and records together")
def transactions_copy():
    topic = topic_name()
    producer = transactional(topic)
    produce(topic)
    group = "group-" + topic
    consumer = consumer_of(group, enable_auto_commit=False)
    consumer.subscribe([topic])
    take(consumer, 100)
    producer.begin_transaction()
    send(producer, topic + "-copy", 100)
    producer.send_offsets_to_transaction(
        [TopicPartition(topic, 0, 100)], consumer.consumer_group_metadata(), 30
    )
    producer.commit_transaction(30)
    consumer.close()
    rest = consumer_of(group)
    rest.subscribe([topic])
    came_back(take(rest, COUNT - 100), COUNT - 100, 100)
    rest.close()
    came_back(read(topic + "-copy", 100, isolation_level="read_committed"), 100)


features.run()
