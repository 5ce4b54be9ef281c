"""Who may commit and fetch the offsets of a consumer group: its members, in their epoch (KIP-848, KIP-1251)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.errors import ErrorCode

if TYPE_CHECKING:
    from broker.coordinator.consumer_group import ConsumerGroup, ConsumerMember
    from broker.coordinator.offsets import Commit

MEMBER_EPOCH_VERSION: Final = 9
"""From OffsetCommit v9 on clients know that their generation may be an epoch."""


def consumer_commit_refusal(group: ConsumerGroup, commit: Commit) -> ErrorCode:
    """Why a commit is not let in; NONE if it is. One partition that is not the member's refuses all, as in Kafka."""
    if commit.generation_id < 0 and group.is_empty:
        return ErrorCode.NONE
    member = group.members.get(commit.member_id)
    if member is None:
        return ErrorCode.UNKNOWN_MEMBER_ID
    if member.classic is None and commit.version < MEMBER_EPOCH_VERSION:
        return ErrorCode.UNSUPPORTED_VERSION
    if commit.generation_id == member.member_epoch:
        return ErrorCode.NONE
    if member.classic is not None:
        return ErrorCode.ILLEGAL_GENERATION
    if commit.generation_id > member.member_epoch or not _had_all(member, commit):
        return ErrorCode.STALE_MEMBER_EPOCH
    return ErrorCode.NONE


def _had_all(member: ConsumerMember, commit: Commit) -> bool:
    """Whether the member has had all that it commits since the epoch it commits in (KIP-1251).

    It may not have heard of its new epoch yet. What it still has is nobody else's, so its word counts.
    """
    for offset in commit.offsets:
        partition = offset.topic_id, offset.partition
        epoch = member.assigned.get(partition, member.revoking.get(partition))
        if epoch is None or epoch > commit.generation_id:
            return False
    return True


def consumer_fetch_refusal(group: ConsumerGroup, member_id: str | None, member_epoch: int) -> ErrorCode:
    """Why offsets are not told; NONE if they are. Whoever names no member is not one, and may know."""
    if member_id is None and member_epoch < 0:
        return ErrorCode.NONE
    member = group.members.get(member_id or "")
    if member is None:
        return ErrorCode.UNKNOWN_MEMBER_ID
    if member_epoch == member.member_epoch:
        return ErrorCode.NONE
    return ErrorCode.STALE_MEMBER_EPOCH if member.classic is None else ErrorCode.ILLEGAL_GENERATION
