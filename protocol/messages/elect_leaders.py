"""ElectLeaders: elect leaders of partitions.

v1   request election_type; response error_code (KIP-460)
v2   flexible (KIP-482)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, int8, int16, int32, request, response, string, struct


@struct
class TopicPartitions:
    topic: str = string()
    partitions: list[int] = array(int32)


@request(ApiKey.ELECT_LEADERS, versions="0-2", flexible="2+")
class ElectLeadersRequest:
    election_type: int = int8("1+")  # 0 preferred, 1 unclean
    topic_partitions: list[TopicPartitions] | None = array(TopicPartitions, nullable="0+")  # null for all
    timeout_ms: int = int32(default=60000)


@struct
class PartitionResult:
    partition_id: int = int32()
    error_code: int = int16()
    error_message: str | None = string(nullable="0+")


@struct
class ReplicaElectionResult:
    topic: str = string()
    partition_result: list[PartitionResult] = array(PartitionResult)


@response(ApiKey.ELECT_LEADERS, versions="0-2", flexible="2+")
class ElectLeadersResponse:
    throttle_time_ms: int = int32()
    error_code: int = int16("1+")  # KIP-460
    replica_election_results: list[ReplicaElectionResult] = array(ReplicaElectionResult)
