"""DescribeUserScramCredentials (key 50), version 0 (KIP-554): which SCRAM credentials users have.

There is no SASL, and nobody has any: no users are listed, and one asked for by name is RESOURCE_NOT_FOUND.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from protocol.errors import ErrorCode
from protocol.messages.describe_user_scram_credentials import (
    DescribeUserScramCredentialsRequest,
    DescribeUserScramCredentialsResponse,
    DescribeUserScramCredentialsResult,
)

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker


def handle(broker: Broker, request: Request) -> DescribeUserScramCredentialsResponse:
    message: DescribeUserScramCredentialsRequest = request.message
    asked = Counter(user.name for user in message.users or ())
    results = [_describe(name, asked[name]) for name in asked]
    return DescribeUserScramCredentialsResponse(error_message="", results=results)


def _describe(name: str, times: int) -> DescribeUserScramCredentialsResult:
    if times > 1:
        code = ErrorCode.DUPLICATE_RESOURCE
        text = f"Cannot describe SCRAM credentials for the same user twice in a single request: {name}"
    else:
        code = ErrorCode.RESOURCE_NOT_FOUND
        text = f"Attempt to describe a user credential that does not exist: {name}"
    return DescribeUserScramCredentialsResult(user=name, error_code=code, error_message=text)
