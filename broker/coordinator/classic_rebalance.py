"""The rebalance of a classic group, as a decision: from the first join to the generation that comes of it.

A `Draft` is a decision in the making. Its group is a copy as soon as anything is decided, and every event is applied
to the copy at once, so that the next step of the same decision sees what the ones before it came to.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from broker.coordinator.classic_group import (
    COMPLETING,
    EMPTY,
    PREPARING,
    STABLE,
    ClassicGroup,
    GenerationBegun,
    InitialDelayExtended,
    LeaderElected,
    Member,
    MemberRemoved,
    RebalanceBegun,
    apply,
)
from broker.coordinator.outcome import NEVER, NOBODY, Outcome, Reply, TimerChange, TimerKey, TimerKind
from protocol.errors import ErrorCode
from protocol.messages.join_group import JoinGroupResponse, JoinGroupResponseMember
from protocol.messages.sync_group import SyncGroupResponse


class ClassicLimits(NamedTuple):
    """What the broker's settings say of classic groups."""

    initial_rebalance_delay_ms: int = 3000
    max_size: int = 2**31 - 1
    new_member_join_timeout_ms: int = 5 * 60_000
    """How long a member that has just got its id may wait in a join phase before it counts as gone: it cannot send
    heartbeats, and its closed connection is not noticed (KIP-394; Kafka's own constant)."""


class Draft:
    """A decision on one group in the making."""

    __slots__ = ("_is_copy", "events", "group", "limits", "now_ms", "replies", "timers")

    def __init__(self, group: ClassicGroup, limits: ClassicLimits, now_ms: int) -> None:
        assert now_ms >= 0
        self.group = group
        self.limits = limits
        self.now_ms = now_ms
        self.events: list[Any] = []
        self.replies: list[Reply] = []
        self.timers: list[TimerChange] = []
        self._is_copy = False

    def do(self, event: Any) -> None:
        """Decide an event."""
        if not self._is_copy:
            self.group = self.group.copy()
            self._is_copy = True
        self.events.append(event)
        apply(self.group, event)

    def reply(self, token: int, response: Any) -> None:
        if token != NOBODY:
            self.replies.append(Reply(token, response))

    def start(self, kind: TimerKind, delay_ms: int, member_id: str = "") -> None:
        """Start a timer, or move it if it runs."""
        assert delay_ms >= 0
        key = TimerKey(kind, self.group.group_id, member_id)
        self.timers.append(TimerChange(key, self.now_ms + delay_ms))

    def cancel(self, kind: TimerKind, member_id: str = "") -> None:
        self.timers.append(TimerChange(TimerKey(kind, self.group.group_id, member_id), NEVER))

    def start_session(self, member: Member) -> None:
        self.start(TimerKind.SESSION, member.session_timeout_ms, member.member_id)

    def outcome(self) -> Outcome:
        return Outcome(self.group.group_id, self.events, self.replies, self.timers)


# --- answers ----------------------------------------------------------------------------------------------------


def join_refused(code: ErrorCode, member_id: str = "") -> JoinGroupResponse:
    return JoinGroupResponse(error_code=code, member_id=member_id)


def sync_refused(code: ErrorCode) -> SyncGroupResponse:
    return SyncGroupResponse(error_code=code)


def joined(group: ClassicGroup, member_id: str, **exceptions: Any) -> JoinGroupResponse:
    """The answer to a member of the present generation; the leader's has everybody's metadata."""
    values: dict[str, Any] = {
        "generation_id": group.generation_id,
        "protocol_type": group.protocol_type,
        "protocol_name": group.protocol_name,
        "leader": group.leader_id or "",
        "member_id": member_id,
        "members": members_for_leader(group) if member_id == group.leader_id else [],
    }
    return JoinGroupResponse(**(values | exceptions))


def members_for_leader(group: ClassicGroup) -> list[JoinGroupResponseMember]:
    """Everybody's metadata for the elected protocol."""
    assert group.state in (COMPLETING, STABLE)
    return [
        JoinGroupResponseMember(
            member_id=member.member_id,
            group_instance_id=member.group_instance_id,
            metadata=member.metadata(group.protocol_name) or b"",
        )
        for member in group.members.values()
    ]


# --- steps ------------------------------------------------------------------------------------------------------


