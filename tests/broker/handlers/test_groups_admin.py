"""DescribeGroups, ListGroups and DeleteGroups at every version."""

from __future__ import annotations

import pytest

from broker.security.operations import NOT_ASKED, Resource, authorized_operations
from protocol.errors import ErrorCode
from protocol.messages.delete_groups import DeleteGroupsRequest
from protocol.messages.describe_groups import DescribeGroupsRequest
from protocol.messages.list_groups import ListGroupsRequest
from protocol.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from tests.broker.handlers.group_stand import GroupStand
from tests.broker.handlers.test_groups_members import join
from tests.broker.handlers.test_groups_offsets import commit_request

E = ErrorCode


@pytest.fixture
def stand() -> GroupStand:
    """Group "g" only commits; "m" has a static member with an assignment."""
    stand = GroupStand()
    stand.answer(8, commit_request(stand, 8))
    member = stand.answer(9, join(9, group_id="m", group_instance_id="i"))
    assignment = SyncGroupRequestAssignment(member_id=member.member_id, assignment=b"a")
    stand.answer(
        4,
        SyncGroupRequest(
            group_id="m",
            generation_id=1,
            member_id=member.member_id,
            group_instance_id="i",
            assignments=[assignment],
        ),
    )
    return stand


@pytest.mark.parametrize("version", range(7))
def test_describe_groups(stand: GroupStand, version: int) -> None:
    request = DescribeGroupsRequest(
        groups=["m", "g", "unheard-of"], include_authorized_operations=version >= 3
    )
    described, simple, missing = stand.answer(version, request).groups
    assert (described.group_state, described.protocol_type, described.protocol_data) == (
        "Stable",
        "consumer",
        "range",
    )
    (member,) = described.members
    assert (member.member_metadata, member.member_assignment) == (b"m", b"a")
    assert (member.client_id, member.client_host) == ("test", "/10.0.0.1")
    assert member.group_instance_id == ("i" if version >= 4 else None)
    operations = authorized_operations(Resource.GROUP) if version >= 3 else NOT_ASKED
    assert described.authorized_operations == operations
    assert (simple.group_state, simple.protocol_type, simple.members) == ("Empty", "", [])
    assert missing.group_state == "Dead"
    assert missing.error_code == (E.GROUP_ID_NOT_FOUND if version >= 6 else E.NONE)
    assert missing.error_message == ("Group unheard-of not found." if version >= 6 else None)


@pytest.mark.parametrize("version", range(6))
def test_list_groups(stand: GroupStand, version: int) -> None:
    groups = stand.answer(version, ListGroupsRequest()).groups
    assert sorted((group.group_id, group.protocol_type) for group in groups) == [("g", ""), ("m", "consumer")]
    if version >= 4:
        (group,) = stand.answer(version, ListGroupsRequest(states_filter=["stable", "Dead"])).groups
        assert (group.group_id, group.group_state) == ("m", "Stable")
    if version >= 5:
        groups = stand.answer(version, ListGroupsRequest(types_filter=["Classic"])).groups
        assert {group.group_type for group in groups} == {"classic"}
        assert stand.answer(version, ListGroupsRequest(types_filter=["consumer"])).groups == []


@pytest.mark.parametrize("version", range(3))
def test_delete_groups(stand: GroupStand, version: int) -> None:
    request = DeleteGroupsRequest(groups_names=["m", "g", "unheard-of"])
    results = stand.answer(version, request).results
    assert [(result.group_id, result.error_code) for result in results] == [
        ("m", E.NON_EMPTY_GROUP),
        ("g", E.NONE),
        ("unheard-of", E.GROUP_ID_NOT_FOUND),
    ]
