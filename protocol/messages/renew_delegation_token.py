"""RenewDelegationToken: renew a delegation token (KIP-48).

v1   the broker answers before it throttles (KIP-219)
v2   flexible (KIP-482)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import bytes_, int16, int32, int64, request, response


@request(ApiKey.RENEW_DELEGATION_TOKEN, versions="0-2", flexible="2+")
class RenewDelegationTokenRequest:
    hmac: bytes = bytes_()
    renew_period_ms: int = int64()


@response(ApiKey.RENEW_DELEGATION_TOKEN, versions="0-2", flexible="2+")
class RenewDelegationTokenResponse:
    error_code: int = int16()
    expiry_timestamp_ms: int = int64()
    throttle_time_ms: int = int32()
