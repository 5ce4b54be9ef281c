"""Fetch, ListOffsets, OffsetForLeaderEpoch, DeleteRecords."""

from __future__ import annotations

from typing import Any

from side_by_side.batches import TIMESTAMP_MS, batch
from side_by_side.scenario import scenario
from side_by_side.side import Side

UNKNOWN_ID = "6f0f3d8a-5c59-4c0e-9e8e-0d6a5b1f2c3d"


def fetch(side: Side, topic: str, offset: int = 0, partition: int = 0, **more: Any) -> Any:
    asked = {name: more.pop(name) for name in ("current_leader_epoch", "last_fetched_epoch") if name in more}
    size = more.pop("partition_max_bytes", 1 << 20)
    topic_id = more.pop("topic_id", None)
    one = {"partition": partition, "fetch_offset": offset, "partition_max_bytes": size, **asked}
    topics = [{"topic": topic, "topic_id": topic_id or side.topic_id(topic), "partitions": [one]}]
    return side.ask(**{"replica_id": -1, "max_wait": 20, "min_bytes": 0, "topics": topics, **more})


@scenario("fetch", smoke=True)
def ordinary(side: Side) -> None:
    fetch(side, "events")
    fetch(side, "events", 7)
    fetch(side, "events", 0, 1)


@scenario("fetch", smoke=True)
def ends_and_beyond(side: Side) -> None:
    fetch(side, "events", 20)
    fetch(side, "events", 21)
    fetch(side, "events", -1)
    fetch(side, "empty", 0)
    fetch(side, "empty", 1)


@scenario("fetch")
def limits(side: Side) -> None:
    for size in (0, 1, 100, 250, -1):
        fetch(side, "events", partition_max_bytes=size)
        fetch(side, "events", max_bytes=size)
    fetch(side, "empty", min_bytes=1, max_wait=100)
    fetch(side, "empty", min_bytes=1, max_wait=0)


@scenario("fetch")
def several_partitions_one_limit(side: Side) -> None:
    partitions = [
        {"partition": index, "fetch_offset": 0, "partition_max_bytes": 1 << 20} for index in (1, 0, 2)
    ]
    for size in (1, 150, 1000):
        topics = [{"topic": "events", "topic_id": side.topic_id("events"), "partitions": partitions}]
        side.ask(replica_id=-1, max_wait=100, min_bytes=0, max_bytes=size, topics=topics)


@scenario("fetch", smoke=True)
def unknown(side: Side) -> None:
    fetch(side, "absent", topic_id=UNKNOWN_ID)
    fetch(side, "events", 0, 3)
    fetch(side, "events", 0, -1)


@scenario("fetch", 9)
def leader_epochs(side: Side) -> None:
    for epoch in (-1, 0, 1, 5):
        fetch(side, "events", 0, current_leader_epoch=epoch)


@scenario("fetch", 12)
def last_fetched_epochs(side: Side) -> None:
    for epoch in (-1, 0, 1):
        fetch(side, "events", 5, last_fetched_epoch=epoch, current_leader_epoch=0)
    fetch(side, "events", 25, last_fetched_epoch=0, current_leader_epoch=0)


@scenario("fetch", 4)
def read_committed(side: Side) -> None:
    fetch(side, "events", isolation_level=1)
    fetch(side, "events", 20, isolation_level=1)
    fetch(side, "events", isolation_level=2)


@scenario("fetch", 7, smoke=True)
def sessions(side: Side) -> None:
    topic = side.topic(partitions=2)
    side.produce(topic, batch())
    partitions = [{"partition": index, "fetch_offset": 0, "partition_max_bytes": 1 << 20} for index in (0, 1)]
    topics = [{"topic": topic, "topic_id": side.topic_id(topic), "partitions": partitions}]
    common = {"replica_id": -1, "max_wait": 100, "min_bytes": 0}
    session = side.ask(**common, topics=topics, session_id=0, session_epoch=0)["session_id"]
    side.ask(**common, session_id=session, session_epoch=1)
    moved = [{**topics[0], "partitions": [{**partitions[0], "fetch_offset": 1}]}]
    side.ask(**common, session_id=session, session_epoch=2, topics=moved)
    side.produce(topic, batch(), partition=1)
    side.ask(**common, session_id=session, session_epoch=3)
    forgotten = [{"topic": topic, "topic_id": side.topic_id(topic), "partitions": [1]}]
    side.ask(**common, session_id=session, session_epoch=4, forgotten_topics_data=forgotten)
    side.ask(**common, session_id=session, session_epoch=4)
    side.ask(**common, session_id=session, session_epoch=5)
    side.ask(**common, session_id=session, session_epoch=-1)
    side.ask(**common, session_id=session, session_epoch=6)


@scenario("fetch", 7)
def sessions_that_are_not(side: Side) -> None:
    common = {"replica_id": -1, "max_wait": 0, "min_bytes": 0}
    side.ask(**common, session_id=12345, session_epoch=1)
    side.ask(**common, session_id=12345, session_epoch=0)
    side.ask(**common, session_id=12345, session_epoch=-1)
    side.ask(**common, session_id=0, session_epoch=1)
    side.ask(**common, session_id=0, session_epoch=-1)
    side.ask(**common, session_id=0, session_epoch=0)


