"""Fetch: read record batches from partitions; also how followers and raft voters replicate.

v1   response throttle_time_ms (KIP-13)
v2   records may be in format 1 (KIP-32)
v3   request max_bytes (KIP-74)
v4   request isolation_level; response last_stable_offset, aborted_transactions; records may be in format 2
     (KIP-98)
v5   log_start_offset (KIP-107)
v6   KAFKA_STORAGE_ERROR may be answered (KIP-112)
v7   session_id; request session_epoch, forgotten_topics_data; response error_code (KIP-227)
v8   the broker answers before it throttles (KIP-219)
v9   request current_leader_epoch (KIP-320)
v10  zstd may be answered (KIP-110)
v11  request rack_id; response preferred_read_replica (KIP-392)
v12  request cluster_id, last_fetched_epoch; response diverging_epoch, current_leader, snapshot_id
     (KIP-595); flexible (KIP-482)
v13  topic_id, no longer topic (KIP-516)
v14  OFFSET_MOVED_TO_TIERED_STORAGE may be answered (KIP-405)
v15  request replica_state, no longer replica_id (KIP-903)
v16  response node_endpoints (KIP-951)
v17  request replica_directory_id (KIP-853)
v18  request high_watermark (KIP-1166)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import (
    RecordData,
    array,
    int8,
    int16,
    int32,
    int64,
    nested,
    records_,
    request,
    response,
    string,
    struct,
    uuid,
)


@struct
class ReplicaState:
    replica_id: int = int32("15+", default=-1)  # KIP-903
    replica_epoch: int = int64("15+", default=-1)


@struct
class FetchPartition:
    partition: int = int32()
    current_leader_epoch: int = int32("9+", default=-1, ignorable=True)  # KIP-320
    fetch_offset: int = int64()
    last_fetched_epoch: int = int32("12+", default=-1)  # KIP-595
    log_start_offset: int = int64("5+", default=-1, ignorable=True)  # of a follower
    partition_max_bytes: int = int32()  # the first batch is returned even if larger (KIP-74)
    replica_directory_id: bytes = uuid(ignorable=True, tag=0, tagged="17+")  # KIP-853
    high_watermark: int = int64(default=9223372036854775807, ignorable=True, tag=1, tagged="18+")  # KIP-1166


@struct
class FetchTopic:
    topic: str = string("0-12", ignorable=True)
    topic_id: bytes = uuid("13+", ignorable=True)  # KIP-516
    partitions: list[FetchPartition] = array(FetchPartition)


@struct
class ForgottenTopic:
    topic: str = string("7-12", ignorable=True)  # KIP-227
    topic_id: bytes = uuid("13+", ignorable=True)  # KIP-516
    partitions: list[int] = array(int32, "7+")


@request(ApiKey.FETCH, versions="0-18", flexible="12+")
class FetchRequest:
    cluster_id: str | None = string(nullable="12+", ignorable=True, tag=0, tagged="12+")  # KIP-595
    replica_id: int = int32("0-14", default=-1)  # -1 for a consumer
    replica_state: ReplicaState | None = nested(ReplicaState, tag=1, tagged="15+")  # KIP-903
    max_wait_ms: int = int32()
    min_bytes: int = int32()
    max_bytes: int = int32("3+", default=2147483647, ignorable=True)  # KIP-74
    isolation_level: int = int8("4+", ignorable=True)  # 0 read_uncommitted, 1 read_committed
    session_id: int = int32("7+", ignorable=True)  # KIP-227
    # session_epoch: 0 opens a session, -1 closes it or does without
    session_epoch: int = int32("7+", default=-1, ignorable=True)
    topics: list[FetchTopic] = array(FetchTopic)
    forgotten_topics_data: list[ForgottenTopic] = array(ForgottenTopic, "7+")
    rack_id: str = string("11+", ignorable=True)  # KIP-392


@struct
class EpochEndOffset:
    epoch: int = int32("12+", default=-1)  # KIP-595
    end_offset: int = int64("12+", default=-1)


@struct
class LeaderIdAndEpoch:
    leader_id: int = int32("12+", default=-1)  # KIP-595
    leader_epoch: int = int32("12+", default=-1)


@struct
class SnapshotId:
    end_offset: int = int64(default=-1)
    epoch: int = int32(default=-1)


@struct
class AbortedTransaction:
    producer_id: int = int64("4+")  # KIP-98
    first_offset: int = int64("4+")


@struct
class PartitionData:
    partition_index: int = int32()
    error_code: int = int16()
    high_watermark: int = int64()
    last_stable_offset: int = int64("4+", default=-1, ignorable=True)  # KIP-98
    log_start_offset: int = int64("5+", default=-1, ignorable=True)  # KIP-107
    diverging_epoch: EpochEndOffset | None = nested(EpochEndOffset, tag=0, tagged="12+")  # KIP-595
    current_leader: LeaderIdAndEpoch | None = nested(LeaderIdAndEpoch, tag=1, tagged="12+")
    snapshot_id: SnapshotId | None = nested(SnapshotId, tag=2, tagged="12+")
    aborted_transactions: list[AbortedTransaction] | None = array(
        AbortedTransaction, "4+", nullable="4+", ignorable=True
    )
    preferred_read_replica: int = int32("11+", default=-1)  # -1: read from the leader
    records: RecordData = records_(nullable="0+")


@struct
class FetchableTopicResponse:
    topic: str = string("0-12", ignorable=True)
    topic_id: bytes = uuid("13+", ignorable=True)  # KIP-516
    partitions: list[PartitionData] = array(PartitionData)


@struct
class NodeEndpoint:
    node_id: int = int32("16+")  # KIP-951
    host: str = string("16+")
    port: int = int32("16+")
    rack: str | None = string("16+", nullable="16+")


@response(ApiKey.FETCH, versions="0-18", flexible="12+")
class FetchResponse:
    throttle_time_ms: int = int32("1+", ignorable=True)  # KIP-13
    error_code: int = int16("7+", ignorable=True)  # KIP-227
    session_id: int = int32("7+")
    responses: list[FetchableTopicResponse] = array(FetchableTopicResponse)
    node_endpoints: list[NodeEndpoint] = array(NodeEndpoint, tag=0, tagged="16+")  # KIP-951
