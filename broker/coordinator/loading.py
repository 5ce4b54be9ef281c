"""Taking up what is stored, quickly: a million committed offsets are loaded at a start.

Almost every record is an offset in its present version without metadata, and neighbours in the checkpoint are offsets
of one group and topic. Those are read here field by field; everything else goes the ordinary way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from struct import Struct
from typing import Final

from broker.coordinator.group_records import UnknownRecord, decode, encode
from broker.coordinator.groups import Groups
from broker.coordinator.offsets import NO_EXPIRY, Committed
from broker.coordinator.transactional_offsets import MarkerEntry, PendingEntry, parse_entry
from protocol.errors import Malformed
from protocol.keyed_batch import KeyedRecord

log = logging.getLogger("floe.groups")

_OFFSET_KEY: Final = b"\0\1"
_OFFSET: Final = Struct(">hqihqi")
"""version, offset, leader epoch, length of the metadata (here none), time of the commit; the key's end: partition"""
_VALUE_SIZE: Final = _OFFSET.size - 4
assert _VALUE_SIZE == 24
_PRESENT_VERSION: Final = 3
_LEAST_KEY_SIZE: Final = 10
"""Version, two sizes of names, partition."""
_NO_PREFIX: Final = b"none"


def load(
    groups: Groups,
    records: Iterable[tuple[bytes | None, bytes | None]],
    index: int = 0,
    note: Callable[[int, Sequence[KeyedRecord]], None] = lambda index, records: None,
) -> int:
    """Apply records as they stand in partition `index`, (key, value), in their order; how many there were.

    `note` hears of those of a transaction when they begin to count.

    Types that are not known are passed over, as in Kafka. So are records that are not what Kafka writes, with a line in
    the log: they are one group's, and the others' clients wait.
    """
    partitions: dict[int, Committed] | None = None
    prefix, key_size = _NO_PREFIX, 0
    unpack, make = _OFFSET.unpack, partial(tuple.__new__, Committed)  # half the time of Committed._make
    count = 0
    pending = groups.offsets.pending
    for key, value in records:
        count += 1
        # Written out, with few calls, as this is most of a start with many groups.
        if (
            key is not None
            and value is not None
            and len(value) == _VALUE_SIZE
            and len(key) >= _LEAST_KEY_SIZE
        ):
            version, offset, leader_epoch, length, timestamp_ms, partition = unpack(value + key[-4:])
            if version == _PRESENT_VERSION and not length and not pending:
                if not (len(key) == key_size and key.startswith(prefix)):
                    prefix, key_size = key[:-4], len(key)
                    partitions = _partitions(groups, key)
                if partitions is not None:
                    partitions[partition] = make((offset, leader_epoch, "", timestamp_ms, NO_EXPIRY))
                    continue
        prefix, key_size = _NO_PREFIX, 0  # what follows may delete what the neighbours are kept in
        try:
            entry = parse_entry(key) if key is not None else None
            if entry is None:
                groups.apply("", decode(key, value))
            else:
                _of_transaction(groups, entry, value, index, note)
        except UnknownRecord:
            continue
        except Malformed as error:
            log.error("a record of __consumer_offsets is passed over: %s", error)
    return count


def _of_transaction(
    groups: Groups,
    entry: PendingEntry | MarkerEntry,
    value: bytes | None,
    index: int,
    note: Callable[[int, Sequence[KeyedRecord]], None],
) -> None:
    if isinstance(entry, PendingEntry):
        record = decode(entry.key, value)
        groups.offsets.pending.add(index, entry.producer.producer_id, entry.offset, record)
        return
    records = groups.end_transaction(index, entry.producer_id, entry.is_committed)
    note(index, [encode(record) for record in records])


def _partitions(groups: Groups, key: bytes) -> dict[int, Committed] | None:
    """Where the offsets of a key's group and topic are kept; None if it is not the key of an offset."""
    size = key[2] << 8 | key[3]
    topic_size = int.from_bytes(key[4 + size : 6 + size], "big")
    if len(key) != _LEAST_KEY_SIZE + size + topic_size or not key.startswith(_OFFSET_KEY):
        return None
    try:
        group_id, topic = key[4 : 4 + size].decode(), key[6 + size : -4].decode()
    except UnicodeDecodeError:
        return None
    return groups.offsets.by_group.setdefault(group_id, {}).setdefault(topic, {})
