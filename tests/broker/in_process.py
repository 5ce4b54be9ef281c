"""A whole broker inside the test's process: real files, real connections, and the test's own hand on the loop."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from broker.config import BrokerConfig
from broker.connection import Connection
from broker.runtime import Broker, Process
from broker.server import Server
from protocol.api import ApiKey
from protocol.framing import parse_response, request_frame
from tests.floe_process import WITHOUT_TABLES
from wal.errors import StorageFailed

T = TypeVar("T")
LIMIT_S = 60.0


class InProcessBroker:
    """`broker` and `server` as `floe serve` makes them, without signals and listening sockets."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.broker: Broker = process._broker
        self.server: Server = process._server
        self.listener_name = next(iter(self.broker.endpoints))

    def connect(self) -> Peer:
        """A connection by a pair of sockets; what the broker's end does is called by the loop, or by the test."""
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        connection = Connection(self.server, theirs, ("127.0.0.1", 1), self.listener_name)
        self.server._per_ip["127.0.0.1"] += 1
        self.server.connections.add(connection)
        return Peer(ours, connection)


class Peer:
    """The client's end of a connection."""

    def __init__(self, sock: socket.socket, connection: Connection) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.connection = connection
        self.correlation_id = 0
        self._received = bytearray()

    def send(self, data: bytes) -> None:
        assert self.socket.send(data) == len(data)

    def frames(self) -> list[bytes]:
        """The answers that have arrived so far, without their size prefixes."""
        try:
            while data := self.socket.recv(1 << 20):
                self._received += data
        except (BlockingIOError, ConnectionResetError):
            pass
        found = []
        while len(self._received) >= 4:
            end = 4 + int.from_bytes(self._received[:4], "big")
            if len(self._received) < end:
                break
            found.append(bytes(self._received[4:end]))
            del self._received[:end]
        return found

    def request(self, api: ApiKey, version: int, message: Any) -> None:
        self.correlation_id += 1
        self.send(request_frame(api, version, self.correlation_id, "peer", message))

    async def ask(self, api: ApiKey, version: int, message: Any) -> Any:
        """Send, let the loop run until the answer is there."""
        self.request(api, version, message)
        return await self.response(api, version)

    async def response(self, api: ApiKey, version: int) -> Any:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + LIMIT_S
        while loop.time() < deadline_s:
            frames = self.frames()
            if frames:
                assert len(frames) == 1
                correlation_id, message = parse_response(api, version, frames[0])
                assert correlation_id == self.correlation_id
                return message
            assert not self.connection.is_closed, "the broker closed the connection"
            await asyncio.sleep(0)
        raise AssertionError("no answer")

    def close(self) -> None:
        self.socket.close()


def _raise(failure: StorageFailed) -> None:
    raise failure


@asynccontextmanager
async def in_process(data_dir: Path, **settings: str) -> AsyncIterator[InProcessBroker]:
    """`settings` are Kafka's names with underscores for dots."""
    os.makedirs(data_dir, exist_ok=True)
    values = {key.replace("_", "."): value for key, value in settings.items()}
    own = {"log.dirs": str(data_dir), "listeners": "127.0.0.1:0", **WITHOUT_TABLES}
    config = BrokerConfig.load(None, {}, {**own, **values})
    process = Process(config)
    bound = process._bind()
    process._flusher.start()
    await process._open_catalog()
    process._broker.on_storage_failure = _raise
    process._recover()
    process._load_groups()
    process._load_transactions()
    process._listen([])
    process._broker.endpoints = {endpoint.name: endpoint for _, endpoint in bound}
    for sock, _ in bound:
        sock.close()
    try:
        yield InProcessBroker(process)
    finally:
        await process._end(0)
        process._flusher.stop()


def run(work: Awaitable[T]) -> T:
    """Run a test's coroutine; a call-back of the loop that fails, fails the test."""
    failures: list[dict[str, Any]] = []

    async def guarded() -> T | None:
        task = asyncio.ensure_future(work)

        def failed(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            failures.append(context)
            task.cancel()  # whom that call-back should have let go would wait for ever

        asyncio.get_running_loop().set_exception_handler(failed)
        try:
            return await task
        except asyncio.CancelledError:
            if not failures:
                raise
            return None

    result = asyncio.run(guarded())
    for context in failures:
        raise AssertionError(context["message"]) from context.get("exception")
    return cast(T, result)
