"""LeaveGroup: members leave a classic group.

v1   response throttle_time_ms
v2   the broker answers before it throttles (KIP-219)
v3   members; request no longer member_id (KIP-345)
v4   flexible (KIP-482)
v5   request reason (KIP-800)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, int16, int32, request, response, string, struct


@struct
class MemberIdentity:
    member_id: str = string("3+")  # KIP-345
    group_instance_id: str | None = string("3+", nullable="3+")
    reason: str | None = string("5+", nullable="5+", ignorable=True)  # KIP-800


@request(ApiKey.LEAVE_GROUP, versions="0-5", flexible="4+")
class LeaveGroupRequest:
    group_id: str = string()
    member_id: str = string("0-2")
    members: list[MemberIdentity] = array(MemberIdentity, "3+")  # KIP-345


@struct
class MemberResponse:
    member_id: str = string("3+")  # KIP-345
    group_instance_id: str | None = string("3+", nullable="3+")
    error_code: int = int16("3+")


@response(ApiKey.LEAVE_GROUP, versions="0-5", flexible="4+")
class LeaveGroupResponse:
    throttle_time_ms: int = int32("1+", ignorable=True)
    error_code: int = int16()
    members: list[MemberResponse] = array(MemberResponse, "3+")  # KIP-345
