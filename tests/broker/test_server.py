"""Memory that is leased and waited for, connections that are counted, and those that idle or were left."""

from __future__ import annotations

import asyncio
import socket

import pytest

from broker.request import Deferred
from broker.server import BufferPool
from tests.broker.ends import LIMITS, Ends, ends, frame

MIB = 1 << 20


class Waiter:
    """A connection as the pool sees it."""

    def __init__(self) -> None:
        self.granted: list[bytearray] = []

    def memory_granted(self, buffer: bytearray, size: int) -> None:
        assert len(buffer) >= size
        self.granted.append(buffer)


def waiting(pool: BufferPool, size: int) -> Waiter:
    waiter = Waiter()
    assert pool.lease(size) is None
    pool.waiting[waiter] = size  # type: ignore[index]
    return waiter


def test_leases_are_bounded_but_for_a_single_one() -> None:
    pool = BufferPool(10 * MIB)
    huge = pool.lease(50 * MIB)
    assert huge is not None and pool.lease(1) is None
    pool.release(huge)
    first, second = pool.lease(6 * MIB), pool.lease(4 * MIB)
    assert first is not None and second is not None and pool.lease(1) is None
    pool.release(first)
    pool.release(second)
    assert pool.leased_bytes == 0


def test_a_released_buffer_is_used_again() -> None:
    pool = BufferPool(10 * MIB)
    first = pool.lease(MIB)
    assert first is not None
    pool.release(first)
    assert pool.lease(MIB - 100) is first


def test_memory_goes_to_all_who_fit_in_their_order() -> None:
    pool = BufferPool(100 * MIB)
    held = pool.lease(100 * MIB)  # too large to be kept for reuse
    assert held is not None
    waiters = [waiting(pool, size) for size in (40 * MIB, 50 * MIB, 20 * MIB)]
    pool.release(held)
    assert [len(waiter.granted) for waiter in waiters] == [1, 1, 0]
    pool.release(waiters[0].granted[0])
    assert [len(waiter.granted) for waiter in waiters] == [1, 1, 1]
    assert not pool.waiting


def test_who_left_gets_no_memory() -> None:
    pool = BufferPool(10 * MIB)
    held = pool.lease(10 * MIB)
    assert held is not None
    gone, patient = waiting(pool, MIB), waiting(pool, MIB)
    pool.waiting.pop(gone)  # type: ignore[call-overload]
    pool.release(held)
    assert not gone.granted and patient.granted


def test_large_frames_wait_for_memory_and_small_ones_do_not() -> None:
    async def work() -> None:
        async with ends(LIMITS._replace(max_buffered_bytes=1 << 20)) as two:
            large = frame(1, bytes(900_000))
            crowd = []
            for _ in range(4):
                client, connection = two.connect()
                client.send(large[:100_000])
                crowd.append((client, connection))
            await two.turns()
            assert two.server.pool.leased_bytes <= 1 << 20 and len(two.server.pool.waiting) == 3
            await two.send(frame(5, b"small"))
            assert two.answers() == [(5, b"small")]
            crowd[2][0].close()
            for number, (client, _) in enumerate(crowd):
                position = 100_000
                while number != 2 and position < len(large):
                    try:
                        position += client.send(large[position:])
                    except BlockingIOError:
                        await two.turns(1)
                await two.turns()
            assert two.server.pool.leased_bytes == 0 and not two.server.pool.waiting

    asyncio.run(work())


async def connected(two: Ends, port: int) -> socket.socket:
    client = socket.socket()
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
    return client


async def is_served(two: Ends, client: socket.socket) -> bool:
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(client, frame(1, b"x"))
        return bool(await loop.sock_recv(client, 100))
    except OSError:
        return False


@pytest.mark.parametrize("name", ["max_connections", "max_connections_per_ip"])
def test_connections_are_counted(name: str) -> None:
    async def work() -> None:
        async with ends(LIMITS._replace(**{name: 3})) as two:
            two.connection.close()
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))
                two.server.listen(listener, "PLAINTEXT")
                port = listener.getsockname()[1]
                clients = [await connected(two, port) for _ in range(4)]
                assert [await is_served(two, client) for client in clients] == [True, True, True, False]
                clients[0].close()
                await two.turns(10)
                late = await connected(two, port)
                assert await is_served(two, late)
                two.server.stop_listening()
                for client in (*clients[1:], late):
                    client.close()
                await two.turns(10)
                assert not two.server.connections and not two.server._per_ip

    asyncio.run(work())


def test_idle_connections_are_closed_but_not_those_that_wait_for_us() -> None:
    async def work() -> None:
        async with ends(LIMITS._replace(idle_ms=1000)) as two:
            two.router.answer = lambda request: Deferred()
            await two.send(frame(1))
            _, fresh = two.connect()
            _, old = two.connect()
            old.last_active_s -= 2
            two.connection.last_active_s -= 2
            two.server._reap()
            assert old.is_closed and not fresh.is_closed and not two.connection.is_closed
            two.server.stop_listening()

    asyncio.run(work())


def test_a_peer_that_left_while_reading_was_paused_is_found() -> None:
    async def work() -> None:
        async with ends() as two:
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))
                two.server.listen(listener, "PLAINTEXT")
                two.server.max_in_flight = 1
                two.router.answer = lambda request: Deferred()
                client = await connected(two, listener.getsockname()[1])
                await asyncio.get_running_loop().sock_sendall(client, frame(1) + frame(2))
                await two.turns(10)
                (connection,) = two.server.connections - {two.connection}
                two.server._reap()
                assert not connection.is_closed
                client.close()
                await two.turns(10)
                two.server._reap()
                assert connection.is_closed
                two.server.stop_listening()

    asyncio.run(work())
