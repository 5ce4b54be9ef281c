"""What the transaction coordinator needs of others: a log, a place for markers, producer ids."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from broker.coordinator.offsets_topic import GroupLog
from broker.request import Deferred
from protocol.errors import ApiError

if TYPE_CHECKING:
    from broker.topics.partition import DurabilityWaiter


class Marker(NamedTuple):
    """What ends a transaction in a partition."""

    producer_id: int
    producer_epoch: int
    is_committed: bool
    coordinator_epoch: int
    transaction_version: int


class TransactionLog(GroupLog, Protocol):
    """A `GroupLog`, for `__transaction_state`."""

    def coordinator_epoch(self, index: int) -> int:
        """The leader epoch of a partition: a marker of an older coordinator is refused."""

    def end_offset(self, index: int) -> int:
        """The end of what is written to a partition."""

    def durable_offset(self, index: int) -> int:
        """The end of what is synced."""


class Markers(Protocol):
    """Where markers are written: the partitions of all topics, and groups' offsets."""

    def append(self, topic: str, partition: int, marker: Marker, now_ms: int) -> bool:
        """Write a marker; False if there is no such partition (any more).

        Raises Repeated where it was written before and the next transaction has begun, ApiError where a newer producer
        or coordinator has been there, DiskFull, StorageFailed.
        """

    def when_durable(self, topic: str, partition: int, waiter: DurabilityWaiter) -> bool:
        """Have `waiter` called when all that is written to a partition by now is synced; False if it is."""


class ProducerIdSource(Protocol):
    def take(self) -> Deferred[int | ApiError]:
        """An id nobody had before."""


class MarkersUnderWay:
    """The markers of one transaction: how many are not durable yet."""

    __slots__ = ("_complete", "missing")

    def __init__(self, complete: Callable[[], None]) -> None:
        self._complete = complete
        self.missing = 1  # until all are on their way

    def durable(self) -> None:
        self.missing -= 1
        if not self.missing:
            self._complete()
