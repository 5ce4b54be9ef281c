"""Offsets committed in transactions: pending until the marker of their transaction (KIP-98).

A pending offset is a record in its group's partition of `__consumer_offsets`, in a producer's transaction. A COMMIT
marker in that partition makes all of the producer's count, an ABORT marker forgets them. What was written later wins,
not what counts later: a pending offset does not replace one that was committed after it was written, and a tombstone
forgets what is pending for its key (as Kafka's OffsetMetadataManager has it).

At a start the records come from the log as (key, value). Those of a transaction come under keys that no record has:

    0xfffe producer_id int64, producer_epoch int16, offset int64, then the record's key; the value is the record's
    0xffff producer_id int64, committed int8; no value
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from broker.coordinator.outcome import Record
from protocol.messages.internal.offset_records import OffsetCommitKey

_PENDING: Final = Struct(">Hqhq")
_MARKER: Final = Struct(">Hqb")
_PENDING_TYPE: Final = 0xFFFE
_MARKER_TYPE: Final = 0xFFFF


class Producer(NamedTuple):
    """Whose transaction it is."""

    producer_id: int
    producer_epoch: int


class PendingEntry(NamedTuple):
    """A record of a transaction: where it stands in the log, and its key as bytes."""

    producer: Producer
    offset: int
    key: bytes


class MarkerEntry(NamedTuple):
    """The end of a producer's transaction in a partition."""

    producer_id: int
    is_committed: bool


def pending_entry(producer: Producer, offset: int, key: bytes | None) -> bytes:
    return _PENDING.pack(_PENDING_TYPE, *producer, offset) + (key or b"")


def marker_entry(producer_id: int, is_committed: bool) -> tuple[bytes, None]:
    return _MARKER.pack(_MARKER_TYPE, producer_id, is_committed), None


def parse_entry(key: bytes) -> PendingEntry | MarkerEntry | None:
    """What a key says of a transaction; None for a record's own key."""
    if key[:1] != b"\xff":
        return None
    if int.from_bytes(key[:2], "big") == _MARKER_TYPE:
        _, producer_id, is_committed = _MARKER.unpack_from(key)
        return MarkerEntry(producer_id, bool(is_committed))
    _, producer_id, producer_epoch, offset = _PENDING.unpack_from(key)
    return PendingEntry(Producer(producer_id, producer_epoch), offset, key[_PENDING.size :])


OffsetKey = tuple[str, str, int]
"""Group, topic, partition."""


class PendingOffsets:
    """What transactions under way have committed: partition of `__consumer_offsets` and producer → key → record."""

    def __init__(self) -> None:
        self._by_producer: dict[tuple[int, int], dict[OffsetKey, tuple[int, Record]]] = {}
        self._producers: dict[OffsetKey, set[tuple[int, int]]] = {}
        self._groups: dict[str, int] = {}  # how many keys of a group are pending

    def __bool__(self) -> bool:
        return bool(self._producers)

    def __iter__(self) -> Iterator[tuple[int, int, OffsetKey, int]]:
        """(partition, producer id, key, offset in the log) of everything that is pending."""
        for (index, producer_id), found in self._by_producer.items():
            for key, (offset, _) in found.items():
                yield index, producer_id, key, offset

    def is_pending(self, group_id: str, topic: str, partition: int) -> bool:
        return (group_id, topic, partition) in self._producers

    def of_group(self, group_id: str) -> set[tuple[str, int]]:
        """Topics and partitions of a group whose offset may change when a transaction ends."""
        if group_id not in self._groups:
            return set()
        return {(topic, partition) for name, topic, partition in self._producers if name == group_id}

    def has_group(self, group_id: str) -> bool:
        return group_id in self._groups

    def groups(self) -> Iterator[str]:
        return iter(self._groups)

    def add(self, index: int, producer_id: int, offset: int, record: Record) -> None:
        """A record of `producer_id` stands at `offset` in partition `index`."""
        key = record.key.group, record.key.topic, record.key.partition
        owner = index, producer_id
        if record.value is None:
            return
        self._by_producer.setdefault(owner, {})[key] = offset, record
        producers = self._producers.get(key)
        if producers is None:
            producers = self._producers[key] = set()
            self._groups[key[0]] = self._groups.get(key[0], 0) + 1
        producers.add(owner)

    def end(self, index: int, producer_id: int, is_committed: bool) -> list[Record]:
        """The producer's transaction is over in a partition: the records that count now, in the order of the log."""
        owner = index, producer_id
        found = self._by_producer.pop(owner, {})
        for key in found:
            self._release(key, owner)
        if not is_committed:
            return []
        for key, (offset, _) in found.items():
            for other in list(self._producers.get(key, ())):
                if self._by_producer[other][key][0] < offset:  # written before, it must not come after
                    self._drop(key, other)
        return [record for _, record in sorted(found.values(), key=lambda item: item[0])]

    def superseded(self, key: OffsetCommitKey) -> None:
        """The key has been committed or deleted outside of transactions: what is pending was written before."""
        found = key.group, key.topic, key.partition
        for owner in list(self._producers.get(found, ())):
            self._drop(found, owner)

    def _drop(self, key: OffsetKey, owner: tuple[int, int]) -> None:
        remaining = self._by_producer[owner]
        del remaining[key]
        if not remaining:
            del self._by_producer[owner]
        self._release(key, owner)

    def _release(self, key: OffsetKey, owner: tuple[int, int]) -> None:
        producers = self._producers[key]
        producers.discard(owner)
        if producers:
            return
        del self._producers[key]
        self._groups[key[0]] -= 1
        if not self._groups[key[0]]:
            del self._groups[key[0]]
