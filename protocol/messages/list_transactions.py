"""ListTransactions: the transactional ids this broker coordinates (KIP-664).

v1   request duration_filter (KIP-994, KIP-1152)
v2   request transactional_id_pattern
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, int16, int32, int64, request, response, string, struct


@request(ApiKey.LIST_TRANSACTIONS, versions="0-2", flexible="0+")
class ListTransactionsRequest:
    state_filters: list[str] = array(string)
    producer_id_filters: list[int] = array(int64)
    duration_filter: int = int64("1+", default=-1)  # KIP-994, KIP-1152
    transactional_id_pattern: str | None = string("2+", nullable="2+")


@struct
class TransactionState:
    transactional_id: str = string()
    producer_id: int = int64()
    transaction_state: str = string()


@response(ApiKey.LIST_TRANSACTIONS, versions="0-2", flexible="0+")
class ListTransactionsResponse:
    throttle_time_ms: int = int32()
    error_code: int = int16()
    unknown_state_filters: list[str] = array(string)
    transaction_states: list[TransactionState] = array(TransactionState)
