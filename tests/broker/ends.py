"""Both ends of a connection on a real pair of sockets; the broker behind it is a handful of functions."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from broker.connection import Connection
from broker.request import Request
from broker.server import Limits, Server
from protocol.errors import Malformed
from protocol.primitives import Output

LIMITS = Limits(
    max_request_bytes=1 << 20,
    max_buffered_bytes=2 << 20,
    max_connections=100,
    max_connections_per_ip=100,
    idle_ms=60_000,
    backlog=10,
)
KEY = 1


class EchoEndpoint:
    """Hands the body to `answer` and encodes what comes back as it is."""

    name = "Echo v0"
    is_flexible = False

    def __init__(self, answer: Callable[[Request], Any]) -> None:
        self._answer = answer
        self.body = memoryview(b"")  # of the last request, where it lies

    def decode(self, frame: memoryview, position: int) -> tuple[bytes, int]:
        self.body = frame[position:]
        return bytes(frame[position:]), len(frame)

    def handle(self, broker: Any, request: Request) -> Any:
        return self._answer(request)

    def encode_frame(self, correlation_id: int, response: Any) -> Output:
        out = Output(struct.pack(">ii", 0, correlation_id))
        if isinstance(response, bytes):
            out += response
        else:
            out.slices = [(len(out), response)]
        struct.pack_into(">i", out, 0, out.total_length() - 4)
        return out


class EchoRouter:
    """One API, answered by whatever the test says."""

    def __init__(self) -> None:
        self.answer: Callable[[Request], Any] = lambda request: request.message
        self.echo = EchoEndpoint(lambda request: self.answer(request))

    def endpoint(self, api_key: int, version: int) -> EchoEndpoint:
        if api_key != KEY:
            raise Malformed(f"api key {api_key}")
        return self.echo


class Ends:
    """Both ends of one connection, and the server it belongs to."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.router = EchoRouter()
        self.kicks = 0
        broker: Any = SimpleNamespace(
            flusher=SimpleNamespace(kick=self._kick, is_awaited=True, is_dirty=True)
        )
        self.server = Server(broker, self.router, limits)  # type: ignore[arg-type]
        self.client, self.connection = self.connect()
        self._received = bytearray()

    def _kick(self) -> None:
        self.kicks += 1

    def connect(self) -> tuple[socket.socket, Connection]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        connection = Connection(self.server, theirs, ("127.0.0.1", 1), "PLAINTEXT")
        self.server.connections.add(connection)
        self.server._per_ip["127.0.0.1"] += 1
        return ours, connection

    async def send(self, data: bytes, turns: int = 4) -> None:
        """Send and let the loop handle it."""
        position = 0
        while position < len(data):
            try:
                position += self.client.send(data[position:])
            except BlockingIOError:
                await asyncio.sleep(0)
        await self.turns(turns)

    async def turns(self, count: int = 4) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    def answers(self) -> list[tuple[int, bytes]]:
        """(correlation id, body) of what has arrived."""
        while data := self._receive():
            self._received += data
        found = []
        while len(self._received) >= 8:
            size, correlation_id = struct.unpack_from(">ii", self._received)
            if len(self._received) < 4 + size:
                break
            found.append((correlation_id, bytes(self._received[8 : 4 + size])))
            del self._received[: 4 + size]
        return found

    def _receive(self) -> bytes:
        for _ in range(
            2
        ):  # a pair of sockets tells once that the other end closed, then gives what it had sent
            try:
                return self.client.recv(1 << 20)
            except ConnectionResetError:
                continue
            except BlockingIOError:
                break
        return b""

    async def all_answers(self, count: int) -> list[tuple[int, bytes]]:
        found: list[tuple[int, bytes]] = []
        for _ in range(100_000):
            found += self.answers()
            if len(found) >= count:
                return found
            await asyncio.sleep(0)
        raise AssertionError(f"{len(found)} of {count} answers")


@asynccontextmanager
async def ends(limits: Limits = LIMITS) -> AsyncIterator[Ends]:
    made = Ends(limits)
    yield made
    for connection in list(made.server.connections):
        connection.close()
    made.client.close()


def frame(correlation_id: int, body: bytes = b"", *, api_key: int = KEY, client_id: bytes = b"me") -> bytes:
    header = struct.pack(">hhih", api_key, 0, correlation_id, len(client_id)) + client_id
    return struct.pack(">i", len(header) + len(body)) + header + body
