"""What passes between the connection and the handlers: a request, a reply that may come later.

A handler is a plain function (``handle(broker, request)``). Everything that order depends on happens before it
returns; what it returns is the response message, ``NO_REPLY`` (Produce with acks=0), a `Deferred` of the
response, or a coroutine for it (rare, administrative requests: a task is made for it).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from asyncio import Future

    from broker.connection import Connection

T = TypeVar("T")


class Timer(Protocol):
    """What `Broker.call_later` returns."""

    def cancel(self) -> None: ...


class NoReply:
    """The type of `NO_REPLY`: a request that Kafka answers with nothing at all."""

    __slots__ = ()


NO_REPLY = NoReply()


class Request:
    """One decoded request, and the connection it came by.

    `message` may hold views of the receive buffer (its `records` fields): they are valid only until the
    handler's synchronous part returns.
    """

    __slots__ = ("api_key", "client_id", "connection", "correlation_id", "message", "version")

    def __init__(
        self,
        api_key: int,
        version: int,
        correlation_id: int,
        client_id: str | None,
        message: Any,
        connection: Connection,
    ) -> None:
        self.api_key = api_key
        self.version = version
        self.correlation_id = correlation_id
        self.client_id = client_id
        self.message = message
        self.connection = connection


class Deferred(Generic[T]):
    """A value that arrives later on the loop's thread, once, for one taker.

    A hundredth of what asyncio.Future is: no loop, no scheduling (the callback runs inside `resolve`), no
    exceptions (a failure is a response with an error code). Coroutines may await one.
    """

    __slots__ = ("_callback", "_is_resolved", "_value")

    def __init__(self) -> None:
        self._callback: Callable[[T], None] | None = None
        self._is_resolved = False
        self._value: T | None = None

    @property
    def is_resolved(self) -> bool:
        return self._is_resolved

    def resolve(self, value: T) -> None:
        """Deliver the value: to the taker at once if there is one, else when it comes."""
        assert not self._is_resolved, "a deferred is resolved once"
        self._is_resolved = True
        if self._callback is not None:
            self._callback(value)
        else:
            self._value = value

    def then(self, callback: Callable[[T], None]) -> None:
        """Name the one taker; called at once where the value is already there."""
        assert self._callback is None, "a deferred has one taker"
        self._callback = callback
        if self._is_resolved:
            callback(self._value)  # type: ignore[arg-type]

    def abandon(self) -> None:
        """Nobody takes the value any more: whoever waits somewhere for it may leave."""

    def hurry(self) -> None:
        """The process stops: whoever may answer early does."""

    def __await__(self) -> Generator[Any, None, T]:
        if self._is_resolved:
            return self._value  # type: ignore[return-value]
        from asyncio import get_running_loop

        future: Future[T] = get_running_loop().create_future()
        self.then(lambda value: None if future.done() else future.set_result(value))
        return (yield from future)
