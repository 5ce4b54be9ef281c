"""Produce: append record batches to partitions.

v1   response throttle_time_ms (KIP-13)
v2   response log_append_time_ms (KIP-32)
v3   request transactional_id; records must be in format 2 from here on (KIP-98)
v4   KAFKA_STORAGE_ERROR may be answered (KIP-112)
v5   response log_start_offset
v6   the broker answers before it throttles (KIP-219)
v7   zstd is allowed (KIP-110)
v8   response record_errors, error_message (KIP-467)
v9   flexible (KIP-482)
v10  response current_leader, node_endpoints (KIP-951)
v11  TRANSACTION_ABORTABLE may be answered (KIP-890)
v12  implies AddPartitionsToTxn under transaction version 2 (KIP-890)
v13  topic_id, no longer name (KIP-516)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import (
    RecordData,
    array,
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
class PartitionProduceData:
    index: int = int32()
    records: RecordData = records_(nullable="0+")


@struct
class TopicProduceData:
    name: str = string("0-12", ignorable=True)
    topic_id: bytes = uuid("13+", ignorable=True)  # KIP-516
    partition_data: list[PartitionProduceData] = array(PartitionProduceData)


@request(ApiKey.PRODUCE, versions="0-13", flexible="9+")
class ProduceRequest:
    transactional_id: str | None = string("3+", nullable="3+")  # KIP-98
    acks: int = int16()  # -1 all in-sync replicas, 1 the leader, 0 no answer at all
    timeout_ms: int = int32()
    topic_data: list[TopicProduceData] = array(TopicProduceData)


@struct
class BatchIndexAndErrorMessage:
    batch_index: int = int32("8+")  # KIP-467
    batch_index_error_message: str | None = string("8+", nullable="8+")


@struct
class LeaderIdAndEpoch:
    leader_id: int = int32("10+", default=-1)  # KIP-951
    leader_epoch: int = int32("10+", default=-1)


@struct
class PartitionProduceResponse:
    index: int = int32()
    error_code: int = int16()
    base_offset: int = int64()
    # log_append_time_ms: -1 unless the topic stamps the time of appending
    log_append_time_ms: int = int64("2+", default=-1, ignorable=True)  # KIP-32
    log_start_offset: int = int64("5+", default=-1, ignorable=True)
    record_errors: list[BatchIndexAndErrorMessage] = array(BatchIndexAndErrorMessage, "8+", ignorable=True)
    error_message: str | None = string("8+", nullable="8+", ignorable=True)  # KIP-467
    current_leader: LeaderIdAndEpoch | None = nested(LeaderIdAndEpoch, tag=0, tagged="10+")  # KIP-951


@struct
class TopicProduceResponse:
    name: str = string("0-12", ignorable=True)
    topic_id: bytes = uuid("13+", ignorable=True)  # KIP-516
    partition_responses: list[PartitionProduceResponse] = array(PartitionProduceResponse)


@struct
class NodeEndpoint:
    node_id: int = int32("10+")  # KIP-951
    host: str = string("10+")
    port: int = int32("10+")
    rack: str | None = string("10+", nullable="10+")


@response(ApiKey.PRODUCE, versions="0-13", flexible="9+")
class ProduceResponse:
    responses: list[TopicProduceResponse] = array(TopicProduceResponse)
    throttle_time_ms: int = int32("1+", ignorable=True)  # KIP-13
    node_endpoints: list[NodeEndpoint] = array(NodeEndpoint, tag=0, tagged="10+")  # KIP-951
