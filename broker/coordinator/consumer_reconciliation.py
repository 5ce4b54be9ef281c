"""Where a member of a consumer group goes next: one step of its way to its target assignment, as a pure function.

    assigned: what it has and is to have      revoking: has, is not to have      pending: is to have, has not

First it lets go of `revoking` (it stays in its epoch until it owns none of that any more); then it comes to the
target's epoch and is given of `pending` what nobody else holds; and then the rest, as others let go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from broker.coordinator.assignors.spec import Assignment, TopicPartition
from broker.coordinator.consumer_group import ConsumerMember, MemberState
from protocol.errors import ApiError, ErrorCode


class Target(NamedTuple):
    """What a member is to come to. `subscribed` are the ids of the topics it reads now."""

    epoch: int
    partitions: Assignment
    subscribed: frozenset[bytes]


def next_step(
    member: ConsumerMember,
    target: Target,
    owners: Mapping[TopicPartition, str],
    owned: Assignment | None,
    *,
    has_new_subscription: bool = False,
) -> ConsumerMember:
    """The member as it is after this heartbeat; the same object if nothing changes.

    `owned` is what it says it owns, None for "as before". A new subscription takes topics away at once, before there
    is a target that knows of it. Raises FENCED_MEMBER_EPOCH where all a member can do is begin anew.
    """
    state = member.state
    if state is MemberState.UNKNOWN and owned != frozenset():
        raise ApiError(
            ErrorCode.FENCED_MEMBER_EPOCH, "The member is in an unknown state and has to join anew."
        )
    if state is MemberState.STABLE and member.member_epoch == target.epoch:
        return _without_unsubscribed(member, target, owned) if has_new_subscription else member
    if state is MemberState.UNREVOKED_PARTITIONS and _owns_any(owned, member.revoking):
        return _without_unsubscribed(member, target, owned) if has_new_subscription else member
    after = _towards(member, target, owners, owned)
    return member if after == member else after  # who waits for others writes nothing


def _owns_any(owned: Assignment | None, partitions: Mapping[TopicPartition, int]) -> bool:
    """Whether the member may still read any of `partitions`: it does until it says that it does not."""
    return owned is None or any(partition in owned for partition in partitions)


def _without_unsubscribed(member: ConsumerMember, target: Target, owned: Assignment | None) -> ConsumerMember:
    """Take away the topics it does not read any more; it stays in its epoch."""
    subscribed = target.subscribed
    lost = {
        partition: epoch for partition, epoch in member.assigned.items() if partition[0] not in subscribed
    }
    kept = {partition: epoch for partition, epoch in member.assigned.items() if partition not in lost}
    if not lost:
        return member
    revoking = {**member.revoking, **lost}
    if _owns_any(owned, revoking):
        return member._replace(state=MemberState.UNREVOKED_PARTITIONS, assigned=kept, revoking=revoking)
    assert not member.revoking, "with nothing left to let go of it goes on"
    return member._replace(assigned=kept)


def _towards(
    member: ConsumerMember,
    target: Target,
    owners: Mapping[TopicPartition, str],
    owned: Assignment | None,
) -> ConsumerMember:
    wanted = {partition for partition in target.partitions if partition[0] in target.subscribed}
    assigned = {partition: epoch for partition, epoch in member.assigned.items() if partition in wanted}
    revoking = {partition: epoch for partition, epoch in member.assigned.items() if partition not in wanted}
    if revoking and _owns_any(owned, revoking):
        return member._replace(state=MemberState.UNREVOKED_PARTITIONS, assigned=assigned, revoking=revoking)
    is_all_free = True
    for partition in wanted:
        if partition in assigned:
            continue
        if owners.get(partition, member.member_id) == member.member_id:
            assigned[partition] = target.epoch  # free, or let go of by itself just now
        else:
            is_all_free = False
    return member._replace(
        state=MemberState.STABLE if is_all_free else MemberState.UNRELEASED_PARTITIONS,
        previous_member_epoch=(
            member.member_epoch if member.member_epoch != target.epoch else member.previous_member_epoch
        ),
        member_epoch=target.epoch,
        assigned=assigned,
        revoking={},
    )
