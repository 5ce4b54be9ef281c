"""The classic group protocol, offsets, and what administrators ask of groups."""

from __future__ import annotations

from typing import Any

from side_by_side.scenario import scenario
from side_by_side.side import Side

JOIN, HEARTBEAT, LEAVE, SYNC, COMMIT, OFFSETS, DESCRIBE = 11, 12, 13, 14, 8, 9, 15
PROTOCOLS = [{"name": "range", "metadata": b"\0\1\0\0\0\1\0\6events\xff\xff\xff\xff"}]


def group(side: Side, suffix: str = "") -> str:
    name = f"{side.label}{suffix}"
    side.await_coordinator(name)
    return name


def join(
    side: Side, name: str, version: int = 9, member: str = "", on: str = "", call: Any = None, **more: Any
) -> Any:
    fields = {
        "group_id": name,
        "session_timeout": 30_000,
        "rebalance_timeout": 30_000,
        "member_id": member,
        "protocol_type": "consumer",
        "protocols": PROTOCOLS,
        **more,
    }
    return (call or side.call)(JOIN, version, on, **fields)


def member_of(side: Side, name: str, version: int = 9, **more: Any) -> tuple[str, int]:
    """Join alone and sync: (member id, generation)."""
    answer = join(side, name, version, **more)
    if answer["error_code"] == 79:
        answer = join(side, name, version, member=answer["member_id"], **more)
    assert not answer["error_code"], answer
    member, generation = answer["member_id"], answer["generation_id"]
    assignment = [{"member_id": member, "assignment": b"mine"}]
    side.call(
        SYNC,
        5,
        group_id=name,
        generation_id=generation,
        member_id=member,
        protocol_type="consumer",
        protocol_name="range",
        assignments=assignment,
    )
    return member, generation


@scenario("find_coordinator", smoke=True)
def of_groups(side: Side) -> None:
    name = group(side)
    side.ask(key=name, key_type=0, coordinator_keys=[name])


@scenario("find_coordinator")
def odd_keys(side: Side) -> None:
    group(side)
    for key, kind in (("", 0), (side.label, 2), (side.label, 3), (side.label, -1)):
        side.ask(key=key, key_type=kind, coordinator_keys=[key])


@scenario("find_coordinator", 4)
def many_keys(side: Side) -> None:
    group(side)
    side.ask(key_type=0, coordinator_keys=["one", "two", "one"])
    side.ask(key_type=0, coordinator_keys=[])


@scenario("join_group", smoke=True)
def alone(side: Side) -> None:
    name = group(side)
    answer = join(side, name, side.version)
    if answer["error_code"] == 79:
        join(side, name, side.version, member=answer["member_id"])


@scenario("join_group")
def refused(side: Side) -> None:
    name = group(side)
    join(side, "", side.version)
    join(side, name, side.version, member="made-up")
    for bad in (
        {"session_timeout": 1},
        {"session_timeout": 10_000_000},
        {"protocols": []},
        {"protocol_type": ""},
        {"protocols": [], "protocol_type": ""},
    ):
        join(side, name, side.version, **bad)


@scenario("join_group")
def another_protocol(side: Side) -> None:
    name = group(side)
    member_of(side, name)
    join(side, name, side.version, on="other", protocol_type="connect")
    join(side, name, side.version, on="other", protocols=[{"name": "sticky", "metadata": b""}])


@scenario("join_group", 5)
def static_members(side: Side) -> None:
    name = group(side)
    first = join(side, name, side.version, group_instance_id="inst")
    join(side, name, side.version, member=first["member_id"], group_instance_id="inst")
    join(side, name, side.version, member="wrong-member-id", group_instance_id="inst")
    join(side, name, side.version, group_instance_id="")


@scenario("join_group")
def two_members(side: Side) -> None:
    name = group(side)
    first, _ = member_of(side, name)
    second = join(side, name, 9, on="b")
    waiting = join(side, name, side.version, second["member_id"], "b", side.send)
    side.until(
        HEARTBEAT,
        4,
        lambda answer: answer["error_code"] == 27,
        group_id=name,
        generation_id=1,
        member_id=first,
    )
    rejoined = join(side, name, side.version, first)
    joined = waiting()
    side.note("generations", [rejoined["generation_id"], joined["generation_id"]])


def sync(side: Side, name: str, member: str, generation: int, **more: Any) -> Any:
    fields = {"protocol_type": "consumer", "protocol_name": "range", "assignments": []}
    return side.ask(group_id=name, generation_id=generation, member_id=member, **{**fields, **more})


@scenario("sync_group", smoke=True)
def syncs(side: Side) -> None:
    name = group(side)
    member, generation = member_of(side, name)
    sync(side, name, member, generation)
    sync(side, name, member, generation + 1)
    sync(side, name, "made-up", generation)
    sync(side, "", member, generation)
    sync(side, name + "-absent", member, generation)


