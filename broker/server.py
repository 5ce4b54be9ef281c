"""Listening sockets, the connections they accepted, and the limits all connections share.

One `Server` serves all listeners of the process on one event loop. It knows nothing of Kafka beyond the router it
was given; the router knows nothing of sockets.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import Counter
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from broker.connection import CARRY_LIMIT_BYTES, Connection

if TYPE_CHECKING:
    from broker.connection import PendingReply
    from broker.router import Router
    from broker.runtime import Broker

log = logging.getLogger("floe.server")

SCRATCH_BYTES: Final = 1 << 20
"""The receive buffer all connections share: the most that is read from one socket in one turn."""

HEAD_BYTES: Final = 4 << 10
"""What is read of a frame that is expected to be large, before it gets a buffer of its own."""

LAZY_SYNC_S: Final = 0.002
"""How long records that nobody waits for (acks=1, no consumer) may stay unsynced: a sync for each turn of the loop
would cost their producers a fifth of their throughput."""

REAP_INTERVAL_S: Final = 10.0
"""How often idle connections are looked for; their limit is in minutes."""

MAX_IN_FLIGHT: Final = 512
"""Unanswered requests of one connection before its reading pauses; Java clients keep 5, librdkafka some hundreds."""

ACCEPTS_PER_TURN: Final = 64
"""Connections accepted before others get their turn of the loop."""


class Limits(NamedTuple):
    """What the configuration says about connections."""

    max_request_bytes: int
    max_buffered_bytes: int
    max_connections: int
    max_connections_per_ip: int
    idle_ms: int
    backlog: int
    send_buffer_bytes: int = -1


class BufferPool:
    """Buffers for large frames: reused, because fresh pages cost more than the copy into them; bounded in total.

    Memory is leased before it is filled, so leased frames always complete (or their connection is reaped) and
    waiting for a lease cannot deadlock.
    """

    KEPT_BYTES: Final = 32 << 20
    """Idle buffers kept for reuse, in all."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._leased_bytes = 0
        self._kept: list[bytearray] = []
        self._kept_bytes = 0
        self.waiting: dict[Connection, int] = {}  # who waits for how many bytes, in order of arrival

    @property
    def leased_bytes(self) -> int:
        return self._leased_bytes

    def lease(self, size: int) -> bytearray | None:
        """A buffer of at least `size` bytes, or None when the limit is reached (one lease is always granted)."""
        if self._leased_bytes and self._leased_bytes + size > self._limit_bytes:
            return None
        for index, buffer in enumerate(self._kept):
            if size <= len(buffer) <= 4 * size:
                del self._kept[index]
                self._kept_bytes -= len(buffer)
                break
        else:
            buffer = bytearray(size)
        self._leased_bytes += len(buffer)
        return buffer

    def release(self, buffer: bytearray) -> None:
        self._leased_bytes -= len(buffer)
        assert self._leased_bytes >= 0, "a buffer is released once"
        if self._kept_bytes + len(buffer) <= self.KEPT_BYTES:
            self._kept.append(buffer)
            self._kept_bytes += len(buffer)
        self._grant()

    def _grant(self) -> None:
        """Lease to those who wait, in their order, as long as there is room."""
        while self.waiting:
            connection, size = next(iter(self.waiting.items()))
            buffer = self.lease(size)
            if buffer is None:
                return
            del self.waiting[connection]
            connection.memory_granted(buffer, size)


