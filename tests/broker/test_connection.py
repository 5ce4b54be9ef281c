"""Frames in at every way they can be cut, replies out in order, and reading that pauses and goes on.

The connection runs on a real pair of sockets; the broker behind it is a handful of functions.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from broker import connection as connection_module
from broker.connection import CARRY_LIMIT_BYTES, REQUESTS_PER_TURN
from broker.request import NO_REPLY, Deferred, Request
from protocol.errors import StorageFailed
from tests.broker.ends import ends, frame
from wal.file_slice import FileSlice


def test_frames_cut_at_every_point() -> None:
    async def work() -> None:
        async with ends() as two:
            data = frame(1, b"first") + frame(2) + frame(3, b"third")
            for cut in range(1, len(data)):
                await two.send(data[:cut])
                await two.send(data[cut:])
                assert two.answers() == [(1, b"first"), (2, b""), (3, b"third")]

    asyncio.run(work())


def test_one_byte_at_a_time() -> None:
    async def work() -> None:
        async with ends() as two:
            for value in frame(1, b"body") + frame(2, b"more"):
                await two.send(bytes([value]), turns=2)
            assert two.answers() == [(1, b"body"), (2, b"more")]

    asyncio.run(work())


@pytest.mark.parametrize(
    "size", [CARRY_LIMIT_BYTES - 100, CARRY_LIMIT_BYTES, CARRY_LIMIT_BYTES + 100, 900_000]
)
def test_large_frames_cut_anywhere(size: int) -> None:
    """Below CARRY_LIMIT_BYTES they are carried, above they are received into a buffer of their own."""

    async def work() -> None:
        async with ends() as two:
            body = os.urandom(size)
            data = frame(1, b"before") + frame(2, body) + frame(3, b"after")
            for cut in (3, 25, 30, 40, 1000, size // 2, size, len(data) - 5):
                await two.send(data[:cut])
                await two.send(data[cut:])
                assert await two.all_answers(3) == [(1, b"before"), (2, body), (3, b"after")]
                assert two.server.pool.leased_bytes == 0

    asyncio.run(work())


def test_the_flusher_is_woken_once_a_turn() -> None:
    async def work() -> None:
        async with ends() as two:
            await two.send(b"".join(frame(number) for number in range(50)))
            assert two.kicks == 1 and len(two.answers()) == 50

    asyncio.run(work())


def test_replies_leave_in_order_whatever_order_they_are_ready_in() -> None:
    async def work() -> None:
        async with ends() as two:
            waiting: dict[int, Deferred[bytes]] = {}

            async def later(body: bytes) -> bytes:
                await asyncio.sleep(0)
                return body

            def answer(request: Request) -> Any:
                number = request.correlation_id
                if number % 4 == 0:
                    waiting[number] = Deferred()
                    return waiting[number]
                if number % 4 == 1:
                    return later(b"%d" % number)
                return NO_REPLY if number % 4 == 2 else b"%d" % number

            two.router.answer = answer
            await two.send(b"".join(frame(number) for number in range(12)), turns=10)
            assert two.answers() == []
            waiting[8].resolve(b"8")
            waiting[4].resolve(b"4")
            await two.turns()
            assert two.answers() == [], "0 is not answered yet"
            waiting[0].resolve(b"0")
            await two.turns()
            expected = [number for number in range(12) if number % 4 != 2]
            assert two.answers() == [(number, b"%d" % number) for number in expected]
            assert two.connection.is_idle and two.connection.held_bytes == 0

    asyncio.run(work())


def test_reading_pauses_at_too_many_in_flight_and_goes_on() -> None:
    async def work() -> None:
        async with ends() as two:
            two.server.max_in_flight = 10
            waiting: list[Deferred[bytes]] = []

            def answer(request: Request) -> Any:
                waiting.append(Deferred())
                return waiting[-1]

            two.router.answer = answer
            await two.send(b"".join(frame(number, b"x" * 50) for number in range(35)), turns=20)
            assert len(waiting) == 10
            for number in range(35):
                waiting[number].resolve(b"")
                await two.turns(6)
                assert len(waiting) == min(35, number + 11)
            assert [number for number, _ in two.answers()] == list(range(35))

    asyncio.run(work())


def test_large_frames_count_as_in_flight_too() -> None:
    async def work() -> None:
        async with ends() as two:
            two.server.max_in_flight = 3
            waiting: list[Deferred[bytes]] = []

            def answer(request: Request) -> Any:
                waiting.append(Deferred())
                return waiting[-1]

            two.router.answer = answer
            sender = asyncio.create_task(two.send(frame(1, bytes(200_000)) * 6))
            await two.turns(300)
            assert len(waiting) == 3
            for number in range(6):
                waiting[number].resolve(b"")
                await two.turns(100)
            await sender
            assert len(two.answers()) == 6

    asyncio.run(work())


def test_a_reader_that_does_not_read_pauses_reading() -> None:
    async def work() -> None:
        async with ends() as two:
            handled: list[int] = []

            def answer(request: Request) -> bytes:
                handled.append(request.correlation_id)
                return bytes(300_000)

            two.router.answer = answer
            two.client.send(b"".join(frame(number) for number in range(60)))
            await two.turns(200)
            assert 0 < len(handled) < 20, "answers are not made faster than they are taken"
            assert [number for number, _ in await two.all_answers(60)] == list(range(60))

    asyncio.run(work())


def test_a_turn_ends_after_so_many_requests() -> None:
    async def work() -> None:
        async with ends() as two:
            handled: list[int] = []
            two.router.answer = lambda request: handled.append(request.correlation_id) or b""
            two.client.send(b"".join(frame(number) for number in range(3 * REQUESTS_PER_TURN)))
            two.connection.on_readable()
            assert len(handled) == REQUESTS_PER_TURN
            assert len(await two.all_answers(3 * REQUESTS_PER_TURN)) == len(handled) == 3 * REQUESTS_PER_TURN

    asyncio.run(work())


def test_answers_that_wait_are_bounded_by_bytes() -> None:
    async def work() -> None:
        async with ends() as two:
            first: Deferred[bytes] = Deferred()
            handled: list[int] = []

            def answer(request: Request) -> Any:
                handled.append(request.correlation_id)
                return first if len(handled) == 1 else bytes(1 << 20)

            two.router.answer = answer
            two.client.send(b"".join(frame(number) for number in range(100)))
            await two.turns(200)
            assert len(handled) == 1 + (connection_module.HELD_REPLY_BYTES >> 20)
            first.resolve(b"")
            assert len(await two.all_answers(100)) == 100

    asyncio.run(work())


class Piece:
    """An open file as a slice holds it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")

    def fileno(self) -> int:
        return self._file.fileno()

    def read_at(self, position: int, length: int) -> bytes:
        return os.pread(self.fileno(), length, position)


