"""JoinGroup: become a member of a classic group; the answer comes when all have joined.

v1   request rebalance_timeout_ms (KIP-62)
v2   response throttle_time_ms
v3   the broker answers before it throttles (KIP-219)
v4   a new member is sent back with MEMBER_ID_REQUIRED to join again (KIP-394)
v5   group_instance_id (KIP-345)
v6   flexible (KIP-482)
v7   response protocol_type, protocol_name may be null (KIP-559)
v8   request reason (KIP-800)
v9   response skip_assignment (KIP-814)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, bool_, bytes_, int16, int32, request, response, string, struct


@struct
class JoinGroupRequestProtocol:
    name: str = string()
    metadata: bytes = bytes_()  # for consumers, see internal/consumer_protocol.py


@request(ApiKey.JOIN_GROUP, versions="0-9", flexible="6+")
class JoinGroupRequest:
    group_id: str = string()
    session_timeout_ms: int = int32()
    rebalance_timeout_ms: int = int32("1+", default=-1, ignorable=True)  # KIP-62
    member_id: str = string()
    group_instance_id: str | None = string("5+", nullable="5+")  # KIP-345
    protocol_type: str = string()  # "consumer" for consumers, "connect" for Connect workers
    protocols: list[JoinGroupRequestProtocol] = array(JoinGroupRequestProtocol)
    reason: str | None = string("8+", nullable="8+", ignorable=True)  # KIP-800


@struct
class JoinGroupResponseMember:
    member_id: str = string()
    group_instance_id: str | None = string("5+", nullable="5+", ignorable=True)  # KIP-345
    metadata: bytes = bytes_()


@response(ApiKey.JOIN_GROUP, versions="0-9", flexible="6+")
class JoinGroupResponse:
    throttle_time_ms: int = int32("2+", ignorable=True)
    error_code: int = int16()
    generation_id: int = int32(default=-1)
    protocol_type: str | None = string("7+", nullable="7+", ignorable=True)  # KIP-559
    protocol_name: str | None = string(nullable="7+")
    leader: str = string()
    skip_assignment: bool = bool_("9+")  # KIP-814
    member_id: str = string()
    members: list[JoinGroupResponseMember] = array(JoinGroupResponseMember)
