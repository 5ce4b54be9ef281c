"""AddOffsetsToTxn: a group whose offsets a transaction is about to commit.

v1   the broker answers before it throttles (KIP-219)
v2   PRODUCER_FENCED is told from INVALID_PRODUCER_EPOCH (KIP-588)
v3   flexible (KIP-482)
v4   TRANSACTION_ABORTABLE may be answered (KIP-890)
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
