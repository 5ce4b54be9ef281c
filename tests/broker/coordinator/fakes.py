"""A coordinator without a process: a log whose durability the test decides, and a clock it moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from typing import Any

from broker.coordinator.coordinator import GroupCoordinator
from broker.coordinator.settings import GroupSettings
from broker.coordinator.transactional_offsets import Producer, marker_entry, pending_entry
from protocol.errors import DiskFull
from protocol.keyed_batch import KeyedRecord

DEFAULTS = GroupSettings()


class FakeLog:
    """A `GroupLog` in memory. With `is_synchronous` everything is durable as soon as it is written."""

    def __init__(
        self, partition_count: int = 3, *, is_created: bool = True, is_synchronous: bool = True
    ) -> None:
        self.partition_count = partition_count if is_created else 0
        self.is_synchronous = is_synchronous
        self.is_full = False
        self.batches: list[list[list[KeyedRecord]]] = [[] for _ in range(partition_count)]
        self.durable: list[int] = [0] * partition_count
        self.missing_topics: set[str] = set()
        self._final_count = partition_count
        self._waiters: list[list[tuple[int, Any]]] = [[] for _ in range(partition_count)]
        self._creating: list[Callable[[], None]] = []

    def has_topic(self, name: str) -> bool:
        return name not in self.missing_topics

    def create(self, done: Callable[[], None]) -> None:
        self._creating.append(done)

    def created(self, *, works: bool = True) -> None:
        """The catalog is done creating the topic."""
        if works:
            self.partition_count = self._final_count
        waiting, self._creating = self._creating, []
        for done in waiting:
            done()

    def append(
        self, index: int, records: Sequence[KeyedRecord], now_ms: int, producer: Producer | None = None
    ) -> int:
        if self.is_full:
            raise DiskFull("the disk is full")
        assert records
        offset = sum(map(len, self.batches[index]))
        if producer is not None:
            records = [
                (pending_entry(producer, place, key), value)
                for place, (key, value) in enumerate(records, offset)
            ]
        self._append(index, records)
        return offset

    def note(self, index: int, records: Sequence[KeyedRecord]) -> None:
        pass

    def end_transaction(self, index: int, producer_id: int, is_committed: bool) -> None:
        """A marker, as `Markers` writes it."""
        self._append(index, [marker_entry(producer_id, is_committed)])

    def _append(self, index: int, records: Sequence[KeyedRecord]) -> None:
        self.batches[index].append(list(records))
        if self.is_synchronous:
            self.durable[index] = len(self.batches[index])

    def when_durable(self, index: int, waiter: Any) -> bool:
        end = len(self.batches[index])
        if self.durable[index] >= end:
            return False
        self._waiters[index].append((end, waiter))
        return True

    def sync(self) -> None:
        """A round of the flusher."""
        for index, waiters in enumerate(self._waiters):
            self.durable[index] = len(self.batches[index])
            self._waiters[index] = []
            for _, waiter in waiters:
                waiter.durable()

    def crash(self, keep: Callable[[int], int]) -> None:
        """What is durable stays, and `keep(n)` of the n batches that are not; nobody waits any more."""
        for index, batches in enumerate(self.batches):
            durable = self.durable[index]
            del batches[durable + keep(len(batches) - durable) :]
            self.durable[index] = len(batches)
            self._waiters[index] = []

    def records(self, index: int) -> Iterator[tuple[bytes | None, bytes | None]]:
        yield from self.replay(index)

    def deleted(self) -> None:
        self.__init__(self._final_count, is_created=False)  # type: ignore[misc]

    def checkpoint_steps(self) -> Iterator[Callable[[], None]]:
        return iter(())

    def close(self) -> None:
        pass

    def replay(self, index: int) -> Iterator[KeyedRecord]:
        for batch in self.batches[index]:
            yield from batch


class FakeHandle:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class FakeHost:
    """A `Host` whose time the test moves."""

    def __init__(self, now_ms: int = 1_000_000) -> None:
        self.now_ms = now_ms
        self.failures: list[Exception] = []
        self._queue: list[tuple[int, int, FakeHandle]] = []
        self._sequence = 0
        self._ids = 0

    def clock_ms(self) -> int:
        return self.now_ms

    def call_later(self, delay_ms: int, callback: Callable[[], None]) -> FakeHandle:
        handle = FakeHandle(callback)
        self._sequence += 1
        heappush(self._queue, (self.now_ms + delay_ms, self._sequence, handle))
        return handle

    def new_id(self) -> bytes:
        self._ids += 1
        return self._ids.to_bytes(16, "big")

    def storage_failed(self, failure: Exception) -> None:
        self.failures.append(failure)

    @property
    def next_ms(self) -> int | None:
        return self._queue[0][0] if self._queue else None

    def run_next(self) -> None:
        due_ms, _, handle = heappop(self._queue)
        self.now_ms = max(self.now_ms, due_ms)
        callback, handle.callback = handle.callback, None
        if callback is not None:
            callback()

    def advance(self, delay_ms: int) -> None:
        """Let time pass, and happen what is due in it."""
        end_ms = self.now_ms + delay_ms
        while self._queue and self._queue[0][0] <= end_ms:
            self.run_next()
        self.now_ms = end_ms


def coordinator(log: FakeLog, host: FakeHost, settings: GroupSettings = DEFAULTS) -> GroupCoordinator:
    groups = GroupCoordinator(log, host, settings)
    groups.load()
    return groups


def value_of(deferred: Any) -> Any:
    """What a deferred holds; it must be there."""
    values: list[Any] = []
    deferred.then(values.append)
    assert values, "the answer is not there yet"
    return values[0]
