"""EndTxn:

v1   nothing new on the wire
v2   nothing new on the wire
v3   flexible (KIP-482)
v4   nothing new on the wire (KIP-890)
v5   response producer_id, producer_epoch (KIP-890)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import bool_, int16, int32, int64, request, response, string


@request(ApiKey.END_TXN, versions="0-5", flexible="3+")
class EndTxnRequest:
    transactional_id: str = string()
    producer_id: int = int64()
    producer_epoch: int = int16()
    committed: bool = bool_()


@response(ApiKey.END_TXN, versions="0-5", flexible="3+")
class EndTxnResponse:
    throttle_time_ms: int = int32()
    error_code: int = int16()
    producer_id: int = int64("5+", default=-1, ignorable=True)  # KIP-890
    producer_epoch: int = int16("5+", default=-1, ignorable=True)