@scenario("sync_group", 5)
def wrong_protocol(side: Side) -> None:
    name = group(side)
    member, generation = member_of(side, name)
    sync(side, name, member, generation, protocol_name="sticky")
    sync(side, name, member, generation, protocol_type="connect")
    sync(side, name, member, generation, protocol_type=None, protocol_name=None)


@scenario("heartbeat", smoke=True)
def beats(side: Side) -> None:
    name = group(side)
    member, generation = member_of(side, name)
    for who, when in (
        (member, generation),
        (member, generation + 1),
        (member, -1),
        ("made-up", generation),
        ("", 0),
    ):
        side.ask(group_id=name, generation_id=when, member_id=who)
    side.ask(group_id="", generation_id=generation, member_id=member)
    side.ask(group_id=name + "-absent", generation_id=generation, member_id=member)


@scenario("heartbeat", 3)
def beats_of_static_members(side: Side) -> None:
    name = group(side)
    member, generation = member_of(side, name, group_instance_id="inst")
    side.ask(group_id=name, generation_id=generation, member_id=member, group_instance_id="inst")
    side.ask(group_id=name, generation_id=generation, member_id="made-up", group_instance_id="inst")
    side.ask(group_id=name, generation_id=generation, member_id=member, group_instance_id="other")


def leave(side: Side, name: str, member: str, **more: Any) -> Any:
    return side.ask(group_id=name, member_id=member, members=[{"member_id": member, **more}])


@scenario("leave_group", smoke=True)
def leaves(side: Side) -> None:
    name = group(side)
    member, _ = member_of(side, name)
    leave(side, name, "made-up")
    leave(side, name, member)
    leave(side, name, member)
    leave(side, "", member)
    leave(side, name + "-absent", member)


@scenario("leave_group", 3)
def leaves_of_static_members(side: Side) -> None:
    name = group(side)
    member_of(side, name, group_instance_id="inst")
    leave(side, name, "made-up", group_instance_id="inst")
    leave(side, name, "", group_instance_id="other")
    side.ask(group_id=name, members=[])
    both = [{"member_id": "made-up"}, {"member_id": "", "group_instance_id": "inst", "reason": "done"}]
    side.ask(group_id=name, members=both)


def commit(side: Side, name: str, topic: str, offset: int = 5, partition: int = 0, **more: Any) -> None:
    one = {
        "partition_index": partition,
        "committed_offset": offset,
        "committed_metadata": more.pop("metadata", "m"),
    }
    one |= {"committed_leader_epoch": more.pop("epoch", -1)}
    topic_id = more.pop("topic_id", None) or (side.topic_id(topic) if side.has_id(topic) else None)
    fields = {"group_id": name, "generation_id_or_member_epoch": -1, "member_id": "", "retention_time": -1}
    side.ask(**fields, **{"topics": [{"name": topic, "topic_id": topic_id, "partitions": [one]}], **more})


def fetch_offsets(side: Side, name: str, version: int = 8) -> None:
    answer = side.quietly(OFFSETS, 8, groups=[{"group_id": name, "topics": None}])
    side.note("offsets", answer)


@scenario("offset_commit", smoke=True)
def without_members(side: Side) -> None:
    name = group(side)
    commit(side, name, "events")
    commit(side, name, "events", 7, 1, metadata=None)
    commit(side, name, "events", 7, 2, epoch=3)
    commit(side, name, "events", -1)
    fetch_offsets(side, name)


@scenario("offset_commit", smoke=True)
def refused_commits(side: Side) -> None:
    name = group(side)
    commit(side, name, "events", partition=9)
    commit(side, name, "absent", topic_id="6f0f3d8a-5c59-4c0e-9e8e-0d6a5b1f2c3d")
    commit(side, name, "events", metadata="x" * 5000)
    commit(side, "", "events")
    member_fields = {"member_id": "made-up", "generation_id_or_member_epoch": 3}
    one = {
        "partition_index": 0,
        "committed_offset": 1,
        "committed_leader_epoch": -1,
        "committed_metadata": "",
    }
    topics = [{"name": "events", "topic_id": side.topic_id("events"), "partitions": [one]}]
    side.ask(group_id=group(side, "-other"), topics=topics, retention_time=-1, **member_fields)
    side.ask(group_id=name, topics=[], retention_time=-1, member_id="", generation_id_or_member_epoch=-1)


@scenario("offset_commit")
def by_members(side: Side) -> None:
    name = group(side)
    member, generation = member_of(side, name)
    one = {
        "partition_index": 0,
        "committed_offset": 1,
        "committed_leader_epoch": -1,
        "committed_metadata": "",
    }
    topics = [{"name": "events", "topic_id": side.topic_id("events"), "partitions": [one]}]
    for who, when in ((member, generation), (member, generation + 1), ("made-up", generation), ("", -1)):
        side.ask(
            group_id=name, topics=topics, retention_time=-1, member_id=who, generation_id_or_member_epoch=when
        )


