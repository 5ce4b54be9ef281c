"""Requests of the classic protocol to a consumer group (KIP-848): from members it was taken over with, and new ones.

To them it looks like a classic group that somebody else leads. Their generation is their epoch. A new target makes
heartbeats say REBALANCE_IN_PROGRESS; JoinGroup says what they own and brings them a step further, SyncGroup tells what
they have then; and once more for what others had to let go of first.

An empty group becomes a classic one when a classic member joins. Administrators take members out by LeaveGroup.
"""

from __future__ import annotations

from typing import Final

from broker.coordinator.classic_group import CONSUMER_PROTOCOL_TYPE
from broker.coordinator.classic_join import Join, decide_join
from broker.coordinator.classic_members import Heartbeat, Leave, Sync
from broker.coordinator.classic_rebalance import join_refused, sync_refused
from broker.coordinator.consumer_draft import ConsumerDraft, World, group_tombstones
from broker.coordinator.consumer_group import (
    JOIN_EPOCH,
    ClassicPart,
    ConsumerGroup,
    ConsumerMember,
    MemberState,
    RejoinAsked,
    Rejoined,
)
from broker.coordinator.consumer_members import advance, check_size, remove_all, update
from broker.coordinator.consumer_migration import (
    as_classic,
    assignment_bytes,
    can_give_back,
    named_partitions,
    subscription_of,
)
from broker.coordinator.outcome import NOBODY, Outcome, Reply, TimerKind
from protocol.errors import ApiError, ErrorCode, Malformed
from protocol.messages.heartbeat import HeartbeatResponse
from protocol.messages.internal.consumer_protocol import ConsumerProtocolSubscription
from protocol.messages.join_group import JoinGroupResponse
from protocol.messages.leave_group import LeaveGroupResponse, MemberIdentity, MemberResponse
from protocol.messages.sync_group import SyncGroupResponse

NO_LEADER: Final = ""
"""No member takes itself for the leader."""


# --- JoinGroup ------------------------------------------------------------------------------------------------------


def decide_classic_join(group: ConsumerGroup, join: Join, world: World) -> Outcome:
    """What a JoinGroup to a consumer group comes to. It is answered at once."""
    assert join.token != NOBODY
    if group.is_empty:
        outcome = decide_join(None, join, world.classic_limits, world.now_ms)
        if not outcome.events:
            return outcome
        return outcome._replace(events=[*group_tombstones(group), *outcome.events])
    try:
        return _join(ConsumerDraft(group, world), join)
    except ApiError as error:
        refused = join_refused(error.code, join.member_id)
        return Outcome(join.group_id, replies=[Reply(join.token, refused)])


def _join(draft: ConsumerDraft, join: Join) -> Outcome:
    if not draft.group.supports_protocols(join.protocol_type, [name for name, _ in join.protocols]):
        raise ApiError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
    check_size(draft, join.member_id, join.group_instance_id)
    try:
        subscription = subscription_of(join.protocols[0][1])
    except Malformed as error:
        raise ApiError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL) from error
    if not join.member_id and join.group_instance_id is None and join.requires_member_id:
        draft.reply(join.token, join_refused(ErrorCode.MEMBER_ID_REQUIRED, join.new_member_id))
        return draft.outcome()
    before = _joining(draft, join)
    if before is None:
        return _join_classic(draft, join)
    has_new_subscription = update(draft, before, _as_said(before, join, subscription))
    owned = named_partitions(draft.world.topics, subscription.owned_partitions)
    member = advance(draft, before.member_id, owned, has_new_subscription)
    assert member.classic is not None
    draft.do(Rejoined(member.member_id))
    draft.cancel(TimerKind.JOIN, member.member_id)
    draft.start(TimerKind.SYNC, max(member.rebalance_timeout_ms, 0), member.member_id)
    draft.start_session(member)
    response = JoinGroupResponse(
        generation_id=member.member_epoch,
        protocol_type=CONSUMER_PROTOCOL_TYPE,
        protocol_name=member.classic.protocols[0][0],
        leader=NO_LEADER,
        member_id=member.member_id,
        members=[],
    )
    draft.reply(join.token, response)
    return draft.outcome()


