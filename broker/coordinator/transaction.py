"""A transactional id and its transaction: state, table of transitions, record, `apply` (KIP-98, KIP-890).

    Empty ──partition added──► Ongoing ──EndTxn──► PrepareCommit ──markers durable──► CompleteCommit
                                  │                                                        │
                                  └──EndTxn, time-out, a newer producer──► PrepareAbort ──► CompleteAbort

A `Transaction` is a value: every transition makes another one, whole, and is one record of `__transaction_state`. What
is prepared is decided: after a crash at any step the markers are written again and the transaction completed.

Under transaction version 2 (KIP-890) the epoch is raised when a transaction ends, so each has an epoch of its own: what
belongs to an old one and comes late is told apart by its epoch, here and in every partition.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from broker.coordinator.outcome import Record

NO_PRODUCER_ID: Final = -1
NO_EPOCH: Final = -1
NO_TIME: Final = -1
MAX_EPOCH: Final = 0x7FFF
EXHAUSTED_EPOCH: Final = MAX_EPOCH - 1
"""From here on a producer gets a new id: the last epoch is kept for fencing it."""

EPOCH_BUMP_VERSION: Final = 2
"""The transaction version from which on every end of a transaction raises the epoch (KIP-890)."""

TopicPartition = tuple[str, int]


class State(Enum):
    """A transaction's state, by the name Kafka shows."""

    __hash__ = object.__hash__

    EMPTY = "Empty"
    ONGOING = "Ongoing"
    PREPARE_COMMIT = "PrepareCommit"
    PREPARE_ABORT = "PrepareAbort"
    COMPLETE_COMMIT = "CompleteCommit"
    COMPLETE_ABORT = "CompleteAbort"
    DEAD = "Dead"


STATE_NUMBERS: Final = {
    State.EMPTY: 0,
    State.ONGOING: 1,
    State.PREPARE_COMMIT: 2,
    State.PREPARE_ABORT: 3,
    State.COMPLETE_COMMIT: 4,
    State.COMPLETE_ABORT: 5,
    State.DEAD: 6,
}
"""How the record names a state."""

_ADDED: Final = "a partition is added"
_INITIALISED: Final = "InitProducerId"
_EMPTY_ABORT: Final = "EndTxn aborts before anything is written (version 2)"
_EXPIRED: Final = "unused for transactional.id.expiration.ms"

TRANSITIONS: Final[Mapping[tuple[State, State], str]] = {
    (State.EMPTY, State.EMPTY): _INITIALISED,
    (State.EMPTY, State.ONGOING): _ADDED,
    (State.EMPTY, State.PREPARE_ABORT): _EMPTY_ABORT,
    (State.ONGOING, State.ONGOING): _ADDED,
    (State.ONGOING, State.PREPARE_COMMIT): "EndTxn commits",
    (State.ONGOING, State.PREPARE_ABORT): "EndTxn aborts, it takes too long, or a newer producer comes",
    (State.PREPARE_COMMIT, State.COMPLETE_COMMIT): "all markers are durable",
    (State.PREPARE_ABORT, State.COMPLETE_ABORT): "all markers are durable",
    (State.COMPLETE_COMMIT, State.EMPTY): _INITIALISED,
    (State.COMPLETE_COMMIT, State.ONGOING): _ADDED,
    (State.COMPLETE_COMMIT, State.PREPARE_ABORT): _EMPTY_ABORT,
    (State.COMPLETE_ABORT, State.EMPTY): _INITIALISED,
    (State.COMPLETE_ABORT, State.ONGOING): _ADDED,
    (State.COMPLETE_ABORT, State.PREPARE_ABORT): _EMPTY_ABORT,
    (State.EMPTY, State.DEAD): _EXPIRED,
    (State.COMPLETE_COMMIT, State.DEAD): _EXPIRED,
    (State.COMPLETE_ABORT, State.DEAD): _EXPIRED,
}

OVER: Final = frozenset((State.EMPTY, State.COMPLETE_COMMIT, State.COMPLETE_ABORT))
"""Nothing is under way."""
PREPARED: Final = frozenset((State.PREPARE_COMMIT, State.PREPARE_ABORT))
"""How it ends is decided, and the markers are on their way."""


def by_topic(partitions: Iterable[TopicPartition]) -> dict[str, list[int]]:
    """Partitions by topic, in order."""
    found: dict[str, list[int]] = {}
    for topic, partition in sorted(partitions):
        found.setdefault(topic, []).append(partition)
    return found


