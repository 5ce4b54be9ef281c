"""JoinGroup to a classic group: new members, known members, and static members that come back under a new id."""

from __future__ import annotations

from typing import NamedTuple

from broker.coordinator.classic_group import (
    COMPLETING,
    EMPTY,
    PREPARING,
    STABLE,
    ClassicGroup,
    Member,
    MemberAdded,
    MemberNamed,
    MemberRemoved,
    MemberReplaced,
    MemberUpdated,
)
from broker.coordinator.classic_members import member_refusal
from broker.coordinator.classic_rebalance import (
    ClassicLimits,
    Draft,
    complete_if_all_joined,
    join_refused,
    joined,
    members_for_leader,
    prepare,
    prepare_or_complete,
    sync_refused,
)
from broker.coordinator.outcome import NOBODY, Outcome, TimerKind
from protocol.errors import ErrorCode


class Join(NamedTuple):
    """A JoinGroup request. `new_member_id` is the id it gets if it brings none."""

    token: int
    group_id: str
    member_id: str
    group_instance_id: str | None
    client_id: str
    client_host: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocol_type: str
    protocols: tuple[tuple[str, bytes], ...]
    new_member_id: str
    requires_member_id: bool = True
    """KIP-394: a new dynamic member is only given its id and has to join with it (v4 on)."""
    can_skip_assignment: bool = True
    """KIP-814: a static leader that comes back can be told the members without having to assign (v9 on)."""
    reason: str | None = None
    """KIP-800: why, for whoever reads the log (v8 on)."""


def decide_join(group: ClassicGroup | None, join: Join, limits: ClassicLimits, now_ms: int) -> Outcome:
    """What a JoinGroup comes to. The answer may have to wait until everybody has joined."""
    assert join.token != NOBODY
    if group is None:
        draft = Draft(ClassicGroup(join.group_id), limits, now_ms)
        if join.member_id:
            draft.reply(join.token, join_refused(ErrorCode.UNKNOWN_MEMBER_ID, join.member_id))
            return draft.outcome()
        if not _is_supported(draft.group, join):
            draft.reply(join.token, join_refused(ErrorCode.INCONSISTENT_GROUP_PROTOCOL))
            return draft.outcome()
        draft.do(draft.group.metadata_record())  # the group exists from now on
    else:
        draft = Draft(group, limits, now_ms)
    if not _has_room(draft.group, join.member_id, limits):
        _turn_away(draft, join)
    elif not _is_supported(draft.group, join):
        draft.reply(join.token, join_refused(ErrorCode.INCONSISTENT_GROUP_PROTOCOL, join.member_id))
    elif not join.member_id:
        _join_new(draft, join)
    else:
        _join_known(draft, join)
    return draft.outcome()


def _is_supported(group: ClassicGroup, join: Join) -> bool:
    return group.supports_protocols(join.protocol_type, [name for name, _ in join.protocols])


def _has_room(group: ClassicGroup, member_id: str, limits: ClassicLimits) -> bool:
    if group.state is EMPTY:
        return True
    member = group.members.get(member_id)
    if group.state is PREPARING:
        # By who has joined: the last to join again are out when the limit was lowered.
        return (member is not None and member.join_token != NOBODY) or group.joined_count < limits.max_size
    return member is not None or len(group.members) < limits.max_size


def _turn_away(draft: Draft, join: Join) -> None:
    if join.member_id in draft.group.members or join.member_id in draft.group.named_members:
        draft.do(MemberRemoved(join.member_id))
        draft.cancel(TimerKind.SESSION, join.member_id)
        complete_if_all_joined(draft)
    draft.reply(join.token, join_refused(ErrorCode.GROUP_MAX_SIZE_REACHED))


def _join_new(draft: Draft, join: Join) -> None:
    group = draft.group
    if join.group_instance_id is not None:
        old_member_id = group.static_members.get(join.group_instance_id)
        if old_member_id is None:
            _add(draft, join, join.new_member_id)
        else:
            _replace_static(draft, join, group.members[old_member_id])
    elif join.requires_member_id:
        draft.do(MemberNamed(join.new_member_id))
        draft.start(TimerKind.SESSION, join.session_timeout_ms, join.new_member_id)
        draft.reply(join.token, join_refused(ErrorCode.MEMBER_ID_REQUIRED, join.new_member_id))
    else:
        _add(draft, join, join.new_member_id)