@scenario("fetch")
def append_time(side: Side) -> None:
    topic = side.topic(configs={"message.timestamp.type": "LogAppendTime"})
    side.produce(topic, batch(count=2))
    fetch(side, topic)


@scenario("fetch")
def deleted_records(side: Side) -> None:
    topic = side.topic()
    side.produce(topic, batch(count=3), batch(count=3))
    side.quietly(
        21, 1, timeout=5000, topics=[{"name": topic, "partitions": [{"partition_index": 0, "offset": 3}]}]
    )
    fetch(side, topic, 0)
    fetch(side, topic, 2)
    fetch(side, topic, 3)


@scenario("fetch")
def as_a_replica(side: Side) -> None:
    fetch(side, "events", replica_id=5, replica_state={"replica_id": 5, "replica_epoch": 1})
    fetch(side, "events", replica_id=-2, replica_state={"replica_id": -2, "replica_epoch": -1})


def list_offsets(side: Side, topic: str, *timestamps: int, partition: int = 0, **more: Any) -> None:
    for timestamp in timestamps:
        epoch = {"current_leader_epoch": more["epoch"]} if "epoch" in more else {}
        partitions = [{"partition_index": partition, "timestamp": timestamp, **epoch}]
        side.ask(
            replica_id=more.get("replica_id", -1),
            isolation_level=more.get("isolation_level", 0),
            topics=[{"name": topic, "partitions": partitions}],
        )


@scenario("list_offsets", smoke=True)
def ends(side: Side) -> None:
    list_offsets(side, "events", -1, -2)
    list_offsets(side, "empty", -1, -2)


@scenario("list_offsets")
def special_times(side: Side) -> None:
    list_offsets(side, "events", -3, -4, -5, -6, -7, -100)
    list_offsets(side, "empty", -3, -4, -5, -6)


@scenario("list_offsets")
def by_time(side: Side) -> None:
    stamps = (
        0,
        1,
        TIMESTAMP_MS - 1,
        TIMESTAMP_MS,
        TIMESTAMP_MS + 2,
        TIMESTAMP_MS + 5,
        TIMESTAMP_MS + 2003,
        TIMESTAMP_MS + 9999,
    )
    list_offsets(side, "events", *stamps, 2**62)
    list_offsets(side, "empty", 0)


@scenario("list_offsets", smoke=True)
def unknown_partitions(side: Side) -> None:
    list_offsets(side, "absent", -1)
    list_offsets(side, "events", -1, partition=3)
    list_offsets(side, "events", -1, partition=-1)
    list_offsets(side, "", -1)


@scenario("list_offsets", 4)
def epochs(side: Side) -> None:
    for epoch in (-1, 0, 1):
        list_offsets(side, "events", -1, epoch=epoch)


@scenario("list_offsets", 2)
def committed(side: Side) -> None:
    list_offsets(side, "events", -1, -2, TIMESTAMP_MS, isolation_level=1)
    list_offsets(side, "events", -1, isolation_level=2)


@scenario("list_offsets")
def partition_asked_twice(side: Side) -> None:
    twice = [{"partition_index": 0, "timestamp": at} for at in (-1, -2)]
    side.ask(replica_id=-1, topics=[{"name": "events", "partitions": twice}])


@scenario("list_offsets")
def replicas(side: Side) -> None:
    list_offsets(side, "events", -1, replica_id=5)
    list_offsets(side, "events", -1, replica_id=-2)
    list_offsets(side, "events", -1, replica_id=-3)


@scenario("offset_for_leader_epoch", smoke=True)
def end_of_epochs(side: Side) -> None:
    for topic, partition, current, epoch in (
        ("events", 0, -1, 0),
        ("events", 0, 0, 0),
        ("events", 0, 1, 0),
        ("events", 0, -1, 1),
        ("events", 0, -1, -1),
        ("events", 9, -1, 0),
        ("absent", 0, -1, 0),
        ("empty", 0, -1, 0),
    ):
        asked = [{"partition": partition, "current_leader_epoch": current, "leader_epoch": epoch}]
        side.ask(replica_id=-1, topics=[{"topic": topic, "partitions": asked}])


@scenario("delete_records", smoke=True)
def up_to_an_offset(side: Side) -> None:
    topic = side.topic()
    side.produce(topic, *[batch(count=3)] * 3)
    for offset in (4, 4, 2, 10, -1, -2, 0):
        side.ask(
            timeout=5000, topics=[{"name": topic, "partitions": [{"partition_index": 0, "offset": offset}]}]
        )


@scenario("delete_records")
def of_unknown_partitions(side: Side) -> None:
    for topic, partition in (("absent", 0), ("events", 8), ("", 0)):
        side.ask(
            timeout=5000,
            topics=[{"name": topic, "partitions": [{"partition_index": partition, "offset": 0}]}],
        )


@scenario("delete_records")
def of_a_compacted_topic(side: Side) -> None:
    topic = side.topic(configs={"cleanup.policy": "compact"})
    side.produce(topic, batch())
    side.ask(timeout=5000, topics=[{"name": topic, "partitions": [{"partition_index": 0, "offset": 1}]}])