class Server:
    """Accepts connections on bound sockets and gives them what they share."""

    def __init__(self, broker: Broker, router: Router, limits: Limits) -> None:
        self.broker = broker
        self.router = router
        self.loop = asyncio.get_running_loop()
        self.now_s = self.loop.time
        self._flusher = broker.flusher
        self._lazy_kick: asyncio.TimerHandle | None = None
        self.scratch = memoryview(bytearray(SCRATCH_BYTES))
        self.narrow_scratch = self.scratch[: 2 * CARRY_LIMIT_BYTES]
        self.head_scratch = self.scratch[:HEAD_BYTES]
        self.pool = BufferPool(limits.max_buffered_bytes)
        self.max_request_bytes = limits.max_request_bytes
        self.max_in_flight = MAX_IN_FLIGHT
        self.connections: set[Connection] = set()
        self._limits = limits
        self._per_ip: Counter[str] = Counter()
        self._listeners: dict[socket.socket, str] = {}
        self._ready: list[Connection] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._reaper: asyncio.TimerHandle | None = None
        self._closed_waiter: asyncio.Future[None] | None = None

    def listen(self, sock: socket.socket, listener_name: str) -> None:
        """Accept on a bound socket from now on."""
        sock.setblocking(False)
        sock.listen(self._limits.backlog)
        self._listeners[sock] = listener_name
        self.loop.add_reader(sock.fileno(), self._accept, sock)
        if self._reaper is None:
            self._reaper = self.loop.call_later(REAP_INTERVAL_S, self._reap)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, peer = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    log.error("cannot accept connections for a second: %s", error)
                    self.loop.remove_reader(listener.fileno())
                    self.loop.call_later(1.0, self._accept_again, listener)
                    return
                log.debug("a connection ended before it was accepted: %s", error)
                continue
            self._admit(sock, peer, self._listeners[listener])

    def _accept_again(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            self.loop.add_reader(listener.fileno(), self._accept, listener)

    def _admit(self, sock: socket.socket, peer: Any, listener_name: str) -> None:
        host = peer[0]
        if len(self.connections) >= self._limits.max_connections:
            log.warning("refusing %s: %d connections (max.connections)", host, len(self.connections))
            sock.close()
            return
        if self._per_ip[host] >= self._limits.max_connections_per_ip:
            log.warning("refusing %s: %d connections (max.connections.per.ip)", host, self._per_ip[host])
            sock.close()
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self._limits.send_buffer_bytes >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._limits.send_buffer_bytes)
        self._per_ip[host] += 1
        self.connections.add(Connection(self, sock, peer, listener_name))

    def connection_closed(self, connection: Connection) -> None:
        self.connections.discard(connection)
        host = connection.peer_host
        self._per_ip[host] -= 1
        if not self._per_ip[host]:
            del self._per_ip[host]
        if not self.connections and self._closed_waiter is not None and not self._closed_waiter.done():
            self._closed_waiter.set_result(None)

    def kick_flusher(self) -> None:
        """After a turn: have what is written synced at once if anybody waits for it, else soon."""
        flusher = self._flusher
        if flusher.is_awaited:
            flusher.is_awaited = False
            flusher.kick()
        elif self._lazy_kick is None and flusher.is_dirty:
            self._lazy_kick = self.loop.call_later(LAZY_SYNC_S, self._kick_lazily)

    def _kick_lazily(self) -> None:
        self._lazy_kick = None
        self._flusher.kick()

    # --- replies ----------------------------------------------------------------------------------------------

    def reply_ready(self, connection: Connection) -> None:
        """The next answer of a connection is there; it is sent with all others of this turn of the loop."""
        if connection.is_listed_ready:
            return
        connection.is_listed_ready = True
        if not self._ready:
            self.loop.call_soon(self.send_ready)
        self._ready.append(connection)

    def send_ready(self) -> None:
        """Send the answers that became ready; one system call a connection however many they are."""
        ready, self._ready = self._ready, []
        for connection in ready:
            connection.send_ready()

    def run(self, work: Coroutine[Any, Any, Any], reply: PendingReply) -> None:
        """Run a handler's coroutine; its result is the reply."""
        task = self.loop.create_task(self._run(work, reply))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, work: Coroutine[Any, Any, Any], reply: PendingReply) -> None:
        try:
            reply(await work)
        except AssertionError:
            raise
        except Exception:
            log.exception("closing %r: a request failed in a way nobody foresaw", reply.connection)
            reply.connection.close()

    # --- end --------------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        for connection in [c for c in self.connections if c.is_left]:
            connection.close()
        if self._limits.idle_ms < 0:
            self._reaper = self.loop.call_later(REAP_INTERVAL_S, self._reap)
            return
        oldest_s = self.now_s() - self._limits.idle_ms / 1000
        for connection in [c for c in self.connections if c.last_active_s < oldest_s]:
            if not connection.replies:
                log.info(
                    "closing %r: idle for %d ms (connections.max.idle.ms)", connection, self._limits.idle_ms
                )
                connection.close()
        self._reaper = self.loop.call_later(REAP_INTERVAL_S, self._reap)

    def stop_listening(self) -> None:
        for sock in self._listeners:
            self.loop.remove_reader(sock.fileno())
            sock.close()
        self._listeners.clear()
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None

    async def drain(self, timeout_s: float) -> None:
        """Answer what was asked, take nothing new, close every connection; after the time-out close regardless."""
        self.stop_listening()
        for connection in list(self.connections):
            connection.drain()
        if self.connections:
            self._closed_waiter = self.loop.create_future()
            done, _ = await asyncio.wait([self._closed_waiter], timeout=timeout_s)
            if not done:
                log.warning("%d connections did not drain in %g s", len(self.connections), timeout_s)
        for connection in list(self.connections):
            connection.close()
