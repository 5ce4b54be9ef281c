"""ApiVersions: which APIs and versions the broker speaks, and its features.

v1   response throttle_time_ms
v2   the broker answers before it throttles (KIP-219)
v3   request client_software_name, client_software_version; response supported_features,
     finalized_features_epoch, finalized_features, zk_migration_ready (KIP-511, KIP-584); flexible (KIP-482)
v4   supported features may have the minimum 0
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, bool_, int16, int32, int64, request, response, string, struct


@request(ApiKey.API_VERSIONS, versions="0-4", flexible="3+")
class ApiVersionsRequest:
    client_software_name: str = string("3+", ignorable=True)  # KIP-511, KIP-584
    client_software_version: str = string("3+", ignorable=True)


@struct
class ApiVersion:
    api_key: int = int16()
    min_version: int = int16()
    max_version: int = int16()


@struct
class SupportedFeatureKey:
    name: str = string("3+")  # KIP-511, KIP-584
    min_version: int = int16("3+")
    max_version: int = int16("3+")


@struct
class FinalizedFeatureKey:
    name: str = string("3+")  # KIP-511, KIP-584
    max_version_level: int = int16("3+")
    min_version_level: int = int16("3+")


@response(ApiKey.API_VERSIONS, versions="0-4", flexible="3+")
class ApiVersionsResponse:
    error_code: int = int16()
    api_keys: list[ApiVersion] = array(ApiVersion)
    throttle_time_ms: int = int32("1+", ignorable=True)
    supported_features: list[SupportedFeatureKey] = array(
        SupportedFeatureKey, ignorable=True, tag=0, tagged="3+"
    )
    # finalized_features_epoch: below 0 clients ignore the features
    finalized_features_epoch: int = int64(default=-1, ignorable=True, tag=1, tagged="3+")  # KIP-511, KIP-584
    finalized_features: list[FinalizedFeatureKey] = array(
        FinalizedFeatureKey, ignorable=True, tag=2, tagged="3+"
    )
    zk_migration_ready: bool = bool_(ignorable=True, tag=3, tagged="3+")