@pytest.mark.parametrize("length", [1, 1000, 64 << 10, (64 << 10) + 1, 3_000_000])
def test_slices_of_files_arrive_whole(tmp_path: Path, length: int) -> None:
    async def work() -> None:
        async with ends() as two:
            content = os.urandom(length + 20)
            path = tmp_path / "segment"
            path.write_bytes(content)
            piece = FileSlice(Piece(path), 10, length, 1)
            two.router.answer = lambda request: piece if request.correlation_id % 2 else b"between"
            await two.send(b"".join(frame(number) for number in range(6)))
            found = await two.all_answers(6)
            assert [body for _, body in found] == [b"between", content[10 : 10 + length]] * 3

    asyncio.run(work())


@pytest.mark.parametrize("length", [1000, 200_000])
def test_a_slice_that_ends_early_closes(tmp_path: Path, length: int) -> None:
    """The promised length cannot be kept; nothing else may follow on that connection."""

    async def work() -> None:
        async with ends() as two:
            path = tmp_path / "segment"
            path.write_bytes(b"short")
            piece = FileSlice(Piece(path), 0, length, 1)
            two.router.answer = lambda request: piece
            await two.send(frame(1), turns=20)
            assert two.connection.is_closed

    asyncio.run(work())


@pytest.mark.parametrize("data", [frame(1, api_key=9), b"\0\0\0\1" + bytes(20), b"\x7f" * 20, b"\xff" * 20])
def test_malformed_closes_and_nothing_follows(data: bytes) -> None:
    async def work() -> None:
        async with ends() as two:
            handled: list[int] = []
            two.router.answer = lambda request: handled.append(request.correlation_id) or b""
            await two.send(frame(1) + data + frame(2))
            assert two.connection.is_closed and handled == [1]
            assert two.connection not in two.server.connections

    asyncio.run(work())