def _joining(draft: ConsumerDraft, join: Join) -> ConsumerMember | None:
    """The member that joins; None if with it, in place of another, the group is to be a classic one."""
    group = draft.group
    member_id = join.member_id or join.new_member_id
    if join.group_instance_id is None:
        return group.members.get(member_id) or ConsumerMember(member_id)
    known = group.members.get(group.static_members.get(join.group_instance_id, ""))
    if join.member_id:
        if known is None:
            raise ApiError(ErrorCode.UNKNOWN_MEMBER_ID)
        if known.member_id != join.member_id:
            raise ApiError(ErrorCode.FENCED_INSTANCE_ID)
        return known
    if known is None:
        return ConsumerMember(member_id)
    if known.classic is None and _is_last_of_its_kind(group, known):
        draft.remove(known)
        draft.drop_unused_regexes()
        if draft.group.is_empty or can_give_back(draft):
            return None
        return ConsumerMember(member_id)
    returned = known._replace(member_id=member_id, member_epoch=JOIN_EPOCH, previous_member_epoch=JOIN_EPOCH)
    draft.replace_static(known, returned)
    return returned


def _is_last_of_its_kind(group: ConsumerGroup, member: ConsumerMember) -> bool:
    return all(other.classic or other is member for other in group.members.values())


def _join_classic(draft: ConsumerDraft, join: Join) -> Outcome:
    """The last member of the new protocol has come back as one of the classic protocol."""
    world = draft.world
    if draft.group.is_empty:
        draft.events += group_tombstones(draft.group)
        draft.aftermath = decide_join(None, join, world.classic_limits, world.now_ms)
        return draft.outcome()
    classic = as_classic(draft)
    joined = decide_join(classic.group, join, world.classic_limits, world.now_ms)
    draft.aftermath = Outcome(
        join.group_id,
        [*classic.events, *joined.events],
        [*classic.replies, *joined.replies],
        [*classic.timers, *joined.timers],
    )
    return draft.outcome()


def _as_said(
    before: ConsumerMember, join: Join, subscription: ConsumerProtocolSubscription
) -> ConsumerMember:
    return before._replace(
        instance_id=join.group_instance_id if join.group_instance_id is not None else before.instance_id,
        rack_id=subscription.rack_id or before.rack_id,
        client_id=join.client_id,
        client_host=join.client_host,
        rebalance_timeout_ms=join.rebalance_timeout_ms,
        topic_names=frozenset(subscription.topics),
        topic_regex="",
        assignor=None,
        classic=ClassicPart(join.session_timeout_ms, join.protocols),
    )


# --- SyncGroup and Heartbeat ----------------------------------------------------------------------------------------


def decide_classic_sync(group: ConsumerGroup, sync: Sync, world: World) -> Outcome:
    """What a SyncGroup to a consumer group comes to: the member is told what it has."""
    draft = ConsumerDraft(group, world)
    member, code = _classic_member(group, sync.member_id, sync.group_instance_id, sync.generation_id)
    if member is None or member.classic is None or code:
        draft.reply(sync.token, sync_refused(code))
        return draft.outcome()
    protocol_name = member.classic.protocols[0][0]
    if sync.protocol_type not in (None, CONSUMER_PROTOCOL_TYPE) or sync.protocol_name not in (
        None,
        protocol_name,
    ):
        draft.reply(sync.token, sync_refused(ErrorCode.INCONSISTENT_GROUP_PROTOCOL))
    elif member.member_epoch < _epoch_to_come_to(draft) and (
        member.state is not MemberState.UNREVOKED_PARTITIONS
    ):
        _ask_to_rejoin(draft, member)
        draft.reply(sync.token, sync_refused(ErrorCode.REBALANCE_IN_PROGRESS))
    else:
        draft.cancel(TimerKind.SYNC, member.member_id)
        draft.start_session(member)
        response = SyncGroupResponse(
            protocol_type=CONSUMER_PROTOCOL_TYPE,
            protocol_name=protocol_name,
            assignment=assignment_bytes(world.topics, member),
        )
        draft.reply(sync.token, response)
    return draft.outcome()


