"""EndTxn (key 26), versions 0 to 5: commit or abort a transaction (KIP-98).

v2  PRODUCER_FENCED (KIP-588)   v3  flexible   v4  TRANSACTION_ABORTABLE may be answered
v5  transaction version 2: every end raises the epoch, the answer says it, and may be asked for again (KIP-890)

The answer comes when the transaction's markers are durable (see `transaction_coordinator.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.coordinator.answers import mapped
from protocol.errors import ErrorCode
from protocol.messages.end_txn import EndTxnRequest, EndTxnResponse

if TYPE_CHECKING:
    from broker.coordinator.transaction_decide import Granted
    from broker.request import Deferred, Request
    from broker.runtime import Broker

_FENCED_VERSION: Final = 2
_EPOCH_BUMP_VERSION: Final = 5


def handle(broker: Broker, request: Request) -> Deferred[EndTxnResponse]:
    message: EndTxnRequest = request.message
    client_version = 2 if request.version >= _EPOCH_BUMP_VERSION else 0
    granted = broker.transactions.end(
        message.transactional_id,
        message.producer_id,
        message.producer_epoch,
        message.committed,
        client_version,
    )
    return mapped(granted, lambda granted: _response(granted, request.version))


def _response(granted: Granted, version: int) -> EndTxnResponse:
    code = granted.error
    if code is ErrorCode.PRODUCER_FENCED and version < _FENCED_VERSION:
        code = ErrorCode.INVALID_PRODUCER_EPOCH
    return EndTxnResponse(
        error_code=code, producer_id=granted.producer_id, producer_epoch=granted.producer_epoch
    )
