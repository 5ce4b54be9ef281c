"""ConsumerGroupHeartbeat and ConsumerGroupDescribe at every version, and what members commit and fetch."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import pytest

from broker.coordinator.consumer_catalog import CatalogTopics, topics_hash
from broker.coordinator.coordinator import GroupCoordinator
from broker.coordinator.offsets_topic import OffsetsTopic
from broker.coordinator.settings import GroupSettings
from broker.topics.commands import CreateTopics, DeleteTopics, NewTopic
from protocol.errors import ErrorCode
from protocol.messages.consumer_group_describe import ConsumerGroupDescribeRequest
from protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatRequest, TopicPartitions
from protocol.messages.describe_groups import DescribeGroupsRequest
from protocol.messages.list_groups import ListGroupsRequest
from protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
)
from tests.broker.handlers.group_stand import GroupStand

E = ErrorCode


class ConsumerStand(GroupStand):
    @cached_property
    def groups(self) -> GroupCoordinator:
        groups = GroupCoordinator(
            OffsetsTopic(self),  # type: ignore[arg-type]
            self,
            GroupSettings.of(self.config),
            self.flusher.run_round,
            CatalogTopics(self.catalog),
        )
        groups.load()
        return groups

    def join(self, version: int = 1, **fields: Any) -> Any:
        values = {
            "group_id": "g",
            "member_id": "m",
            "rebalance_timeout_ms": 1000,
            "subscribed_topic_names": ["b"],
            "topic_partitions": [],
        }
        (response,) = self.ask(version, ConsumerGroupHeartbeatRequest(**values | fields))
        return response


@pytest.mark.parametrize("version", [0, 1])
def test_joining_staying_and_leaving(version: int) -> None:
    stand = ConsumerStand()
    response = stand.join(version)
    assert (response.error_code, response.member_id, response.member_epoch) == (0, "m", 1)
    assert response.heartbeat_interval_ms == 5000
    (assigned,) = response.assignment.topic_partitions
    assert (assigned.topic_id, assigned.partitions) == (stand.catalog.topics["b"].topic_id, [0, 1, 2])
    beat = ConsumerGroupHeartbeatRequest(group_id="g", member_id="m", member_epoch=1)
    (response,) = stand.ask(version, beat)
    assert (response.error_code, response.assignment) == (0, None)
    owned = [TopicPartitions(topic_id=assigned.topic_id, partitions=[0, 1, 2])]
    beat = ConsumerGroupHeartbeatRequest(group_id="g", member_id="m", member_epoch=1, topic_partitions=owned)
    (response,) = stand.ask(version, beat)
    assert (response.error_code, response.member_epoch) == (0, 1)
    leave = ConsumerGroupHeartbeatRequest(group_id="g", member_id="m", member_epoch=-1)
    (response,) = stand.ask(version, leave)
    assert (response.error_code, response.member_epoch) == (0, -1)


def test_who_makes_the_members_id() -> None:
    stand = ConsumerStand()
    assert stand.join(1, member_id="").error_code == E.INVALID_REQUEST
    response = stand.join(0, member_id="")
    assert response.error_code == 0 and len(response.member_id) == 22


def test_the_topic_is_there_before_the_first_member_is_told() -> None:
    stand = ConsumerStand()
    assert "__consumer_offsets" not in stand.catalog.topics
    assert stand.join().error_code == 0
    assert "__consumer_offsets" in stand.catalog.topics


def test_topics_that_come_grow_and_go() -> None:
    stand = ConsumerStand()
    stand.join(subscribed_topic_names=["b", "new"])
    topics = CatalogTopics(stand.catalog)
    version, number = topics.version, topics_hash(topics, ["b", "new"])
    assert topics.version == version
    stand.catalog.submit(CreateTopics([NewTopic("new", stand.new_id(), 2)]))
    stand.flusher.run_round()
    assert topics.version > version and topics_hash(topics, ["b", "new"]) != number
    stand.host.now_ms += stand.config["group.consumer.assignment.interval.ms"]
    beat = ConsumerGroupHeartbeatRequest(group_id="g", member_id="m", member_epoch=1)
    (response,) = stand.ask(1, beat)
    assert response.member_epoch == 2
    assert sorted(len(topic.partitions) for topic in response.assignment.topic_partitions) == [2, 3]
    stand.catalog.submit(DeleteTopics([("new", bytes(16))]))
    stand.flusher.run_round()
    assert topics_hash(topics, ["b", "new"]) == number


@pytest.mark.parametrize("version", [0, 1])
def test_described(version: int) -> None:
    stand = ConsumerStand()
    stand.join(1, instance_id="i")
    asked = ConsumerGroupDescribeRequest(group_ids=["g", "none", ""], include_authorized_operations=True)
    (response,) = stand.ask(version, asked)
    group, missing, nameless = response.groups
    assert (group.error_code, group.group_state, group.group_epoch, group.assignor_name) == (
        0,
        "Stable",
        1,
        "uniform",
    )
    assert group.authorized_operations != -(2**31)
    (member,) = group.members
    assert (member.member_id, member.instance_id, member.client_id, member.client_host) == (
        "m", "i", "test", "/10.0.0.1",
    )  # fmt: skip
    assert member.member_type == (1 if version else -1)
    assert member.assignment.topic_partitions[0].topic_name == "b"
    assert (missing.error_code, missing.error_message) == (E.GROUP_ID_NOT_FOUND, "Group none not found.")
    assert nameless.error_code == E.INVALID_GROUP_ID


def test_listed_and_not_a_classic_group() -> None:
    stand = ConsumerStand()
    stand.join()
    (listed,) = stand.ask(5, ListGroupsRequest(types_filter=["consumer"]))
    assert [(group.group_id, group.group_type) for group in listed.groups] == [("g", "consumer")]
    (listed,) = stand.ask(5, ListGroupsRequest(types_filter=["classic"]))
    assert listed.groups == []
    (described,) = stand.ask(6, DescribeGroupsRequest(groups=["g"]))
    (group,) = described.groups
    assert (group.error_code, group.error_message) == (
        E.GROUP_ID_NOT_FOUND,
        "Group g is not a classic group.",
    )
    (described,) = stand.ask(5, DescribeGroupsRequest(groups=["g"]))
    assert described.groups[0].group_state == "Dead"


@pytest.mark.parametrize(("version", "epoch", "code"), [
    (10, 1, E.NONE), (9, 1, E.NONE), (8, 1, E.UNSUPPORTED_VERSION), (10, 2, E.STALE_MEMBER_EPOCH),
])  # fmt: skip
def test_a_member_commits(version: int, epoch: int, code: ErrorCode) -> None:
    stand = ConsumerStand()
    stand.join()
    topic = OffsetCommitRequestTopic(
        partitions=[OffsetCommitRequestPartition(partition_index=0, committed_offset=4)]
    )
    if version >= 10:
        topic.topic_id = stand.catalog.topics["b"].topic_id
    else:
        topic.name = "b"
    commit = OffsetCommitRequest(
        group_id="g", generation_id_or_member_epoch=epoch, member_id="m", topics=[topic]
    )
    (response,) = stand.ask(version, commit)
    assert response.topics[0].partitions[0].error_code == code


@pytest.mark.parametrize("version", [9, 10])
@pytest.mark.parametrize(("member_id", "epoch", "code"), [
    ("m", 1, E.NONE), (None, -1, E.NONE), ("m", 0, E.STALE_MEMBER_EPOCH), ("x", 1, E.UNKNOWN_MEMBER_ID),
])  # fmt: skip
def test_who_fetches_offsets(version: int, member_id: str | None, epoch: int, code: ErrorCode) -> None:
    stand = ConsumerStand()
    stand.join()
    topic = OffsetFetchRequestTopics(partition_indexes=[0])
    if version >= 10:
        topic.topic_id = stand.catalog.topics["b"].topic_id
    else:
        topic.name = "b"
    asked = OffsetFetchRequestGroup(group_id="g", member_id=member_id, member_epoch=epoch, topics=[topic])
    (response,) = stand.ask(version, OffsetFetchRequest(groups=[asked]))
    assert response.groups[0].error_code == code
    assert len(response.groups[0].topics) == (0 if code else 1)