@pytest.mark.parametrize("carried", [False, True])
def test_a_surprise_ends_its_connection_only(carried: bool) -> None:
    async def work() -> None:
        async with ends() as two:
            failures: list[Any] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))

            def answer(request: Request) -> bytes:
                if request.correlation_id == 1000:
                    raise KeyError("nobody thought of this")
                return b""

            two.router.answer = answer
            before = REQUESTS_PER_TURN + 5 if carried else 0
            two.client.send(b"".join(frame(number) for number in range(before)) + frame(1000))
            await two.turns(20)
            assert two.connection.is_closed and not failures

    asyncio.run(work())


def test_a_broken_assertion_is_not_caught() -> None:
    async def work() -> None:
        async with ends() as two:

            def answer(request: Request) -> bytes:
                raise AssertionError("ours")

            two.router.answer = answer
            two.client.send(frame(1))
            with pytest.raises(AssertionError, match="ours"):
                two.connection.on_readable()

    asyncio.run(work())


class Watched(Deferred[bytes]):
    """A deferred that notes what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def abandon(self) -> None:
        self.told.append("abandon")

    def hurry(self) -> None:
        self.told.append("hurry")
        self.resolve(b"early")


def test_closing_abandons_what_is_waited_for() -> None:
    async def work() -> None:
        async with ends() as two:
            waits = Watched()
            two.router.answer = lambda request: waits
            await two.send(frame(1))
            two.client.close()
            await two.turns()
            assert two.connection.is_closed and waits.told == ["abandon"]
            waits.resolve(b"nobody hears it")

    asyncio.run(work())


def test_draining_answers_what_was_asked_and_takes_nothing_new() -> None:
    async def work() -> None:
        async with ends() as two:
            patient: Deferred[bytes] = Deferred()
            hurried = Watched()
            answers: list[Any] = [patient, hurried, b"never"]
            two.router.answer = lambda request: answers.pop(0)
            await two.send(frame(1) + frame(2))
            drained = asyncio.create_task(two.server.drain(60))
            await two.turns()
            two.client.send(frame(3))
            await two.turns()
            assert hurried.told == ["hurry"] and not drained.done()
            patient.resolve(b"patient")
            await drained
            assert two.answers() == [(1, b"patient"), (2, b"early")]
            assert two.connection.is_closed and answers == [b"never"]

    asyncio.run(work())


def test_draining_closes_idle_connections_at_once_and_others_after_a_time() -> None:
    async def work() -> None:
        async with ends() as two:
            two.router.answer = lambda request: Deferred()
            _, idle = two.connect()
            await two.send(frame(1))
            await two.server.drain(0.01)
            assert idle.is_closed and two.connection.is_closed

    asyncio.run(work())


def test_a_storage_failure_while_sending_closes() -> None:
    class Failing:
        length = 100
        position = 0

        def fileno(self) -> int:
            return -1

        def read_at(self, position: int, length: int) -> bytes:
            raise StorageFailed("the disk is gone")

    async def work() -> None:
        async with ends() as two:
            two.router.answer = lambda request: FileSlice(Failing(), 0, 100, 1)
            await two.send(frame(1))
            assert two.connection.is_closed

    asyncio.run(work())


def large(number: int) -> bytes:
    return frame(number, bytes([number]) * (CARRY_LIMIT_BYTES + 1000))


def test_small_frames_between_large_ones() -> None:
    async def work() -> None:
        async with ends() as two:
            two.router.answer = lambda request: request.message[:1]
            data = b"".join(large(n) + frame(n + 1, b"s") * 3 + large(n + 2) for n in range(1, 30, 5))
            sending = asyncio.ensure_future(two.send(data))
            answers = await two.all_answers(5 * 6)
            await sending
            assert answers == [
                (n + k, bytes([n + k]) if k != 1 else b"s") for n in range(1, 30, 5) for k in (0, 1, 1, 1, 2)
            ]

    asyncio.run(work())


def test_a_small_frame_is_not_forgotten_before_the_head_of_a_large_one() -> None:
    async def work() -> None:
        async with ends() as two:

            def answer(request: Request) -> bytes:
                two.server.broker.flusher.is_awaited = True
                return bytes(request.message[:1])

            two.router.answer = answer
            await two.send(large(1), turns=20)
            assert two.answers() == [(1, b"\1")]
            kicks = two.kicks
            await two.send(frame(2, b"s") + large(3)[:1000])
            assert two.answers() == [(2, b"s")] and two.kicks > kicks
            await two.send(large(3)[1000:], turns=20)
            assert two.answers() == [(3, b"\3")]

    asyncio.run(work())
