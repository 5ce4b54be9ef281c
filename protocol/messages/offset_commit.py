"""OffsetCommit: store how far a group has read.

v1   request generation_id_or_member_epoch, member_id, commit_timestamp
v2   request retention_time_ms, no longer commit_timestamp
v3   response throttle_time_ms
v4   the broker answers before it throttles (KIP-219)
v5   request no longer retention_time_ms (KIP-211)
v6   request committed_leader_epoch (KIP-320)
v7   request group_instance_id (KIP-345)
v8   flexible (KIP-482)
v9   for consumer groups too; STALE_MEMBER_EPOCH may be answered (KIP-848)
v10  topic_id, no longer name (KIP-848)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, int16, int32, int64, request, response, string, struct, uuid


@struct
class OffsetCommitRequestPartition:
    partition_index: int = int32()
    committed_offset: int = int64()
    committed_leader_epoch: int = int32("6+", default=-1, ignorable=True)  # KIP-320
    commit_timestamp: int = int64("1", default=-1)
    committed_metadata: str | None = string(nullable="0+")


@struct
class OffsetCommitRequestTopic:
    name: str = string("0-9", ignorable=True)
    topic_id: bytes = uuid("10+", ignorable=True)  # KIP-848
    partitions: list[OffsetCommitRequestPartition] = array(OffsetCommitRequestPartition)


@request(ApiKey.OFFSET_COMMIT, versions="0-10", flexible="8+")
class OffsetCommitRequest:
    group_id: str = string()
    generation_id_or_member_epoch: int = int32("1+", default=-1, ignorable=True)
    member_id: str = string("1+", ignorable=True)
    group_instance_id: str | None = string("7+", nullable="7+")  # KIP-345
    retention_time_ms: int = int64(
        "2-4", default=-1, ignorable=True
    )  # -1 for what the broker is configured to
    topics: list[OffsetCommitRequestTopic] = array(OffsetCommitRequestTopic)


@struct
class OffsetCommitResponsePartition:
    partition_index: int = int32()
    error_code: int = int16()


@struct
class OffsetCommitResponseTopic:
    name: str = string("0-9", ignorable=True)
    topic_id: bytes = uuid("10+", ignorable=True)  # KIP-848
    partitions: list[OffsetCommitResponsePartition] = array(OffsetCommitResponsePartition)


@response(ApiKey.OFFSET_COMMIT, versions="0-10", flexible="8+")
class OffsetCommitResponse:
    throttle_time_ms: int = int32("3+", ignorable=True)
    topics: list[OffsetCommitResponseTopic] = array(OffsetCommitResponseTopic)
