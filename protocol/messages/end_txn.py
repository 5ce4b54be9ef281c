"""EndTxn: commit or abort a transaction.

v1   the broker answers before it throttles (KIP-219)
v2   PRODUCER_FENCED is told from INVALID_PRODUCER_EPOCH (KIP-588)
v3   flexible (KIP-482)
v4   TRANSACTION_ABORTABLE may be answered (KIP-890)
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
    committed: bool = bool_()  # false aborts


@response(ApiKey.END_TXN, versions="0-5", flexible="3+")
class EndTxnResponse:
    throttle_time_ms: int = int32()
    error_code: int = int16()
    producer_id: int = int64("5+", default=-1, ignorable=True)  # KIP-890
    producer_epoch: int = int16("5+", default=-1, ignorable=True)
