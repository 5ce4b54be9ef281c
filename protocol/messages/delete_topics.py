"""DeleteTopics: delete topics by name or id.

v1   response throttle_time_ms
v2   the broker answers before it throttles (KIP-219)
v3   TOPIC_DELETION_DISABLED may be answered (KIP-322)
v4   flexible (KIP-482)
v5   response error_message (KIP-599)
v6   request topics, no longer topic_names; response name may be null, topic_id (KIP-516)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, int16, int32, request, response, string, struct, uuid


@struct
class DeleteTopicState:
    name: str | None = string("6+", nullable="6+")  # KIP-516
    topic_id: bytes = uuid("6+")


@request(ApiKey.DELETE_TOPICS, versions="0-6", flexible="4+")
class DeleteTopicsRequest:
    topics: list[DeleteTopicState] = array(DeleteTopicState, "6+")  # KIP-516
    topic_names: list[str] = array(string, "0-5", ignorable=True)
    timeout_ms: int = int32()


@struct
class DeletableTopicResult:
    name: str | None = string(nullable="6+")
    topic_id: bytes = uuid("6+", ignorable=True)  # KIP-516
    error_code: int = int16()
    error_message: str | None = string("5+", nullable="5+", ignorable=True)  # KIP-599


@response(ApiKey.DELETE_TOPICS, versions="0-6", flexible="4+")
class DeleteTopicsResponse:
    throttle_time_ms: int = int32("1+", ignorable=True)
    responses: list[DeletableTopicResult] = array(DeletableTopicResult)
