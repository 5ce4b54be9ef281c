"""DescribeQuorum: the state of the metadata quorum (KIP-595).

v1   response last_fetch_timestamp, last_caught_up_timestamp (KIP-836)
v2   response error_message, replica_directory_id, nodes (KIP-853)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, int16, int32, int64, request, response, string, struct, uint16, uuid


@struct
class PartitionData:
    partition_index: int = int32()


@struct
class TopicData:
    topic_name: str = string()
    partitions: list[PartitionData] = array(PartitionData)


@request(ApiKey.DESCRIBE_QUORUM, versions="0-2", flexible="0+")
class DescribeQuorumRequest:
    topics: list[TopicData] = array(TopicData)


@struct
class ReplicaState:
    replica_id: int = int32()
    replica_directory_id: bytes = uuid("2+")  # KIP-853
    log_end_offset: int = int64()
    last_fetch_timestamp: int = int64("1+", default=-1, ignorable=True)  # KIP-836
    last_caught_up_timestamp: int = int64("1+", default=-1, ignorable=True)


@struct
class PartitionDataResult:
    partition_index: int = int32()
    error_code: int = int16()
    error_message: str | None = string("2+", nullable="2+", ignorable=True)  # KIP-853
    leader_id: int = int32()
    leader_epoch: int = int32()
    high_watermark: int = int64()
    current_voters: list[ReplicaState] = array(ReplicaState)
    observers: list[ReplicaState] = array(ReplicaState)


@struct
class TopicDataResult:
    topic_name: str = string()
    partitions: list[PartitionDataResult] = array(PartitionDataResult)


@struct
class Listener:
    name: str = string("2+")  # KIP-853
    host: str = string("2+")
    port: int = uint16("2+")


@struct
class Node:
    node_id: int = int32("2+")  # KIP-853
    listeners: list[Listener] = array(Listener, "2+")


@response(ApiKey.DESCRIBE_QUORUM, versions="0-2", flexible="0+")
class DescribeQuorumResponse:
    error_code: int = int16()
    error_message: str | None = string("2+", nullable="2+", ignorable=True)  # KIP-853
    topics: list[TopicDataResult] = array(TopicDataResult)
    nodes: list[Node] = array(Node, "2+")
