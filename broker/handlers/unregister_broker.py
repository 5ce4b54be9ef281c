"""UnregisterBroker (key 64), version 0: forget a broker that is gone for good (KIP-631).

There are no other brokers to forget. This one serves the request, so it is not gone: INVALID_REQUEST, where Kafka would
fence it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.errors import ErrorCode
from protocol.messages.unregister_broker import UnregisterBrokerRequest, UnregisterBrokerResponse

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker


def handle(broker: Broker, request: Request) -> UnregisterBrokerResponse:
    message: UnregisterBrokerRequest = request.message
    if message.broker_id == broker.node_id:
        return UnregisterBrokerResponse(
            error_code=ErrorCode.INVALID_REQUEST, error_message="The only broker cannot be unregistered."
        )
    return UnregisterBrokerResponse(
        error_code=ErrorCode.BROKER_ID_NOT_REGISTERED,
        error_message=f"Broker ID {message.broker_id} is not currently registered",
    )
