"""ApiVersions (key 18), versions 0 to 4 (KIP-35, KIP-511, KIP-584).

v0  the ranges     v1  throttle time     v3  flexible, the client's software, features     v4  feature minimum 0 allowed

The ranges come from the handler table alone. A version we do not know is answered in v0 with UNSUPPORTED_VERSION and
the ranges filled, which is how a newer client finds the version to retry with.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from broker.handlers import HANDLERS
from protocol.api import PRIVATE_APIS
from protocol.errors import ErrorCode
from protocol.messages.api_versions import ApiVersion, ApiVersionsRequest, ApiVersionsResponse

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker

_SOFTWARE_VERSION: Final = 3
_SOFTWARE: Final = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")  # KIP-511


def handle(broker: Broker, request: Request) -> ApiVersionsResponse:
    message: ApiVersionsRequest = request.message
    if request.version >= _SOFTWARE_VERSION:
        name, version = message.client_software_name, message.client_software_version
        if not (_SOFTWARE.fullmatch(name) and _SOFTWARE.fullmatch(version)):
            return ApiVersionsResponse(error_code=ErrorCode.INVALID_REQUEST)
        request.connection.client_software = (name, version)
    return _response(broker, ErrorCode.NONE)


def handle_unsupported_version(broker: Broker, _: None) -> ApiVersionsResponse:
    return _response(broker, ErrorCode.UNSUPPORTED_VERSION)


def _response(broker: Broker, code: ErrorCode) -> ApiVersionsResponse:
    return ApiVersionsResponse(
        error_code=code,
        api_keys=[
            ApiVersion(api_key=spec.api, min_version=spec.versions[0], max_version=spec.versions[1])
            for spec in HANDLERS
            if spec.api not in PRIVATE_APIS
        ],
        finalized_features_epoch=broker.catalog.applied_offset,
    )
