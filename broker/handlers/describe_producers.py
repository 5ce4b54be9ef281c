"""DescribeProducers (key 61), version 0 (KIP-664): who writes to a partition with a producer id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.fetching.reading import refusal
from broker.topics.names import name_problem
from protocol.errors import ApiError, ErrorCode, StorageFailed
from protocol.messages.describe_producers import (
    DescribeProducersRequest,
    DescribeProducersResponse,
    PartitionResponse,
    ProducerState,
    TopicResponse,
)

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker


def handle(broker: Broker, request: Request) -> DescribeProducersResponse:
    message: DescribeProducersRequest = request.message
    return DescribeProducersResponse(
        topics=[
            TopicResponse(
                name=topic.name,
                partitions=[_describe(broker, topic.name, index) for index in topic.partition_indexes],
            )
            for topic in message.topics
        ]
    )


def _describe(broker: Broker, name: str, index: int) -> PartitionResponse:
    result = PartitionResponse(partition_index=index)
    try:
        result.active_producers = _producers(broker, name, index)
    except (ApiError, StorageFailed) as error:
        code, why = refusal(broker, error)
        result.error_code, result.error_message = code, why or None
    return result


def _producers(broker: Broker, name: str, index: int) -> list[ProducerState]:
    problem = name_problem(name)
    if problem is not None:
        raise ApiError(ErrorCode.INVALID_TOPIC_EXCEPTION, problem)
    topic = broker.catalog.topics.get(name)
    if topic is None:
        text = "This server does not host this topic-partition."
        raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, text)
    partition = topic.partition(index)
    if partition is None:
        raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "")
    return [
        ProducerState(
            producer_id=entry.producer_id,
            producer_epoch=entry.producer_epoch,
            last_sequence=entry.last_sequence,
            last_timestamp=entry.last_timestamp,
            coordinator_epoch=entry.coordinator_epoch,
            current_txn_start_offset=entry.current_txn_first_offset,
        )
        for entry in partition.log.active_producers()
    ]
