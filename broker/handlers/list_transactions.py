"""ListTransactions (key 66), versions 0 to 2 (KIP-664): the transactional ids there are.

v1  under way for longer than so many ms (KIP-994)     v2  by a pattern of the whole id, in RE2's language (KIP-1152)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.coordinator.consumer_regex import compile_pattern
from broker.coordinator.transaction import State
from protocol.errors import ApiError
from protocol.messages.list_transactions import (
    ListTransactionsRequest,
    ListTransactionsResponse,
    TransactionState,
)

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker


def handle(broker: Broker, request: Request) -> ListTransactionsResponse:
    message: ListTransactionsRequest = request.message
    pattern = None
    if message.transactional_id_pattern:
        try:
            pattern = compile_pattern(message.transactional_id_pattern)
        except ApiError as error:
            return ListTransactionsResponse(error_code=error.code)
    known = {state.value for state in State}
    unknown = [name for name in message.state_filters if name not in known]
    states = set(message.state_filters) & known
    producer_ids, duration_ms = set(message.producer_id_filters), message.duration_filter
    now_ms = broker.clock_ms()
    found = [
        TransactionState(
            transactional_id=transaction.transactional_id,
            producer_id=transaction.producer_id,
            transaction_state=transaction.state.value,
        )
        for transaction in broker.transactions.transactions
        if (not message.state_filters or transaction.state.value in states)
        and (not producer_ids or transaction.producer_id in producer_ids)
        and (duration_ms < 0 or now_ms - transaction.start_ms > duration_ms)
        and (pattern is None or pattern.fullmatch(transaction.transactional_id))
    ]
    return ListTransactionsResponse(unknown_state_filters=unknown, transaction_states=found)
