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
        for partition in topic.partitions
        if _exists(broker, topic.name, partition.partition_index)
    ]
    return mapped(
        broker.groups.delete_offsets(message.group_id, partitions),
        lambda result: _response(message, partitions, *result),
    )


def _response(
    message: OffsetDeleteRequest, existing: list[tuple[str, int]], code: ErrorCode, codes: list[ErrorCode]
) -> OffsetDeleteResponse:
    """`codes` are for the `existing` partitions, in the order of the request."""
    if code:
        return OffsetDeleteResponse(error_code=code)
    decided = dict(zip(existing, codes, strict=True))
    topics = []
    for topic in message.topics:
        partitions = [
            OffsetDeleteResponsePartition(
                partition_index=partition.partition_index,
                error_code=decided.get(
                    (topic.name, partition.partition_index), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
                ),
            )
            for partition in topic.partitions
        ]
        topics.append(OffsetDeleteResponseTopic(name=topic.name, partitions=partitions))
    return OffsetDeleteResponse(topics=topics)


def _exists(broker: Broker, name: str, index: int) -> bool:
    topic = broker.catalog.topics.get(name)
    return topic is not None and 0 <= index < topic.partition_count
