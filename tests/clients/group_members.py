"""Members of a consumer group in threads of their own, of any library: started, stopped, and asked what they read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

LIMIT_S: Final = 60.0
HEARTBEAT_INTERVAL_MS: Final = 200

Seen = tuple[int, int]
"""(partition, offset) of a record."""


class GroupConsumer(Protocol):
    """What the tests need of a library's consumer."""

    def poll(self) -> list[Seen]:
        """What has come within a short time."""

    def commit(self) -> None:
        """Commit what was polled, and wait until that is done."""

    def assignment(self) -> set[int]: ...

    def close(self) -> None: ...


def in_python(bootstrap: str, group: str, session_timeout_ms: int = 6_000) -> dict[str, Any]:
    """What kafka-python and aiokafka are told; only the member itself commits."""
    return {
        "bootstrap_servers": bootstrap,
        "group_id": group,
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
        "session_timeout_ms": session_timeout_ms,
        "heartbeat_interval_ms": HEARTBEAT_INTERVAL_MS,
    }


class Member(threading.Thread):
    """Polls and commits until it is stopped. A commit may fail in a rebalance: the records are then read again."""

    def __init__(self, make: Callable[[], GroupConsumer], retriable: tuple[type[Exception], ...]) -> None:
        super().__init__(daemon=True)
        self.seen: list[Seen] = []
        self.assigned: set[int] = set()
        self.failure: BaseException | None = None
        self._make = make
        self._retriable = retriable
        self._stopping = threading.Event()
        self.start()

    def run(self) -> None:
        try:
            consumer = self._make()
            owes_commit = False
            while not self._stopping.is_set():
                seen = consumer.poll()
                self.seen += seen
                self.assigned = consumer.assignment()
                if seen or owes_commit:
                    try:
                        consumer.commit()
                        owes_commit = False
                    except self._retriable:
                        owes_commit = True
            consumer.close()
        except BaseException as error:
            self.failure = error
            raise

    def stop(self) -> None:
        self._stopping.set()
        self.join(LIMIT_S)
        assert not self.is_alive()
        assert self.failure is None, self.failure


def wait_until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + LIMIT_S
    tick = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {LIMIT_S} s: {what}"
        tick.wait(0.02)


@contextmanager
def members_of(
    make: Callable[[], GroupConsumer], *retriable: type[Exception]
) -> Iterator[Callable[[], Member]]:
    """Start members; those still there are stopped at the end."""
    started: list[Member] = []

    def start() -> Member:
        started.append(Member(make, retriable))
        return started[-1]

    yield start
    for member in started:
        if member.is_alive():
            member.stop()


def share_evenly(members: list[Member], partition_count: int) -> bool:
    """Whether every partition has one owner among the members, and every member a part."""
    owned = sorted(partition for member in members for partition in member.assigned)
    return owned == list(range(partition_count)) and all(member.assigned for member in members)


def all_seen(members: list[Member], expected: set[Seen]) -> bool:
    return {seen for member in members for seen in member.seen} >= expected
