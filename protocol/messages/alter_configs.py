"""AlterConfigs: replace all configs of a resource. IncrementalAlterConfigs is its successor (KIP-339).

v1   the broker answers before it throttles (KIP-219)
v2   flexible (KIP-482)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, bool_, int8, int16, int32, request, response, string, struct


@struct
class AlterableConfig:
    name: str = string()
    value: str | None = string(nullable="0+")


@struct
class AlterConfigsResource:
    resource_type: int = int8()  # 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group
    resource_name: str = string()
    configs: list[AlterableConfig] = array(AlterableConfig)


@request(ApiKey.ALTER_CONFIGS, versions="0-2", flexible="2+")
class AlterConfigsRequest:
    resources: list[AlterConfigsResource] = array(AlterConfigsResource)
    validate_only: bool = bool_()


@struct
class AlterConfigsResourceResponse:
    error_code: int = int16()
    error_message: str | None = string(nullable="0+")
    resource_type: int = int8()
    resource_name: str = string()


@response(ApiKey.ALTER_CONFIGS, versions="0-2", flexible="2+")
class AlterConfigsResponse:
    throttle_time_ms: int = int32()
    responses: list[AlterConfigsResourceResponse] = array(AlterConfigsResourceResponse)
