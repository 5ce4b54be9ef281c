"""SyncGroup, Heartbeat, LeaveGroup, sessions and restarts of classic groups."""

from __future__ import annotations

import logging

import pytest

from protocol.errors import ErrorCode
from tests.broker.coordinator.fakes import value_of
from tests.broker.coordinator.harness import DELAY_MS, SESSION_MS, Coordinated


def test_everybody_gets_what_the_leader_assigned() -> None:
    it = Coordinated()
    leader, follower, forgotten = it.joined(3)
    waiting = [it.sync(follower), it.sync(forgotten)]
    assert not any(deferred.is_resolved for deferred in waiting)
    led = it.sync(leader, [(leader.member_id, b"1"), (follower.member_id, b"2"), ("nobody", b"3")])
    assert [value_of(deferred).assignment for deferred in (led, *waiting)] == [b"1", b"2", b""]
    assert it.state == "Stable"
    assert value_of(it.sync(follower)).assignment == b"2"


def test_beginning_and_end_of_a_rebalance_are_logged_and_the_middle_for_those_who_ask(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, "floe.groups"):
        Coordinated().stable(1)
    states = [(line.split()[0], line.split(", ")[1]) for line in caplog.text.splitlines()]
    assert states == [("INFO", "PreparingRebalance"), ("DEBUG", "CompletingRebalance"), ("INFO", "Stable")]


def test_the_assignment_is_told_when_it_is_durable() -> None:
    it = Coordinated()
    (leader,) = it.joined(1)
    it.log.is_synchronous = False
    answer = it.sync(leader, [(leader.member_id, b"1")])
    assert not answer.is_resolved
    it.log.sync()
    assert value_of(answer).assignment == b"1"


def test_an_assignment_that_cannot_be_written_is_refused() -> None:
    it = Coordinated()
    (leader,) = it.joined(1)
    it.log.is_full = True
    assert value_of(it.sync(leader, [(leader.member_id, b"1")])).error_code == ErrorCode.NOT_COORDINATOR
    assert it.state == "CompletingRebalance"
    it.log.is_full = False
    assert value_of(it.sync(leader, [(leader.member_id, b"1")])).assignment == b"1"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"group_id": ""}, ErrorCode.INVALID_GROUP_ID),
        ({"group_id": "other"}, ErrorCode.UNKNOWN_MEMBER_ID),
        ({"member_id": "other"}, ErrorCode.UNKNOWN_MEMBER_ID),
        ({"group_instance_id": "other"}, ErrorCode.UNKNOWN_MEMBER_ID),
        ({"generation_id": 2}, ErrorCode.ILLEGAL_GENERATION),
        ({"protocol_type": "connect"}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
        ({"protocol_name": "sticky"}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
    ],
)
def test_what_a_sync_is_refused_for(changes: dict[str, object], code: ErrorCode) -> None:
    it = Coordinated()
    (leader,) = it.joined(1)
    assert value_of(it.sync(leader, **changes)).error_code == code


def test_old_clients_do_not_say_their_protocol() -> None:
    it = Coordinated()
    (leader,) = it.joined(1)
    assert value_of(it.sync(leader, protocol_type=None, protocol_name=None)).error_code == ErrorCode.NONE


def test_who_never_syncs_is_out() -> None:
    it = Coordinated()
    leader, follower = it.joined(2, rebalance_timeout_ms=8000)
    value_of(it.sync(leader, [(leader.member_id, b"1")]))
    it.host.advance(7000)
    assert it.heartbeat(leader) == it.heartbeat(follower) == ErrorCode.NONE
    it.host.advance(1000)
    assert it.heartbeat(follower) == ErrorCode.UNKNOWN_MEMBER_ID
    assert it.heartbeat(leader) == ErrorCode.REBALANCE_IN_PROGRESS


def test_a_leader_that_never_assigns_is_out() -> None:
    it = Coordinated()
    _, follower = it.joined(2, rebalance_timeout_ms=5000)
    waiting = it.sync(follower)
    it.host.advance(5000)
    assert value_of(waiting).error_code == ErrorCode.REBALANCE_IN_PROGRESS
    assert list(it.group.members) == [follower.member_id]


# --- sessions ---


def test_heartbeats_keep_a_member() -> None:
    it = Coordinated()
    (leader,) = it.stable(1)
    for _ in range(10):
        it.host.advance(SESSION_MS - 1)
        assert it.heartbeat(leader) == ErrorCode.NONE
    it.host.advance(SESSION_MS)
    assert it.state == "Empty"
    assert it.heartbeat(leader) == ErrorCode.UNKNOWN_MEMBER_ID


def test_heartbeats_say_what_is_wrong() -> None:
    it = Coordinated()
    (leader,) = it.stable(1)
    assert it.heartbeat(leader, generation_id=7) == ErrorCode.ILLEGAL_GENERATION
    assert it.heartbeat(leader, instance="x") == ErrorCode.UNKNOWN_MEMBER_ID
    assert it.heartbeat(leader) == ErrorCode.NONE


def test_a_member_that_falls_silent_makes_the_others_rebalance() -> None:
    it = Coordinated()
    leader, follower = it.stable(2)
    it.host.advance(SESSION_MS - 1)
    it.heartbeat(follower)
    it.host.advance(1)
    assert it.heartbeat(follower) == ErrorCode.REBALANCE_IN_PROGRESS
    answer = value_of(it.join(follower.member_id))
    assert (answer.leader, answer.generation_id) == (follower.member_id, 2)
    assert it.heartbeat(leader) == ErrorCode.UNKNOWN_MEMBER_ID


