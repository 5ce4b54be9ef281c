"""What went wrong, by what clients saw: a checker in the manner of Jepsen's workload for Kafka.

A history is what transactions did and what readers found, whoever recorded it (a simulation, real clients). Every value
is written once at most, so a value found names its transaction.

    lost write            acknowledged and committed, and no reader that went past its place found it
    duplicate             one value at two offsets
    aborted read          a value of a transaction that was aborted, or of none
    torn transaction      some values of a transaction are there and some are not
    inconsistent offset   one offset, two values; or a value elsewhere than where it was acknowledged
    non-monotonic poll    a reader that goes on is given something from before
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from enum import Enum

Value = Hashable
Partition = Hashable


class End(Enum):
    """How a transaction ended, as far as its client knows."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Transaction:
    """What one transaction wrote: value → (partition, offset it was acknowledged at, or None)."""

    writes: dict[Value, tuple[Partition, int | None]] = field(default_factory=dict)
    end: End = End.UNKNOWN


@dataclass(slots=True)
class Poll:
    """What a reader was given in one go, in order: (partition, offset, value)."""

    reader: Hashable
    found: list[tuple[Partition, int, Value]]


@dataclass(slots=True)
class History:
    transactions: list[Transaction] = field(default_factory=list)
    polls: list[Poll] = field(default_factory=list)
    """In the order they came to each reader."""
    final: dict[Partition, list[tuple[int, Value]]] = field(default_factory=dict)
    """All that is to be read once nothing is under way any more."""

    def begin(self) -> Transaction:
        transaction = Transaction()
        self.transactions.append(transaction)
        return transaction


def anomalies(history: History) -> list[str]:
    """Every anomaly, in words; empty for a history that is as it should be."""
    return [
        *_lost_and_torn(history),
        *_duplicates(history),
        *_aborted_reads(history),
        *_inconsistent_offsets(history),
        *_non_monotonic_polls(history),
    ]


def _found(history: History) -> Iterator[tuple[Partition, int, Value]]:
    for partition, records in history.final.items():
        for offset, value in records:
            yield partition, offset, value
    for poll in history.polls:
        yield from poll.found


def _lost_and_torn(history: History) -> Iterator[str]:
    there = {value for records in history.final.values() for _, value in records}
    for transaction in history.transactions:
        missing = [value for value in transaction.writes if value not in there]
        if transaction.end is End.COMMITTED:
            yield from (f"lost write: {value!r}" for value in missing)
        elif missing and len(missing) < len(transaction.writes):
            # What was not acknowledged may be missing from an unknown end only if nothing else is there.
            yield f"torn transaction: {missing!r} of {list(transaction.writes)!r} are missing"


def _duplicates(history: History) -> Iterator[str]:
    places: dict[Value, set[tuple[Partition, int]]] = defaultdict(set)
    for partition, offset, value in _found(history):
        places[value].add((partition, offset))
    for value, found in places.items():
        if len(found) > 1:
            yield f"duplicate: {value!r} at {sorted(found, key=repr)!r}"
    for partition, records in history.final.items():
        if len({offset for offset, _ in records}) != len(records):
            yield f"duplicate: an offset of {partition!r} comes twice"


def _aborted_reads(history: History) -> Iterator[str]:
    end_of = {value: transaction.end for transaction in history.transactions for value in transaction.writes}
    for value in {value for _, _, value in _found(history)}:
        end = end_of.get(value)
        if end is None:
            yield f"aborted read: nobody wrote {value!r}"
        elif end is End.ABORTED:
            yield f"aborted read: {value!r}"


def _inconsistent_offsets(history: History) -> Iterator[str]:
    values: dict[tuple[Partition, int], set[Value]] = defaultdict(set)
    for partition, offset, value in _found(history):
        values[partition, offset].add(value)
    for place, found in values.items():
        if len(found) > 1:
            yield f"inconsistent offset: {place!r} has {sorted(found, key=repr)!r}"
    for transaction in history.transactions:
        if transaction.end is not End.COMMITTED:
            continue
        for value, (partition, offset) in transaction.writes.items():
            if offset is not None and values.get((partition, offset), {value}) != {value}:
                yield f"inconsistent offset: {value!r} was acknowledged at {partition!r} {offset}"


def _non_monotonic_polls(history: History) -> Iterator[str]:
    last: dict[tuple[Hashable, Partition], int] = {}
    for poll in history.polls:
        for partition, offset, value in poll.found:
            before = last.get((poll.reader, partition), -1)
            if offset <= before:
                yield f"non-monotonic poll: {poll.reader!r} gets {value!r} at {offset} after {before}"
            last[poll.reader, partition] = offset
