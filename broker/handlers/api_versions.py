"""ApiVersions (key 18), versions 0 to 4 (KIP-35, KIP-511, KIP-584).

v0  the ranges     v1  throttle time     v3  flexible, the client's software, features     v4  feature minimum 0 allowed

Features (KIP-584) are what the metadata log says, with the levels supported here. Below v4 those with the minimum 0 are
not listed as supported, as in Kafka: Java clients of that time fail on them.

The ranges come from the handler table alone. A version we do not know is answered in v0 with UNSUPPORTED_VERSION and
the ranges filled, which is how a newer client finds the version to retry with.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from broker.handlers import HANDLERS
from protocol.api import PRIVATE_APIS
from protocol.errors import ErrorCode
from protocol.messages.api_versions import (
    ApiVersion,
    ApiVersionsRequest,
    ApiVersionsResponse,
    FinalizedFeatureKey,
    SupportedFeatureKey,
)

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker

_SOFTWARE_VERSION: Final = 3
_FEATURE_MINIMUM_VERSION: Final = 4

SUPPORTED_FEATURES: Final = {
    "group.version": (0, 1),
    "metadata.version": (7, 30),
    "transaction.version": (0, 2),
}
"""Lowest and highest level; Kafka 4.3's, as far as they are implemented."""

_SOFTWARE: Final = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")  # KIP-511


def handle(broker: Broker, request: Request) -> ApiVersionsResponse:
    message: ApiVersionsRequest = request.message
    if request.version >= _SOFTWARE_VERSION:
        name, version = message.client_software_name, message.client_software_version
        if not (_SOFTWARE.fullmatch(name) and _SOFTWARE.fullmatch(version)):
            return ApiVersionsResponse(error_code=ErrorCode.INVALID_REQUEST)
        request.connection.client_software = (name, version)
    return _response(broker, ErrorCode.NONE, request.version)


def handle_unsupported_version(broker: Broker, _: None) -> ApiVersionsResponse:
    return _response(broker, ErrorCode.UNSUPPORTED_VERSION, 0)


def _response(broker: Broker, code: ErrorCode, version: int) -> ApiVersionsResponse:
    return ApiVersionsResponse(
        error_code=code,
        api_keys=[
            ApiVersion(api_key=spec.api, min_version=spec.versions[0], max_version=spec.versions[1])
            for spec in HANDLERS
            if spec.api not in PRIVATE_APIS
        ],
        supported_features=[
            SupportedFeatureKey(name=name, min_version=lowest, max_version=highest)
            for name, (lowest, highest) in SUPPORTED_FEATURES.items()
            if lowest > 0 or version >= _FEATURE_MINIMUM_VERSION
        ],
        finalized_features_epoch=broker.catalog.applied_offset,
        finalized_features=[
            FinalizedFeatureKey(name=name, max_version_level=level, min_version_level=level)
            for name, level in sorted(broker.catalog.features.items())
            if level > 0
        ],
    )
