"""CreateTopics: create topics, with configs and replica assignments.

v1   request validate_only; response error_message
v2   response throttle_time_ms
v3   the broker answers before it throttles (KIP-219)
v4   -1 partitions or replicas mean the broker's default (KIP-464)
v5   response topic_config_error_code, num_partitions, replication_factor, configs (KIP-525); flexible
     (KIP-482)
v6   THROTTLING_QUOTA_EXCEEDED may be answered (KIP-599)
v7   response topic_id (KIP-516)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, bool_, int8, int16, int32, request, response, string, struct, uuid


@struct
class CreatableReplicaAssignment:
    partition_index: int = int32()
    broker_ids: list[int] = array(int32)


@struct
class CreatableTopicConfig:
    name: str = string()
    value: str | None = string(nullable="0+")


@struct
class CreatableTopic:
    name: str = string()
    num_partitions: int = int32()  # -1 for the default, or where assignments are given
    replication_factor: int = int16()  # -1 for the default, or where assignments are given
    assignments: list[CreatableReplicaAssignment] = array(CreatableReplicaAssignment)
    configs: list[CreatableTopicConfig] = array(CreatableTopicConfig)


@request(ApiKey.CREATE_TOPICS, versions="0-7", flexible="5+")
class CreateTopicsRequest:
    topics: list[CreatableTopic] = array(CreatableTopic)
    timeout_ms: int = int32(default=60000)
    validate_only: bool = bool_("1+")


@struct
class CreatableTopicConfigs:
    name: str = string("5+")  # KIP-525
    value: str | None = string("5+", nullable="5+")
    read_only: bool = bool_("5+")
    config_source: int = int8("5+", default=-1, ignorable=True)
    is_sensitive: bool = bool_("5+")


@struct
class CreatableTopicResult:
    name: str = string()
    topic_id: bytes = uuid("7+", ignorable=True)  # KIP-516
    error_code: int = int16()
    error_message: str | None = string("1+", nullable="1+", ignorable=True)
    topic_config_error_code: int = int16(ignorable=True, tag=0, tagged="5+")  # KIP-525
    num_partitions: int = int32("5+", default=-1, ignorable=True)
    replication_factor: int = int16("5+", default=-1, ignorable=True)
    configs: list[CreatableTopicConfigs] | None = array(
        CreatableTopicConfigs, "5+", nullable="5+", ignorable=True
    )


@response(ApiKey.CREATE_TOPICS, versions="0-7", flexible="5+")
class CreateTopicsResponse:
    throttle_time_ms: int = int32("2+", ignorable=True)
    topics: list[CreatableTopicResult] = array(CreatableTopicResult)
