"""DeleteAcls (key 31), versions 0 to 3.

v1  pattern types (KIP-290)     v2  flexible     v3  users as a resource (KIP-373)

There is no authorizer: each filter is refused with SECURITY_DISABLED, as Kafka does without one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.security.operations import NO_AUTHORIZER
from protocol.errors import ErrorCode
from protocol.messages.delete_acls import DeleteAclsFilterResult, DeleteAclsRequest, DeleteAclsResponse

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker


def handle(broker: Broker, request: Request) -> DeleteAclsResponse:
    message: DeleteAclsRequest = request.message
    return DeleteAclsResponse(
        filter_results=[
            DeleteAclsFilterResult(error_code=ErrorCode.SECURITY_DISABLED, error_message=NO_AUTHORIZER)
            for _ in message.filters
        ]
    )
