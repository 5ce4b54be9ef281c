"""DescribeGroups: state and members of classic groups.

v1   response throttle_time_ms
v2   the broker answers before it throttles (KIP-219)
v3   request include_authorized_operations; response authorized_operations (KIP-430)
v4   response group_instance_id (KIP-345)
v5   flexible (KIP-482)
v6   response error_message; an unknown group is GROUP_ID_NOT_FOUND instead of a dead one (KIP-1043)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, bool_, bytes_, int16, int32, request, response, string, struct


@request(ApiKey.DESCRIBE_GROUPS, versions="0-6", flexible="5+")
class DescribeGroupsRequest:
    groups: list[str] = array(string)
    include_authorized_operations: bool = bool_("3+")  # KIP-430


@struct
class DescribedGroupMember:
    member_id: str = string()
    group_instance_id: str | None = string("4+", nullable="4+", ignorable=True)  # KIP-345
    client_id: str = string()
    client_host: str = string()
    member_metadata: bytes = bytes_()
    member_assignment: bytes = bytes_()


@struct
class DescribedGroup:
    error_code: int = int16()
    error_message: str | None = string("6+", nullable="6+")  # KIP-1043
    group_id: str = string()
    group_state: str = string()
    protocol_type: str = string()
    protocol_data: str = string()
    members: list[DescribedGroupMember] = array(DescribedGroupMember)
    authorized_operations: int = int32("3+", default=-2147483648)  # KIP-430


@response(ApiKey.DESCRIBE_GROUPS, versions="0-6", flexible="5+")
class DescribeGroupsResponse:
    throttle_time_ms: int = int32("1+", ignorable=True)
    groups: list[DescribedGroup] = array(DescribedGroup)
