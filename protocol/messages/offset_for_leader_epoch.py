"""OffsetForLeaderEpoch: where a leader epoch ends: how clients and followers find that a log was truncated.

v1   response leader_epoch
v2   request current_leader_epoch; response throttle_time_ms (KIP-320)
v3   request replica_id (KIP-392)
v4   flexible (KIP-482)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, int16, int32, int64, request, response, string, struct


@struct
class OffsetForLeaderPartition:
    partition: int = int32()
    current_leader_epoch: int = int32("2+", default=-1, ignorable=True)  # KIP-320
    leader_epoch: int = int32()


@struct
class OffsetForLeaderTopic:
    topic: str = string()
    partitions: list[OffsetForLeaderPartition] = array(OffsetForLeaderPartition)


@request(ApiKey.OFFSET_FOR_LEADER_EPOCH, versions="0-4", flexible="4+")
class OffsetForLeaderEpochRequest:
    replica_id: int = int32("3+", default=-2, ignorable=True)  # -1 a debugging client, -2 a consumer
    topics: list[OffsetForLeaderTopic] = array(OffsetForLeaderTopic)


@struct
class EpochEndOffset:
    error_code: int = int16()
    partition: int = int32()
    leader_epoch: int = int32("1+", default=-1, ignorable=True)
    end_offset: int = int64(default=-1)


@struct
class OffsetForLeaderTopicResult:
    topic: str = string()
    partitions: list[EpochEndOffset] = array(EpochEndOffset)


@response(ApiKey.OFFSET_FOR_LEADER_EPOCH, versions="0-4", flexible="4+")
class OffsetForLeaderEpochResponse:
    throttle_time_ms: int = int32("2+", ignorable=True)  # KIP-320
    topics: list[OffsetForLeaderTopicResult] = array(OffsetForLeaderTopicResult)
