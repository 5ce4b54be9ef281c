"""Produce."""

from __future__ import annotations

from typing import Any

from side_by_side import batches
from side_by_side.batches import batch, record
from side_by_side.scenario import scenario
from side_by_side.side import Side

UNKNOWN_ID = "6f0f3d8a-5c59-4c0e-9e8e-0d6a5b1f2c3d"
LIST_OFFSETS = 2


def produce(
    side: Side, topic: str, *records: bytes | None, acks: int = -1, index: int = 0, **more: Any
) -> None:
    """One request a batch, to one partition, by name or id as the version asks."""
    for one in records:
        side.ask(
            acks=acks,
            timeout=5000,
            topic_data=[
                {
                    "name": topic,
                    "topic_id": side.topic_id(topic) if side.has_id(topic) else UNKNOWN_ID,
                    "partition_data": [{"index": index, "records": one}],
                }
            ],
            **more,
        )


@scenario("produce", smoke=True)
def ordinary(side: Side) -> None:
    topic = side.topic()
    produce(side, topic, batch(), batch(count=5), batch(value=None), acks=-1)
    produce(side, topic, batch(), acks=1)


@scenario("produce")
def several_partitions(side: Side) -> None:
    first, second = side.topic("-b", 2), side.topic("-a")
    data = [{"index": index, "records": batch()} for index in (1, 0, 7, 0)]
    side.ask(
        acks=-1,
        timeout=5000,
        topic_data=[
            {"name": first, "topic_id": side.topic_id(first), "partition_data": data},
            {
                "name": second,
                "topic_id": side.topic_id(second),
                "partition_data": [{"index": 0, "records": batch()}],
            },
        ],
    )


@scenario("produce", smoke=True)
def unknown(side: Side) -> None:
    produce(side, "absent", batch())
    produce(side, "events", batch(), index=3)
    produce(side, "events", batch(), index=-1)


@scenario("produce", last=12)
def bad_topic_names(side: Side) -> None:
    for name in ("", "a b", ".."):
        produce(side, name, batch())


@scenario("produce")
def bad_acks(side: Side) -> None:
    topic = side.topic()
    for acks in (2, -2, 100):
        produce(side, topic, batch(), acks=acks)


@scenario("produce")
def bad_batches(side: Side) -> None:
    topic = side.topic()
    whole = batch(count=2)
    for bad in (
        batch(crc=1),
        whole[:-1],
        whole + whole,
        b"",
        batch(magic=3),
        batch(base_offset=5),
        batch(last_offset_delta=3),
        batch(record_count=3),
        batch(record_count=0, payload=b"", last_offset_delta=0),
        batch(record_count=-1),
        batch(attributes=batches.CONTROL),
        batch(base_sequence=3),
    ):
        produce(side, topic, bad)


@scenario("produce")
def bytes_behind_the_batch(side: Side) -> None:
    produce(side, side.topic(), batch() + b"\0")


@scenario("produce")
def unreadable_records(side: Side) -> None:
    for suffix, bad in (
        ("-rubbish", batch(payload=b"\xff" * 20)),
        ("-codec", batch(attributes=5)),
        ("-not-gzip", batch(attributes=batches.GZIP)),
    ):
        produce(side, side.topic(suffix), bad)


@scenario("produce")
def append_time_claimed(side: Side) -> None:
    produce(side, side.topic(), batch(attributes=batches.LOG_APPEND_TIME))


@scenario("produce")
def empty_request(side: Side) -> None:
    side.ask(acks=-1, timeout=100, topic_data=[])
    topic = side.topic()
    side.ask(
        acks=-1,
        timeout=100,
        topic_data=[{"name": topic, "topic_id": side.topic_id(topic), "partition_data": []}],
    )


@scenario("produce")
def keyless_to_compacted(side: Side) -> None:
    topic = side.topic(configs={"cleanup.policy": "compact"})
    mixed = [record(b"v", b"k", 0), record(b"v", None, 1), record(b"v", b"k", 2), record(b"v", None, 3)]
    produce(side, topic, batch(key=b"k"), batch(key=None), batch(mixed))


@scenario("produce")
def append_time(side: Side) -> None:
    topic = side.topic(configs={"message.timestamp.type": "LogAppendTime"})
    produce(side, topic, batch(), batch(count=3))


@scenario("produce")
def too_large(side: Side) -> None:
    topic = side.topic(configs={"max.message.bytes": "200"})
    produce(side, topic, batch(), batch(value=b"x" * 300))


@scenario("produce")
def timestamps_out_of_range(side: Side) -> None:
    topic = side.topic(
        configs={"message.timestamp.before.max.ms": "1000", "message.timestamp.after.max.ms": "1000"}
    )
    produce(side, topic, batch(timestamp_ms=4_000_000_000_000), batch(timestamp_ms=-1))


@scenario("produce")
def too_few_replicas(side: Side) -> None:
    topic = side.topic(configs={"min.insync.replicas": "2"})
    produce(side, topic, batch())
    produce(side, topic, batch(), acks=1)


@scenario("produce", smoke=True)
def idempotent(side: Side) -> None:
    topic = side.topic()
    who = side.producer()
    for sequence in (0, 1, 0, 1, 5, 2):
        produce(side, topic, batch(base_sequence=sequence, **who))
    produce(side, topic, batch(base_sequence=3, producer_id=who["producer_id"], producer_epoch=1))
    produce(side, topic, batch(base_sequence=0, producer_id=who["producer_id"], producer_epoch=1))
    produce(side, topic, batch(base_sequence=3, **who))


@scenario("produce")
def unknown_producer(side: Side) -> None:
    topic = side.topic()
    produce(side, topic, batch(base_sequence=7, producer_id=123456789, producer_epoch=0))
    produce(side, topic, batch(base_sequence=0, producer_id=123456789, producer_epoch=3))
    produce(side, topic, batch(base_sequence=-1, producer_id=123456789, producer_epoch=3))


@scenario("produce")
def transactional_without_an_id(side: Side) -> None:
    topic = side.topic()
    who = side.producer()
    produce(side, topic, batch(attributes=batches.TRANSACTIONAL, base_sequence=0, **who), batch())


@scenario("produce")
def to_an_internal_topic(side: Side) -> None:
    produce(side, "__consumer_offsets", batch())


@scenario("produce")
def without_acknowledgement(side: Side) -> None:
    topic = side.topic()
    side.send_unanswered(
        side.api,
        side.version,
        acks=0,
        timeout=1000,
        topic_data=[
            {
                "name": topic,
                "topic_id": side.topic_id(topic),
                "partition_data": [{"index": 0, "records": batch()}],
            }
        ],
    )
    side.until(
        LIST_OFFSETS,
        6,
        lambda answer: answer["topics"][0]["partitions"][0]["offset"] == 1,
        replica_id=-1,
        topics=[{"name": topic, "partitions": [{"partition_index": 0, "timestamp": -1}]}],
    )