def prepare_or_complete(draft: Draft) -> None:
    """Begin a rebalance, or, where one is under way, end its join phase if that was the last to join."""
    if draft.group.state is PREPARING:
        complete_if_all_joined(draft)
    else:
        prepare(draft)


def prepare(draft: Draft) -> None:
    """Begin a rebalance: everybody is to join again."""
    group = draft.group
    if group.state is COMPLETING:
        for member in group.members.values():
            if member.sync_token != NOBODY:
                draft.reply(member.sync_token, sync_refused(ErrorCode.REBALANCE_IN_PROGRESS))
                draft.start_session(member)
    draft.cancel(TimerKind.SYNC)
    if group.state is EMPTY:
        delay_ms = draft.limits.initial_rebalance_delay_ms
        draft.do(RebalanceBegun(draft.now_ms, max(group.rebalance_timeout_ms - delay_ms, 0)))
        draft.start(TimerKind.JOIN, delay_ms)
        return
    draft.do(RebalanceBegun(draft.now_ms, 0))
    if draft.group.has_all_joined:
        complete_join(draft)
    else:
        draft.start(TimerKind.JOIN, draft.group.rebalance_timeout_ms)


def complete_if_all_joined(draft: Draft) -> None:
    """End the join phase if everybody is there, except while an empty group waits for more first members."""
    group = draft.group
    if group.state is PREPARING and not group.is_initial_rebalance and group.has_all_joined:
        complete_join(draft)


def join_time_is_over(draft: Draft) -> None:
    """The join timer has ended. As long as members keep coming to a group that was empty, it waits for more."""
    group = draft.group
    if group.state is not PREPARING:
        return
    if group.is_initial_rebalance and group.new_member_added and group.initial_remaining_ms:
        delay_ms = min(draft.limits.initial_rebalance_delay_ms, group.initial_remaining_ms)
        draft.do(InitialDelayExtended(group.initial_remaining_ms - delay_ms))
        draft.start(TimerKind.JOIN, delay_ms)
    else:
        complete_join(draft)


def complete_join(draft: Draft) -> None:
    """End the join phase: who has not joined is out (static members stay until their session ends)."""
    draft.cancel(TimerKind.JOIN)
    for member in list(draft.group.members.values()):
        if member.join_token == NOBODY and not member.is_static:
            draft.do(MemberRemoved(member.member_id))
            draft.cancel(TimerKind.SESSION, member.member_id)
    if draft.group.members and not _elect_leader(draft):
        # Nobody has joined, but static members have time until their sessions end: then nobody is left.
        draft.start(TimerKind.JOIN, draft.group.rebalance_timeout_ms)
        return
    waiting = [(member.member_id, member.join_token) for member in draft.group.members.values()]
    protocol_name = draft.group.select_protocol() if waiting else None
    draft.do(GenerationBegun(protocol_name, draft.now_ms))
    if not waiting:
        draft.do(draft.group.metadata_record())
        return
    group = draft.group
    assert group.state is COMPLETING
    for member_id, token in waiting:
        if token != NOBODY:
            draft.reply(token, joined(group, member_id))
        draft.start_session(group.members[member_id])
    draft.start(TimerKind.SYNC, group.rebalance_timeout_ms)


def _elect_leader(draft: Draft) -> bool:
    """Keep the leader if it has joined, else take the first member that has; False if none has."""
    group = draft.group
    assert group.leader_id is not None
    if group.members[group.leader_id].join_token != NOBODY:
        return True
    for member in group.members.values():
        if member.join_token != NOBODY:
            draft.do(LeaderElected(member.member_id))
            return True
    return False


def remove_member(draft: Draft, member_id: str) -> None:
    """Take a member out; a request it waits with is answered, so that it joins again if it is still there."""
    member = draft.group.members[member_id]
    draft.cancel(TimerKind.SESSION, member_id)
    draft.reply(member.join_token, join_refused(ErrorCode.UNKNOWN_MEMBER_ID))
    draft.reply(member.sync_token, sync_refused(ErrorCode.UNKNOWN_MEMBER_ID))
    draft.do(MemberRemoved(member_id))


def after_removal(draft: Draft) -> None:
    """Members are gone: the others rebalance, or are complete now."""
    if draft.group.state in (STABLE, COMPLETING):
        prepare(draft)
    else:
        complete_if_all_joined(draft)
