"""OffsetFetch: how far a group has read.

v1   offsets live in __consumer_offsets; version 0 read them from ZooKeeper
v2   request topics may be null; response error_code (KIP-88)
v3   response throttle_time_ms
v4   the broker answers before it throttles (KIP-219)
v5   response committed_leader_epoch (KIP-320)
v6   flexible (KIP-482)
v7   request require_stable (KIP-447)
v8   groups, no longer topics; request no longer group_id; response no longer error_code (KIP-709)
v9   request member_id, member_epoch (KIP-848)
v10  topic_id, no longer name (KIP-848)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, bool_, int16, int32, int64, request, response, string, struct, uuid


@struct
class OffsetFetchRequestTopic:
    name: str = string("0-7")
    partition_indexes: list[int] = array(int32, "0-7")


@struct
class OffsetFetchRequestTopics:
    name: str = string("8-9", ignorable=True)  # KIP-709
    topic_id: bytes = uuid("10+", ignorable=True)  # KIP-848
    partition_indexes: list[int] = array(int32, "8+")


@struct
class OffsetFetchRequestGroup:
    group_id: str = string("8+")  # KIP-709
    member_id: str | None = string("9+", nullable="9+", ignorable=True)  # KIP-848
    member_epoch: int = int32("9+", default=-1, ignorable=True)
    # topics: null for all of the group
    topics: list[OffsetFetchRequestTopics] | None = array(OffsetFetchRequestTopics, "8+", nullable="8+")


@request(ApiKey.OFFSET_FETCH, versions="0-10", flexible="6+")
class OffsetFetchRequest:
    group_id: str = string("0-7")
    # topics: null for all of the group
    topics: list[OffsetFetchRequestTopic] | None = array(OffsetFetchRequestTopic, "0-7", nullable="2-7")
    groups: list[OffsetFetchRequestGroup] = array(OffsetFetchRequestGroup, "8+")  # KIP-709
    require_stable: bool = bool_("7+")  # KIP-447


@struct
class OffsetFetchResponsePartition:
    partition_index: int = int32("0-7")
    committed_offset: int = int64("0-7")
    committed_leader_epoch: int = int32("5-7", default=-1, ignorable=True)  # KIP-320
    metadata: str | None = string("0-7", nullable="0-7")
    error_code: int = int16("0-7")


@struct
class OffsetFetchResponseTopic:
    name: str = string("0-7")
    partitions: list[OffsetFetchResponsePartition] = array(OffsetFetchResponsePartition, "0-7")


@struct
class OffsetFetchResponsePartitions:
    partition_index: int = int32("8+")  # KIP-709
    committed_offset: int = int64("8+")
    committed_leader_epoch: int = int32("8+", default=-1, ignorable=True)
    metadata: str | None = string("8+", nullable="8+")
    error_code: int = int16("8+")


@struct
class OffsetFetchResponseTopics:
    name: str = string("8-9", ignorable=True)  # KIP-709
    topic_id: bytes = uuid("10+", ignorable=True)  # KIP-848
    partitions: list[OffsetFetchResponsePartitions] = array(OffsetFetchResponsePartitions, "8+")


@struct
class OffsetFetchResponseGroup:
    group_id: str = string("8+")  # KIP-709
    topics: list[OffsetFetchResponseTopics] = array(OffsetFetchResponseTopics, "8+")
    error_code: int = int16("8+")


@response(ApiKey.OFFSET_FETCH, versions="0-10", flexible="6+")
class OffsetFetchResponse:
    throttle_time_ms: int = int32("3+", ignorable=True)
    topics: list[OffsetFetchResponseTopic] = array(OffsetFetchResponseTopic, "0-7")
    error_code: int = int16("2-7", ignorable=True)  # KIP-88
    groups: list[OffsetFetchResponseGroup] = array(OffsetFetchResponseGroup, "8+")  # KIP-709
