"""DescribeQuorum (key 55), versions 0 to 2 (KIP-595): who votes on the cluster's metadata, and how far each has got.

v1  times of the last fetch (KIP-836)     v2  directory ids, nodes, messages (KIP-853)

The quorum is this process: one voter, which leads, with the metadata log that it keeps. It has no controller
listener, so its node comes without endpoints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.topics.names import CLUSTER_METADATA
from protocol.errors import ErrorCode
from protocol.messages.describe_quorum import (
    DescribeQuorumRequest,
    DescribeQuorumResponse,
    Node,
    PartitionDataResult,
    ReplicaState,
    TopicDataResult,
)

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker

_NODES_VERSION: Final = 2
_NOT_HOSTED: Final = "This server does not host this topic-partition."


def handle(broker: Broker, request: Request) -> DescribeQuorumResponse:
    message: DescribeQuorumRequest = request.message
    asked = [(topic.topic_name, [p.partition_index for p in topic.partitions]) for topic in message.topics]
    if asked != [(CLUSTER_METADATA, [0])]:
        return _refused(message)
    return DescribeQuorumResponse(
        error_message="",
        topics=[TopicDataResult(topic_name=CLUSTER_METADATA, partitions=[_describe(broker)])],
        nodes=[Node(node_id=broker.node_id)] if request.version >= _NODES_VERSION else [],
    )


def _describe(broker: Broker) -> PartitionDataResult:
    log = broker.catalog.metadata_log
    now_ms = broker.clock_ms()
    voter = ReplicaState(
        replica_id=broker.node_id,
        log_end_offset=log.log_end_offset,
        last_fetch_timestamp=now_ms,
        last_caught_up_timestamp=now_ms,
    )
    return PartitionDataResult(
        error_message="",
        leader_id=broker.node_id,
        leader_epoch=log.leader_epoch,
        high_watermark=log.durable_offset,
        current_voters=[voter],
    )


def _refused(message: DescribeQuorumRequest) -> DescribeQuorumResponse:
    """There is one partition with a quorum; asked for anything else, all is refused."""
    code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    return DescribeQuorumResponse(
        error_message="",
        topics=[
            TopicDataResult(
                topic_name=topic.topic_name,
                partitions=[
                    PartitionDataResult(
                        partition_index=partition.partition_index, error_code=code, error_message=_NOT_HOSTED
                    )
                    for partition in topic.partitions
                ],
            )
            for topic in message.topics
        ],
    )
