"""Members of consumer groups: joining, letting go before others are given, being fenced, static membership."""

from __future__ import annotations

from typing import Any

import pytest

from broker.coordinator.assignors.spec import NOTHING
from broker.coordinator.consumer_group import MemberState
from protocol.errors import ErrorCode
from tests.broker.coordinator.consumer_harness import (
    GROUP,
    HEARTBEAT_MS,
    REBALANCE_MS,
    SESSION_MS,
    Coordinated,
    joined_by_a_second,
    settle,
)

FULL: dict[str, Any] = {"rebalance_timeout_ms": 1, "topic_names": frozenset(["topic"]), "owned": NOTHING}


def test_the_first_member_has_everything_at_once() -> None:
    it = Coordinated(topic=6)
    a = it.member("a")
    response = a.join()
    assert (response.error_code, response.member_id, response.member_epoch) == (0, "a", 1)
    assert response.heartbeat_interval_ms == HEARTBEAT_MS
    assert a.told == it.topics.partitions()
    assert it.state == "Stable"
    a.obey()
    assert a.beat().assignment is None, "nothing has changed, so nothing is said"


def test_revocation_comes_before_assignment() -> None:
    it, a, b = joined_by_a_second()
    assert (b.epoch, b.told) == (2, set()), "all it is to have is still held by another"
    assert it.group.members["b"].state is MemberState.UNRELEASED_PARTITIONS
    assert it.state == "Reconciling"
    a.beat()
    assert a.epoch == 1, "as long as it has not let go it stays in its epoch"
    assert len(a.told) == 3 and it.group.members["a"].state is MemberState.UNREVOKED_PARTITIONS
    assert b.beat().assignment is None
    still = a.beat(owned=frozenset(a.owned))
    assert still.member_epoch == 1 and b.beat().assignment is None, "it says that it still has all"
    a.obey()
    assert a.epoch == 2
    assert it.group.members["a"].state is MemberState.STABLE
    b.beat()
    assert b.told == it.topics.partitions() - a.told
    assert it.state == "Stable"


def test_who_waits_for_others_writes_nothing() -> None:
    it, a, b = joined_by_a_second()
    a.beat()
    batches = sum(map(len, it.log.batches))
    for _ in range(3):
        assert a.beat().error_code == b.beat().error_code == 0
        assert a.beat(owned=frozenset(a.owned)).error_code == 0
    assert sum(map(len, it.log.batches)) == batches