class Transaction(NamedTuple):
    """A transactional id: whose it is, and its present or last transaction. Times are in ms, -1 for none."""

    transactional_id: str
    producer_id: int
    producer_epoch: int = NO_EPOCH
    timeout_ms: int = 0
    state: State = State.EMPTY
    partitions: frozenset[TopicPartition] = frozenset()
    start_ms: int = NO_TIME
    updated_ms: int = NO_TIME
    previous_producer_id: int = NO_PRODUCER_ID
    next_producer_id: int = NO_PRODUCER_ID
    """The id the producer goes on with once this transaction is over: its epochs are used up."""
    client_version: int = 0
    """The transaction version of the client that made the last transition."""
    last_producer_epoch: int = NO_EPOCH
    """The epoch before the last one given out; volatile, as in Kafka. A producer that asks again with it gets the same
    answer again (KIP-360)."""

    @property
    def is_committed(self) -> bool:
        return self.state in (State.PREPARE_COMMIT, State.COMPLETE_COMMIT)

    @property
    def producer_ids(self) -> tuple[int, ...]:
        """The id it has, and the one it goes on with if that is known."""
        if self.next_producer_id == NO_PRODUCER_ID:
            return (self.producer_id,)
        return self.producer_id, self.next_producer_id

    @property
    def is_epoch_exhausted(self) -> bool:
        return self.producer_epoch >= EXHAUSTED_EPOCH

    def topics(self) -> dict[str, list[int]]:
        """Its partitions by topic, in order."""
        return by_topic(self.partitions)

    def moved(self, state: State, now_ms: int, **changes: Any) -> Transaction:
        """The transaction after a transition."""
        assert (self.state, state) in TRANSITIONS, (self.state, state)
        changed = self._replace(
            state=state,
            updated_ms=max(now_ms, self.updated_ms),
            previous_producer_id=self.producer_id,
            **changes,
        )
        assert changed.producer_id >= 0 and 0 <= changed.producer_epoch <= MAX_EPOCH
        assert (state is State.ONGOING) <= bool(changed.partitions)
        return changed


def record_of(transaction: Transaction) -> Record:
    """The record that makes a transactional id what `transaction` is; for its bytes see `transaction_records.py`."""
    return Record(transaction.transactional_id, transaction)


def tombstone(transactional_id: str) -> Record:
    return Record(transactional_id, None)


class Ending(NamedTuple):
    """Volatile: a request that waits for the end of the transaction under way."""

    token: int


class Transactions:
    """Every transactional id. Read by everybody, changed by `apply` only."""

    def __init__(self) -> None:
        self.by_id: dict[str, Transaction] = {}
        self.ending: dict[str, list[int]] = {}
        """Tokens of EndTxn requests, to be answered when their transaction is complete."""
        self._by_producer: dict[int, str] = {}

    def __iter__(self) -> Iterator[Transaction]:
        return iter(self.by_id.values())

    def get(self, transactional_id: str) -> Transaction | None:
        return self.by_id.get(transactional_id)

    def of_producer(self, producer_id: int) -> Transaction | None:
        """Whose a producer id is, or is about to be."""
        return self.by_id.get(self._by_producer.get(producer_id, ""))

    def apply_all(self, transactional_id: str, events: Iterable[Any]) -> None:
        for event in events:
            self.apply(transactional_id, event)

    def apply(self, transactional_id: str, event: Any) -> None:
        """Apply one event: a record, live or at recovery, or a volatile one."""
        if event.__class__ is Ending:
            self.ending.setdefault(transactional_id, []).append(event.token)
        else:
            assert event.__class__ is Record
            self._apply_record(event.key, event.value)

    def _apply_record(self, transactional_id: str, transaction: Transaction | None) -> None:
        before = self.by_id.get(transactional_id)
        if transaction is None:
            if before is not None:
                del self.by_id[transactional_id]
                self._forget_producers(before)
            self.ending.pop(transactional_id, None)
            return
        self.by_id[transactional_id] = transaction
        if before is None or before.producer_ids != transaction.producer_ids:
            if before is not None:
                self._forget_producers(before)
            self._by_producer.update(dict.fromkeys(transaction.producer_ids, transactional_id))
        if transaction.state not in PREPARED:
            self.ending.pop(transactional_id, None)

    def _forget_producers(self, transaction: Transaction) -> None:
        for producer_id in transaction.producer_ids:
            self._by_producer.pop(producer_id, None)
