"""Groups that change their protocol while they have members (KIP-848, `group.consumer.migration.policy`).

A classic group becomes a consumer group when a first member of the new protocol joins it: its members go on speaking
the classic protocol, to this group, and keep what they have; their generation is their epoch. A consumer group becomes
a classic one when its last member of the new protocol has gone and others are left: they join again, as members of a
classic group do in a rebalance.

Both are one decision each: the records that unmake the one group and make the other are one batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from broker.coordinator.assignors.spec import NOTHING, Assignment, TopicPartition
from broker.coordinator.classic_group import ClassicGroup, Member
from broker.coordinator.classic_rebalance import Draft, join_refused, prepare, sync_refused
from broker.coordinator.consumer_catalog import Topics
from broker.coordinator.consumer_draft import MEMBER_TIMERS, ConsumerDraft, group_tombstones
from broker.coordinator.consumer_group import (
    ClassicPart,
    ConsumerGroup,
    ConsumerMember,
    by_topic,
    current_assignment_record,
    member_record,
)
from broker.coordinator.outcome import NEVER, Record, TimerChange, TimerKey, TimerKind
from protocol.compiler import decoder, encoder
from protocol.errors import ApiError, ErrorCode, Malformed
from protocol.messages.internal.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolAssignmentTopicPartition,
    ConsumerProtocolSubscription,
)
from protocol.messages.internal.offset_records import GroupMetadataKey, GroupMetadataValue, MemberMetadata
from protocol.primitives import Output

_NEWEST: Final = 3
"""The newest version of what members of classic groups put into their bytes."""

_VERSION_BYTES: Final = 2


# --- what members of classic groups put into their bytes ------------------------------------------------------------


def _version(data: bytes) -> int:
    return min(int.from_bytes(data[:_VERSION_BYTES], "big", signed=True), _NEWEST)


def _read(cls: type, data: bytes) -> Any:
    version = _version(data)
    if len(data) < _VERSION_BYTES or version < 0:
        raise Malformed("no version of the consumer protocol", message=cls.__name__)
    return decoder(cls, version)(memoryview(data), _VERSION_BYTES)[0]


def subscription_of(metadata: bytes) -> ConsumerProtocolSubscription:
    """What a classic member subscribes to. Raises Malformed."""
    subscription: ConsumerProtocolSubscription = _read(ConsumerProtocolSubscription, metadata)
    return subscription


def named_partitions(topics: Topics, named: Iterable[Any]) -> Assignment:
    """The partitions in a classic member's list, of the topics there are."""
    found: set[TopicPartition] = set()
    for entry in named:
        topic = topics.by_name(entry.topic)
        if topic is not None:
            found.update((topic.topic_id, index) for index in entry.partitions)
    return frozenset(found)


def assignment_bytes(topics: Topics, member: ConsumerMember) -> bytes:
    """What a classic member is told to have, in the version it speaks itself."""
    assert member.classic is not None
    entries = []
    for topic_id, indexes in by_topic(member.assigned).items():
        topic = topics.by_id(topic_id)
        if topic is not None:
            entries.append(ConsumerProtocolAssignmentTopicPartition(topic=topic.name, partitions=indexes))
    version = max(_version(member.classic.protocols[0][1]), 0)
    out = Output(version.to_bytes(_VERSION_BYTES, "big"))
    message = ConsumerProtocolAssignment(assigned_partitions=entries, user_data=None)
    encoder(ConsumerProtocolAssignment, version)(message, out)
    return bytes(out)


# --- classic to consumer --------------------------------------------------------------------------------------------


def take_over(draft: ConsumerDraft, classic: ClassicGroup) -> None:
    """Make `draft`, of a new group, what the classic group was. Raises GROUP_ID_NOT_FOUND where that cannot be."""
    assert draft.group.is_empty and not draft.events
    group_id = classic.group_id
    members = _members(draft.world.topics, classic) if classic.members else []
    if members:
        _check(draft, classic)
    draft.events.append(Record(GroupMetadataKey(group=group_id), None))
    for member in members:
        draft.do(member_record(group_id, member))
    if members:
        draft.begin_at(
            classic.generation_id, {member.member_id: frozenset(member.assigned) for member in members}
        )
    for member in members:
        draft.do(current_assignment_record(group_id, member))
    for key in (TimerKey(TimerKind.JOIN, group_id), TimerKey(TimerKind.SYNC, group_id)):
        draft.timers.append(TimerChange(key, NEVER))
    for member_id in classic.named_members:
        draft.cancel(TimerKind.SESSION, member_id)
    for member in members:
        draft.start_session(member)
    for waiting in classic.members.values():
        draft.reply(waiting.join_token, join_refused(ErrorCode.REBALANCE_IN_PROGRESS, waiting.member_id))
        draft.reply(waiting.sync_token, sync_refused(ErrorCode.REBALANCE_IN_PROGRESS))


