"""CreateAcls (key 30), versions 0 to 3.

v1  pattern types (KIP-290)     v2  flexible     v3  users as a resource (KIP-373)

There is no authorizer: each is refused with SECURITY_DISABLED, as Kafka does without one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.security.operations import NO_AUTHORIZER
from protocol.errors import ErrorCode
from protocol.messages.create_acls import AclCreationResult, CreateAclsRequest, CreateAclsResponse

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker


def handle(broker: Broker, request: Request) -> CreateAclsResponse:
    message: CreateAclsRequest = request.message
    return CreateAclsResponse(
        results=[
            AclCreationResult(error_code=ErrorCode.SECURITY_DISABLED, error_message=NO_AUTHORIZER)
            for _ in message.creations
        ]
    )
