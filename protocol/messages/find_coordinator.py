"""FindCoordinator: which broker coordinates a group or a transactional id.

v1   request key_type; response throttle_time_ms, error_message (KIP-98)
v2   the broker answers before it throttles (KIP-219)
v3   flexible (KIP-482)
v4   request coordinator_keys, no longer key; response coordinators, no longer error_code, error_message,
     node_id, host, port (KIP-699)
v5   TRANSACTION_ABORTABLE may be answered (KIP-890)
v6   key type 2 is a share group's partition, "group:topicId:partition" (KIP-932)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, int8, int16, int32, request, response, string, struct


@request(ApiKey.FIND_COORDINATOR, versions="0-6", flexible="3+")
class FindCoordinatorRequest:
    key: str = string("0-3")
    key_type: int = int8("1+")  # 0 group, 1 transactional id, 2 share partition
    coordinator_keys: list[str] = array(string, "4+")  # KIP-699


@struct
class Coordinator:
    key: str = string("4+")  # KIP-699
    node_id: int = int32("4+")
    host: str = string("4+")
    port: int = int32("4+")
    error_code: int = int16("4+")
    error_message: str | None = string("4+", nullable="4+", ignorable=True)


@response(ApiKey.FIND_COORDINATOR, versions="0-6", flexible="3+")
class FindCoordinatorResponse:
    throttle_time_ms: int = int32("1+", ignorable=True)  # KIP-98
    error_code: int = int16("0-3")
    error_message: str | None = string("1-3", nullable="1-3", ignorable=True)
    node_id: int = int32("0-3")
    host: str = string("0-3")
    port: int = int32("0-3")
    coordinators: list[Coordinator] = array(Coordinator, "4+")  # KIP-699
