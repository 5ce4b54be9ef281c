"""Taking up what is stored, quickly: a million committed offsets are loaded at a start.

Almost every record is an offset in its present version without metadata, and neighbours in the checkpoint are offsets
of one group and topic. Those are read here field by field; everything else goes the ordinary way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from typing import Final

from broker.coordinator.group_records import UnknownRecord, decode, encode
from broker.coordinator.groups import Groups
from broker.coordinator.offsets import NO_EXPIRY, Committed
from broker.coordinator.transactional_offsets import MarkerEntry, PendingEntry, parse_entry
from protocol.errors import Malformed
from protocol.records import Record as LogRecord

log = logging.getLogger("floe.groups")

_OFFSET_KEY: Final = b"\0\1"
_PARTITION: Final = Struct(">i")
_OFFSET_VALUE: Final = Struct(">hqihq")
"""version, offset, leader epoch, length of the metadata (here none), time of the commit"""
_PRESENT_VERSION: Final = 3
_VALUE_SIZE: Final = _OFFSET_VALUE.size
assert _VALUE_SIZE == 24


def load(
    groups: Groups,
    records: Iterable[tuple[bytes | None, bytes | None]],
    index: int = 0,
    note: Callable[[int, Sequence[LogRecord]], None] = lambda index, records: None,
) -> int:
    """Apply records as they stand in partition `index`, (key, value), in their order; how many there were.

    `note` hears of those of a transaction when they begin to count.

    Types that are not known are passed over, as in Kafka. So are records that are not what Kafka writes, with a line in
    the log: they are one group's, and the others' clients wait.
    """
    partitions: dict[int, Committed] = {}
    last_prefix = b""
    unpack, unpack_partition, make = _OFFSET_VALUE.unpack_from, _PARTITION.unpack_from, Committed._make
    count = 0
    pending = groups.offsets.pending
    for key, value in records:
        count += 1
        # Written out, without calls, as this is most of a start with many groups.
        if (
            value is not None
            and key is not None
            and len(value) == _VALUE_SIZE
            and key.startswith(_OFFSET_KEY)
            and not pending
        ):
            version, offset, leader_epoch, length, timestamp_ms = unpack(value)
            if version == _PRESENT_VERSION and not length:
                if key[:-4] != last_prefix:
                    last_prefix = key[:-4]
                    partitions = _partitions(groups, key)
                (partition,) = unpack_partition(key, len(key) - 4)
                partitions[partition] = make((offset, leader_epoch, "", timestamp_ms, NO_EXPIRY))
                continue
        last_prefix = b""  # what follows may delete what the neighbours are kept in
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
    note: Callable[[int, Sequence[LogRecord]], None],
) -> None:
    if isinstance(entry, PendingEntry):
        record = decode(entry.key, value)
        groups.offsets.pending.add(index, entry.producer.producer_id, entry.offset, record)
        return
    records = groups.end_transaction(index, entry.producer_id, entry.is_committed)
    note(index, [encode(record, 0) for record in records])


def _partitions(groups: Groups, key: bytes) -> dict[int, Committed]:
    """Where the offsets of a key's group and topic are kept. A key that is not one is the caller's to find out."""
    size = key[2] << 8 | key[3]
    topic_size = int.from_bytes(key[4 + size : 6 + size], "big")
    if len(key) != 10 + size + topic_size:
        return {}
    group_id, topic = key[4 : 4 + size].decode(), key[6 + size : -4].decode()
    return groups.offsets.by_group.setdefault(group_id, {}).setdefault(topic, {})
