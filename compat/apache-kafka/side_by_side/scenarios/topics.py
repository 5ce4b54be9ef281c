"""CreateTopics, DeleteTopics, CreatePartitions, and what there is of partitions' places."""

from __future__ import annotations

from typing import Any

from side_by_side.scenario import scenario
from side_by_side.side import Side

UNKNOWN_ID = "6f0f3d8a-5c59-4c0e-9e8e-0d6a5b1f2c3d"


def create(side: Side, *topics: dict[str, Any], **more: Any) -> None:
    rows = [{"num_partitions": 1, "replication_factor": 1, **topic} for topic in topics]
    side.ask(topics=rows, **{"timeout": 10_000, **more})


@scenario("create_topics", smoke=True)
def ordinary(side: Side) -> None:
    create(side, {"name": side.label, "num_partitions": 3})
    create(side, {"name": side.label})
    create(side, {"name": "events"})


@scenario("create_topics", 4)
def broker_defaults(side: Side) -> None:
    create(side, {"name": side.label, "num_partitions": -1, "replication_factor": -1})


@scenario("create_topics")
def with_configs(side: Side) -> None:
    configs = [
        {"name": "retention.ms", "value": "1000"},
        {"name": "cleanup.policy", "value": "compact,delete"},
        {"name": "compression.type", "value": "lz4"},
        {"name": "segment.bytes", "value": "2097152"},
    ]
    create(side, {"name": side.label, "configs": configs})


@scenario("create_topics")
def bad_configs(side: Side) -> None:
    for number, (name, value) in enumerate(
        (
            ("no.such.setting", "1"),
            ("retention.ms", "x"),
            ("retention.ms", "-2"),
            ("cleanup.policy", "shred"),
            ("cleanup.policy", ""),
            ("compression.type", "rar"),
            ("min.insync.replicas", "0"),
            ("min.cleanable.dirty.ratio", "1.5"),
            ("preallocate", "yes"),
            ("segment.bytes", "1"),
            ("message.timestamp.type", "Never"),
            ("retention.ms", None),
            ("remote.storage.enable", "true"),
            ("unclean.leader.election.enable", "maybe"),
        )
    ):
        create(
            side,
            {"name": f"{side.label}-{number}", "configs": [{"name": name, "value": value}]},
            validate_only=True,
        )


@scenario("create_topics")
def bad_names(side: Side) -> None:
    for name in ("", ".", "..", "a b", "a/b", "ä", "x" * 250, "__cluster_metadata"):
        create(side, {"name": name}, validate_only=True)


@scenario("create_topics")
def names_that_collide(side: Side) -> None:
    name = side.topic("-a.b")
    create(side, {"name": name.replace("a.b", "a_b")})


@scenario("create_topics")
def named_twice(side: Side) -> None:
    create(
        side, {"name": side.label}, {"name": side.label, "num_partitions": 2}, {"name": side.label + "-other"}
    )


@scenario("create_topics")
def bad_numbers(side: Side) -> None:
    for partitions, replicas in ((0, 1), (-2, 1), (1, 0), (1, 2), (1, -2), (-1, -1)):
        row = {"name": side.label, "num_partitions": partitions, "replication_factor": replicas}
        create(side, row, validate_only=True)


@scenario("create_topics")
def assignments(side: Side) -> None:
    for assignments in (
        [(0, [1]), (1, [1])],
        [(0, [1]), (2, [1])],
        [(0, [1, 1])],
        [(0, [2])],
        [(0, [])],
        [(1, [1])],
        [(0, [1]), (0, [1])],
    ):
        rows = [{"partition_index": index, "broker_ids": brokers} for index, brokers in assignments]
        row = {"name": side.label, "num_partitions": -1, "replication_factor": -1, "assignments": rows}
        create(side, row, validate_only=True)
        create(side, {**row, "num_partitions": 1}, validate_only=True)


@scenario("create_topics", 1)
def validate_only(side: Side) -> None:
    create(side, {"name": side.label}, validate_only=True)
    create(side, {"name": side.label}, validate_only=True)
    create(side, {"name": "events"}, validate_only=True)


@scenario("create_topics")
def nothing_to_create(side: Side) -> None:
    create(side)