def decide_classic_heartbeat(group: ConsumerGroup, heartbeat: Heartbeat, world: World) -> Outcome:
    """What a Heartbeat to a consumer group comes to: more time, and whether the member has to join again."""
    draft = ConsumerDraft(group, world)
    member, code = _classic_member(
        group, heartbeat.member_id, heartbeat.group_instance_id, heartbeat.generation_id
    )
    if member is not None and not code:
        draft.start_session(member)
        if _has_to_rejoin(draft, member):
            _ask_to_rejoin(draft, member)
            code = ErrorCode.REBALANCE_IN_PROGRESS
    draft.reply(heartbeat.token, HeartbeatResponse(error_code=code))
    return draft.outcome()


def _epoch_to_come_to(draft: ConsumerDraft) -> int:
    """The epoch that a member which joins now is brought to."""
    group = draft.group
    return group.assignment_epoch if draft.target_wait_ms() else group.group_epoch


def _has_to_rejoin(draft: ConsumerDraft, member: ConsumerMember) -> bool:
    """Whether joining again would bring the member further, or let others go on."""
    group = draft.group
    if member.member_epoch < _epoch_to_come_to(draft) or member.state is MemberState.UNREVOKED_PARTITIONS:
        return True
    if member.state is not MemberState.UNRELEASED_PARTITIONS:
        return False
    missing = group.target.get(member.member_id, frozenset()) - member.assigned.keys()
    return any(partition not in group.owners for partition in missing)


def _ask_to_rejoin(draft: ConsumerDraft, member: ConsumerMember) -> None:
    """Whoever is told to join again and does not is out after its rebalance time-out."""
    if member.member_id not in draft.group.asked_to_rejoin:
        draft.do(RejoinAsked(member.member_id))
        draft.start(TimerKind.JOIN, max(member.rebalance_timeout_ms, 0), member.member_id)


def _classic_member(
    group: ConsumerGroup, member_id: str, instance_id: str | None, generation_id: int
) -> tuple[ConsumerMember | None, ErrorCode]:
    member, code = _find(group, MemberIdentity(member_id=member_id, group_instance_id=instance_id))
    if member is None or code:
        return None, code
    if member.classic is None:
        return None, ErrorCode.UNKNOWN_MEMBER_ID
    if generation_id != member.member_epoch:
        return None, ErrorCode.ILLEGAL_GENERATION
    return member, ErrorCode.NONE


# --- LeaveGroup -----------------------------------------------------------------------------------------------------


def decide_classic_leave(group: ConsumerGroup, leave: Leave, world: World) -> Outcome:
    """What a LeaveGroup comes to: members by their id or, static ones, by their instance id (KIP-345)."""
    draft = ConsumerDraft(group, world)
    leaving: dict[str, ConsumerMember] = {}
    results = []
    for asked in leave.members:
        member, code = _find(group, asked)
        if member is not None and member.member_id in leaving:
            member, code = None, ErrorCode.UNKNOWN_MEMBER_ID
        if member is not None:
            leaving[member.member_id] = member
        results.append(
            MemberResponse(
                member_id=asked.member_id, group_instance_id=asked.group_instance_id, error_code=code
            )
        )
    if leaving:
        remove_all(draft, list(leaving.values()))
    draft.reply(leave.token, LeaveGroupResponse(members=results))
    return draft.outcome()


def _find(group: ConsumerGroup, asked: MemberIdentity) -> tuple[ConsumerMember | None, ErrorCode]:
    if asked.group_instance_id is None:
        member = group.members.get(asked.member_id)
        return member, ErrorCode.UNKNOWN_MEMBER_ID if member is None else ErrorCode.NONE
    owner = group.static_members.get(asked.group_instance_id)
    if owner is None:
        return None, ErrorCode.UNKNOWN_MEMBER_ID
    if asked.member_id and asked.member_id != owner:
        return None, ErrorCode.FENCED_INSTANCE_ID
    return group.members[owner], ErrorCode.NONE
