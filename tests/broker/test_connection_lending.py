"""Large frames have buffers of their own, which handlers may use until their answers are there."""

from __future__ import annotations

import asyncio
from typing import Any

from broker.connection import CARRY_LIMIT_BYTES
from broker.request import Deferred, Request
from tests.broker.ends import Ends, ends, frame


class Keeping(Deferred[bytes]):
    """The answer to a request whose bytes are used until it is there."""

    __slots__ = ()
    keeps_frame = True


def large(number: int) -> bytes:
    return frame(number, bytes([number]) * (CARRY_LIMIT_BYTES + 1000))


async def send_large(two: Ends, number: int) -> None:
    """A large frame that does not arrive at once, as none does from afar."""
    await two.send(large(number)[:100])
    await two.send(large(number)[100:], turns=20)


def test_a_large_frame_is_lent_until_its_answer_is_there() -> None:
    async def work() -> None:
        async with ends() as two:
            lent: list[tuple[memoryview, Keeping]] = []

            def keep(request: Request) -> Any:
                assert two.connection.lends_frame
                lent.append((two.router.echo.body, Keeping()))
                return lent[-1][1]

            two.router.answer = keep
            await send_large(two, 1)
            for number in range(2, 6):  # from now on it is known what this client sends
                await two.send(large(number), turns=20)
            assert [set(body) for body, _ in lent] == [{1}, {2}, {3}, {4}, {5}]
            assert two.server.pool.leased_bytes == 5 * len(large(1))
            for _, answer in lent:
                answer.resolve(b"ok")
            assert await two.all_answers(5) == [(number, b"ok") for number in range(1, 6)]
            assert two.server.pool.leased_bytes == 0

    asyncio.run(work())


def test_a_lent_frame_outlives_its_connection() -> None:
    async def work() -> None:
        async with ends() as two:
            answer = Keeping()
            two.router.answer = lambda request: answer
            await send_large(two, 7)
            two.connection.close()
            assert two.server.pool.leased_bytes == len(large(7))
            body = two.router.echo.body
            two.client, two.connection = two.connect()
            two.router.answer = lambda request: b""
            await send_large(two, 8)
            assert set(body) == {7}
            answer.resolve(b"too late")
            assert two.server.pool.leased_bytes == 0

    asyncio.run(work())


def test_a_frame_is_given_to_nobody_else_after_its_handler_has_failed() -> None:
    async def work() -> None:
        async with ends() as two:
            bodies: list[memoryview] = []

            def fail(request: Request) -> Any:
                bodies.append(two.router.echo.body)
                raise ValueError("half way")

            two.router.answer = fail
            for number in (1, 2):
                await send_large(two, number)
                two.client, two.connection = two.connect()
            assert [set(body) for body in bodies] == [{1}, {2}]
            assert two.server.pool.leased_bytes == 0

    asyncio.run(work())


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
