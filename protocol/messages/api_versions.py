"""ApiVersions:

v1   response throttle_time_ms
v2   nothing new on the wire
v3   request client_software_name, client_software_version; response supported_features,
     finalized_features_epoch, finalized_features, zk_migration_ready, name, min_version, max_version,
     max_version_level, min_version_level; flexible (KIP-482) (KIP-511)
v4   nothing new on the wire
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, bool_, int16, int32, int64, request, response, string, struct


@request(ApiKey.API_VERSIONS, versions="0-4", flexible="3+")
class ApiVersionsRequest:
    client_software_name: str = string("3+", ignorable=True)  # KIP-511
    client_software_version: str = string("3+", ignorable=True)


@struct
class ApiVersion:
    api_key: int = int16()
    min_version: int = int16()
    max_version: int = int16()


@struct
class SupportedFeatureKey:
    name: str = string("3+")  # KIP-511
    min_version: int = int16("3+")
    max_version: int = int16("3+")


@struct
class FinalizedFeatureKey:
    name: str = string("3+")  # KIP-511
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
    finalized_features_epoch: int = int64(default=-1, ignorable=True, tag=1, tagged="3+")  # KIP-511
    finalized_features: list[FinalizedFeatureKey] = array(
        FinalizedFeatureKey, ignorable=True, tag=2, tagged="3+"
    )
    zk_migration_ready: bool = bool_(ignorable=True, tag=3, tagged="3+")
