"""A value that arrives once, for one taker."""

from __future__ import annotations

import asyncio

import pytest

from broker.request import Deferred


def test_the_taker_comes_first_or_the_value_does() -> None:
    for value_first in (True, False):
        deferred: Deferred[int] = Deferred()
        taken: list[int] = []
        if value_first:
            deferred.resolve(7)
            assert deferred.is_resolved
            deferred.then(taken.append)
        else:
            deferred.then(taken.append)
            assert not taken
            deferred.resolve(7)
        assert taken == [7]


def test_it_is_resolved_once_and_taken_once() -> None:
    deferred: Deferred[int] = Deferred()
    deferred.resolve(1)
    with pytest.raises(AssertionError):
        deferred.resolve(2)
    deferred.then(lambda value: None)
    with pytest.raises(AssertionError):
        deferred.then(lambda value: None)


@pytest.mark.parametrize("value_first", [True, False])
def test_a_coroutine_may_await_it(value_first: bool) -> None:
    async def work() -> int:
        deferred: Deferred[int] = Deferred()
        if value_first:
            deferred.resolve(7)
        else:
            asyncio.get_running_loop().call_soon(deferred.resolve, 7)
        return await deferred

    assert asyncio.run(work()) == 7


def test_a_cancelled_coroutine_does_not_mind_the_value() -> None:
    async def work() -> None:
        deferred: Deferred[int] = Deferred()

        async def wait() -> int:
            return await deferred

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        deferred.resolve(7)

    asyncio.run(work())
