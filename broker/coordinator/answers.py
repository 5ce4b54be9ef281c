"""From the coordinator's answers to responses: what the handlers of group APIs share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from broker.request import Deferred

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker

S = TypeVar("S")
T = TypeVar("T")


def client_host(request: Request) -> str:
    """The client's address as Kafka writes it down: Java's InetAddress with no name before the slash."""
    return f"/{request.connection.peer_host}"


def not_found_message(broker: Broker, group_id: str, kind: str) -> str:
    """Why there is no such group, as Kafka says it; `kind` is what was asked for, as "a consumer group"."""
    if broker.groups.groups.find(group_id) is None:
        return f"Group {group_id} not found."
    return f"Group {group_id} is not {kind}."


def mapped(deferred: Deferred[S], function: Callable[[S], T]) -> Deferred[T]:
    """The value of `function` when the value of `deferred` is there."""
    result: Deferred[T] = Deferred()
    resolve = result.resolve
    deferred.then(lambda value: resolve(function(value)))
    return result


def gathered(deferreds: Sequence[Deferred[T]]) -> Deferred[list[T]]:
    """All values, in order, when the last is there."""
    result: Deferred[list[T]] = Deferred()
    values: list[T] = [None] * len(deferreds)  # type: ignore[list-item]
    missing = len(deferreds)

    def arrived(index: int, value: T) -> None:
        nonlocal missing
        values[index] = value
        missing -= 1
        if not missing:
            result.resolve(values)

    for index, deferred in enumerate(deferreds):
        deferred.then(lambda value, index=index: arrived(index, value))  # type: ignore[misc]
    if not deferreds:
        result.resolve(values)
    return result
