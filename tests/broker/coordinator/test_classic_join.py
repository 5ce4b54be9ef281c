"""JoinGroup of classic groups, as Kafka answers it."""

from __future__ import annotations

import pytest

from broker.coordinator.classic_group import TRANSITIONS, ClassicState
from protocol.errors import ErrorCode
from tests.broker.coordinator.fakes import value_of
from tests.broker.coordinator.harness import (
    DELAY_MS,
    RANGE,
    REBALANCE_MS,
    SESSION_MS,
    Coordinated,
    subscription,
)

ROUNDROBIN = (("roundrobin", subscription("topic")),)


def test_a_first_member_waits_for_others_and_then_leads() -> None:
    it = Coordinated()
    first = it.join()
    it.host.advance(DELAY_MS - 1)
    assert not first.is_resolved
    assert it.state == "PreparingRebalance"
    it.host.advance(1)
    answer = value_of(first)
    assert (answer.generation_id, answer.protocol_name, answer.protocol_type) == (1, "range", "consumer")
    assert answer.leader == answer.member_id
    assert [member.member_id for member in answer.members] == [answer.member_id]
    assert it.state == "CompletingRebalance"


def test_the_delay_grows_while_first_members_come() -> None:
    it = Coordinated()
    first = it.join()
    it.host.advance(DELAY_MS - 1)
    second = it.join()
    it.host.advance(1)
    assert not first.is_resolved
    it.host.advance(DELAY_MS)
    led, followed = value_of(first), value_of(second)
    assert led.leader == followed.leader == led.member_id
    assert followed.members == []


def test_the_delay_ends_with_the_rebalance_time_out() -> None:
    it = Coordinated()
    first = it.join(rebalance_timeout_ms=DELAY_MS + 1000)
    for _ in range(3):
        it.join(rebalance_timeout_ms=DELAY_MS + 1000)
        it.host.advance(1000)
    it.join(rebalance_timeout_ms=DELAY_MS + 1000)
    it.host.advance(1000)
    assert first.is_resolved


def test_a_new_member_gets_an_id_to_join_with() -> None:
    it = Coordinated()
    answer = value_of(it.join(requires_member_id=True))
    assert answer.error_code == ErrorCode.MEMBER_ID_REQUIRED
    assert answer.member_id.startswith("client-")
    assert it.state == "Empty"
    joined = it.join(answer.member_id, requires_member_id=True)
    it.host.advance(DELAY_MS)
    assert value_of(joined).member_id == answer.member_id


def test_an_id_that_is_not_joined_with_is_forgotten() -> None:
    it = Coordinated()
    answer = value_of(it.join(requires_member_id=True))
    it.host.advance(SESSION_MS)
    assert value_of(it.join(answer.member_id)).error_code == ErrorCode.UNKNOWN_MEMBER_ID


def test_a_rebalance_waits_for_ids_given_out() -> None:
    it = Coordinated()
    (leader,) = it.stable(1)
    named = value_of(it.join(requires_member_id=True))
    again = it.join(leader.member_id)
    assert not again.is_resolved
    it.join(named.member_id)
    assert value_of(again).generation_id == 2


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"group_id": ""}, ErrorCode.INVALID_GROUP_ID),
        ({"session_timeout_ms": 5999}, ErrorCode.INVALID_SESSION_TIMEOUT),
        ({"session_timeout_ms": 1_800_001}, ErrorCode.INVALID_SESSION_TIMEOUT),
        ({"protocol_type": ""}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
        ({"protocols": ()}, ErrorCode.INCONSISTENT_GROUP_PROTOCOL),
        ({"member_id": "unheard-of"}, ErrorCode.UNKNOWN_MEMBER_ID),
        ({"group_instance_id": "x" * 32768}, ErrorCode.INVALID_REQUEST),
        ({"protocols": (("ä" * 20000, b""),)}, ErrorCode.INVALID_REQUEST),
    ],
)
def test_what_a_new_group_refuses(changes: dict[str, object], code: ErrorCode) -> None:
    it = Coordinated()
    assert value_of(it.join(**changes)).error_code == code
    assert it.groups.groups.find("group") is None


def test_a_member_must_share_a_protocol_with_all_others() -> None:
    it = Coordinated()
    it.stable(1)
    assert value_of(it.join(protocols=ROUNDROBIN)).error_code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    other_type = value_of(it.join(protocol_type="connect"))
    assert other_type.error_code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL


def test_the_protocol_most_prefer_of_those_all_speak_wins() -> None:
    it = Coordinated()
    waiting = [
        it.join(protocols=RANGE + ROUNDROBIN),
        it.join(protocols=ROUNDROBIN + RANGE),
        it.join(protocols=(("sticky", b""), *ROUNDROBIN, *RANGE)),
    ]
    it.host.advance(2 * DELAY_MS)
    assert {value_of(deferred).protocol_name for deferred in waiting} == {"roundrobin"}


def test_other_protocol_types_are_groups_too() -> None:
    it = Coordinated()
    (answer,) = it.stable(1, protocol_type="connect", protocols=(("sessioned", b"\1\2"),))
    assert answer.protocol_type == "connect"
    assert answer.members[0].metadata == b"\1\2"


def test_a_full_group_takes_nobody() -> None:
    it = Coordinated(classic={"max_size": 2})
    it.stable(2)
    answer = value_of(it.join())
    assert answer.error_code == ErrorCode.GROUP_MAX_SIZE_REACHED
    assert it.state == "Stable"


def test_a_member_joining_makes_the_others_join_again() -> None:
    it = Coordinated()
    leader, follower = it.stable(2)
    new = it.join()
    assert it.state == "PreparingRebalance"
    assert it.heartbeat(leader) == ErrorCode.REBALANCE_IN_PROGRESS
    again = [it.join(leader.member_id), it.join(follower.member_id)]
    answers = [value_of(deferred) for deferred in (new, *again)]
    assert {answer.generation_id for answer in answers} == {2}
    assert {answer.leader for answer in answers} == {leader.member_id}
    assert [len(answer.members) for answer in answers] == [0, 3, 0]


def test_who_does_not_join_again_in_time_is_out() -> None:
    it = Coordinated()
    leader, follower = it.stable(2, rebalance_timeout_ms=5000)
    again = it.join(follower.member_id, protocols=(("range", b"changed"),), rebalance_timeout_ms=5000)
    it.host.advance(5000)
    answer = value_of(again)
    assert answer.leader == follower.member_id
    assert [member.member_id for member in answer.members] == [follower.member_id]
    assert it.heartbeat(leader) == ErrorCode.UNKNOWN_MEMBER_ID


def test_a_follower_that_joins_again_unchanged_stays_in_its_generation() -> None:
    it = Coordinated()
    _, follower = it.stable(2)
    answer = value_of(it.join(follower.member_id))
    assert (answer.generation_id, answer.error_code, answer.members) == (1, 0, [])
    assert it.state == "Stable"


def test_a_leader_that_joins_again_begins_a_rebalance() -> None:
    it = Coordinated()
    leader, _ = it.stable(2)
    assert not it.join(leader.member_id).is_resolved
    assert it.state == "PreparingRebalance"


def test_an_answer_that_got_lost_can_be_asked_for_again() -> None:
    it = Coordinated()
    leader, _ = it.joined(2)
    answer = value_of(it.join(leader.member_id))
    assert (answer.generation_id, len(answer.members)) == (1, 2)
    assert it.state == "CompletingRebalance"


def test_changed_metadata_before_the_assignment_begins_anew() -> None:
    it = Coordinated()
    leader, follower = it.joined(2)
    waiting = it.sync(follower)
    it.join(leader.member_id, protocols=(("range", b"changed"),))
    assert value_of(waiting).error_code == ErrorCode.REBALANCE_IN_PROGRESS
    assert it.state == "PreparingRebalance"


def test_a_member_that_asks_twice_gets_the_first_answer_at_once() -> None:
    it = Coordinated()
    leader, _ = it.stable(2)
    first = it.join(leader.member_id)
    second = it.join(leader.member_id)
    assert value_of(first).error_code == ErrorCode.REBALANCE_IN_PROGRESS
    assert not second.is_resolved


def test_a_new_member_that_waits_for_too_long_is_taken_for_gone() -> None:
    it = Coordinated(classic={"new_member_join_timeout_ms": 20_000})
    it.stable(1, session_timeout_ms=600_000)
    new = it.join()
    it.host.advance(20_000)
    assert value_of(new).error_code == ErrorCode.UNKNOWN_MEMBER_ID
    assert len(it.group.members) == 1