def test_a_commit_is_a_sign_of_life() -> None:
    it = Coordinated()
    (leader,) = it.stable(1)
    it.host.advance(SESSION_MS - 1)
    assert it.commit(1, leader.member_id, 1) == ErrorCode.NONE
    it.host.advance(SESSION_MS - 1)
    assert it.heartbeat(leader) == ErrorCode.NONE


# --- leaving ---


def test_a_member_that_leaves_is_gone_at_once() -> None:
    it = Coordinated()
    leader, follower = it.stable(2)
    assert it.leave((follower.member_id, None)) == [ErrorCode.NONE]
    assert it.heartbeat(leader) == ErrorCode.REBALANCE_IN_PROGRESS
    assert it.leave((leader.member_id, None)) == [ErrorCode.NONE]
    assert it.state == "Empty"
    assert it.group.generation_id == 2


def test_many_leave_at_once() -> None:
    it = Coordinated()
    waiting = [it.join(group_instance_id=name) for name in ("a", "b")]
    it.host.advance(2 * DELAY_MS)
    first, second = (value_of(deferred) for deferred in waiting)
    assert it.leave(
        ("", "a"), ("", "x"), (first.member_id, "b"), (second.member_id, "b"), ("unknown", None)
    ) == [
        ErrorCode.NONE,
        ErrorCode.UNKNOWN_MEMBER_ID,
        ErrorCode.FENCED_INSTANCE_ID,
        ErrorCode.NONE,
        ErrorCode.UNKNOWN_MEMBER_ID,
    ]
    assert it.state == "Empty"


def test_leaving_answers_a_join_that_waits() -> None:
    it = Coordinated()
    leader, _ = it.stable(2)
    waiting = it.join(leader.member_id)
    it.leave((leader.member_id, None))
    assert value_of(waiting).error_code == ErrorCode.UNKNOWN_MEMBER_ID


def test_an_id_given_out_can_be_given_back() -> None:
    it = Coordinated()
    named = value_of(it.join(requires_member_id=True))
    assert it.leave((named.member_id, None)) == [ErrorCode.NONE]
    assert value_of(it.join(named.member_id)).error_code == ErrorCode.UNKNOWN_MEMBER_ID


def test_leaving_a_group_that_is_not_there() -> None:
    it = Coordinated()
    assert it.leave(("a", None), ("", "b")) == [ErrorCode.UNKNOWN_MEMBER_ID] * 2


def test_the_last_to_leave_in_a_join_phase_leaves_an_empty_group() -> None:
    it = Coordinated()
    it.stable(1)
    waiting = it.join()
    it.leave(*((member_id, None) for member_id in it.group.members))
    assert value_of(waiting).error_code == ErrorCode.UNKNOWN_MEMBER_ID
    assert it.state == "Empty"


# --- restart ---


def test_a_stable_group_is_stable_after_a_restart() -> None:
    it = Coordinated()
    leader, follower = it.stable(2)
    it.restart()
    assert it.state == "Stable"
    it.host.advance(SESSION_MS - 1)
    assert it.heartbeat(leader) == it.heartbeat(follower) == ErrorCode.NONE
    assert value_of(it.sync(follower)).assignment == follower.member_id.encode()
    it.host.advance(SESSION_MS)
    assert it.state == "Empty"


def test_a_rebalance_is_forgotten_in_a_restart() -> None:
    it = Coordinated()
    leader, follower = it.stable(2)
    it.join()
    it.restart()
    assert it.state == "Stable"
    assert len(it.group.members) == 2
    again = it.join(leader.member_id)
    it.join(follower.member_id)
    assert value_of(again).generation_id == 2


def test_a_generation_without_assignment_is_forgotten_in_a_restart() -> None:
    it = Coordinated()
    (leader,) = it.joined(1)
    it.restart()
    assert it.state == "Empty"
    assert it.heartbeat(leader) == ErrorCode.UNKNOWN_MEMBER_ID


def test_a_group_that_is_too_large_after_a_restart_rebalances_to_fit() -> None:
    it = Coordinated()
    members = it.stable(3)
    it.settings = it.settings._replace(classic=it.settings.classic._replace(max_size=2))
    it.restart()
    assert it.state == "PreparingRebalance"
    answers = [it.join(member.member_id) for member in members]
    assert value_of(answers[2]).error_code == ErrorCode.GROUP_MAX_SIZE_REACHED
    assert [value_of(answer).error_code for answer in answers[:2]] == [ErrorCode.NONE] * 2


def test_a_broker_that_stops_keeps_nobody_waiting() -> None:
    it = Coordinated()
    joining = it.join()
    it.groups.release_waiting()
    answer = value_of(joining)
    assert (answer.error_code, answer.member_id) == (ErrorCode.NOT_COORDINATOR, next(iter(it.group.members)))
    it.restart()
    _, follower = it.joined(2)
    syncing = it.sync(follower)
    it.groups.release_waiting()
    assert value_of(syncing).error_code == ErrorCode.NOT_COORDINATOR


def test_the_topic_is_created_at_first_need() -> None:
    it = Coordinated()
    it.log.partition_count = 0
    it.restart()
    first = it.join()
    second = it.join()
    it.host.advance(DELAY_MS)
    assert it.groups.groups.find("group") is None
    it.log.created()
    it.host.advance(2 * DELAY_MS)
    assert value_of(first).generation_id == value_of(second).generation_id == 1


def test_requests_are_refused_if_the_topic_cannot_be_created() -> None:
    it = Coordinated()
    it.log.partition_count = 0
    it.restart()
    first = it.join()
    it.log.created(works=False)
    assert value_of(first).error_code == ErrorCode.NOT_COORDINATOR
    second = it.join()
    it.log.created()
    it.host.advance(DELAY_MS)
    assert value_of(second).error_code == ErrorCode.NONE
