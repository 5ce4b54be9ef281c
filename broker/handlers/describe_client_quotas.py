"""DescribeClientQuotas (key 48), versions 0 to 1 (KIP-546): the quotas of users, clients and addresses.

v1  flexible

None can be set, so none is listed; a filter that makes no sense is refused as Kafka refuses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from protocol.errors import ApiError, ErrorCode
from protocol.messages.describe_client_quotas import (
    ComponentData,
    DescribeClientQuotasRequest,
    DescribeClientQuotasResponse,
)

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker

_ENTITY_TYPES: Final = ("user", "client-id", "ip")
_EXACT: Final = 0
_MATCH_TYPES: Final = {_EXACT: "MATCH_TYPE_EXACT", 1: "MATCH_TYPE_DEFAULT", 2: "MATCH_TYPE_SPECIFIED"}


def handle(broker: Broker, request: Request) -> DescribeClientQuotasResponse:
    message: DescribeClientQuotasRequest = request.message
    try:
        _check(message.components)
    except ApiError as error:
        return DescribeClientQuotasResponse(error_code=error.code, error_message=error.message, entries=None)
    return DescribeClientQuotasResponse(error_message="", entries=[])


def _check(components: list[ComponentData]) -> None:
    seen: set[str] = set()
    for component in components:
        kind = component.entity_type
        if not kind:
            raise ApiError(ErrorCode.INVALID_REQUEST, "Invalid empty entity type.")
        if kind in seen:
            raise ApiError(
                ErrorCode.INVALID_REQUEST, f"Entity type {kind} cannot appear more than once in the filter."
            )
        if kind not in _ENTITY_TYPES:
            raise ApiError(ErrorCode.UNSUPPORTED_VERSION, f"Unsupported entity type {kind}")
        seen.add(kind)
        problem = _match_problem(component)
        if problem is not None:
            raise ApiError(ErrorCode.INVALID_REQUEST, problem)
    if "ip" in seen and len(seen) > 1:
        raise ApiError(
            ErrorCode.INVALID_REQUEST,
            "Invalid entity filter component combination. IP filter component should not be used with user or "
            "clientId filter component.",
        )


def _match_problem(component: ComponentData) -> str | None:
    name = _MATCH_TYPES.get(component.match_type)
    if name is None:
        return f"Unknown match type {component.match_type}"
    if component.match_type == _EXACT and component.match is None:
        return "Request specified MATCH_TYPE_EXACT, but set match string to null."
    if component.match_type != _EXACT and component.match is not None:
        return f"Request specified {name}, but also specified a match string."
    return None
