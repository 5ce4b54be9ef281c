"""DescribeConfigs: configs of topics, brokers, groups and client metrics, with where each comes from.

v1   request include_synonyms; response config_source, synonyms, no longer is_default (KIP-226)
v2   the broker answers before it throttles (KIP-219)
v3   request include_documentation; response config_type, documentation (KIP-569)
v4   flexible (KIP-482)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, bool_, int8, int16, int32, request, response, string, struct


@struct
class DescribeConfigsResource:
    resource_type: int = int8()  # 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group
    resource_name: str = string()
    configuration_keys: list[str] | None = array(string, nullable="0+")  # null for all


@request(ApiKey.DESCRIBE_CONFIGS, versions="0-4", flexible="4+")
class DescribeConfigsRequest:
    resources: list[DescribeConfigsResource] = array(DescribeConfigsResource)
    include_synonyms: bool = bool_("1+")  # KIP-226
    include_documentation: bool = bool_("3+")  # KIP-569


@struct
class DescribeConfigsSynonym:
    name: str = string("1+")  # KIP-226
    value: str | None = string("1+", nullable="1+")
    source: int = int8("1+")


@struct
class DescribeConfigsResourceResult:
    name: str = string()
    value: str | None = string(nullable="0+")
    read_only: bool = bool_()
    is_default: bool = bool_("0")
    # config_source: 1 topic, 2 broker, 3 all brokers, 4 file, 5 default, 6 logger, 7 client metrics, 8 group
    config_source: int = int8("1+", default=-1, ignorable=True)  # KIP-226
    is_sensitive: bool = bool_()
    synonyms: list[DescribeConfigsSynonym] = array(DescribeConfigsSynonym, "1+", ignorable=True)
    config_type: int = int8("3+", ignorable=True)  # KIP-569
    documentation: str | None = string("3+", nullable="3+", ignorable=True)


@struct
class DescribeConfigsResult:
    error_code: int = int16()
    error_message: str | None = string(nullable="0+")
    resource_type: int = int8()
    resource_name: str = string()
    configs: list[DescribeConfigsResourceResult] = array(DescribeConfigsResourceResult)


@response(ApiKey.DESCRIBE_CONFIGS, versions="0-4", flexible="4+")
class DescribeConfigsResponse:
    throttle_time_ms: int = int32()
    results: list[DescribeConfigsResult] = array(DescribeConfigsResult)
