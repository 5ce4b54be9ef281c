"""The consumer group protocol (KIP-848)."""

from __future__ import annotations

from typing import Any

from side_by_side.scenario import scenario
from side_by_side.side import Side

DESCRIBE = 69


def beat(side: Side, name: str, member: str, epoch: int, **more: Any) -> Any:
    return side.ask(
        **{
            "group_id": name,
            "member_id": member,
            "member_epoch": epoch,
            "rebalance_timeout": -1,
            "subscribed_topic_names": None,
            "topic_partitions": None,
            **more,
        }
    )


def join(side: Side, name: str, member: str, topics: list[str], **more: Any) -> Any:
    fields = {"rebalance_timeout": 30_000, "subscribed_topic_names": topics, "topic_partitions": [], **more}
    return beat(side, name, member, 0, **fields)


def group(side: Side) -> str:
    side.await_coordinator(side.label)
    return side.label


MEMBER = "AAAAAAAAAAAAAAAAAAAAAA"


@scenario("consumer_group_heartbeat", smoke=True)
def life(side: Side) -> None:
    name = group(side)
    answer = join(side, name, MEMBER, ["events"])
    member = answer["member_id"]
    beat(side, name, member, answer["member_epoch"])
    beat(side, name, member, answer["member_epoch"], subscribed_topic_names=["events", "empty"])
    beat(side, name, member, -1)
    beat(side, name, member, -1)


@scenario("consumer_group_heartbeat", smoke=True)
def refused(side: Side) -> None:
    name = group(side)
    join(side, "", MEMBER, ["events"])
    join(side, name, MEMBER, ["events"], rebalance_timeout=-1)
    join(side, name, MEMBER, ["events"], topic_partitions=None)
    join(
        side,
        name,
        MEMBER,
        ["events"],
        topic_partitions=[{"topic_id": side.topic_id("events"), "partitions": [0]}],
    )
    join(side, name, MEMBER, [], server_assignor="no-such-assignor")
    join(side, name, MEMBER, ["events"], server_assignor="")
    join(side, name, MEMBER, ["events"], instance_id="")
    join(side, name, MEMBER, ["events"], rack_id="")
    beat(side, name, MEMBER, 5)
    beat(side, name, "", 5)
    beat(side, name, "", -1)
    beat(side, name, MEMBER, -2)
    beat(side, name, MEMBER, -3)
    beat(side, name, MEMBER, 0, rebalance_timeout=30_000, subscribed_topic_names=None, topic_partitions=[])


@scenario("consumer_group_heartbeat")
def without_a_member_id(side: Side) -> None:
    name = group(side)
    join(side, name, "", ["events"])


@scenario("consumer_group_heartbeat", smoke=True)
def wrong_epochs(side: Side) -> None:
    name = group(side)
    answer = join(side, name, MEMBER, ["events"])
    member, epoch = answer["member_id"], answer["member_epoch"]
    beat(side, name, member, epoch + 1)
    beat(side, name, member, epoch + 5)
    beat(side, name, member, epoch - 1 or 99)
    beat(side, name, "another-member", epoch)
    beat(side, name, "another-member", -1)


@scenario("consumer_group_heartbeat")
def unknown_topics(side: Side) -> None:
    name = group(side)
    answer = join(side, name, MEMBER, ["absent", "absent-2"])
    beat(side, name, answer["member_id"], answer["member_epoch"])


@scenario("consumer_group_heartbeat", 1)
def regular_expressions(side: Side) -> None:
    name = group(side)
    join(side, name, MEMBER, [], subscribed_topic_regex="event[")
    answer = join(side, name, MEMBER, [], subscribed_topic_regex="event.*")
    side.until(
        68,
        1,
        lambda seen: bool(seen["assignment"] or seen["member_epoch"] > answer["member_epoch"]),
        group_id=name,
        member_id=MEMBER,
        member_epoch=answer["member_epoch"],
    )


@scenario("consumer_group_heartbeat")
def static_members(side: Side) -> None:
    name = group(side)
    answer = join(side, name, MEMBER, ["events"], instance_id="inst")
    join(side, name, "another-member", ["events"], instance_id="inst")
    beat(side, name, answer["member_id"], -2, instance_id="inst")
    beat(side, name, answer["member_id"], -2)
    join(side, name, "another-member", ["events"], instance_id="inst")
    beat(side, name, MEMBER, answer["member_epoch"], instance_id="inst")
    beat(side, name, "another-member", -1, instance_id="inst")


@scenario("consumer_group_heartbeat")
def assignors(side: Side) -> None:
    for assignor in ("range", "uniform"):
        side.await_coordinator(f"{side.label}-{assignor}")
        join(side, f"{side.label}-{assignor}", MEMBER, ["events", "empty"], server_assignor=assignor)


@scenario("consumer_group_heartbeat")
def two_members(side: Side) -> None:
    name = group(side)
    first = join(side, name, MEMBER, ["events"])
    join(side, name, "member-number-two", ["events"])
    owned = first["assignment"]["topic_partitions"]
    beat(side, name, MEMBER, first["member_epoch"], topic_partitions=owned)


@scenario("consumer_group_describe", smoke=True)
def descriptions(side: Side) -> None:
    name = group(side)
    side.call(
        68,
        0,
        group_id=name,
        member_id=MEMBER,
        member_epoch=0,
        rebalance_timeout=30_000,
        subscribed_topic_names=["events"],
        topic_partitions=[],
    )
    side.ask(group_ids=[name], include_authorized_operations=True)
    side.ask(group_ids=[name + "-absent", ""])
    side.ask(group_ids=[])


@scenario("consumer_group_describe")
def of_a_classic_group(side: Side) -> None:
    name = group(side)
    side.quietly(
        8,
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
    side.ask(group_ids=[name])
