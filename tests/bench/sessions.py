"""Many clients in one thread: each is a generator that yields a request frame and is sent the response to it.

Several of them share a connection, which keeps as many requests in flight; a Kafka answers in the order it was asked.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from struct import Struct

Session = Generator[bytes, bytes, None]
"""Yields frames with their size prefix; gets frames without."""

_SIZE = Struct(">i")
_READ_BYTES = 1 << 18


class Pipe:
    """One connection and the sessions that take turns on it."""

    def __init__(self, address: tuple[str, int], in_flight: int, sessions: Iterable[Session]) -> None:
        self.socket = socket.create_connection(address, 60.0)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.waiting: deque[tuple[Session, float]] = deque()
        self.queued = iter(sessions)
        self.outgoing = bytearray()
        self.incoming = bytearray()
        for _ in range(in_flight):
            self._begin_next()

    @property
    def is_done(self) -> bool:
        """Whether every session has ended."""
        return not self.waiting

    def _begin_next(self) -> None:
        for session in self.queued:
            frame = next(session, None)
            if frame is not None:
                self._ask(session, frame)
                return

    def _ask(self, session: Session, frame: bytes) -> None:
        self.outgoing += frame
        self.waiting.append((session, time.perf_counter()))

    def send(self) -> None:
        """Send what the socket takes."""
        if self.outgoing:
            try:
                del self.outgoing[: self.socket.send(self.outgoing)]
            except BlockingIOError:
                return

    def receive(self, latencies: list[float]) -> None:
        """Hand every complete response to the session it is for."""
        chunk = self.socket.recv(_READ_BYTES)
        assert chunk, "the broker closed the connection"
        buffer = self.incoming
        buffer += chunk
        position, now = 0, time.perf_counter()
        while len(buffer) - position >= 4:
            (size,) = _SIZE.unpack_from(buffer, position)
            if len(buffer) - position - 4 < size:
                break
            response = bytes(buffer[position + 4 : position + 4 + size])
            position += 4 + size
            session, asked = self.waiting.popleft()
            latencies.append(now - asked)
            try:
                self._ask(session, session.send(response))
            except StopIteration:
                self._begin_next()
        del buffer[:position]


def run(address: tuple[str, int], in_flight: int, sessions: Sequence[Iterable[Session]]) -> list[float]:
    """One connection for each of `sessions`, until all have ended; the latency of every request in seconds."""
    latencies: list[float] = []
    with selectors.DefaultSelector() as selector:
        pipes = [Pipe(address, in_flight, mine) for mine in sessions]
        for pipe in pipes:
            selector.register(pipe.socket, selectors.EVENT_READ, pipe)
            pipe.send()
        busy = {pipe for pipe in pipes if not pipe.is_done}
        while busy:
            ready = selector.select(60.0)
            assert ready, "no answer for a minute"
            for key, events in ready:
                pipe = key.data
                if events & selectors.EVENT_READ:
                    pipe.receive(latencies)
                pipe.send()
                wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if pipe.outgoing else 0)
                if wanted != key.events:
                    selector.modify(pipe.socket, wanted, pipe)
                if pipe.is_done:
                    busy.discard(pipe)
    for pipe in pipes:
        pipe.socket.close()
    return latencies


def split(sessions: Iterable[Session], connections: int) -> list[list[Session]]:
    """Deal sessions out to connections."""
    dealt: list[list[Session]] = [[] for _ in range(connections)]
    for number, session in enumerate(sessions):
        dealt[number % connections].append(session)
    return dealt
