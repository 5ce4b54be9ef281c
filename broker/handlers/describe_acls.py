"""DescribeAcls (key 29), versions 0 to 3.

v1  pattern types (KIP-290)     v2  flexible     v3  users as a resource (KIP-373)

There is no authorizer, so there are no ACLs to list: SECURITY_DISABLED, as Kafka answers without one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.errors import ErrorCode
from protocol.messages.describe_acls import DescribeAclsResponse

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker

_NO_AUTHORIZER: Final = "No Authorizer is configured on the broker"


def handle(broker: Broker, request: Request) -> DescribeAclsResponse:
    return DescribeAclsResponse(error_code=ErrorCode.SECURITY_DISABLED, error_message=_NO_AUTHORIZER)
