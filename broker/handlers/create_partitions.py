"""CreatePartitions (key 37), versions 0 to 3.

v2  flexible     v3  throttling by quota (KIP-599), of which there is none

Assignments may name this broker only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.topics.commands import CreatePartitions, MorePartitions, Result
from protocol.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreatePartitionsTopic,
    CreatePartitionsTopicResult,
)

if TYPE_CHECKING:
    from broker.request import Deferred, Request
    from broker.runtime import Broker


def handle(broker: Broker, request: Request) -> Deferred[CreatePartitionsResponse]:
    message: CreatePartitionsRequest = request.message
    topics = [_more_partitions(topic) for topic in message.topics]

    def respond(results: list[Result]) -> CreatePartitionsResponse:
        # A name that stands there twice is refused twice and told once.
        by_name = dict(zip((topic.name for topic in topics), results, strict=True))
        return CreatePartitionsResponse(
            results=[
                CreatePartitionsTopicResult(name=name, error_code=result.error, error_message=result.message)
                for name, result in by_name.items()
            ]
        )

    return broker.catalog.answer(CreatePartitions(topics, message.validate_only), respond)


def _more_partitions(topic: CreatePartitionsTopic) -> MorePartitions:
    assignments = None
    if topic.assignments is not None:
        assignments = [assignment.broker_ids for assignment in topic.assignments]
    return MorePartitions(topic.name, topic.count, assignments)
