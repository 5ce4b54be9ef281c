"""The loop's selector: events are found whether it spins or sleeps, and time-outs are kept."""

from __future__ import annotations

import socket
import sys
import threading

import pytest

from broker.polling import SPIN_S, new_event_loop

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="DID NOT RUN: epoll is Linux's")


def test_what_is_ready_is_found_hot_or_cold() -> None:
    from broker.polling import SpinningSelector

    ours, theirs = socket.socketpair()
    with ours, theirs, SpinningSelector() as selector:
        selector.register(ours, 1)
        for _ in range(3):  # the first finds it at once, which makes the next ones spin
            theirs.send(b"x")
            assert [key.fileobj for key, _ in selector.select(5)] == [ours]
            assert ours.recv(1) == b"x"
        assert selector.select(SPIN_S / 2) == []
        assert selector.select(3 * SPIN_S) == []
        assert selector.select(0) == []


def test_what_comes_while_it_sleeps_wakes_it() -> None:
    from broker.polling import SpinningSelector

    ours, theirs = socket.socketpair()
    with ours, theirs, SpinningSelector() as selector:
        selector.register(ours, 1)
        timer = threading.Timer(0.02, theirs.send, (b"x",))
        timer.start()
        assert [key.fileobj for key, _ in selector.select(None)] == [ours]
        timer.join()


def test_timers_and_threads_reach_the_loop() -> None:
    loop = new_event_loop()
    try:
        reached: list[str] = []
        loop.call_later(0.01, reached.append, "timer")
        loop.call_later(0.03, loop.stop)
        threading.Thread(target=loop.call_soon_threadsafe, args=(reached.append, "thread")).start()
        loop.run_forever()
        assert sorted(reached) == ["thread", "timer"]
    finally:
        loop.close()
