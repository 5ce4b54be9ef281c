"""SyncGroup: the leader of a classic group hands out assignments, the others fetch theirs.

v1   response throttle_time_ms
v2   the broker answers before it throttles (KIP-219)
v3   request group_instance_id (KIP-345)
v4   flexible (KIP-482)
v5   protocol_type, protocol_name (KIP-559)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, bytes_, int16, int32, request, response, string, struct


@struct
class SyncGroupRequestAssignment:
    member_id: str = string()
    assignment: bytes = bytes_()  # for consumers, see internal/consumer_protocol.py


@request(ApiKey.SYNC_GROUP, versions="0-5", flexible="4+")
class SyncGroupRequest:
    group_id: str = string()
    generation_id: int = int32()
    member_id: str = string()
    group_instance_id: str | None = string("3+", nullable="3+")  # KIP-345
    protocol_type: str | None = string("5+", nullable="5+", ignorable=True)  # KIP-559
    protocol_name: str | None = string("5+", nullable="5+", ignorable=True)
    assignments: list[SyncGroupRequestAssignment] = array(SyncGroupRequestAssignment)


@response(ApiKey.SYNC_GROUP, versions="0-5", flexible="4+")
class SyncGroupResponse:
    throttle_time_ms: int = int32("1+", ignorable=True)
    error_code: int = int16()
    protocol_type: str | None = string("5+", nullable="5+", ignorable=True)  # KIP-559
    protocol_name: str | None = string("5+", nullable="5+", ignorable=True)
    assignment: bytes = bytes_()
