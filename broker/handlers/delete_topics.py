"""DeleteTopics (key 20), versions 0 to 6.

v1  throttle time     v3  TOPIC_DELETION_DISABLED instead of INVALID_REQUEST     v4  flexible
v5  error messages (KIP-599)     v6  by topic id (KIP-516)

A topic is gone with its answer; its files follow after file.delete.delay.ms. The time-out is not needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.topics.commands import DeleteTopics, Result
from protocol.errors import ErrorCode
from protocol.messages.delete_topics import DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse
from protocol.schema import ZERO_UUID

if TYPE_CHECKING:
    from broker.request import Deferred, Request
    from broker.runtime import Broker

_BY_ID_VERSION = 6
_DISABLED_VERSION = 3


def handle(broker: Broker, request: Request) -> Deferred[DeleteTopicsResponse]:
    message: DeleteTopicsRequest = request.message
    if request.version >= _BY_ID_VERSION:
        topics = [(topic.name, topic.topic_id) for topic in message.topics]
    else:
        topics = [(name, ZERO_UUID) for name in message.topic_names]

    def respond(results: list[Result]) -> DeleteTopicsResponse:
        # What stands there twice is refused twice and told once.
        answers = dict(zip(topics, results, strict=True)).items()
        return DeleteTopicsResponse(
            responses=[
                _result(name, topic_id, result, request.version) for (name, topic_id), result in answers
            ]
        )

    return broker.catalog.answer(DeleteTopics(topics), respond)


def _result(name: str | None, topic_id: bytes, result: Result, version: int) -> DeletableTopicResult:
    if result.is_success:
        name, topic_id = result.value
    error = result.error
    if error is ErrorCode.TOPIC_DELETION_DISABLED and version < _DISABLED_VERSION:
        error = ErrorCode.INVALID_REQUEST
    return DeletableTopicResult(name=name, topic_id=topic_id, error_code=error, error_message=result.message)
