"""AlterPartitionReassignments (key 45), versions 0 to 1 (KIP-455).

v1  allow_replication_factor_change (KIP-860)

There is one broker, so the one legal assignment is the one every partition has: asking for it succeeds and changes
nothing, and there is never a reassignment to cancel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.topics.decide import check_replicas
from protocol.errors import ApiError, ErrorCode
from protocol.messages.alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
    ReassignablePartition,
    ReassignablePartitionResponse,
    ReassignableTopicResponse,
)

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker


def handle(broker: Broker, request: Request) -> AlterPartitionReassignmentsResponse:
    message: AlterPartitionReassignmentsRequest = request.message
    return AlterPartitionReassignmentsResponse(
        allow_replication_factor_change=message.allow_replication_factor_change,
        responses=[
            ReassignableTopicResponse(
                name=topic.name,
                partitions=[_reassign(broker, topic.name, partition) for partition in topic.partitions],
            )
            for topic in message.topics
        ],
    )


def _reassign(broker: Broker, name: str, asked: ReassignablePartition) -> ReassignablePartitionResponse:
    result = ReassignablePartitionResponse(partition_index=asked.partition_index)
    try:
        topic = broker.catalog.topics.get(name)
        if topic is None:
            text = f"Unable to find a topic named {name}."
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, text)
        if not 0 <= asked.partition_index < topic.partition_count:
            text = f"Unable to find partition {name}:{asked.partition_index}."
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, text)
        if asked.replicas is None:
            raise ApiError(ErrorCode.NO_REASSIGNMENT_IN_PROGRESS, "")
        check_replicas(broker.catalog.state, asked.replicas)
    except ApiError as error:
        result.error_code, result.error_message = error.code, error.message or None
    return result
