"""ListOffsets: the offset that belongs to a timestamp, or to one of the special positions below.

v1   request no longer max_num_offsets; response timestamp, offset, no longer old_style_offsets; one offset
     for a timestamp instead of many before it (KIP-79)
v2   request isolation_level; response throttle_time_ms (KIP-98)
v3   the broker answers before it throttles (KIP-219)
v4   request current_leader_epoch; response leader_epoch (KIP-320)
v5   OFFSET_NOT_AVAILABLE may be answered (KIP-207)
v6   flexible (KIP-482)
v7   timestamp -3 is the record with the largest timestamp (KIP-734)
v8   timestamp -4 is the earliest offset on local disk (KIP-405)
v9   timestamp -5 is the last offset in tiered storage (KIP-1005)
v10  request timeout_ms (KIP-1075)
v11  timestamp -6 is the earliest offset not yet uploaded to tiered storage (KIP-1023)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, int8, int16, int32, int64, request, response, string, struct


@struct
class ListOffsetsPartition:
    partition_index: int = int32()
    current_leader_epoch: int = int32("4+", default=-1, ignorable=True)  # KIP-320
    timestamp: int = int64()  # ms, or one of the special values above, -1 latest, -2 earliest
    max_num_offsets: int = int32("0", default=1)


@struct
class ListOffsetsTopic:
    name: str = string()
    partitions: list[ListOffsetsPartition] = array(ListOffsetsPartition)


@request(ApiKey.LIST_OFFSETS, versions="0-11", flexible="6+")
class ListOffsetsRequest:
    replica_id: int = int32()  # -1 for a consumer
    isolation_level: int = int8("2+")  # 0 read_uncommitted, 1 read_committed
    topics: list[ListOffsetsTopic] = array(ListOffsetsTopic)
    timeout_ms: int = int32("10+", ignorable=True)  # KIP-1075


@struct
class ListOffsetsPartitionResponse:
    partition_index: int = int32()
    error_code: int = int16()
    old_style_offsets: list[int] = array(int64, "0")
    timestamp: int = int64("1+", default=-1)  # KIP-79
    offset: int = int64("1+", default=-1)
    leader_epoch: int = int32("4+", default=-1)  # KIP-320


@struct
class ListOffsetsTopicResponse:
    name: str = string()
    partitions: list[ListOffsetsPartitionResponse] = array(ListOffsetsPartitionResponse)


@response(ApiKey.LIST_OFFSETS, versions="0-11", flexible="6+")
class ListOffsetsResponse:
    throttle_time_ms: int = int32("2+", ignorable=True)  # KIP-98
    topics: list[ListOffsetsTopicResponse] = array(ListOffsetsTopicResponse)
