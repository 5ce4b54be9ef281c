"""OffsetCommit, OffsetFetch, OffsetDelete, DeleteGroups and expiry, as Kafka answers them."""

from __future__ import annotations

import pytest

from broker.coordinator.offsets import Commit, CommitOffset
from protocol.errors import ErrorCode
from tests.broker.coordinator.fakes import value_of
from tests.broker.coordinator.harness import GROUP, Coordinated

MINUTE_MS = 60_000
RETENTION_MS = 100 * MINUTE_MS
EXPIRY_MS = MINUTE_MS


def test_a_consumer_that_only_commits_needs_no_group() -> None:
    it = Coordinated()
    assert it.committed() is None
    assert it.commit(5) == ErrorCode.NONE
    assert it.committed() == 5
    assert it.committed(partition=1) is None
    it.restart()
    assert it.committed() == 5
    assert it.state == "Empty"


def test_what_was_stored_comes_back_as_it_was() -> None:
    it = Coordinated()
    it.commit(5, offsets=[CommitOffset("topic", 3, 7, leader_epoch=2, metadata="über")])
    it.restart()
    (found,) = value_of(it.groups.committed(GROUP, [("topic", 3)]))
    assert (found.offset, found.leader_epoch, found.metadata) == (7, 2, "über")
    assert found.commit_timestamp_ms == it.host.now_ms
    assert [(topic, partition) for topic, partition, _ in value_of(it.groups.all_committed(GROUP))] == [
        ("topic", 3)
    ]


def test_a_commit_is_answered_when_it_is_durable_and_not_read_before() -> None:
    it = Coordinated()
    it.log.is_synchronous = False
    committing = it.groups.commit
    answers: list[object] = []
    committing(Commit(GROUP, -1, "", None, [CommitOffset("topic", 0, 9)])).then(answers.append)
    it.groups.committed(GROUP, [("topic", 0)]).then(answers.append)
    assert answers == []
    it.log.sync()
    assert answers[0] == [ErrorCode.NONE]
    assert answers[1][0].offset == 9


def test_a_refused_write_changes_nothing() -> None:
    it = Coordinated()
    it.commit(5)
    it.log.is_full = True
    assert it.commit(6) == ErrorCode.NOT_COORDINATOR
    assert it.committed() == 5
    assert it.host.failures


@pytest.mark.parametrize(
    ("member", "generation_id", "changes", "code"),
    [
        ("leader", 1, {}, ErrorCode.NONE),
        ("leader", 2, {}, ErrorCode.ILLEGAL_GENERATION),
        ("leader", -1, {}, ErrorCode.ILLEGAL_GENERATION),
        ("other", 1, {}, ErrorCode.UNKNOWN_MEMBER_ID),
        ("", -1, {}, ErrorCode.UNKNOWN_MEMBER_ID),
        ("leader", 1, {"group_instance_id": "x"}, ErrorCode.UNKNOWN_MEMBER_ID),
        ("leader", 1, {"group": "unheard-of"}, ErrorCode.GROUP_ID_NOT_FOUND),
        ("leader", 1, {"group": "unheard-of", "version": 8}, ErrorCode.ILLEGAL_GENERATION),
    ],
)
def test_who_may_commit_to_a_group_with_members(
    member: str, generation_id: int, changes: dict[str, object], code: ErrorCode
) -> None:
    it = Coordinated()
    (leader,) = it.stable(1)
    member_id = leader.member_id if member == "leader" else member
    assert it.commit(1, member_id, generation_id, **changes) == code


def test_commits_during_a_rebalance() -> None:
    it = Coordinated()
    leader, follower = it.stable(2)
    again = it.join(leader.member_id)
    assert it.commit(1, follower.member_id, 1) == ErrorCode.NONE  # before it joins again, it may
    it.join(follower.member_id)
    assert value_of(again).generation_id == 2
    assert it.commit(2, follower.member_id, 1) == ErrorCode.ILLEGAL_GENERATION
    assert it.commit(2, follower.member_id, 2) == ErrorCode.REBALANCE_IN_PROGRESS


def test_metadata_has_a_limit() -> None:
    it = Coordinated(max_metadata_length=4)
    assert (
        it.commit(1, offsets=[CommitOffset("topic", 0, 1, metadata="12345")])
        == ErrorCode.OFFSET_METADATA_TOO_LARGE
    )
    assert it.commit(1, offsets=[CommitOffset("topic", 0, 1, metadata="1234")]) == ErrorCode.NONE


def test_numbers_at_the_edge_are_taken() -> None:
    it = Coordinated()
    edge = CommitOffset("topic", 0, 2**63 - 1, commit_timestamp_ms=2**63 - 1)
    assert it.commit(1, offsets=[edge], retention_ms=2**63 - 1, version=2) == ErrorCode.NONE
    assert it.commit(1, group="g" * 40_000) == ErrorCode.INVALID_GROUP_ID
    it.restart()
    assert it.committed() == 2**63 - 1


# --- deletion ---


