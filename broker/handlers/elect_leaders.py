"""ElectLeaders (key 43), versions 0 to 2.

v1  unclean elections, a top-level error (KIP-460)     v2  flexible

Each partition has one replica, which leads: no election is ever needed, and of all partitions (null) none is named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.errors import ErrorCode
from protocol.messages.elect_leaders import (
    ElectLeadersRequest,
    ElectLeadersResponse,
    PartitionResult,
    ReplicaElectionResult,
)

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker

_ELECTION_TYPES: Final = (0, 1)  # preferred, unclean


def handle(broker: Broker, request: Request) -> ElectLeadersResponse:
    message: ElectLeadersRequest = request.message
    is_known = message.election_type in _ELECTION_TYPES
    return ElectLeadersResponse(
        error_code=ErrorCode.NONE if is_known else ErrorCode.INVALID_REQUEST,
        replica_election_results=[
            ReplicaElectionResult(
                topic=topic.topic,
                partition_result=[
                    _elect(broker, topic.topic, index)
                    if is_known
                    else _result(
                        index, ErrorCode.INVALID_REQUEST, f"Unknown election type {message.election_type}"
                    )
                    for index in topic.partitions
                ],
            )
            for topic in message.topic_partitions or ()
        ],
    )


def _elect(broker: Broker, name: str, index: int) -> PartitionResult:
    topic = broker.catalog.topics.get(name)
    if topic is None:
        return _result(index, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"No such topic as {name}")
    if not 0 <= index < topic.partition_count:
        return _result(index, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"No such partition as {name}-{index}")
    return _result(index, ErrorCode.ELECTION_NOT_NEEDED, "Leader election not needed for topic partition.")


def _result(index: int, error: ErrorCode, text: str) -> PartitionResult:
    return PartitionResult(partition_id=index, error_code=error, error_message=text)
