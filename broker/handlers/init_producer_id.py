"""InitProducerId (key 22), versions 0 to 5.

v2  flexible     v3  the producer's own id and epoch (KIP-360)     v4  PRODUCER_FENCED (KIP-588)
v5  TRANSACTION_ABORTABLE may be answered (KIP-890)

Without a transactional id: a new id at epoch 0, never handed out twice, not even across a crash. With one: the
transaction coordinator's answer. Not implemented: v6, two-phase commit (KIP-939), which Kafka 4.3 does not advertise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from broker.coordinator.answers import mapped
from protocol.errors import ApiError, ErrorCode
from protocol.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse

if TYPE_CHECKING:
    from broker.coordinator.transaction_decide import Granted
    from broker.request import Request
    from broker.runtime import Broker

_FENCED_VERSION: Final = 4


def handle(broker: Broker, request: Request) -> Any:
    message: InitProducerIdRequest = request.message
    if message.transactional_id is None:
        return mapped(broker.producer_ids.take(), _new)
    producer_id, epoch = message.producer_id, message.producer_epoch
    if (producer_id < 0) != (epoch < 0):
        return _response(ErrorCode.INVALID_REQUEST, -1, -1)
    expected = (producer_id, epoch) if producer_id >= 0 else None
    granted = broker.transactions.init_producer_id(
        message.transactional_id, message.transaction_timeout_ms, expected
    )
    return mapped(granted, lambda granted: _granted(granted, request.version))


def _new(producer_id: int | ApiError) -> InitProducerIdResponse:
    if isinstance(producer_id, ApiError):
        return _response(producer_id.code, -1, -1)
    return _response(ErrorCode.NONE, producer_id, 0)


def _granted(granted: Granted, version: int) -> InitProducerIdResponse:
    code = granted.error
    if code is ErrorCode.PRODUCER_FENCED and version < _FENCED_VERSION:
        code = ErrorCode.INVALID_PRODUCER_EPOCH
    return _response(code, granted.producer_id, granted.producer_epoch)


def _response(code: ErrorCode, producer_id: int, producer_epoch: int) -> InitProducerIdResponse:
    return InitProducerIdResponse(error_code=code, producer_id=producer_id, producer_epoch=producer_epoch)
