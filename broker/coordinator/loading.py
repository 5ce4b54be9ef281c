"""Taking up what is stored, quickly: a million committed offsets are loaded at a start.

Almost every record is an offset in its present version, and neighbours in the checkpoint are offsets of one group and
topic. Those are read here field by field; everything else goes the ordinary way.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from struct import Struct
from typing import Final

from broker.coordinator.group_records import UnknownRecord, decode
from broker.coordinator.groups import Groups
from broker.coordinator.offsets import Committed
from protocol.errors import Malformed

log = logging.getLogger("floe.groups")

_OFFSET_KEY: Final = b"\0\1"
_OFFSET_VALUE: Final = Struct(">hqih")
"""version, offset, leader epoch, length of the metadata; the metadata and the commit's time follow."""
_TIMESTAMP: Final = Struct(">q")
_PRESENT_VERSION: Final = b"\0\3"
_VALUE_SIZE: Final = _OFFSET_VALUE.size + _TIMESTAMP.size
assert _OFFSET_VALUE.size == 16


def load(groups: Groups, records: Iterable[tuple[bytes | None, bytes | None]]) -> int:
    """Apply records as they stand in the log, (key, value), in their order; how many there were.

    Types that are not known are passed over, as in Kafka. So are records that are not what Kafka writes, with a line in
    the log: they are one group's, and the others' clients wait.
    """
    partitions: dict[int, Committed] = {}
    last_prefix = b""
    count = 0
    for key, value in records:
        count += 1
        if key is not None and value is not None and key[:2] == _OFFSET_KEY and value[:2] == _PRESENT_VERSION:
            committed = _committed(value)
            if committed is not None:
                if key[:-4] != last_prefix:
                    last_prefix = key[:-4]
                    partitions = _partitions(groups, key)
                partitions[int.from_bytes(key[-4:], "big")] = committed
                continue
        last_prefix = b""  # what follows may delete what the neighbours are kept in
        try:
            groups.apply("", decode(key, value))
        except UnknownRecord:
            continue
        except Malformed as error:
            log.error("a record of __consumer_offsets is passed over: %s", error)
    return count


def _partitions(groups: Groups, key: bytes) -> dict[int, Committed]:
    """Where the offsets of a key's group and topic are kept. A key that is not one is the caller's to find out."""
    size = key[2] << 8 | key[3]
    topic_size = int.from_bytes(key[4 + size : 6 + size], "big")
    if len(key) != 10 + size + topic_size:
        return {}
    group_id, topic = key[4 : 4 + size].decode(), key[6 + size : -4].decode()
    return groups.offsets.by_group.setdefault(group_id, {}).setdefault(topic, {})


def _committed(value: bytes) -> Committed | None:
    if len(value) < _VALUE_SIZE:
        return None
    _, offset, leader_epoch, length = _OFFSET_VALUE.unpack_from(value)
    if len(value) != _VALUE_SIZE + length:
        return None
    (timestamp_ms,) = _TIMESTAMP.unpack_from(value, _OFFSET_VALUE.size + length)
    metadata = value[_OFFSET_VALUE.size : -_TIMESTAMP.size].decode() if length else ""
    return Committed(offset, leader_epoch, metadata, timestamp_ms)
