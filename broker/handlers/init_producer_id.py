"""InitProducerId (key 22), versions 0 to 5.

v2  flexible     v3  the producer's own id and epoch (KIP-360)     v4  PRODUCER_FENCED     v5  TRANSACTION_ABORTABLE

For idempotent producers: a new id at epoch 0, never handed out twice, not even across a crash. Transactional ids are
refused, for there is no transaction coordinator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.request import Request
from protocol.errors import ErrorCode
from protocol.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse

if TYPE_CHECKING:
    from broker.runtime import Broker


def handle(broker: Broker, request: Request) -> Any:
    message: InitProducerIdRequest = request.message
    if message.transactional_id is not None:
        return _refused(ErrorCode.INVALID_REQUEST)
    return _allocate(broker)


async def _allocate(broker: Broker) -> InitProducerIdResponse:
    return InitProducerIdResponse(producer_id=await broker.producer_ids.next(), producer_epoch=0)


def _refused(code: ErrorCode) -> InitProducerIdResponse:
    return InitProducerIdResponse(error_code=code, producer_id=-1, producer_epoch=-1)
