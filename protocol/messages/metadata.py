"""Metadata: brokers, topics and partition leaders.

v1   request topics may be null; response rack, controller_id, is_internal
v2   response cluster_id (KIP-78)
v3   response throttle_time_ms
v4   request allow_auto_topic_creation
v5   response offline_replicas (KIP-112)
v6   the broker answers before it throttles (KIP-219)
v7   response leader_epoch (KIP-320)
v8   request include_cluster_authorized_operations, include_topic_authorized_operations; response
     topic_authorized_operations, cluster_authorized_operations (KIP-430)
v9   flexible (KIP-482)
v10  topic_id; request name may be null (KIP-516)
v11  request no longer include_cluster_authorized_operations; response no longer
     cluster_authorized_operations (KIP-700)
v12  response name may be null (KIP-516)
v13  response error_code (KIP-1102)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, bool_, int16, int32, request, response, string, struct, uuid


@struct
class MetadataRequestTopic:
    topic_id: bytes = uuid("10+", ignorable=True)  # KIP-516
    name: str | None = string(nullable="10+")


@request(ApiKey.METADATA, versions="0-13", flexible="9+")
class MetadataRequest:
    # topics: null for all; in version 0 empty for all
    topics: list[MetadataRequestTopic] | None = array(MetadataRequestTopic, nullable="1+")
    allow_auto_topic_creation: bool = bool_("4+", default=True)
    include_cluster_authorized_operations: bool = bool_("8-10")  # KIP-430
    include_topic_authorized_operations: bool = bool_("8+")


@struct
class MetadataResponseBroker:
    node_id: int = int32()
    host: str = string()
    port: int = int32()
    rack: str | None = string("1+", nullable="1+", ignorable=True)


@struct
class MetadataResponsePartition:
    error_code: int = int16()
    partition_index: int = int32()
    leader_id: int = int32()
    leader_epoch: int = int32("7+", default=-1, ignorable=True)  # KIP-320
    replica_nodes: list[int] = array(int32)
    isr_nodes: list[int] = array(int32)
    offline_replicas: list[int] = array(int32, "5+", ignorable=True)  # KIP-112


@struct
class MetadataResponseTopic:
    error_code: int = int16()
    name: str | None = string(nullable="12+")
    topic_id: bytes = uuid("10+", ignorable=True)  # KIP-516
    is_internal: bool = bool_("1+", ignorable=True)
    partitions: list[MetadataResponsePartition] = array(MetadataResponsePartition)
    # topic_authorized_operations: a bit field; the smallest int32 when not asked for
    topic_authorized_operations: int = int32("8+", default=-2147483648)  # KIP-430


@response(ApiKey.METADATA, versions="0-13", flexible="9+")
class MetadataResponse:
    throttle_time_ms: int = int32("3+", ignorable=True)
    brokers: list[MetadataResponseBroker] = array(MetadataResponseBroker)
    cluster_id: str | None = string("2+", nullable="2+", ignorable=True)  # KIP-78
    controller_id: int = int32("1+", default=-1, ignorable=True)
    topics: list[MetadataResponseTopic] = array(MetadataResponseTopic)
    # cluster_authorized_operations: a bit field; the smallest int32 when not asked for
    cluster_authorized_operations: int = int32("8-10", default=-2147483648)  # KIP-430
    error_code: int = int16("13+", ignorable=True)  # KIP-1102
