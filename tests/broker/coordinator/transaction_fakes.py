"""A transaction coordinator without a process: its log, where markers go, and producer ids."""

from __future__ import annotations

from typing import Any

from broker.coordinator.transaction_ports import Marker
from broker.request import Deferred
from protocol.errors import ApiError, DiskFull
from tests.broker.coordinator.fakes import FakeLog


class FakeTransactionLog(FakeLog):
    """As `FakeLog`, of a coordinator whose epoch the test decides."""

    epoch = 0

    def coordinator_epoch(self, index: int) -> int:
        return self.epoch

    def end_offset(self, index: int) -> int:
        return len(self.batches[index])

    def durable_offset(self, index: int) -> int:
        return self.durable[index]


class FakeMarkers:
    """Markers in a list. They are durable at once, or when the test says so."""

    def __init__(self, *, is_synchronous: bool = True) -> None:
        self.is_synchronous = is_synchronous
        self.is_full = False
        self.missing: set[str] = set()
        self.refusals: dict[str, ApiError] = {}
        self.written: list[tuple[str, int, Marker]] = []
        self._waiters: list[Any] = []

    def append(self, topic: str, partition: int, marker: Marker, now_ms: int) -> bool:
        if self.is_full:
            raise DiskFull("the disk is full")
        if topic in self.missing:
            return False
        if topic in self.refusals:
            raise self.refusals[topic]
        self.written.append((topic, partition, marker))
        return True

    def when_durable(self, topic: str, partition: int, waiter: Any) -> bool:
        if self.is_synchronous or topic in self.missing:
            return False
        self._waiters.append(waiter)
        return True

    def sync(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.durable()


class FakeProducerIds:
    """Ids from 1000 on."""

    def __init__(self) -> None:
        self.last = 999

    def take(self) -> Deferred[int | ApiError]:
        self.last += 1
        deferred: Deferred[int | ApiError] = Deferred()
        deferred.resolve(self.last)
        return deferred