def ask_offsets(side: Side, name: str, topics: Any, **more: Any) -> None:
    """Topics as (name, partitions), None for all."""
    rows = None
    if topics is not None:
        rows = [
            {
                "name": topic,
                "topic_id": side.topic_id(topic) if side.has_id(topic) else None,
                "partition_indexes": indexes,
            }
            for topic, indexes in topics
        ]
    side.ask(
        group_id=name, topics=rows, groups=[{"group_id": name, "topics": rows, "member_epoch": -1}], **more
    )


@scenario("offset_fetch", smoke=True)
def of_topics(side: Side) -> None:
    name = group(side)
    side.quietly(
        COMMIT,
        8,
        group_id=name,
        generation_id_or_member_epoch=-1,
        member_id="",
        topics=[
            {
                "name": "events",
                "partitions": [
                    {
                        "partition_index": 1,
                        "committed_offset": 9,
                        "committed_leader_epoch": 0,
                        "committed_metadata": "m",
                    }
                ],
            }
        ],
    )
    ask_offsets(side, name, [("events", [1, 0, 9]), ("empty", [0])])
    ask_offsets(side, name, [])


@scenario("offset_fetch", 2)
def of_everything(side: Side) -> None:
    name = group(side)
    ask_offsets(side, name, None)
    side.quietly(
        COMMIT,
        8,
        group_id=name,
        generation_id_or_member_epoch=-1,
        member_id="",
        topics=[
            {
                "name": "events",
                "partitions": [
                    {
                        "partition_index": 1,
                        "committed_offset": 9,
                        "committed_leader_epoch": -1,
                        "committed_metadata": "",
                    }
                ],
            }
        ],
    )
    ask_offsets(side, name, None)
    ask_offsets(side, name, None, require_stable=True)


@scenario("offset_fetch", last=9)
def of_unknown_topics(side: Side) -> None:
    name = group(side)
    ask_offsets(side, name, [("absent", [0])])
    ask_offsets(side, "", [("events", [0])])


@scenario("offset_fetch", 8)
def of_groups_at_once(side: Side) -> None:
    name = group(side)
    side.ask(
        groups=[
            {"group_id": name, "topics": None},
            {"group_id": "", "topics": None},
            {"group_id": name + "-b", "topics": []},
        ]
    )
    side.ask(groups=[])


@scenario("offset_fetch", 9)
def with_members(side: Side) -> None:
    name = group(side)
    side.ask(groups=[{"group_id": name, "topics": None, "member_id": "made-up", "member_epoch": 3}])


@scenario("describe_groups", smoke=True)
def descriptions(side: Side) -> None:
    name = group(side)
    side.ask(groups=[name])
    member_of(side, name)
    side.ask(groups=[name], include_authorized_operations=True)
    side.ask(groups=["", name + "-absent"])
    side.ask(groups=[])


@scenario("list_groups", smoke=True)
def lists(side: Side) -> None:
    name = group(side)
    member_of(side, name)
    answer = side.quietly(16, side.version)
    side.note("mine", [row for row in answer["groups"] if row["group_id"] == name])
    side.note("error", answer["error_code"])


@scenario("list_groups", 4)
def filtered(side: Side) -> None:
    name = group(side)
    member_of(side, name)
    for states in (["Stable"], ["stable"], ["Empty"], ["NoSuchState"], ["Dead"]):
        answer = side.quietly(16, side.version, states_filter=states)
        side.note(f"{states}", [row for row in answer["groups"] if row["group_id"] == name])
    for types in (["classic"], ["Classic"], ["consumer"], ["no-such-type"]) if side.version > 4 else ():
        answer = side.quietly(16, side.version, types_filter=types)
        side.note(
            f"{types}", [answer["error_code"], *(row for row in answer["groups"] if row["group_id"] == name)]
        )


@scenario("delete_groups", smoke=True)
def deletions(side: Side) -> None:
    name = group(side)
    member, _ = member_of(side, name)
    side.ask(groups_names=[name, name + "-absent", ""])
    side.quietly(LEAVE, 2, group_id=name, member_id=member)
    side.ask(groups_names=[name])
    side.ask(groups_names=[name])
    side.ask(groups_names=[])


@scenario("offset_delete", smoke=True)
def of_offsets(side: Side) -> None:
    name = group(side)
    rows = [
        {"name": "events", "partitions": [{"partition_index": 0}, {"partition_index": 9}]},
        {"name": "absent", "partitions": [{"partition_index": 0}]},
    ]
    side.ask(group_id=name, topics=rows)
    side.quietly(
        COMMIT,
        8,
        group_id=name,
        generation_id_or_member_epoch=-1,
        member_id="",
        topics=[
            {
                "name": "events",
                "partitions": [{"partition_index": 0, "committed_offset": 9, "committed_metadata": ""}],
            }
        ],
    )
    side.ask(group_id=name, topics=rows)
    fetch_offsets(side, name)
    member_of(side, name)
    side.ask(group_id=name, topics=rows)
    side.ask(group_id="", topics=[])
