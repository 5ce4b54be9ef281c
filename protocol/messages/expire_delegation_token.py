"""ExpireDelegationToken: bring forward the end of a delegation token (KIP-48).

v1   the broker answers before it throttles (KIP-219)
v2   flexible (KIP-482)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import bytes_, int16, int32, int64, request, response


@request(ApiKey.EXPIRE_DELEGATION_TOKEN, versions="0-2", flexible="2+")
class ExpireDelegationTokenRequest:
    hmac: bytes = bytes_()
    expiry_time_period_ms: int = int64()


@response(ApiKey.EXPIRE_DELEGATION_TOKEN, versions="0-2", flexible="2+")
class ExpireDelegationTokenResponse:
    error_code: int = int16()
    expiry_timestamp_ms: int = int64()
    throttle_time_ms: int = int32()