def _check(draft: ConsumerDraft, classic: ClassicGroup) -> None:
    limits = draft.world.limits
    problem = None
    if not limits.can_upgrade:
        problem = "the online upgrade is disabled"
    elif not classic.uses_consumer_protocol:
        problem = "it does not use the consumer embedded protocol"
    elif len(classic.members) >= limits.max_size:
        problem = "it has more members than a consumer group may have"
    if problem is not None:
        raise _not_upgraded(classic, problem)


def _not_upgraded(classic: ClassicGroup, problem: str) -> ApiError:
    return ApiError(
        ErrorCode.GROUP_ID_NOT_FOUND,
        f"Cannot upgrade classic group {classic.group_id} to consumer group because {problem}.",
    )


def _members(topics: Topics, classic: ClassicGroup) -> list[ConsumerMember]:
    """The members as they go on; no partition is two members', whatever their leader said."""
    members, taken = [], set[TopicPartition]()
    for member in classic.members.values():
        try:
            converted = _member(topics, classic, member)
        except Malformed as error:
            raise _not_upgraded(classic, f"what member {member.member_id} says cannot be read") from error
        assigned = {
            partition: classic.generation_id for partition in converted.assigned if partition not in taken
        }
        taken.update(assigned)
        members.append(converted._replace(assigned=assigned))
    return members


def _member(topics: Topics, classic: ClassicGroup, member: Member) -> ConsumerMember:
    subscription = subscription_of(member.metadata(classic.protocol_name) or member.protocols[0][1])
    assigned = NOTHING
    if member.assignment:
        told: ConsumerProtocolAssignment = _read(ConsumerProtocolAssignment, member.assignment)
        assigned = named_partitions(topics, told.assigned_partitions)
    return ConsumerMember(
        member_id=member.member_id,
        instance_id=member.group_instance_id,
        rack_id=subscription.rack_id or None,
        client_id=member.client_id,
        client_host=member.client_host,
        rebalance_timeout_ms=member.rebalance_timeout_ms,
        topic_names=frozenset(subscription.topics),
        member_epoch=classic.generation_id,
        previous_member_epoch=classic.generation_id,
        assigned=dict.fromkeys(assigned, classic.generation_id),
        classic=ClassicPart(member.session_timeout_ms, member.protocols),
    )


# --- consumer to classic --------------------------------------------------------------------------------------------


def can_give_back(draft: ConsumerDraft) -> bool:
    """Whether the group, as it is in the draft, is to become a classic one."""
    group, world = draft.group, draft.world
    return (
        group.is_classic
        and world.limits.can_downgrade
        and len(group.members) <= world.classic_limits.max_size
    )


def give_back(draft: ConsumerDraft) -> bool:
    """Make the group a classic one, in a rebalance, if only members that speak that protocol are left."""
    if not can_give_back(draft):
        return False
    classic = as_classic(draft)
    prepare(classic)
    draft.aftermath = classic.outcome()
    return True


def as_classic(draft: ConsumerDraft) -> Draft:
    """Unmake the group; the draft of the classic group that takes its place, with all members."""
    group, world = draft.group, draft.world
    value = _classic_metadata(group, world.topics, world.now_ms)
    draft.events += group_tombstones(group)
    for member in group.members.values():
        for kind in MEMBER_TIMERS:
            draft.cancel(kind, member.member_id)
    classic = Draft(ClassicGroup(group.group_id), world.classic_limits, world.now_ms)
    classic.do(Record(GroupMetadataKey(group=group.group_id), value))
    for converted in classic.group.members.values():
        classic.start_session(converted)
    return classic


def _classic_metadata(group: ConsumerGroup, topics: Topics, now_ms: int) -> GroupMetadataValue:
    protocols = [dict(member.classic.protocols) for member in group.members.values() if member.classic]
    assert len(protocols) == len(group.members)
    # Nobody was let in who has no assignor in common with the others.
    elected = next(name for name in protocols[0] if all(name in names for names in protocols))
    return GroupMetadataValue(
        protocol_type=group.protocol_type,
        generation=group.group_epoch,
        protocol=elected,
        leader=next(iter(group.members)),
        current_state_timestamp=now_ms,
        members=[
            MemberMetadata(
                member_id=member.member_id,
                group_instance_id=member.instance_id,
                client_id=member.client_id,
                client_host=member.client_host,
                rebalance_timeout=member.rebalance_timeout_ms,
                session_timeout=member.classic.session_timeout_ms if member.classic else 0,
                subscription=names[elected],
                assignment=assignment_bytes(topics, member),
            )
            for member, names in zip(group.members.values(), protocols)
        ],
    )
