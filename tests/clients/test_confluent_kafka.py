"""librdkafka through confluent-kafka, unchanged, with every compression it has."""

from __future__ import annotations

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, ResourceType

from tests.clients.cases import COMPRESSIONS, FIRST_TIMESTAMP_MS, NOTHING, Case, cases
from tests.floe_process import FloeProcess

LIMIT_S = 30.0


def produce(floe: FloeProcess, topic: str, records: list[Case], **settings: object) -> None:
    errors: list[object] = []
    producer = Producer({"bootstrap.servers": floe.bootstrap, "linger.ms": 5, **settings})
    for record in records:
        producer.produce(
            topic,
            key=record.key,
            value=record.value,
            headers=list(record.headers),
            timestamp=record.timestamp_ms,
            partition=0,
            on_delivery=lambda error, _message: errors.append(error) if error else None,
        )
        producer.poll(0)
    assert producer.flush(LIMIT_S) == 0
    assert not errors


def consume(floe: FloeProcess, topic: str, count: int, offset: int = OFFSET_BEGINNING) -> list[Message]:
    consumer = Consumer(
        {"bootstrap.servers": floe.bootstrap, "group.id": "unused", "enable.auto.commit": False}
    )
    try:
        consumer.assign([TopicPartition(topic, 0, offset)])
        messages: list[Message] = []
        while len(messages) < count:
            message = consumer.poll(LIMIT_S)
            assert message is not None, f"{len(messages)} of {count} records, then nothing for {LIMIT_S} s"
            assert message.error() is None
            messages.append(message)
        return messages
    finally:
        consumer.close()


def as_case(message: Message) -> Case:
    headers = tuple((key, value) for key, value in message.headers() or ())
    return Case(message.key(), message.value(), headers, message.timestamp()[1])


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("idempotent", [False, True], ids=["plain", "idempotent"])
def test_records_come_back_as_they_went(shared_floe: FloeProcess, compression: str, idempotent: bool) -> None:
    topic = f"confluent-{compression}-{idempotent}"
    settings = {"compression.type": compression, "enable.idempotence": idempotent}
    sent = [*cases(), NOTHING]
    produce(shared_floe, topic, sent, **settings)
    messages = consume(shared_floe, topic, len(sent))
    assert [as_case(message) for message in messages] == sent
    assert [message.offset() for message in messages] == list(range(len(sent)))


@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_every_acks_setting_delivers(shared_floe: FloeProcess, acks: str) -> None:
    topic = f"confluent-acks-{acks}"
    produce(shared_floe, topic, cases(), acks=acks)
    assert [as_case(message) for message in consume(shared_floe, topic, len(cases()))] == cases()


def test_offsets_by_time_and_watermarks(shared_floe: FloeProcess) -> None:
    topic = "confluent-times"
    produce(shared_floe, topic, cases(), **{"batch.num.messages": 10})
    consumer = Consumer({"bootstrap.servers": shared_floe.bootstrap, "group.id": "unused"})
    try:
        assert consumer.get_watermark_offsets(TopicPartition(topic, 0), LIMIT_S) == (0, len(cases()))
        asked = [TopicPartition(topic, 0, FIRST_TIMESTAMP_MS + 123)]
        assert consumer.offsets_for_times(asked, LIMIT_S)[0].offset == 123
        asked = [TopicPartition(topic, 0, FIRST_TIMESTAMP_MS + 10**6)]
        assert consumer.offsets_for_times(asked, LIMIT_S)[0].offset == -1
    finally:
        consumer.close()


def test_a_consumer_begins_in_the_middle_of_a_batch(shared_floe: FloeProcess) -> None:
    topic = "confluent-middle"
    produce(shared_floe, topic, cases())
    messages = consume(shared_floe, topic, 50, offset=101)
    assert [message.offset() for message in messages] == list(range(101, 151))


def test_an_admin_creates_alters_and_deletes(shared_floe: FloeProcess) -> None:
    admin = AdminClient({"bootstrap.servers": shared_floe.bootstrap})
    topic = NewTopic("confluent-admin", num_partitions=3, config={"retention.ms": "1234567"})
    admin.create_topics([topic])["confluent-admin"].result(LIMIT_S)
    assert len(admin.list_topics("confluent-admin", LIMIT_S).topics["confluent-admin"].partitions) == 3
    resource = ConfigResource(ResourceType.TOPIC, "confluent-admin")
    configs = admin.describe_configs([resource])[resource].result(LIMIT_S)
    assert configs["retention.ms"].value == "1234567"
    admin.create_partitions([NewPartitions("confluent-admin", 5)])["confluent-admin"].result(LIMIT_S)
    assert len(admin.list_topics("confluent-admin", LIMIT_S).topics["confluent-admin"].partitions) == 5
    admin.delete_topics(["confluent-admin"])["confluent-admin"].result(LIMIT_S)
    assert "confluent-admin" not in admin.list_topics(timeout=LIMIT_S).topics
