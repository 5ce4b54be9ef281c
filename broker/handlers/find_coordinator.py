"""FindCoordinator (key 10), versions 0 to 6.

v1  key type (KIP-98)     v3  flexible     v4  many keys at once (KIP-699)     v6  share groups (KIP-932)

There is one broker, so it coordinates every group and transaction; share groups are not served.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.errors import ErrorCode
from protocol.messages.find_coordinator import Coordinator, FindCoordinatorRequest, FindCoordinatorResponse

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker

GROUP: Final = 0
TRANSACTION: Final = 1
_BATCH_VERSION: Final = 4


def handle(broker: Broker, request: Request) -> FindCoordinatorResponse:
    message: FindCoordinatorRequest = request.message
    code = ErrorCode.NONE if message.key_type in (GROUP, TRANSACTION) else ErrorCode.INVALID_REQUEST
    if code:
        node_id, host, port = -1, "", -1
    else:
        node_id, (host, port) = broker.node_id, broker.advertised(request.connection)
    text = code.message if code else None
    if request.version < _BATCH_VERSION:
        return FindCoordinatorResponse(
            error_code=code, error_message=text, node_id=node_id, host=host, port=port
        )
    return FindCoordinatorResponse(
        coordinators=[
            Coordinator(key=key, node_id=node_id, host=host, port=port, error_code=code, error_message=text)
            for key in message.coordinator_keys
        ]
    )
