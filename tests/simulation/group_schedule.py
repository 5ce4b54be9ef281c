"""What every simulated group has: time in which things happen, a log that is synced after a while, and its replay."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from broker.coordinator.group_records import decode_all
from broker.coordinator.groups import Groups
from tests.broker.coordinator.fakes import FakeHost, FakeLog


class Schedule:
    """What happens when, members' doings and the coordinator's timers in one order."""

    def __init__(self, log: type[FakeLog]) -> None:
        self.host = FakeHost()
        self.log = log(is_synchronous=False)
        self.is_up = True
        self.lives = 0
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._sequence = 0

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        self._sequence += 1
        heappush(self._queue, (self.host.now_ms + delay_ms, self._sequence, action))

    def run(self, duration_ms: int) -> None:
        end_ms = self.host.now_ms + duration_ms
        while True:
            due_ms = self._queue[0][0] if self._queue else end_ms + 1
            timer_ms = self.host.next_ms
            if timer_ms is not None and timer_ms <= min(due_ms, end_ms):
                self.host.run_next()
                self.written()
            elif due_ms <= end_ms:
                self.host.now_ms, _, action = heappop(self._queue)
                action()
            else:
                break
        self.host.now_ms = end_ms

    def written(self) -> None:
        """The coordinator had its turn: something may have been written."""
        raise NotImplementedError

    def sync_within(self, delay_ms: int) -> None:
        """Sync what is written, unless the broker is killed before."""
        life = self.lives

        def sync() -> None:
            if self.is_up and life == self.lives:
                self.log.sync()

        self.later(delay_ms, sync)

    def replayed(self) -> Groups:
        """What everything written makes."""
        groups = Groups()
        for index in range(self.log.partition_count):
            for record in decode_all(self.log.replay(index)):
                groups.apply("", record)
        return groups