@scenario("delete_topics", smoke=True)
def by_name(side: Side) -> None:
    first, second = side.topic("-a"), side.topic("-b")
    names = [first, "absent", second]
    side.ask(timeout=10_000, topic_names=names, topics=[{"name": name} for name in names])
    side.ask(timeout=10_000, topic_names=[first], topics=[{"name": first}])


@scenario("delete_topics")
def odd_names(side: Side) -> None:
    for names in ([], [""], ["absent", "absent"], ["a b"]):
        side.ask(timeout=10_000, topic_names=names, topics=[{"name": name} for name in names])


@scenario("delete_topics", 6)
def by_id(side: Side) -> None:
    name = side.topic()
    side.ask(timeout=10_000, topics=[{"name": None, "topic_id": UNKNOWN_ID}])
    side.ask(timeout=10_000, topics=[{"name": name, "topic_id": side.topic_id(name)}])
    side.ask(timeout=10_000, topics=[{"name": None}])
    side.ask(timeout=10_000, topics=[{"name": name}, {"topic_id": side.topic_id(name), "name": None}])
    side.ask(timeout=10_000, topics=[{"name": None, "topic_id": side.topic_id(name)}])


@scenario("create_partitions", smoke=True)
def more(side: Side) -> None:
    name = side.topic()
    for count in (3, 3, 2, 0, -1, 4):
        side.ask(timeout=10_000, topics=[{"name": name, "count": count, "assignments": None}])


@scenario("create_partitions")
def of_unknown_topics(side: Side) -> None:
    for name in ("absent", "", "a b"):
        side.ask(timeout=10_000, topics=[{"name": name, "count": 3, "assignments": None}])
    side.ask(timeout=10_000, topics=[])


@scenario("create_partitions")
def assigned(side: Side) -> None:
    name = side.topic()
    for count, brokers in (
        (2, [[1], [1]]),
        (3, [[1]]),
        (2, [[2]]),
        (2, [[]]),
        (2, [[1, 1]]),
        (2, []),
        (2, [[1]]),
    ):
        rows = [{"broker_ids": ids} for ids in brokers]
        side.ask(timeout=10_000, topics=[{"name": name, "count": count, "assignments": rows}])


@scenario("create_partitions")
def only_validated(side: Side) -> None:
    name = side.topic()
    rows = [
        {"name": name, "count": 5, "assignments": None},
        {"name": "absent", "count": 5, "assignments": None},
    ]
    side.ask(timeout=10_000, topics=rows, validate_only=True)
    side.ask(timeout=10_000, topics=[rows[0], rows[0]])


@scenario("elect_leaders", smoke=True)
def elections(side: Side) -> None:
    for kind in (0, 1, 2):
        side.ask(
            election_type=kind, timeout=5000, topic_partitions=[{"topic": "events", "partitions": [0, 1]}]
        )
    side.ask(election_type=0, timeout=5000, topic_partitions=[{"topic": "absent", "partitions": [0]}])
    side.ask(election_type=0, timeout=5000, topic_partitions=[{"topic": "events", "partitions": [9]}])
    side.ask(election_type=0, timeout=5000, topic_partitions=[])


@scenario("elect_leaders")
def elections_everywhere(side: Side) -> None:
    side.ask(election_type=0, timeout=5000, topic_partitions=None)


@scenario("alter_partition_reassignments", smoke=True)
def reassignments(side: Side) -> None:
    for name, index, replicas in (
        ("events", 0, [1]),
        ("events", 0, [2]),
        ("events", 0, []),
        ("events", 0, [1, 1]),
        ("events", 0, [-1]),
        ("events", 0, None),
        ("events", 9, [1]),
        ("events", 9, None),
        ("absent", 0, [1]),
        ("absent", 0, None),
    ):
        rows = [{"name": name, "partitions": [{"partition_index": index, "replicas": replicas}]}]
        side.ask(timeout=5000, topics=rows)
    side.ask(timeout=5000, topics=[])


@scenario("list_partition_reassignments", smoke=True)
def ongoing(side: Side) -> None:
    side.ask(timeout=5000, topics=None)
    side.ask(timeout=5000, topics=[])
    side.ask(
        timeout=5000,
        topics=[
            {"name": "events", "partition_indexes": [0, 7]},
            {"name": "absent", "partition_indexes": [0]},
        ],
    )
