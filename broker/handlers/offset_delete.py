"""OffsetDelete (key 47), version 0 (KIP-496). Offsets of topics the group still subscribes to stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.coordinator.answers import mapped
from protocol.errors import ErrorCode
from protocol.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteResponse,
    OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
)

if TYPE_CHECKING:
    from broker.request import Deferred, Request
    from broker.runtime import Broker


def handle(broker: Broker, request: Request) -> OffsetDeleteResponse | Deferred[OffsetDeleteResponse]:
    message: OffsetDeleteRequest = request.message
    if not message.group_id:
        return OffsetDeleteResponse(error_code=ErrorCode.INVALID_GROUP_ID)
    partitions = [
        (topic.name, partition.partition_index)
        for topic in message.topics
        if topic.name in broker.catalog.topics
        for partition in topic.partitions
    ]
    return mapped(
        broker.groups.delete_offsets(message.group_id, partitions),
        lambda result: _response(broker, message, *result),
    )


def _response(
    broker: Broker, message: OffsetDeleteRequest, code: ErrorCode, codes: list[ErrorCode]
) -> OffsetDeleteResponse:
    """`codes` are for the partitions of topics that exist, in the order of the request."""
    if code:
        return OffsetDeleteResponse(error_code=code)
    decided = iter(codes)
    topics = []
    for topic in message.topics:
        exists = topic.name in broker.catalog.topics
        partitions = [
            OffsetDeleteResponsePartition(
                partition_index=partition.partition_index,
                error_code=next(decided) if exists else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
            )
            for partition in topic.partitions
        ]
        topics.append(OffsetDeleteResponseTopic(name=topic.name, partitions=partitions))
    return OffsetDeleteResponse(topics=topics)
