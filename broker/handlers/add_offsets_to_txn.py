"""AddOffsetsToTxn (key 25), versions 0 to 4: a transaction is about to commit offsets of a group (KIP-98).

v2  PRODUCER_FENCED (KIP-588)   v3  flexible   v4  TRANSACTION_ABORTABLE may be answered

The group's partition of `__consumer_offsets` becomes part of the transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.coordinator.answers import mapped
from broker.coordinator.transaction_decide import AddPartitions
from broker.request import Deferred
from broker.topics.names import CONSUMER_OFFSETS
from protocol.errors import ErrorCode
from protocol.messages.add_offsets_to_txn import AddOffsetsToTxnRequest, AddOffsetsToTxnResponse

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker

_FENCED_VERSION: Final = 2


def handle(broker: Broker, request: Request) -> Deferred[AddOffsetsToTxnResponse]:
    message: AddOffsetsToTxnRequest = request.message
    answer: Deferred[ErrorCode] = Deferred()

    def found(index: int) -> None:
        if index < 0:
            answer.resolve(ErrorCode.COORDINATOR_NOT_AVAILABLE)
            return
        asked = AddPartitions(
            message.transactional_id,
            message.producer_id,
            message.producer_epoch,
            frozenset(((CONSUMER_OFFSETS, index),)),
        )
        broker.transactions.add(asked).then(answer.resolve)

    broker.groups.transactions_partition(message.group_id).then(found)
    return mapped(answer, lambda code: _response(code, request.version))


def _response(code: ErrorCode, version: int) -> AddOffsetsToTxnResponse:
    if code is ErrorCode.PRODUCER_FENCED and version < _FENCED_VERSION:
        code = ErrorCode.INVALID_PRODUCER_EPOCH
    return AddOffsetsToTxnResponse(error_code=code)
