"""Offsets of consumer groups: members commit and fetch in their epoch, others while nobody is there."""

from __future__ import annotations

import pytest

from broker.coordinator.offsets import Commit, CommitOffset
from protocol.errors import ErrorCode
from tests.broker.coordinator.consumer_harness import GROUP, Coordinated, Member, joined_by_a_second, settle
from tests.broker.coordinator.fakes import value_of

HOUR_MS = 3_600_000


def commit(
    it: Coordinated, member_id: str, epoch: int, *indexes: int, topic: str = "topic", version: int = 10
) -> ErrorCode:
    found = it.topics.by_name(topic)
    assert found is not None
    offsets = [CommitOffset(topic, index, 7, topic_id=found.topic_id) for index in indexes or (0,)]
    codes = value_of(it.groups.commit(Commit(GROUP, epoch, member_id, None, offsets, version=version)))
    assert len(set(codes)) == 1
    return ErrorCode(codes[0])


def pair() -> tuple[Coordinated, Member, Member]:
    """Two members, the second of which waits for what the first has to give up."""
    it, a, b = joined_by_a_second()
    a.beat()
    return it, a, b


def test_members_commit_in_their_epoch() -> None:
    it, a, b = pair()
    assert commit(it, "a", 1, *range(6)) is ErrorCode.NONE, "also what it is giving up"
    assert commit(it, "a", 2) is ErrorCode.STALE_MEMBER_EPOCH
    assert commit(it, "nobody", 1) is ErrorCode.UNKNOWN_MEMBER_ID
    assert commit(it, "", -1) is ErrorCode.UNKNOWN_MEMBER_ID, "it has members, so others cannot"
    assert commit(it, "a", 1, version=8) is ErrorCode.UNSUPPORTED_VERSION
    settle(a, b)
    assert commit(it, "b", b.epoch, *b.indexes) is ErrorCode.NONE


def test_an_older_epoch_will_do_for_what_is_still_its_own() -> None:
    """KIP-1251: the commit was on its way when the epoch changed."""
    it, a, b = pair()
    settle(a, b)
    assert (a.epoch, it.group.members["a"].previous_member_epoch) == (2, 1)
    assert commit(it, "a", 1, *a.indexes) is ErrorCode.NONE
    assert commit(it, "a", 1, *b.indexes) is ErrorCode.STALE_MEMBER_EPOCH, "another has it now"
    assert commit(it, "b", 1, *b.indexes) is ErrorCode.STALE_MEMBER_EPOCH, "it was not its own then"
    it.restart()
    assert commit(it, "a", 1, *a.indexes) is ErrorCode.NONE


def test_anybody_commits_while_nobody_is_there() -> None:
    it, a, b = pair()
    a.leave()
    b.leave()
    assert commit(it, "", -1) is ErrorCode.NONE
    assert commit(it, "a", 2) is ErrorCode.UNKNOWN_MEMBER_ID


@pytest.mark.parametrize(
    ("member_id", "epoch", "code"),
    [
        (None, -1, ErrorCode.NONE),
        ("a", 1, ErrorCode.NONE),
        ("a", 0, ErrorCode.STALE_MEMBER_EPOCH),
        ("a", 2, ErrorCode.STALE_MEMBER_EPOCH),
        ("nobody", 1, ErrorCode.UNKNOWN_MEMBER_ID),
        ("", -1, ErrorCode.UNKNOWN_MEMBER_ID),
    ],
)
def test_who_may_fetch(member_id: str | None, epoch: int, code: ErrorCode) -> None:
    it, _a, _b = pair()
    assert it.groups.fetch_refusal(GROUP, member_id, epoch) is code
    assert it.groups.fetch_refusal("other", member_id, epoch) is ErrorCode.NONE


def test_offsets_of_subscribed_topics_stay_and_others_expire() -> None:
    it = Coordinated(topic=1, other=1)
    a = it.member("a")
    a.join()
    assert commit(it, "a", 1) is ErrorCode.NONE and commit(it, "a", 1, topic="other") is ErrorCode.NONE
    for _ in range(150):
        it.host.advance(30_000)
        a.beat()
    assert set(it.groups.groups.offsets.by_group[GROUP]) == {"topic"}


def test_a_group_expires_after_its_last_member_left() -> None:
    it = Coordinated(topic=1)
    a = it.member("a")
    a.join()
    commit(it, "a", 1)
    for _ in range(200):
        it.host.advance(30_000)
        a.beat()
    a.leave()
    it.restart()
    it.host.advance(HOUR_MS - 60_000)
    assert commit_is_there(it), "its offset is older than the retention, but it was in use until an hour ago"
    it.host.advance(20 * 60_000)
    assert not commit_is_there(it)
    assert it.groups.groups.find(GROUP) is None
    it.restart()
    assert it.groups.groups.find(GROUP) is None


def commit_is_there(it: Coordinated) -> bool:
    return it.groups.groups.offsets.get(GROUP, "topic", 0) is not None


def test_offsets_and_groups_are_deleted() -> None:
    it = Coordinated(topic=1, other=1)
    a = it.member("a")
    a.join()
    commit(it, "a", 1)
    commit(it, "a", 1, topic="other")
    deleted = value_of(it.groups.delete_offsets(GROUP, [("topic", 0), ("other", 0)]))
    assert deleted == (ErrorCode.NONE, [ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC, ErrorCode.NONE])
    assert value_of(it.groups.delete_group(GROUP)) is ErrorCode.NON_EMPTY_GROUP
    a.leave()
    assert value_of(it.groups.delete_group(GROUP)) is ErrorCode.NONE
    assert it.groups.groups.find(GROUP) is None
    it.restart()
    assert it.groups.groups.find(GROUP) is None
