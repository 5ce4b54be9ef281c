"""The offset index: from an offset to a position in the segment at or before its batch.

One entry per `index.interval.bytes` of log, in Kafka's format, big-endian:

    position  size  field
           0     4  relative offset   last offset of a batch, minus the segment's base offset
           4     4  position          where that batch starts in the .log file

New entries wait in memory and are written in blocks, at the latest when the segment is sealed: an index can
be rebuilt from its log, so nothing waits for it.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from struct import Struct
from typing import Final, NamedTuple

from wal.errors import DiskFull
from wal.index_file import IndexFile
from wal.storage import File, Storage

_ENTRY: Final = Struct(">II")
ENTRY_BYTES: Final = 8
assert _ENTRY.size == ENTRY_BYTES

MAX_RELATIVE_OFFSET: Final = 0x7FFF_FFFF
"""A segment spans at most this many offsets: Kafka reads the field as a signed int32."""

BUFFERED_ENTRIES: Final = 4096
"""Entries held in memory before a block of them is written: 32 KiB for 16 MiB of log."""


class OffsetPosition(NamedTuple):
    offset: int
    position: int


class OffsetIndex:
    """The index of one segment: its file, and behind it the newest entries in memory."""

    __slots__ = ("_stored", "base_offset", "count", "offsets", "positions")

    def __init__(self, storage: Storage, path: str, base_offset: int) -> None:
        self._stored = IndexFile(storage, path, _ENTRY)
        self.base_offset = base_offset
        self.offsets = array("I")
        self.positions = array("I")
        self.count = 0

    def append(self, offset: int, position: int) -> None:
        relative = offset - self.base_offset
        assert 0 <= relative <= MAX_RELATIVE_OFFSET
        assert not self.offsets or (relative > self.offsets[-1] and position > self.positions[-1])
        self.offsets.append(relative)
        self.positions.append(position)
        self.count += 1
        if len(self.offsets) > BUFFERED_ENTRIES:
            self._write_some()

    def _write_some(self) -> None:
        try:
            self._write()
        except DiskFull:
            return  # it waits in memory until there is space, at the latest for the segment's end

    def _write(self) -> None:
        block = array("I", bytes(ENTRY_BYTES * len(self.offsets)))
        block[0::2], block[1::2] = self.offsets, self.positions
        if sys.byteorder == "little":
            block.byteswap()
        self._stored.append(block.tobytes())
        self.offsets, self.positions = array("I"), array("I")
        assert self._stored.count == self.count

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

    def flush(self) -> None:
        """Write what the file misses, and make it no longer than it should be; not synced. Raises
        DiskFull.
        """
        self._write()
        self._stored.trim()

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

    def reset(self) -> None:
        """Forget everything, to be rebuilt. The file is rewritten by the next `flush`."""
        self.offsets, self.positions = array("I"), array("I")
        self.count = 0
        self._stored.reset()

    @property
    def file(self) -> File:
        """What the flusher syncs when the segment is sealed."""
        return self._stored.file

    def close(self) -> None:
        self._stored.close()
