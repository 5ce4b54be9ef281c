"""Heartbeat: a member of a classic group is alive, and learns of rebalances.

v1   response throttle_time_ms
v2   the broker answers before it throttles (KIP-219)
v3   request group_instance_id (KIP-345)
v4   flexible (KIP-482)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import int16, int32, request, response, string


@request(ApiKey.HEARTBEAT, versions="0-4", flexible="4+")
class HeartbeatRequest:
    group_id: str = string()
    generation_id: int = int32()
    member_id: str = string()
    group_instance_id: str | None = string("3+", nullable="3+")  # KIP-345


@response(ApiKey.HEARTBEAT, versions="0-4", flexible="4+")
class HeartbeatResponse:
    throttle_time_ms: int = int32("1+", ignorable=True)
    error_code: int = int16()
