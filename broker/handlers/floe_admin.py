"""FloeAdmin (key 20000), version 0: operations of Floe's own, for its own commands; private, not advertised.

OPERATIONS is the table of them. A row's function is `function(broker, arguments)`: it gets the arguments as
a dict and returns the result as one, at once or as a coroutine; it raises ApiError for what it cannot grant. Its
module is imported at its first use.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from broker.fetching.reading import refusal
from broker.security.operations import Operation, Resource
from protocol.errors import ApiError, ErrorCode, StorageFailed
from protocol.messages.floe_admin import FloeAdminRequest, FloeAdminResponse

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker

AdminFunction = Callable[["Broker", dict[str, Any]], "dict[str, Any] | Awaitable[dict[str, Any]]"]


class AdminOperation(NamedTuple):
    """One operation: where its function is, and what is authorised before it runs."""

    module: str
    function: str
    operation: Operation
    resource: Resource


OPERATIONS: Final[dict[str, AdminOperation]] = {
    "compact.now": AdminOperation(
        "broker.compacting.admin", "compact_now", Operation.ALTER, Resource.CLUSTER
    ),
    "compact.status": AdminOperation(
        "broker.compacting.admin", "compact_status", Operation.DESCRIBE, Resource.CLUSTER
    ),
    "operations.list": AdminOperation(
        "broker.handlers.floe_admin", "list_operations", Operation.DESCRIBE, Resource.CLUSTER
    ),
    "tables.list": AdminOperation(
        "broker.tiering.admin", "list_tables", Operation.DESCRIBE, Resource.CLUSTER
    ),
    "tables.describe": AdminOperation(
        "broker.tiering.admin", "describe", Operation.DESCRIBE, Resource.CLUSTER
    ),
    "tables.lag": AdminOperation("broker.tiering.admin", "lag", Operation.DESCRIBE, Resource.CLUSTER),
    "tables.commit": AdminOperation("broker.tiering.admin", "commit", Operation.ALTER, Resource.CLUSTER),
    "tables.maintain": AdminOperation("broker.tiering.admin", "maintain", Operation.ALTER, Resource.CLUSTER),
    "tables.rewind": AdminOperation("broker.tiering.admin", "rewind", Operation.ALTER, Resource.CLUSTER),
}


async def handle(broker: Broker, request: Request) -> FloeAdminResponse:
    message: FloeAdminRequest = request.message
    try:
        function = _function(message.operation)
        result = function(broker, _arguments(message.arguments))
        if not isinstance(result, dict):
            result = await result
    except (ApiError, StorageFailed) as error:
        code, why = refusal(broker, error)
        return FloeAdminResponse(error_code=code, error_message=why)
    return FloeAdminResponse(result=json.dumps(result))


def _function(name: str) -> AdminFunction:
    row = OPERATIONS.get(name)
    if row is None:
        raise ApiError(ErrorCode.INVALID_REQUEST, f"there is no operation {name!r}")
    function: AdminFunction = getattr(import_module(row.module), row.function)
    return function


def _arguments(text: str) -> dict[str, Any]:
    try:
        arguments = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ApiError(ErrorCode.INVALID_REQUEST, f"the arguments are not JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise ApiError(ErrorCode.INVALID_REQUEST, "the arguments are not a JSON object")
    return arguments


def list_operations(_broker: Broker, _arguments: dict[str, Any]) -> dict[str, Any]:
    """The names of all operations: {"operations": [...]}."""
    return {"operations": sorted(OPERATIONS)}
