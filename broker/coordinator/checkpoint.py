"""The records of `__consumer_offsets` by key in LevelDB, so that a start need not replay the whole topic.

It holds nothing the log does not: it may be deleted at any time, and one that does not fit the log (of another topic,
ahead of it, damaged, of another format) is thrown away with a log line. What has changed in a partition goes in as one
atomic batch, together with the offset up to which it is applied; it is not synced, as an older state is as good.

    "!format"                  uint32 FORMAT
    "!topic"                   the topic's id
    "!offset" partition        int64, the first offset of the partition that is not applied
    "r" partition key          a record's value

Partitions are uint16. Integers are big-endian. Keys and values are those of the log.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator, Mapping
from typing import Final

import plyvel

log = logging.getLogger("floe.groups")

FORMAT: Final = 1

_FORMAT_KEY: Final = b"!format"
_TOPIC_KEY: Final = b"!topic"
_OFFSET_KEY: Final = b"!offset"
_UINT16: Final = struct.Struct(">H")
_UINT32: Final = struct.Struct(">I")
_INT64: Final = struct.Struct(">q")


class GroupCheckpoint:
    """The checkpoint in the folder `path`, of the topic `topic_id`. One owner."""

    def __init__(self, path: str, topic_id: bytes) -> None:
        self._path = path
        self._topic_id = topic_id
        try:
            self._db = plyvel.DB(path, create_if_missing=True)
            expected = {_FORMAT_KEY: _UINT32.pack(FORMAT), _TOPIC_KEY: topic_id}
            found = {key: self._db.get(key) for key in expected}
        except plyvel.Error as error:
            self.throw_away(str(error))
            return
        if found != expected:
            if any(found.values()):
                self.throw_away("it is of another format or topic")
            else:
                self._begin()

    def _begin(self) -> None:
        self._db.put(_FORMAT_KEY, _UINT32.pack(FORMAT))
        self._db.put(_TOPIC_KEY, self._topic_id)

    def throw_away(self, reason: str) -> None:
        """Begin anew, empty."""
        log.warning("the groups' checkpoint is thrown away and made again from their log: %s", reason)
        if hasattr(self, "_db"):
            self._db.close()
        plyvel.destroy_db(self._path)
        self._db = plyvel.DB(self._path, create_if_missing=True)
        self._begin()

    def offset(self, index: int) -> int:
        """The first offset of a partition that is not in it; 0 if nothing is."""
        value = self._db.get(_OFFSET_KEY + _UINT16.pack(index))
        return int(_INT64.unpack(value)[0]) if value is not None else 0

    def records(self, index: int) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of every record of a partition that is in it, by key."""
        with self._db.prefixed_db(b"r" + _UINT16.pack(index)).iterator() as found:
            yield from found

    def clear(self, index: int) -> None:
        """Forget a partition."""
        log.warning("the groups' checkpoint of partition %d does not fit its log and is made again", index)
        keys = [key for key, _ in self.records(index)]
        self.write(index, dict.fromkeys(keys), 0)

    def write(self, index: int, changes: Mapping[bytes, bytes | None], offset: int) -> bool:
        """Bring a partition up to `offset`, all or nothing. It only saves work: a failure is a log line, and False."""
        assert offset >= 0
        prefix = b"r" + _UINT16.pack(index)
        try:
            with self._db.write_batch(transaction=True) as batch:
                for key, value in changes.items():
                    if value is None:
                        batch.delete(prefix + key)
                    else:
                        batch.put(prefix + key, value)
                batch.put(_OFFSET_KEY + _UINT16.pack(index), _INT64.pack(offset))
        except plyvel.Error as error:
            log.warning("the groups' checkpoint is not written: %s", error)
            return False
        return True

    def close(self) -> None:
        self._db.close()
