"""Requests of the classic protocol to a consumer group.

An empty group becomes a classic one when a classic member joins. Members can be taken out by LeaveGroup, which is
what administrators send.
"""

from __future__ import annotations

from broker.coordinator.classic_join import Join, decide_join
from broker.coordinator.classic_members import Leave
from broker.coordinator.classic_rebalance import ClassicLimits, join_refused
from broker.coordinator.consumer_draft import ConsumerDraft, World, group_tombstones
from broker.coordinator.consumer_group import ConsumerGroup, ConsumerMember
from broker.coordinator.consumer_members import remove_all
from broker.coordinator.outcome import NOBODY, Outcome, Reply
from protocol.errors import ErrorCode
from protocol.messages.leave_group import LeaveGroupResponse, MemberIdentity, MemberResponse


def decide_classic_join(group: ConsumerGroup, join: Join, limits: ClassicLimits, now_ms: int) -> Outcome:
    """What a JoinGroup to a consumer group comes to: an empty one makes way for a classic group."""
    assert join.token != NOBODY
    if not group.is_empty:
        refused = join_refused(ErrorCode.INCONSISTENT_GROUP_PROTOCOL, join.member_id)
        return Outcome(join.group_id, replies=[Reply(join.token, refused)])
    outcome = decide_join(None, join, limits, now_ms)
    if not outcome.events:
        return outcome
    return outcome._replace(events=[*group_tombstones(group), *outcome.events])


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
