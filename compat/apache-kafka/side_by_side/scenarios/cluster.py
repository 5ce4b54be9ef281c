"""ApiVersions, Metadata, DescribeCluster, DescribeTopicPartitions."""

from __future__ import annotations

import struct

from kio.index import load_response_schema
from kio.serial import entity_reader

from side_by_side.scenario import scenario
from side_by_side.side import Side
from side_by_side.values import to_plain

UNKNOWN_ID = "6f0f3d8a-5c59-4c0e-9e8e-0d6a5b1f2c3d"


@scenario("api_versions", smoke=True)
def ordinary(side: Side) -> None:
    side.ask(client_software_name="side-by-side", client_software_version="1.0")


@scenario("api_versions", 3)
def bad_software_names(side: Side) -> None:
    for name, version in (
        ("", "1.0"),
        ("a", ""),
        ("-a", "1"),
        ("a.", "1"),
        ("a b", "1"),
        ("ä", "1"),
        ("a.b-c", "1.2-3"),
    ):
        side.ask(client_software_name=name, client_software_version=version)


def header(api: int, version: int, correlation_id: int) -> bytes:
    return struct.pack(">hhi", api, version, correlation_id) + b"\0\4test"


@scenario("api_versions", last=0, smoke=True)
def versions_from_the_future(side: Side) -> None:
    for number, version in enumerate((5, 99, 32767, -1), 1):
        answer = side.send_frame(header(18, version, number) + b"\0" * 8)
        if answer is None:
            side.note(f"v{version}", "closed")
            return
        message, _ = entity_reader(load_response_schema(18, 0))(answer, 4)
        side.note(f"v{version} api_versions v0", to_plain(message))


@scenario("api_versions", last=0, smoke=True)
def requests_that_are_none(side: Side) -> None:
    for title, frame in (
        ("unknown key", header(999, 0, 1)),
        ("negative key", header(-1, 0, 1)),
        ("unknown version", header(3, 99, 1) + b"\0" * 8),
        ("dropped version", header(42, -1, 1)),
        ("nothing", b""),
        ("half a header", b"\0\3\0"),
        ("half a body", header(3, 1, 1) + b"\0\0"),
        ("an array too long", header(3, 1, 1) + b"\x7f\xff\xff\xff"),
        ("a negative string", header(8, 2, 1) + b"\xff\xf0"),
        ("inter-broker", header(4, 0, 1) + b"\0" * 20),
    ):
        side.note(title, "closed" if side.send_frame(frame) is None else "answered")
        side.drop_connection()


@scenario("metadata", smoke=True)
def named(side: Side) -> None:
    side.ask(topics=[{"name": "events"}, {"name": "empty"}], allow_auto_topic_creation=False)


@scenario("metadata")
def in_the_order_asked(side: Side) -> None:
    names = ["stamped", "events", side.label, "empty", "events"]
    side.ask(topics=[{"name": name} for name in names], allow_auto_topic_creation=False)


@scenario("metadata", 1)
def none_named(side: Side) -> None:
    side.ask(topics=[], allow_auto_topic_creation=False)


@scenario("metadata", 4)
def unknown_not_created(side: Side) -> None:
    side.ask(topics=[{"name": side.label}], allow_auto_topic_creation=False)
    side.ask(topics=[{"name": side.label}], allow_auto_topic_creation=False)


@scenario("metadata")
def bad_names(side: Side) -> None:
    long = f"{side.label}-".ljust(250, "x")
    names = ["", ".", "..", "a b", "a/b", "ä", long[:249], long, "a\0b"]
    for name in names:
        side.ask(topics=[{"name": name}], allow_auto_topic_creation=False)


@scenario("metadata", 8, smoke=True)
def authorized_operations(side: Side) -> None:
    side.ask(
        topics=[{"name": "events"}],
        include_topic_authorized_operations=True,
        include_cluster_authorized_operations=True,
    )


@scenario("metadata", 10, smoke=True)
def by_id(side: Side) -> None:
    side.ask(topics=[{"topic_id": side.topic_id("events"), "name": None}], allow_auto_topic_creation=False)
    side.ask(topics=[{"topic_id": UNKNOWN_ID, "name": None}], allow_auto_topic_creation=False)


@scenario("metadata", 10)
def by_id_and_name(side: Side) -> None:
    side.ask(
        topics=[{"topic_id": side.topic_id("events"), "name": "events"}], allow_auto_topic_creation=False
    )
    side.ask(topics=[{"topic_id": side.topic_id("events"), "name": "empty"}], allow_auto_topic_creation=False)
    side.ask(topics=[{"name": None}], allow_auto_topic_creation=False)


@scenario("metadata", 10)
def ids_and_names_mixed(side: Side) -> None:
    side.ask(
        topics=[{"topic_id": side.topic_id("events"), "name": None}, {"name": "empty"}],
        allow_auto_topic_creation=False,
    )


@scenario("describe_cluster", smoke=True)
def ordinary_cluster(side: Side) -> None:
    side.ask()
    side.ask(include_cluster_authorized_operations=True, include_fenced_brokers=True)


@scenario("describe_cluster", 1)
def endpoint_types(side: Side) -> None:
    for kind in (0, 1, 2, 3, -1):
        side.ask(endpoint_type=kind)


@scenario("describe_topic_partitions", smoke=True)
def ordinary_topics(side: Side) -> None:
    side.ask(topics=[{"name": "events"}, {"name": "empty"}], response_partition_limit=100)


@scenario("describe_topic_partitions")
def sorted_and_unique(side: Side) -> None:
    names = ["stamped", "events", "events", "absent", "a b"]
    side.ask(topics=[{"name": name} for name in names], response_partition_limit=100)


@scenario("describe_topic_partitions")
def nameless(side: Side) -> None:
    side.ask(topics=[{"name": ""}], response_partition_limit=100)


@scenario("describe_topic_partitions")
def pages(side: Side) -> None:
    both = [{"name": "events"}, {"name": "empty"}]
    for limit in (1, 2, 3, 0, -1):
        side.ask(topics=both, response_partition_limit=limit)
    side.ask(topics=both, response_partition_limit=2, cursor={"topic_name": "events", "partition_index": 1})
    side.ask(topics=both, response_partition_limit=9, cursor={"topic_name": "events", "partition_index": 7})
    side.ask(topics=both, response_partition_limit=9, cursor={"topic_name": "absent", "partition_index": 0})
    side.ask(topics=both, response_partition_limit=9, cursor={"topic_name": "events", "partition_index": -1})
    side.ask(topics=both, response_partition_limit=9, cursor={"topic_name": "zzz", "partition_index": 0})
