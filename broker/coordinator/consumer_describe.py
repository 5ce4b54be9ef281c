"""A consumer group as ConsumerGroupDescribe shows it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from broker.coordinator.assignors.spec import NOTHING, TopicPartition
from broker.coordinator.consumer_catalog import Topics
from broker.coordinator.consumer_draft import World, assignor_of
from broker.coordinator.consumer_group import ConsumerGroup, ConsumerMember, by_topic
from protocol.messages.consumer_group_describe import Assignment, DescribedGroup, Member, TopicPartitions

CLASSIC_MEMBER: Final = 0
CONSUMER_MEMBER: Final = 1
"""KIP-1099: which protocol a member speaks."""


def describe_consumer_group(group: ConsumerGroup, world: World) -> DescribedGroup:
    """Partitions of topics that are gone are left out: they have no name."""
    return DescribedGroup(
        group_id=group.group_id,
        group_state=group.state.value,
        group_epoch=group.group_epoch,
        assignment_epoch=group.assignment_epoch,
        assignor_name=assignor_of(group, world.limits),
        members=[_member(group, member, world.topics) for member in group.members.values()],
    )


def _member(group: ConsumerGroup, member: ConsumerMember, topics: Topics) -> Member:
    return Member(
        member_id=member.member_id,
        instance_id=member.instance_id,
        rack_id=member.rack_id,
        member_epoch=member.member_epoch,
        client_id=member.client_id,
        client_host=member.client_host,
        subscribed_topic_names=sorted(member.topic_names),
        subscribed_topic_regex=member.topic_regex,
        assignment=_assignment(member.assigned, topics),
        target_assignment=_assignment(group.target.get(member.member_id, NOTHING), topics),
        member_type=CONSUMER_MEMBER if member.classic is None else CLASSIC_MEMBER,
    )


def _assignment(partitions: Iterable[TopicPartition], topics: Topics) -> Assignment:
    described = []
    for topic_id, indexes in by_topic(partitions).items():
        topic = topics.by_id(topic_id)
        if topic is not None:
            described.append(TopicPartitions(topic_id=topic_id, topic_name=topic.name, partitions=indexes))
    return Assignment(topic_partitions=described)
