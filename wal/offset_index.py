"""The offset index: from an offset to a position in the segment at or before its batch.

One entry per `index.interval.bytes` of log, in Kafka's format, big-endian:

    position  size  field
           0     4  relative offset   last offset of a batch, minus the segment's base offset
           4     4  position          where that batch starts in the .log file

Kept and written as `index_file.py` says.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from struct import Struct
from typing import Final, NamedTuple

from wal.index_file import BUFFERED_ENTRIES, MAX_RELATIVE_OFFSET, Index
from wal.storage import Storage

_ENTRY: Final = Struct(">II")
ENTRY_BYTES: Final = 8
assert _ENTRY.size == ENTRY_BYTES


class OffsetPosition(NamedTuple):
    offset: int
    position: int


class OffsetIndex(Index):
    """The offset index of one segment."""

    __slots__ = ("positions",)

    ENTRY = _ENTRY

    def __init__(self, storage: Storage, path: str, base_offset: int) -> None:
        super().__init__(storage, path, base_offset)
        self.positions = array("I")

    def append(self, offset: int, position: int) -> None:
        relative = offset - self.base_offset
        assert 0 <= relative <= MAX_RELATIVE_OFFSET
        assert not self.offsets or (relative > self.offsets[-1] and position > self.positions[-1])
        self.offsets.append(relative)
        self.positions.append(position)
        self.count += 1
        if len(self.offsets) > BUFFERED_ENTRIES:
            self._write_some()

    def _block(self) -> bytes:
        block = array("I", bytes(ENTRY_BYTES * len(self.offsets)))
        block[0::2], block[1::2] = self.offsets, self.positions
        if sys.byteorder == "little":
            block.byteswap()
        return block.tobytes()

    def _forget(self) -> None:
        self.offsets, self.positions = array("I"), array("I")

    def lookup(self, offset: int) -> OffsetPosition:
        """The last entry at or below `offset`; the segment's start if there is none."""
        relative = offset - self.base_offset
        offsets = self.offsets
        if offsets and offsets[0] <= relative:
            index = bisect_right(offsets, min(relative, MAX_RELATIVE_OFFSET)) - 1
            return OffsetPosition(self.base_offset + offsets[index], self.positions[index])
        return self._stored_at(relative, 0)

    def lookup_position(self, position: int) -> OffsetPosition:
        """The last entry whose batch starts at or before `position`."""
        positions = self.positions
        if positions and positions[0] <= position:
            index = bisect_right(positions, position) - 1
            return OffsetPosition(self.base_offset + self.offsets[index], positions[index])
        return self._stored_at(position, 1)

    def _stored_at(self, target: int, field: int) -> OffsetPosition:
        # Both fields grow from entry to entry, so either can be searched.
        found = self._stored.search(target, field)
        if found is None:
            return OffsetPosition(self.base_offset, 0)
        return OffsetPosition(self.base_offset + found[0], found[1])

    def last(self) -> OffsetPosition:
        """The last entry; the segment's start if there is none."""
        if self.offsets:
            return OffsetPosition(self.base_offset + self.offsets[-1], self.positions[-1])
        if self._stored.count:
            relative, position = self._stored.read(self._stored.count - 1)
            return OffsetPosition(self.base_offset + relative, position)
        return OffsetPosition(self.base_offset, 0)

    def entries(self) -> list[OffsetPosition]:
        """All of them, from file and memory."""
        pairs = [*self._stored.read_all(), *zip(self.offsets, self.positions)]
        return [OffsetPosition(self.base_offset + relative, position) for relative, position in pairs]

    def load(self) -> str | None:
        """Take over the file. Returns why it cannot be trusted, None if it can: size and last entry are
        sound.
        """
        assert not self.offsets
        reason = self._stored.load()
        self.count = self._stored.count
        # As Kafka's sanity check: zeros at the end are what a preallocated index looks like after a crash.
        if reason is None and self.count and self.last().position == 0:
            reason = "the offset index ends in zeros"
        return reason
