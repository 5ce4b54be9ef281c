"""JoinGroup, SyncGroup, Heartbeat and LeaveGroup at every version."""

from __future__ import annotations

import pytest

from protocol.errors import ErrorCode
from protocol.messages.heartbeat import HeartbeatRequest
from protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from protocol.messages.leave_group import LeaveGroupRequest, MemberIdentity
from protocol.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from tests.broker.handlers.group_stand import GroupStand

E = ErrorCode


def join(version: int, member_id: str = "", **changes: object) -> JoinGroupRequest:
    values: dict[str, object] = {
        "group_id": "g",
        "session_timeout_ms": 10_000,
        "rebalance_timeout_ms": 20_000 if version else -1,
        "member_id": member_id,
        "protocol_type": "consumer",
        "protocols": [JoinGroupRequestProtocol(name="range", metadata=b"m")],
    }
    return JoinGroupRequest(**(values | changes))


def joined(stand: GroupStand, version: int, **changes: object) -> object:
    """The answer to a new member's JoinGroup, by way of MEMBER_ID_REQUIRED where the version has that."""
    answer = stand.answer(version, join(version, **changes))
    if answer.error_code == E.MEMBER_ID_REQUIRED:
        assert version >= 4
        answer = stand.answer(version, join(version, answer.member_id, **changes))
    assert answer.error_code == E.NONE
    return answer


@pytest.mark.parametrize("version", range(10))
def test_join_group(version: int) -> None:
    stand = GroupStand()
    answer = joined(stand, version)
    assert answer.generation_id == 1
    assert answer.leader == answer.member_id
    assert answer.member_id.startswith("test-")
    assert answer.protocol_name == "range"
    assert answer.protocol_type == ("consumer" if version >= 7 else None)
    assert [(m.member_id, m.metadata) for m in answer.members] == [(answer.member_id, b"m")]
    member = stand.groups.groups.by_id["g"].members[answer.member_id]
    assert member.client_host == "/10.0.0.1"
    assert member.rebalance_timeout_ms == (20_000 if version else 10_000)


@pytest.mark.parametrize("version", range(10))
def test_a_join_that_is_refused(version: int) -> None:
    answer = GroupStand().answer(version, join(version, session_timeout_ms=1))
    assert answer.error_code == E.INVALID_SESSION_TIMEOUT
    assert (answer.protocol_name, answer.members) == ("", [])


@pytest.mark.parametrize("version", range(5, 10))
def test_static_members_join_at_once(version: int) -> None:
    stand = GroupStand()
    answer = stand.answer(version, join(version, group_instance_id="i"), client_id=None)
    assert answer.error_code == E.NONE
    assert answer.member_id.startswith("i-")
    assert answer.members[0].group_instance_id == "i"


def test_a_client_without_a_name_can_join() -> None:
    assert GroupStand().answer(3, join(3), client_id=None).member_id.startswith("-")


@pytest.mark.parametrize("version", range(6))
def test_sync_group(version: int) -> None:
    stand = GroupStand()
    member = joined(stand, 9)
    request = SyncGroupRequest(
        group_id="g",
        generation_id=1,
        member_id=member.member_id,
        protocol_type="consumer" if version >= 5 else None,
        protocol_name="range" if version >= 5 else None,
        assignments=[SyncGroupRequestAssignment(member_id=member.member_id, assignment=b"a")],
    )
    answer = stand.answer(version, request)
    assert (answer.error_code, answer.assignment) == (E.NONE, b"a")
    assert answer.protocol_name == ("range" if version >= 5 else None)
    request.member_id = "x"
    assert stand.answer(version, request).error_code == E.UNKNOWN_MEMBER_ID


@pytest.mark.parametrize("version", range(5))
def test_heartbeat(version: int) -> None:
    stand = GroupStand()
    member = joined(stand, 9)
    request = HeartbeatRequest(group_id="g", generation_id=1, member_id=member.member_id)
    assert stand.answer(version, request).error_code == E.NONE
    request.generation_id = 2
    assert stand.answer(version, request).error_code == E.ILLEGAL_GENERATION


@pytest.mark.parametrize("version", range(3))
def test_one_member_leaves(version: int) -> None:
    stand = GroupStand()
    member = joined(stand, 9)
    request = LeaveGroupRequest(group_id="g", member_id=member.member_id)
    assert stand.answer(version, request).error_code == E.NONE
    assert stand.answer(version, request).error_code == E.UNKNOWN_MEMBER_ID
    request.group_id = ""
    assert stand.answer(version, request).error_code == E.INVALID_GROUP_ID


@pytest.mark.parametrize("version", range(3, 6))
def test_many_members_leave(version: int) -> None:
    stand = GroupStand()
    member = joined(stand, 9)
    members = [MemberIdentity(member_id=member.member_id), MemberIdentity(group_instance_id="unknown")]
    answer = stand.answer(version, LeaveGroupRequest(group_id="g", members=members))
    assert answer.error_code == E.NONE
    assert [m.error_code for m in answer.members] == [E.NONE, E.UNKNOWN_MEMBER_ID]
    answer = stand.answer(version, LeaveGroupRequest(group_id="unheard-of", members=members))
    assert [m.error_code for m in answer.members] == [E.UNKNOWN_MEMBER_ID] * 2
