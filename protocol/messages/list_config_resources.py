"""ListConfigResources: the resources that have configs: topics, brokers, groups, client metrics. Version 0 was called
ListClientMetricsResources (KIP-714).

v1   request resource_types; response resource_type (KIP-1142)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, int8, int16, int32, request, response, string, struct


@request(ApiKey.LIST_CONFIG_RESOURCES, versions="0-1", flexible="0+")
class ListConfigResourcesRequest:
    resource_types: list[int] = array(int8, "1+")  # KIP-1142


@struct
class ConfigResource:
    resource_name: str = string()
    resource_type: int = int8("1+", default=16, ignorable=True)  # KIP-1142


@response(ApiKey.LIST_CONFIG_RESOURCES, versions="0-1", flexible="0+")
class ListConfigResourcesResponse:
    throttle_time_ms: int = int32()
    error_code: int = int16()
    config_resources: list[ConfigResource] = array(ConfigResource)
