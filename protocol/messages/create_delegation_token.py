"""CreateDelegationToken: create a delegation token (KIP-48).

v1   the broker answers before it throttles (KIP-219)
v2   flexible (KIP-482)
v3   request owner_principal_type, owner_principal_name; response token_requester_principal_type,
     token_requester_principal_name (KIP-373)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, bytes_, int16, int32, int64, request, response, string, struct


@struct
class CreatableRenewers:
    principal_type: str = string()
    principal_name: str = string()


@request(ApiKey.CREATE_DELEGATION_TOKEN, versions="0-3", flexible="2+")
class CreateDelegationTokenRequest:
    owner_principal_type: str | None = string("3+", nullable="3+")  # KIP-373
    owner_principal_name: str | None = string("3+", nullable="3+")
    renewers: list[CreatableRenewers] = array(CreatableRenewers)
    max_lifetime_ms: int = int64()


@response(ApiKey.CREATE_DELEGATION_TOKEN, versions="0-3", flexible="2+")
class CreateDelegationTokenResponse:
    error_code: int = int16()
    principal_type: str = string()
    principal_name: str = string()
    token_requester_principal_type: str = string("3+")  # KIP-373
    token_requester_principal_name: str = string("3+")
    issue_timestamp_ms: int = int64()
    expiry_timestamp_ms: int = int64()
    max_timestamp_ms: int = int64()
    token_id: str = string()
    hmac: bytes = bytes_()
    throttle_time_ms: int = int32()
