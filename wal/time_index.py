"""The time index: from a timestamp to an offset before which no record is as new.

One entry per offset index entry at most, in Kafka's format, big-endian:

    position  size  field
           0     8  timestamp         the largest of the segment so far, ms since the epoch
           8     4  relative offset   last offset of the batch that has it, minus the segment's base offset

An entry (t, o) says: a record newer than t lies after offset o. Timestamps and offsets only grow, so an entry
that adds no newer timestamp is left out. Kept and written as `index_file.py` says.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from struct import Struct
from typing import Final, NamedTuple

from protocol.records import NO_TIMESTAMP
from wal.index_file import BUFFERED_ENTRIES, MAX_RELATIVE_OFFSET, Index
from wal.storage import Storage

_ENTRY: Final = Struct(">qI")
ENTRY_BYTES: Final = 12
assert _ENTRY.size == ENTRY_BYTES


class TimestampOffset(NamedTuple):
    timestamp: int
    offset: int


class TimeIndex(Index):
    """The time index of one segment."""

    __slots__ = ("_newest", "timestamps")

    ENTRY = _ENTRY

    def __init__(self, storage: Storage, path: str, base_offset: int) -> None:
        super().__init__(storage, path, base_offset)
        self._newest = NO_TIMESTAMP
        self.timestamps = array("q")

    def maybe_append(self, timestamp: int, offset: int) -> None:
        """Add an entry, unless it says nothing that the last one does not."""
        if timestamp <= self._newest:
            return
        relative = offset - self.base_offset
        assert 0 <= relative <= MAX_RELATIVE_OFFSET
        assert not self.offsets or relative >= self.offsets[-1]
        self.timestamps.append(timestamp)
        self.offsets.append(relative)
        self._newest = timestamp
        self.count += 1
        if len(self.offsets) > BUFFERED_ENTRIES:
            self._write_some()

    def _block(self) -> bytes:
        return b"".join(map(_ENTRY.pack, self.timestamps, self.offsets))

    def _forget(self) -> None:
        self.timestamps, self.offsets = array("q"), array("I")

    def lookup(self, timestamp: int) -> TimestampOffset:
        """The last entry at or below `timestamp`; (-1, base offset) if there is none."""
        timestamps = self.timestamps
        if timestamps and timestamps[0] <= timestamp:
            index = bisect_right(timestamps, timestamp) - 1
            return TimestampOffset(timestamps[index], self.base_offset + self.offsets[index])
        found = self._stored.search(timestamp, 0)
        if found is None:
            return TimestampOffset(NO_TIMESTAMP, self.base_offset)
        return TimestampOffset(found[0], self.base_offset + found[1])

    def last(self) -> TimestampOffset:
        """The last entry; (-1, base offset) if there is none."""
        if self.timestamps:
            return TimestampOffset(self.timestamps[-1], self.base_offset + self.offsets[-1])
        if self._stored.count:
            timestamp, relative = self._stored.read(self._stored.count - 1)
            return TimestampOffset(timestamp, self.base_offset + relative)
        return TimestampOffset(NO_TIMESTAMP, self.base_offset)

    def entries(self) -> list[TimestampOffset]:
        """All of them, from file and memory."""
        pairs = [*self._stored.read_all(), *zip(self.timestamps, self.offsets)]
        return [TimestampOffset(timestamp, self.base_offset + relative) for timestamp, relative in pairs]

    def load(self) -> str | None:
        """Take over the file. Returns why it cannot be trusted, None if it can: size and both ends are
        sound.
        """
        assert not self.offsets
        reason = self._stored.load()
        self.count = self._stored.count
        if reason is None and self.count:
            self._newest = self.last().timestamp
            if self._newest < self._stored.read(0)[0]:
                reason = "the time index is not in order"
        return reason

    def reset(self) -> None:
        """As of any index; its next entry may be as old as it likes."""
        super().reset()
        self._newest = NO_TIMESTAMP