def _join_known(draft: Draft, join: Join) -> None:
    group = draft.group
    if join.member_id in group.named_members and join.group_instance_id is None:
        _add(draft, join, join.member_id)
        return
    refusal = member_refusal(group, join.member_id, join.group_instance_id)
    if refusal:
        draft.reply(join.token, join_refused(refusal, join.member_id))
        return
    member = group.members[join.member_id]
    if group.state is PREPARING:
        _rejoin(draft, join, member)
        return
    assert group.state in (COMPLETING, STABLE), "an empty group has no members"
    has_changed = member.protocols != join.protocols
    is_assigning_anew = group.state is STABLE and join.member_id == group.leader_id
    if has_changed or is_assigning_anew:
        # A leader that joins again in a stable group has seen something that changes the assignment.
        _rejoin(draft, join, member)
    else:
        # It has not got the answer, or joins for no reason: it is one of this generation all the same.
        draft.reply(join.token, joined(group, join.member_id))


def _add(draft: Draft, join: Join, member_id: str) -> None:
    member = Member(
        member_id=member_id,
        group_instance_id=join.group_instance_id,
        client_id=join.client_id,
        client_host=join.client_host,
        rebalance_timeout_ms=join.rebalance_timeout_ms,
        session_timeout_ms=join.session_timeout_ms,
        protocols=join.protocols,
        is_new=True,
        join_token=join.token,
    )
    draft.do(MemberAdded(join.protocol_type, member))
    draft.start(TimerKind.SESSION, draft.limits.new_member_join_timeout_ms, member_id)
    prepare_or_complete(draft)


def _rejoin(draft: Draft, join: Join, member: Member) -> None:
    # The same member may ask twice, over two connections: the one that waits does so in vain.
    draft.reply(member.join_token, join_refused(ErrorCode.REBALANCE_IN_PROGRESS, member.member_id))
    draft.do(MemberUpdated(_as_asked(member, join)))
    prepare_or_complete(draft)


def _as_asked(member: Member, join: Join) -> Member:
    return member._replace(
        rebalance_timeout_ms=join.rebalance_timeout_ms,
        session_timeout_ms=join.session_timeout_ms,
        protocols=join.protocols,
        join_token=join.token,
    )


def _replace_static(draft: Draft, join: Join, old: Member) -> None:
    """A static member has come back (KIP-345): whoever still uses its old id is fenced."""
    fenced = ErrorCode.FENCED_INSTANCE_ID
    draft.reply(old.join_token, join_refused(fenced, old.member_id))
    draft.reply(old.sync_token, sync_refused(fenced))
    old_leader_id = draft.group.leader_id
    member = _as_asked(old, join)._replace(member_id=join.new_member_id, sync_token=NOBODY)
    draft.cancel(TimerKind.SESSION, old.member_id)
    draft.do(MemberReplaced(old.member_id, member))
    draft.start_session(member)
    group = draft.group
    if group.state is COMPLETING:
        prepare(draft)  # the leader has been told the old id, and will assign to that
    elif group.state is PREPARING:
        complete_if_all_joined(draft)
    elif group.select_protocol() != group.protocol_name:
        prepare(draft)
    else:
        _keep_generation(draft, join, member, old_leader_id)


def _keep_generation(draft: Draft, join: Join, member: Member, old_leader_id: str | None) -> None:
    """A static member is back in time: it keeps its assignment, and nobody else notices."""
    draft.do(MemberUpdated(member._replace(join_token=NOBODY)))
    group = draft.group
    assert group.state is STABLE
    draft.do(group.metadata_record())
    if join.can_skip_assignment:
        is_leader = group.leader_id == member.member_id
        members = members_for_leader(group) if is_leader else []
        response = joined(group, member.member_id, skip_assignment=is_leader, members=members)
    else:
        # It must not take itself for the leader, or it would assign anew: so it is told the leader's old id.
        response = joined(group, member.member_id, leader=old_leader_id or "", members=[])
    draft.reply(join.token, response)
