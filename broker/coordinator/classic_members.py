"""What members of a classic group ask for besides joining: SyncGroup, Heartbeat, LeaveGroup; and what timers decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from broker.coordinator.classic_group import (
    COMPLETING,
    EMPTY,
    PREPARING,
    STABLE,
    ClassicGroup,
    MemberRemoved,
    SyncReceived,
)
from broker.coordinator.classic_rebalance import (
    ClassicLimits,
    Draft,
    after_removal,
    complete_join,
    join_time_is_over,
    prepare,
    remove_member,
    sync_refused,
)
from broker.coordinator.outcome import NOBODY, Outcome, Reply, TimerChange, TimerKey, TimerKind
from protocol.errors import ErrorCode
from protocol.messages.heartbeat import HeartbeatResponse
from protocol.messages.leave_group import LeaveGroupResponse, MemberIdentity, MemberResponse
from protocol.messages.sync_group import SyncGroupResponse


class Sync(NamedTuple):
    """A SyncGroup request; only the leader's has assignments, (member id, assignment)."""

    token: int
    group_id: str
    generation_id: int
    member_id: str
    group_instance_id: str | None
    protocol_type: str | None
    protocol_name: str | None
    assignments: Sequence[tuple[str, bytes]] = ()


class Heartbeat(NamedTuple):
    """A Heartbeat request."""

    token: int
    group_id: str
    generation_id: int
    member_id: str
    group_instance_id: str | None = None


class Leave(NamedTuple):
    """A LeaveGroup request."""

    token: int
    group_id: str
    members: Sequence[MemberIdentity]


def member_refusal(group: ClassicGroup, member_id: str, group_instance_id: str | None) -> ErrorCode:
    """Why a request is not one of the group's member it says it is from; NONE if it is."""
    if group_instance_id is not None:
        owner = group.static_members.get(group_instance_id)
        if owner is None:
            return ErrorCode.UNKNOWN_MEMBER_ID
        if owner != member_id:
            return ErrorCode.FENCED_INSTANCE_ID
    return ErrorCode.NONE if member_id in group.members else ErrorCode.UNKNOWN_MEMBER_ID


def generation_refusal(
    group: ClassicGroup, member_id: str, group_instance_id: str | None, generation_id: int
) -> ErrorCode:
    """As `member_refusal`, for requests of one generation."""
    refusal = member_refusal(group, member_id, group_instance_id)
    if not refusal and generation_id != group.generation_id:
        return ErrorCode.ILLEGAL_GENERATION
    return refusal


# --- SyncGroup --------------------------------------------------------------------------------------------------


def decide_sync(group: ClassicGroup | None, sync: Sync, limits: ClassicLimits, now_ms: int) -> Outcome:
    """What a SyncGroup comes to: the leader's settles the generation, the others' wait for that."""
    assert sync.token != NOBODY
    refusal = _sync_refusal(group, sync)
    if refusal:
        return Outcome(sync.group_id, replies=[Reply(sync.token, sync_refused(refusal))])
    assert group is not None
    draft = Draft(group, limits, now_ms)
    member = group.members[sync.member_id]
    if group.state is STABLE:
        _note_sync(draft, sync.member_id, NOBODY)
        draft.reply(sync.token, assigned(group, member.assignment))
        return draft.outcome()
    assert group.state is COMPLETING
    draft.reply(member.sync_token, sync_refused(ErrorCode.REBALANCE_IN_PROGRESS))  # it asks a second time
    _note_sync(draft, sync.member_id, sync.token)
    if sync.member_id == group.leader_id:
        _settle(draft, dict(sync.assignments))
    return draft.outcome()


def _sync_refusal(group: ClassicGroup | None, sync: Sync) -> ErrorCode:
    if group is None or group.state is EMPTY:
        return ErrorCode.UNKNOWN_MEMBER_ID
    refusal = generation_refusal(group, sync.member_id, sync.group_instance_id, sync.generation_id)
    if refusal:
        return refusal
    # KIP-559: from v5 on both are said, and must be the group's.
    if sync.protocol_type not in (None, group.protocol_type) and group.protocol_type is not None:
        return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    if sync.protocol_name not in (None, group.protocol_name) and group.protocol_name is not None:
        return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    return ErrorCode.REBALANCE_IN_PROGRESS if group.state is PREPARING else ErrorCode.NONE


def _note_sync(draft: Draft, member_id: str, token: int) -> None:
    if token != NOBODY or member_id in draft.group.unsynced_members:
        draft.do(SyncReceived(member_id, token))
    if not draft.group.unsynced_members:
        draft.cancel(TimerKind.SYNC)


def _settle(draft: Draft, assignments: dict[str, bytes]) -> None:
    """The leader has assigned: the generation is written down, and everybody who waits gets their part."""
    waiting = [member for member in draft.group.members.values() if member.sync_token != NOBODY]
    draft.do(draft.group.metadata_record(assignments))
    group = draft.group
    assert group.state is STABLE
    for member in waiting:
        draft.reply(member.sync_token, assigned(group, assignments.get(member.member_id, b"")))
        draft.start_session(member)


