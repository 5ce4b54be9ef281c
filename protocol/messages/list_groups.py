"""ListGroups: the groups this broker coordinates.

v1   response throttle_time_ms
v2   the broker answers before it throttles (KIP-219)
v3   flexible (KIP-482)
v4   request states_filter; response group_state (KIP-518)
v5   request types_filter; response group_type (KIP-848)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, int16, int32, request, response, string, struct


@request(ApiKey.LIST_GROUPS, versions="0-5", flexible="3+")
class ListGroupsRequest:
    states_filter: list[str] = array(string, "4+")  # KIP-518
    types_filter: list[str] = array(string, "5+")  # KIP-848


@struct
class ListedGroup:
    group_id: str = string()
    protocol_type: str = string()
    group_state: str = string("4+", ignorable=True)  # KIP-518
    group_type: str = string("5+", ignorable=True)  # KIP-848


@response(ApiKey.LIST_GROUPS, versions="0-5", flexible="3+")
class ListGroupsResponse:
    throttle_time_ms: int = int32("1+", ignorable=True)
    error_code: int = int16()
    groups: list[ListedGroup] = array(ListedGroup)
