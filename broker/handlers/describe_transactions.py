"""DescribeTransactions (key 65), version 0 (KIP-664): the state of transactional ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.coordinator.answers import gathered, mapped
from protocol.errors import ErrorCode
from protocol.messages.describe_transactions import (
    DescribeTransactionsRequest,
    DescribeTransactionsResponse,
    TopicData,
    TransactionState,
)

if TYPE_CHECKING:
    from broker.coordinator.transaction import Transaction
    from broker.request import Deferred, Request
    from broker.runtime import Broker


def handle(broker: Broker, request: Request) -> Deferred[DescribeTransactionsResponse]:
    message: DescribeTransactionsRequest = request.message
    ids = message.transactional_ids
    found = gathered([broker.transactions.describe(transactional_id) for transactional_id in ids])

    def respond(transactions: list[Transaction | None]) -> DescribeTransactionsResponse:
        return DescribeTransactionsResponse(
            transaction_states=[_state(name, transaction) for name, transaction in zip(ids, transactions)]
        )

    return mapped(found, respond)


def _state(transactional_id: str, transaction: Transaction | None) -> TransactionState:
    if not transactional_id:
        return TransactionState(error_code=ErrorCode.INVALID_REQUEST, transactional_id="")
    if transaction is None:
        code = ErrorCode.TRANSACTIONAL_ID_NOT_FOUND
        return TransactionState(error_code=code, transactional_id=transactional_id)
    return TransactionState(
        transactional_id=transactional_id,
        transaction_state=transaction.state.value,
        transaction_timeout_ms=transaction.timeout_ms,
        transaction_start_time_ms=transaction.start_ms,
        producer_id=transaction.producer_id,
        producer_epoch=transaction.producer_epoch,
        topics=[
            TopicData(topic=topic, partitions=indexes) for topic, indexes in transaction.topics().items()
        ],
    )
