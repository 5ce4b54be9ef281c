"""DescribeCluster: brokers and the cluster id, without topics (KIP-700).

v1   endpoint_type (KIP-919)
v2   request include_fenced_brokers; response is_fenced (KIP-1073)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, bool_, int8, int16, int32, request, response, string, struct


@request(ApiKey.DESCRIBE_CLUSTER, versions="0-2", flexible="0+")
class DescribeClusterRequest:
    include_cluster_authorized_operations: bool = bool_()
    endpoint_type: int = int8("1+", default=1)  # KIP-919
    include_fenced_brokers: bool = bool_("2+")  # KIP-1073


@struct
class DescribeClusterBroker:
    broker_id: int = int32()
    host: str = string()
    port: int = int32()
    rack: str | None = string(nullable="0+")
    is_fenced: bool = bool_("2+")  # KIP-1073


@response(ApiKey.DESCRIBE_CLUSTER, versions="0-2", flexible="0+")
class DescribeClusterResponse:
    throttle_time_ms: int = int32()
    error_code: int = int16()
    error_message: str | None = string(nullable="0+")
    endpoint_type: int = int8("1+", default=1)  # KIP-919
    cluster_id: str = string()
    controller_id: int = int32(default=-1)
    brokers: list[DescribeClusterBroker] = array(DescribeClusterBroker)
    cluster_authorized_operations: int = int32(default=-2147483648)
