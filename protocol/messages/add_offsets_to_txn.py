"""AddOffsetsToTxn:

v1   nothing new on the wire
v2   nothing new on the wire
v3   flexible (KIP-482)
v4   nothing new on the wire (KIP-890)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import int16, int32, int64, request, response, string


@request(ApiKey.ADD_OFFSETS_TO_TXN, versions="0-4", flexible="3+")
class AddOffsetsToTxnRequest:
    transactional_id: str = string()
    producer_id: int = int64()
    producer_epoch: int = int16()
    group_id: str = string()


@response(ApiKey.ADD_OFFSETS_TO_TXN, versions="0-4", flexible="3+")
class AddOffsetsToTxnResponse:
    throttle_time_ms: int = int32()
    error_code: int = int16()