def test_a_member_that_waits_for_a_rebalance_needs_no_heartbeat() -> None:
    it = Coordinated()
    leader, _ = it.stable(2, session_timeout_ms=6000)
    waiting = it.join(leader.member_id, session_timeout_ms=6000)
    it.host.advance(5999)
    assert not waiting.is_resolved
    it.host.advance(1)  # the follower's session ends, the leader's does not
    assert value_of(waiting).generation_id == 2
    assert len(it.group.members) == 1


def test_a_negative_rebalance_time_out_is_the_sessions() -> None:
    it = Coordinated()
    it.stable(1, rebalance_timeout_ms=-1)
    assert it.group.rebalance_timeout_ms == SESSION_MS


# --- static members ---


def test_a_static_member_comes_back_into_its_generation() -> None:
    it = Coordinated()
    leader, follower = _static_pair(it)
    answer = value_of(it.join(group_instance_id="b", new_member_id="b"))
    assert answer.member_id not in ("", follower.member_id)
    assert (answer.generation_id, answer.leader, answer.skip_assignment) == (1, leader.member_id, False)
    assert it.state == "Stable"
    assert value_of(it.sync(answer, group_instance_id="b")).assignment == follower.member_id.encode()
    assert it.heartbeat(follower, instance="b") == ErrorCode.FENCED_INSTANCE_ID
    assert it.heartbeat(answer, instance="b") == ErrorCode.NONE
    it.restart()
    assert it.group.static_members["b"] == answer.member_id


def test_a_static_leader_that_comes_back_skips_the_assignment() -> None:
    it = Coordinated()
    leader, _ = _static_pair(it)
    answer = value_of(it.join(group_instance_id="a"))
    assert answer.leader == answer.member_id != leader.member_id
    assert answer.skip_assignment
    assert len(answer.members) == 2


def test_an_old_static_leader_is_not_told_that_it_leads() -> None:
    it = Coordinated()
    leader, _ = _static_pair(it)
    answer = value_of(it.join(group_instance_id="a", can_skip_assignment=False))
    assert answer.leader == leader.member_id
    assert answer.members == []


def test_a_static_member_that_comes_back_changed_begins_a_rebalance() -> None:
    it = Coordinated()
    it.stable(1, group_instance_id="a", protocols=RANGE + ROUNDROBIN)
    again = it.join(group_instance_id="a", protocols=ROUNDROBIN)
    assert value_of(again).generation_id == 2


def test_a_static_member_in_a_rebalance_is_fenced_by_its_successor() -> None:
    it = Coordinated()
    it.stable(1)
    waiting = it.join(group_instance_id="a")
    again = it.join(group_instance_id="a")
    assert value_of(waiting).error_code == ErrorCode.FENCED_INSTANCE_ID
    assert not again.is_resolved


def test_a_static_member_that_returns_before_the_assignment_begins_anew() -> None:
    it = Coordinated()
    waiting = [it.join(group_instance_id=name) for name in ("a", "b")]
    it.host.advance(2 * DELAY_MS)
    follower = value_of(waiting[1])
    syncing = it.sync(follower, group_instance_id="b")
    it.join(group_instance_id="b")
    assert value_of(syncing).error_code == ErrorCode.FENCED_INSTANCE_ID
    assert it.state == "PreparingRebalance"


def test_static_members_that_do_not_join_in_time_stay() -> None:
    it = Coordinated()
    leader, follower = _static_pair(it, rebalance_timeout_ms=5000)
    again = it.join(
        leader.member_id, group_instance_id="a", protocols=(("range", b"new"),), rebalance_timeout_ms=5000
    )
    it.host.advance(5000)
    assert {member.member_id for member in value_of(again).members} == {leader.member_id, follower.member_id}


def _static_pair(it: Coordinated, **changes: object) -> list[object]:
    waiting = [it.join(group_instance_id=name, **changes) for name in ("a", "b")]
    it.host.advance(2 * DELAY_MS)
    joined = [value_of(deferred) for deferred in waiting]
    syncing = it.sync(joined[1], group_instance_id="b")
    assignments = [(answer.member_id, answer.member_id.encode()) for answer in joined]
    value_of(it.sync(joined[0], assignments, group_instance_id="a"))
    value_of(syncing)
    return joined


def test_every_state_is_in_the_table() -> None:
    assert {state for pair in TRANSITIONS for state in pair} == set(ClassicState)
    assert REBALANCE_MS > SESSION_MS