def test_a_member_that_does_not_let_go_is_out() -> None:
    it = Coordinated()
    a, b = it.member("a"), it.member("b")
    a.join()
    a.obey()
    b.join()
    a.beat()
    for _ in range(REBALANCE_MS // HEARTBEAT_MS):
        it.host.advance(HEARTBEAT_MS)
        b.beat()
    assert list(it.group.members) == ["b"]
    assert b.told == it.topics.partitions() or (b.beat() and b.told == it.topics.partitions())
    assert a.beat().error_code == ErrorCode.UNKNOWN_MEMBER_ID


def test_a_silent_member_is_out_after_its_session() -> None:
    it = Coordinated()
    a, b = it.member("a"), it.member("b")
    a.join()
    b.join()
    settle(a, b)
    it.host.advance(SESSION_MS - 1)
    assert b.beat().error_code == 0
    it.host.advance(1)
    assert list(it.group.members) == ["b"]
    assert it.state == "Assigning"
    b.beat()
    assert b.told == it.topics.partitions()
    it.host.advance(SESSION_MS)
    assert it.state == "Empty"


def test_a_group_has_settings_of_its_own() -> None:
    it = Coordinated()
    it.topics.settings = {"consumer.session.timeout.ms": "50000", "consumer.heartbeat.interval.ms": "7000"}
    a = it.member("a")
    assert a.join().heartbeat_interval_ms == 7000
    it.host.advance(49_999)
    assert "a" in it.group.members
    it.host.advance(1)
    assert "a" not in it.group.members


def test_a_restart_gives_everybody_a_sessions_time_again() -> None:
    it = Coordinated()
    a, b = it.member("a"), it.member("b")
    a.join()
    a.obey()
    b.join()
    a.beat()
    it.host.advance(SESSION_MS // 3)
    it.restart()
    assert a.beat().error_code == 0 and b.beat().error_code == 0
    it.host.advance(REBALANCE_MS)
    assert list(it.group.members) == ["b"], "the time to let go begins anew as well, and ends"


def test_leaving_gives_everything_back() -> None:
    it = Coordinated()
    a, b = it.member("a"), it.member("b")
    a.join()
    b.join()
    settle(a, b)
    response = a.leave()
    assert (response.member_id, response.member_epoch, response.heartbeat_interval_ms) == ("a", -1, 0)
    b.beat()
    assert b.told == it.topics.partitions()
    assert b.leave().error_code == 0
    assert it.state == "Empty"
    assert len(it.groups.timers) == 1, "only the search for expired offsets is left"
    assert b.leave().error_code == ErrorCode.UNKNOWN_MEMBER_ID


@pytest.mark.parametrize(
    ("epoch", "exceptions", "code"),
    [
        (1, {"member_id": ""}, ErrorCode.INVALID_REQUEST),
        (0, {"member_id": ""}, ErrorCode.INVALID_REQUEST),
        (1, {"group_id": ""}, ErrorCode.INVALID_REQUEST),
        (1, {"instance_id": ""}, ErrorCode.INVALID_REQUEST),
        (1, {"rack_id": ""}, ErrorCode.INVALID_REQUEST),
        (0, {**FULL, "rebalance_timeout_ms": -1}, ErrorCode.INVALID_REQUEST),
        (0, {**FULL, "owned": None}, ErrorCode.INVALID_REQUEST),
        (0, {**FULL, "owned": frozenset([(bytes(16), 0)])}, ErrorCode.INVALID_REQUEST),
        (0, {**FULL, "topic_names": None}, ErrorCode.INVALID_REQUEST),
        (-2, {}, ErrorCode.INVALID_REQUEST),
        (-3, {}, ErrorCode.INVALID_REQUEST),
        (0, {**FULL, "assignor": "best"}, ErrorCode.UNSUPPORTED_ASSIGNOR),
        (2, {}, ErrorCode.FENCED_MEMBER_EPOCH),
        (1, {"member_id": "b"}, ErrorCode.UNKNOWN_MEMBER_ID),
        (-1, {"member_id": "b"}, ErrorCode.UNKNOWN_MEMBER_ID),
        (1, {"instance_id": "i"}, ErrorCode.UNKNOWN_MEMBER_ID),
        (1, {"group_id": "other"}, ErrorCode.GROUP_ID_NOT_FOUND),
        (-1, {"group_id": "other"}, ErrorCode.GROUP_ID_NOT_FOUND),
        (0, {**FULL, "member_id": "x" * 40_000}, ErrorCode.INVALID_REQUEST),
    ],
)
def test_refusals(epoch: int, exceptions: dict[str, Any], code: ErrorCode) -> None:
    it = Coordinated()
    it.member("a").join()
    batches = sum(map(len, it.log.batches))
    exceptions = dict(exceptions)
    response = it.beat(exceptions.pop("member_id", "a"), epoch, **exceptions)
    assert ErrorCode(response.error_code) is code
    assert sum(map(len, it.log.batches)) == batches, "what is refused leaves nothing behind"


def test_an_answer_that_was_lost_is_given_again() -> None:
    it = Coordinated()
    a = it.member("a")
    a.join()
    a.obey()
    it.topics.grow("topic", 8)
    it.beat("a", 1)  # the answer, which says epoch 2 and two more partitions, is lost
    stale = it.beat("a", 1)
    assert stale.error_code == ErrorCode.FENCED_MEMBER_EPOCH, "it has to say what it owns"
    response = a.beat(owned=frozenset(a.owned), **a.settings)
    assert (response.error_code, a.epoch, len(a.told)) == (0, 2, 8)
    assert it.beat("a", 1, owned=frozenset([(bytes(16), 9)])).error_code == ErrorCode.FENCED_MEMBER_EPOCH


def test_who_has_to_let_go_is_told_until_it_does() -> None:
    it, a, b = joined_by_a_second()
    it.beat(
        "a", 1
    )  # the answer, which takes three partitions away, is given up: librdkafka goes on as if it had come
    assert a.beat().assignment is not None and len(a.told) == 3
    assert a.beat().assignment is not None, "it may have missed that, too"
    assert a.obey().member_epoch == 2
    assert a.beat().assignment is None
    b.beat()
    b.obey()
    assert it.state == "Stable" and a.owned | b.owned == it.topics.partitions()


def test_who_says_that_it_has_what_it_had_is_told_again() -> None:
    it = Coordinated(topic=6)
    a, b = it.member("a"), it.member("b")
    a.join()
    it.beat("a", 1)
    b.join()
    it.beat("a", 1)  # the answer, which takes three partitions away, is given up
    assert a.beat(owned=it.topics.partitions()).assignment is not None, "it has not heard, or is at it"
    assert len(a.told) == 3


def test_who_has_been_given_the_rest_is_told_until_it_has_it() -> None:
    it, a, b = joined_by_a_second()
    a.beat()
    a.obey()
    it.beat("b", 2)  # the answer, which gives it three partitions, is given up
    assert it.state == "Stable", "for us nothing is left to do"
    assert b.beat().assignment is not None and len(b.told) == 3
    b.obey()
    assert b.beat().assignment is None and a.beat().assignment is None
    assert it.group.untold == {}


def test_a_new_epoch_comes_with_what_was_not_told_in_the_old_one() -> None:
    it = Coordinated(topic=6, other=6)
    a, b = it.member("a"), it.member("b")
    a.join()
    a.obey()
    b.join()
    a.beat()
    a.obey()
    it.beat("b", 2)  # the answer, which gives it three partitions, is given up
    it.member("c", "other").join()  # a new epoch, in which b has what it has
    assert b.beat().member_epoch == 3 and len(b.told) == 3
    assert it.group.untold == {}


def test_who_is_gone_is_told_nothing() -> None:
    it, a, _b = joined_by_a_second()
    a.beat()
    assert it.group.untold == {"a": None}
    a.leave()
    assert it.group.untold == {}


def test_who_joins_again_is_told_again() -> None:
    it = Coordinated()
    a, b = it.member("a"), it.member("b")
    a.join()
    b.join()
    settle(a, b)
    epoch = it.group.group_epoch
    response = a.join()
    assert response.error_code == 0 and len(a.told) == 3
    assert it.group.group_epoch == epoch, "nobody else notices"


def test_null_is_as_before_and_empty_is_nothing() -> None:
    it = Coordinated(topic=2, other=2)
    a = it.member("a")
    a.join()
    a.obey()
    a.beat(topic_names=frozenset(["topic", "other"]))
    assert a.told == it.topics.partitions()
    a.obey()
    a.beat(topic_names=frozenset())
    assert a.told == set() and it.group.members["a"].state is MemberState.UNREVOKED_PARTITIONS
    a.obey()
    assert it.state == "Stable" and not it.group.owners


def test_a_new_member_id_in_v0() -> None:
    it = Coordinated()
    response = it.beat("", 0, needs_member_id=False, **FULL)
    assert response.error_code == 0 and response.member_id in it.group.members


def test_the_group_is_full() -> None:
    it = Coordinated()
    it.limits = it.limits._replace(max_size=1)
    it.start()
    a = it.member("a", instance_id="i")
    a.join()
    assert it.member("b").join().error_code == ErrorCode.GROUP_MAX_SIZE_REACHED
    assert a.beat().error_code == 0
    a.leave(-2)
    assert it.member("c", instance_id="i").join().error_code == 0, "it takes the place it has"


def test_topics_that_come_and_grow_and_go() -> None:
    it = Coordinated(topic=2)
    a = it.member("a", "topic", "later")
    a.join()
    a.obey()
    it.topics.create("unrelated", 3)
    assert a.beat().member_epoch == 1, "what nobody reads changes nothing"
    it.topics.create("later", 2)
    a.beat()
    a.obey()
    assert a.epoch == 2 and a.owned == it.topics.partitions("topic", "later")
    it.topics.delete("topic")
    a.beat()
    a.obey()
    assert a.epoch == 3 and a.owned == it.topics.partitions("later")
    it.restart()
    assert a.beat().member_epoch == 3, "what was known before a restart is known after it"


def test_the_assignor_most_ask_for() -> None:
    it = Coordinated(topic=2, other=2)
    members = [it.member(name, "topic", "other", assignor=assignor) for name, assignor in
               (("a", "range"), ("b", "range"), ("c", "uniform"))]  # fmt: skip
    for member in members:
        member.join()
    settle(*members)
    assert sorted(len(member.owned) for member in members) == [0, 2, 2], (
        "range: as many members as partitions"
    )


def test_static_members_keep_what_they_have_while_they_are_away() -> None:
    it = Coordinated()
    a, b = it.member("a", instance_id="i"), it.member("b")
    a.join()
    b.join()
    settle(a, b)
    had, epoch = set(a.owned), it.group.group_epoch
    assert it.member("a2", instance_id="i").join().error_code == ErrorCode.UNRELEASED_INSTANCE_ID
    response = a.leave(-2)
    assert (response.error_code, response.member_epoch) == (0, -2)
    assert b.beat().assignment is None
    a2 = it.member("a2", instance_id="i")
    a2.join()
    assert a2.told == had and it.group.group_epoch == epoch, "nobody else notices"
    assert a.beat(instance_id="i").error_code == ErrorCode.FENCED_INSTANCE_ID
    assert sorted(it.group.members) == ["a2", "b"]
    a2.leave(-2)
    for _ in range(SESSION_MS // HEARTBEAT_MS):
        it.host.advance(HEARTBEAT_MS)
        b.beat()
    assert list(it.group.members) == ["b"], "but no longer than their session"


def test_a_static_member_leaves_for_good() -> None:
    it = Coordinated()
    a = it.member("a", instance_id="i")
    a.join()
    assert it.beat("z", -1, instance_id="i").error_code == ErrorCode.FENCED_INSTANCE_ID
    assert it.beat("z", -1, instance_id="other").error_code == ErrorCode.UNKNOWN_MEMBER_ID
    assert a.leave(-1).error_code == 0
    assert it.state == "Empty" and not it.group.static_members


def test_a_full_disk_changes_nothing() -> None:
    it = Coordinated()
    a = it.member("a")
    a.join()
    it.log.is_full = True
    assert it.member("b").join().error_code == ErrorCode.NOT_COORDINATOR
    assert list(it.group.members) == ["a"]
    assert a.beat().error_code == 0, "what writes nothing goes on"
    it.host.advance(SESSION_MS)
    assert list(it.group.members) == ["a"]
    it.log.is_full = False
    it.host.advance(SESSION_MS)
    assert it.state == "Empty", "a timer whose records were refused tries again"


def test_the_topic_is_created_for_the_first_member() -> None:
    it = Coordinated()
    it.log.partition_count = 0
    it.start()
    assert it.beat("a", 3).error_code == ErrorCode.GROUP_ID_NOT_FOUND
    from broker.coordinator.consumer_members import ConsumerHeartbeat
    from broker.coordinator.outcome import NOBODY

    deferred = it.groups.consumer_heartbeat(ConsumerHeartbeat(NOBODY, GROUP, "a", 0, **FULL))
    assert not deferred.is_resolved
    it.log.created()
    assert deferred.is_resolved and "a" in it.group.members
