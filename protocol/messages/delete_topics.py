"""DeleteTopics:

v1   response throttle_time_ms
v2   nothing new on the wire
v3   nothing new on the wire
v4   flexible (KIP-482)
v5   response error_message (KIP-599)
v6   topic_id; request topics, no topic_names, name; response name may be null
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, int16, int32, request, response, string, struct, uuid


@struct
class DeleteTopicState:
    name: str | None = string("6+", nullable="6+")
    topic_id: bytes = uuid("6+")


@request(ApiKey.DELETE_TOPICS, versions="0-6", flexible="4+")
class DeleteTopicsRequest:
    topics: list[DeleteTopicState] = array(DeleteTopicState, "6+")
    topic_names: list[str] = array(string, "0-5", ignorable=True)
    timeout_ms: int = int32()


@struct
class DeletableTopicResult:
    name: str | None = string(nullable="6+")
    topic_id: bytes = uuid("6+", ignorable=True)
    error_code: int = int16()
    error_message: str | None = string("5+", nullable="5+", ignorable=True)  # KIP-599


@response(ApiKey.DELETE_TOPICS, versions="0-6", flexible="4+")
class DeleteTopicsResponse:
    throttle_time_ms: int = int32("1+", ignorable=True)
    responses: list[DeletableTopicResult] = array(DeletableTopicResult)
