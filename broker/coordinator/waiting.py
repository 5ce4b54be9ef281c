"""What both coordinators write and wait with: for answers, for durability, for their topic, for the time.

Requests    requests that are not answered yet, each under the token that decisions know it by
Parked      something that is to be done when what it relies on is durable
StateTopic  what cannot go on before the coordinator's internal topic is created, which its first record causes
Alarm       one call of the loop, set to the earliest of all timers
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from broker.coordinator.outcome import NEVER, Outcome, Reply, TimerChange, TimerKey, TimerKind
from broker.coordinator.timers import Timers
from broker.request import Deferred
from protocol.errors import ApiError, ErrorCode, StorageFailed

if TYPE_CHECKING:
    from broker.coordinator.offsets_topic import GroupLog
    from broker.topics.partition import DurabilityWaiter
    from protocol.keyed_batch import KeyedRecord

log = logging.getLogger("floe.coordinator")

T = TypeVar("T")

TIMERS_PER_TURN: Final = 64
"""How many timers are seen to before clients get their turn."""

RETRY_MS: Final = 1000
"""How long what could not be written waits for its next try."""

MAX_STRING_BYTES: Final = 32767
"""The longest string the coordinators' records can hold; flexible requests can carry longer ones."""

EXPIRY: Final = TimerKey(TimerKind.EXPIRY, "")

WRITE_REFUSED: Final = ErrorCode.NOT_COORDINATOR
"""What Kafka says when the disk refuses or the broker stops: look for the coordinator again, and retry."""


class Handle(Protocol):
    """A call to come, as the loop gives it."""

    def cancel(self) -> None: ...


class Host(Protocol):
    """What a coordinator needs of the process."""

    def clock_ms(self) -> int: ...

    def call_later(self, delay_ms: int, callback: Callable[[], None]) -> Handle: ...

    def new_id(self) -> bytes:
        """Sixteen random bytes."""

    def storage_failed(self, failure: StorageFailed) -> None: ...


class Requests:
    """Requests that wait for their answers."""

    def __init__(self) -> None:
        self._waiting: dict[int, Deferred[Any]] = {}
        self._last_token = 0

    def park(self) -> tuple[Deferred[Any], int]:
        """The answer to come, and the token that it is given under."""
        self._last_token += 1
        deferred: Deferred[Any] = Deferred()
        self._waiting[self._last_token] = deferred
        return deferred, self._last_token

    def answer(self, replies: Sequence[Reply]) -> None:
        """Answer those that are still waiting."""
        for token, response in replies:
            deferred = self._waiting.pop(token, None)
            if deferred is not None:
                deferred.resolve(response)

    def forget(self) -> list[Deferred[Any]]:
        """Nobody is answered by token any more; who was waiting."""
        waiting, self._waiting = self._waiting, {}
        return list(waiting.values())


class Parked(Generic[T]):
    """Has `then(argument)` called when what it waits for is durable."""

    __slots__ = ("_argument", "_then")

    def __init__(self, then: Callable[[T], None], argument: T) -> None:
        self._then = then
        self._argument = argument

    def durable(self) -> None:
        self._then(self._argument)


def at_once(response: T) -> Deferred[T]:
    """An answer that waits for nothing."""
    deferred: Deferred[T] = Deferred()
    deferred.resolve(response)
    return deferred


class StateTopic:
    """The topic of a coordinator's log: whether it is there, what waits until it is, and what is written to it."""

    def __init__(self, state_log: GroupLog, host: Host, kick: Callable[[], None]) -> None:
        """`kick` wakes the flusher after what the creation has set going."""
        self.partition_count = 0
        """0 as long as the topic is not known to be there."""
        self._log = state_log
        self._host = host
        self._kick = kick
        self._until_created: list[tuple[Callable[[], None], Callable[[], None]]] | None = None

    def look(self) -> int:
        """Take in what there is at a start; the number of partitions."""
        self.partition_count = self._log.partition_count
        return self.partition_count

    def run(self, work: Callable[[], None], refuse: Callable[[], None]) -> None:
        """Do what may write the first record, as soon as there is a topic for it; `refuse` if it cannot be created."""
        if not self.partition_count and self._until_created is None:
            self.look()
        if self.partition_count:
            work()
        elif self._until_created is not None:
            self._until_created.append((work, refuse))
        else:
            self._until_created = [(work, refuse)]
            self._log.create(self._created)

    def write(self, index: int, records: Sequence[KeyedRecord], outcome: Outcome) -> int:
        """Write a decision's records as one batch; the offset of the first, or -1 if nothing could be written."""
        assert self.partition_count, "whoever makes the first record waits for the topic"
        try:
            return self._log.append(index, records, self._host.clock_ms(), outcome.producer)
        except StorageFailed as failure:
            self._host.storage_failed(failure)
        except ApiError as refusal:  # more than a segment holds
            log.error("%s: nothing was written: %s", outcome.group_id, refusal.message)
        return -1

    def when_durable(self, index: int, waiter: DurabilityWaiter) -> bool:
        """Have `waiter` called when all that is written to a partition by now is synced; False if it is."""
        return bool(self.partition_count) and self._log.when_durable(index, waiter)

    def _created(self) -> None:
        waiting, self._until_created = self._until_created, None
        assert waiting is not None
        self.look()
        for work, refuse in waiting:
            if self.partition_count:
                work()
            else:
                refuse()
        self._kick()

    def deleted(self) -> None:
        """The topic is gone; the next record creates it again."""
        self._log.deleted()
        self.partition_count = 0


class Alarm:
    """One call of the loop for all timers of a coordinator. `ended` hears of each that has ended."""

    def __init__(self, host: Host, ended: Callable[[TimerKey, int], None], kick: Callable[[], None]) -> None:
        """`ended` is given the timer and the time; `kick` wakes the flusher after what a turn has written."""
        self.timers = Timers()
        self._host = host
        self._ended = ended
        self._kick = kick
        self._handle: Handle | None = None
        self._handle_due_ms = NEVER
        self._is_closed = False

    def change(self, changes: Sequence[TimerChange]) -> None:
        for change in changes:
            self.timers.change(change)
        self._arm()

    def set(self, key: TimerKey, due_ms: int) -> None:
        self.timers.change(TimerChange(key, due_ms))
        self._arm()

    def forget(self) -> None:
        """No timer runs any more."""
        self.timers = Timers()

    def close(self) -> None:
        """No timer ends any more."""
        self._is_closed = True
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self) -> None:
        due_ms = self.timers.earliest_ms()
        if self._is_closed or due_ms == NEVER or (self._handle is not None and self._handle_due_ms <= due_ms):
            return
        if self._handle is not None:
            self._handle.cancel()
        self._handle_due_ms = due_ms
        delay_ms = max(0, due_ms - self._host.clock_ms())
        self._handle = self._host.call_later(delay_ms, self._due)

    def _due(self) -> None:
        self._handle = None
        now_ms = self._host.clock_ms()
        for key in self.timers.take_due(now_ms, TIMERS_PER_TURN):
            self._ended(key, now_ms)
        self._arm()
        self._kick()