def test_offsets_of_a_topic_nobody_reads_can_be_deleted() -> None:
    it = Coordinated()
    (leader,) = it.stable(1)
    it.commit(1, leader.member_id, 1, offsets=[CommitOffset("other", 0, 1)])
    it.commit(1, leader.member_id, 1)
    deleted = value_of(it.groups.delete_offsets(GROUP, [("other", 0), ("other", 1), ("topic", 0)]))
    assert deleted == (
        ErrorCode.NONE,
        [ErrorCode.NONE, ErrorCode.NONE, ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC],
    )
    it.restart()
    assert it.committed() == 1
    assert [topic for topic, _, _ in value_of(it.groups.all_committed(GROUP))] == ["topic"]


def test_offsets_of_other_protocols_can_be_deleted_when_nobody_is_there() -> None:
    it = Coordinated()
    it.stable(1, protocol_type="connect", protocols=(("v", b""),))
    assert value_of(it.groups.delete_offsets(GROUP, [("topic", 0)]))[0] == ErrorCode.NON_EMPTY_GROUP
    assert value_of(it.groups.delete_offsets("unheard-of", []))[0] == ErrorCode.GROUP_ID_NOT_FOUND


def test_an_empty_group_can_be_deleted() -> None:
    it = Coordinated()
    (leader,) = it.stable(1)
    it.commit(1, leader.member_id, 1)
    assert value_of(it.groups.delete_group(GROUP)) == ErrorCode.NON_EMPTY_GROUP
    it.leave((leader.member_id, None))
    assert value_of(it.groups.delete_group(GROUP)) == ErrorCode.NONE
    assert value_of(it.groups.delete_group(GROUP)) == ErrorCode.GROUP_ID_NOT_FOUND
    it.restart()
    assert it.groups.groups.find(GROUP) is None
    assert it.committed() is None


def test_a_deleted_topic_takes_its_offsets_along() -> None:
    it = Coordinated()
    it.commit(1, offsets=[CommitOffset("topic", 0, 1), CommitOffset("other", 0, 2)])
    it.groups.topic_deleted("topic")
    assert it.committed() is None
    it.restart()
    assert it.committed() is None
    assert value_of(it.groups.committed(GROUP, [("other", 0)]))[0].offset == 2


def test_a_topic_deleted_just_before_a_crash_is_noticed_at_the_start() -> None:
    it = Coordinated()
    it.commit(1)
    it.log.missing_topics.add("topic")
    it.restart()
    assert it.committed() is None


def test_with_its_own_topic_everything_is_gone() -> None:
    it = Coordinated()
    it.stable(1)
    it.commit(1, group="other")
    it.groups.topic_deleted("__consumer_offsets")
    assert list(it.groups.groups.ids()) == []
    again = it.groups.commit(Commit("other", -1, "", None, [CommitOffset("topic", 0, 2)]))
    it.log.created()
    assert value_of(again) == [ErrorCode.NONE]
    assert it.committed(group="other") == 2
    it.restart()
    assert it.committed(group="other") == 2


# --- expiry ---


def coordinated() -> Coordinated:
    return Coordinated(retention_ms=RETENTION_MS, expiry_interval_ms=EXPIRY_MS)


def test_a_simple_groups_offsets_age_from_their_commit() -> None:
    it = coordinated()
    it.commit(1)
    it.host.advance(RETENTION_MS - EXPIRY_MS)
    it.commit(1, offsets=[CommitOffset("topic", 1, 1)])
    it.host.advance(2 * EXPIRY_MS)
    assert it.committed(0) is None
    assert it.committed(1) == 1
    it.host.advance(RETENTION_MS)
    assert it.groups.groups.find(GROUP) is None


def test_offsets_of_a_group_age_from_when_it_was_left() -> None:
    it = coordinated()
    (leader,) = it.stable(1, session_timeout_ms=RETENTION_MS // 2 if RETENTION_MS < 1_800_000 else 1_800_000)
    it.commit(1, leader.member_id, 1)
    for _ in range(3):  # alive for longer than the retention
        it.host.advance(1_700_000)
        it.heartbeat(leader)
    it.host.advance(1_700_000)
    it.leave((leader.member_id, None))
    it.host.advance(RETENTION_MS - EXPIRY_MS)
    assert it.committed() == 1
    it.restart()
    it.host.advance(2 * EXPIRY_MS)
    assert it.committed() is None
    assert it.groups.groups.find(GROUP) is None


def test_a_live_group_forgets_topics_it_no_longer_reads() -> None:
    it = coordinated()
    (leader,) = it.stable(1)
    it.commit(1, leader.member_id, 1, offsets=[CommitOffset("other", 0, 1), CommitOffset("topic", 0, 1)])
    for _ in range(RETENTION_MS // 9000 + 20):
        it.host.advance(9000)
        assert it.heartbeat(leader) == ErrorCode.NONE
    assert [topic for topic, _, _ in value_of(it.groups.all_committed(GROUP))] == ["topic"]


def test_a_client_may_choose_its_own_retention() -> None:
    it = coordinated()
    it.commit(1, retention_ms=3 * EXPIRY_MS, version=4)
    it.restart()
    it.host.advance(2 * EXPIRY_MS)
    assert it.committed() == 1
    it.host.advance(3 * EXPIRY_MS)
    assert it.committed() is None


def test_an_empty_group_with_nothing_stored_goes() -> None:
    it = coordinated()
    (leader,) = it.stable(1)
    it.leave((leader.member_id, None))
    it.host.advance(EXPIRY_MS)
    assert it.groups.groups.find(GROUP) is None