def assigned(group: ClassicGroup, assignment: bytes) -> SyncGroupResponse:
    return SyncGroupResponse(
        protocol_type=group.protocol_type, protocol_name=group.protocol_name, assignment=assignment
    )


# --- Heartbeat --------------------------------------------------------------------------------------------------


def decide_heartbeat(group: ClassicGroup | None, heartbeat: Heartbeat, now_ms: int) -> Outcome:
    """What a Heartbeat comes to: more time, and whether the member has to join again."""
    group_id = heartbeat.group_id
    if group is None or group.state is EMPTY:
        code = ErrorCode.UNKNOWN_MEMBER_ID
    else:
        code = generation_refusal(
            group, heartbeat.member_id, heartbeat.group_instance_id, heartbeat.generation_id
        )
    timers: list[TimerChange] = []
    if not code:
        assert group is not None
        due_ms = now_ms + group.members[heartbeat.member_id].session_timeout_ms
        timers.append(TimerChange(TimerKey(TimerKind.SESSION, group_id, heartbeat.member_id), due_ms))
        if group.state is PREPARING:
            code = ErrorCode.REBALANCE_IN_PROGRESS
    return Outcome(
        group_id, replies=[Reply(heartbeat.token, HeartbeatResponse(error_code=code))], timers=timers
    )


# --- LeaveGroup -------------------------------------------------------------------------------------------------


def decide_leave(group: ClassicGroup | None, leave: Leave, limits: ClassicLimits, now_ms: int) -> Outcome:
    """What a LeaveGroup comes to, member by member (KIP-345 made it a batch)."""
    if group is None:
        results = [_left(member, ErrorCode.UNKNOWN_MEMBER_ID) for member in leave.members]
        return Outcome(leave.group_id, replies=[Reply(leave.token, LeaveGroupResponse(members=results))])
    draft = Draft(group, limits, now_ms)
    results = [_left(member, _leave(draft, member)) for member in leave.members]
    if any(not result.error_code for result in results):
        after_removal(draft)
    draft.reply(leave.token, LeaveGroupResponse(members=results))
    return draft.outcome()


def _left(member: MemberIdentity, code: ErrorCode) -> MemberResponse:
    return MemberResponse(
        member_id=member.member_id, group_instance_id=member.group_instance_id, error_code=code
    )


def _leave(draft: Draft, leaving: MemberIdentity) -> ErrorCode:
    group = draft.group
    member_id = leaving.member_id
    if not member_id:
        # An administrator names the instance only.
        member_id = group.static_members.get(leaving.group_instance_id or "", "")
        if not member_id:
            return ErrorCode.UNKNOWN_MEMBER_ID
    elif member_id in group.named_members:
        draft.cancel(TimerKind.SESSION, member_id)
        draft.do(MemberRemoved(member_id))
        return ErrorCode.NONE
    else:
        refusal = member_refusal(group, member_id, leaving.group_instance_id)
        if refusal:
            return refusal
    remove_member(draft, member_id)
    return ErrorCode.NONE


# --- timers -----------------------------------------------------------------------------------------------------


def decide_timer(group: ClassicGroup, timer: TimerKey, limits: ClassicLimits, now_ms: int) -> Outcome:
    """What the end of a timer comes to."""
    draft = Draft(group, limits, now_ms)
    if timer.kind is TimerKind.SESSION:
        _session_is_over(draft, timer.member_id)
    elif timer.kind is TimerKind.JOIN:
        join_time_is_over(draft)
    else:
        assert timer.kind is TimerKind.SYNC
        _sync_time_is_over(draft)
    return draft.outcome()


def _session_is_over(draft: Draft, member_id: str) -> None:
    group = draft.group
    if member_id in group.named_members:
        draft.do(MemberRemoved(member_id))
        if draft.group.state is PREPARING and draft.group.has_all_joined:
            complete_join(draft)
        return
    member = group.members.get(member_id)
    if member is None:
        return
    waits = member.join_token != NOBODY or member.sync_token != NOBODY
    if waits and not member.is_new:
        return  # it is we who keep it waiting; its session begins anew with the answer
    remove_member(draft, member_id)
    if draft.group.state is PREPARING:
        if draft.group.has_all_joined:
            complete_join(draft)
    else:
        after_removal(draft)


def _sync_time_is_over(draft: Draft) -> None:
    """Members that never came for their assignment hold partitions nobody reads: they are out."""
    if draft.group.state not in (COMPLETING, STABLE) or not draft.group.unsynced_members:
        return
    for member_id in list(draft.group.unsynced_members):
        if member_id in draft.group.members:
            remove_member(draft, member_id)
    prepare(draft)


def decide_loaded(group: ClassicGroup, limits: ClassicLimits, now_ms: int) -> Outcome:
    """After a restart: every member has a session's time to be heard of; too large a group rebalances to fit."""
    draft = Draft(group, limits, now_ms)
    for member in group.members.values():
        draft.start_session(member)
    if group.state is STABLE and len(group.members) > limits.max_size:
        prepare(draft)
    return draft.outcome()
