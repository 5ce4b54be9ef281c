"""What a decision comes to, for every machine in this folder.

    decide(state, request, now_ms) -> Outcome        changes nothing
    apply(state, group_id, event)                    the only mutation, live and at recovery

Events are of two kinds. A `Record` is durable: it goes into `__consumer_offsets` in Kafka's format, and replaying
all records gives the state that survives a crash. Everything else is volatile, as it is in Kafka: who is waiting
for an answer, which members have been named but not joined, how far a rebalance has come. Volatile events are
applied beside the records, in the order they were decided, and are gone after a restart.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from broker.coordinator.transactional_offsets import Producer

NEVER: Final = -1
"""The due time of a timer that is called off."""

NOBODY: Final = 0
"""The token of no request: an answer to it goes nowhere."""


class TimerKind(Enum):
    """What a timer's end means."""

    __hash__ = object.__hash__  # Enum's own is written in Python, and each heartbeat hashes one

    SESSION = "session"
    """A member has not been heard of for its session time-out."""
    JOIN = "join"
    """The join phase of a rebalance has lasted long enough."""
    SYNC = "sync"
    """The members of a new generation have had time enough to fetch their assignment."""
    REBALANCE = "rebalance"
    """A member of a consumer group has had time enough to let go of what it is to give up."""
    EXPIRY = "expiry"
    """It is time to look for expired offsets, or transactional ids."""
    TRANSACTION = "transaction"
    """A transaction has been under way for its time-out."""
    MARKERS = "markers"
    """It is time to try again to write the markers of a transaction."""


class TimerKey(NamedTuple):
    """Names a timer; starting one that runs already moves it."""

    kind: TimerKind
    group_id: str
    member_id: str = ""


class TimerChange(NamedTuple):
    """Have a timer end at `due_ms`, or never."""

    key: TimerKey
    due_ms: int


class Record(NamedTuple):
    """A record of the topic the state is kept in: key and value of `protocol.messages.internal`; None deletes."""

    key: Any
    value: Any


class Reply(NamedTuple):
    """The answer to a request that was given `token` when it came."""

    token: int
    response: Any


class Outcome(NamedTuple):
    """`events` in the order they are to be applied; replies leave when every record is durable."""

    group_id: str
    events: Sequence[Any] = ()
    replies: Sequence[Reply] = ()
    timers: Sequence[TimerChange] = ()
    producer: Producer | None = None
    """Whose transaction the records belong to."""

    @property
    def records(self) -> list[Record]:
        return [event for event in self.events if event.__class__ is Record]
