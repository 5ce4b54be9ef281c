"""The offset index: from an offset to a position in the segment at or before its batch.

One entry per `index.interval.bytes` of log, in Kafka's format, big-endian:

    position  size  field
           0     4  relative offset   last offset of a batch, minus the segment's base offset
           4     4  position          where that batch starts in the .log file

Entries are appended in memory and written at roll, close or `flush`: an index can be rebuilt from its log.
A sealed segment's index is not held in memory; it is searched in its file (18 small reads for 10 MiB).
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from itertools import pairwise
from struct import Struct
from typing import Final, NamedTuple

from wal.storage import File, Storage

_ENTRY: Final = Struct(">II")
ENTRY_BYTES: Final = 8
assert _ENTRY.size == ENTRY_BYTES

MAX_RELATIVE_OFFSET: Final = 0x7FFF_FFFF
"""A segment spans at most this many offsets: Kafka reads the field as a signed int32."""


class OffsetPosition(NamedTuple):
    offset: int
    position: int


class OffsetIndex:
    """The index of one segment: in memory while it grows, in its file once `seal`ed."""

    __slots__ = (
        "_file",
        "_saved",
        "_sealed_entries",
        "_storage",
        "base_offset",
        "offsets",
        "path",
        "positions",
    )

    def __init__(self, storage: Storage, path: str, base_offset: int) -> None:
        self._storage = storage
        self._file: File | None = None
        self.path = path
        self.base_offset = base_offset
        self.offsets = array("I")
        self.positions = array("I")
        self._saved = 0  # entries that are in the file
        self._sealed_entries = -1  # number of entries in the file once it is searched there

    def __len__(self) -> int:
        return len(self.offsets) if self._sealed_entries < 0 else self._sealed_entries

    def append(self, offset: int, position: int) -> None:
        relative = offset - self.base_offset
        assert 0 <= relative <= MAX_RELATIVE_OFFSET and self._sealed_entries < 0
        assert not self.offsets or (relative > self.offsets[-1] and position > self.positions[-1])
        self.offsets.append(relative)
        self.positions.append(position)

    def lookup(self, offset: int) -> OffsetPosition:
        """The last entry at or below `offset`; the segment's start if there is none."""
        relative = offset - self.base_offset
        if self._sealed_entries >= 0:
            return self._lookup_in_file(relative, 0)
        index = bisect_right(self.offsets, min(relative, MAX_RELATIVE_OFFSET)) - 1 if relative >= 0 else -1
        if index < 0:
            return OffsetPosition(self.base_offset, 0)
        return OffsetPosition(self.base_offset + self.offsets[index], self.positions[index])

    def lookup_position(self, position: int) -> OffsetPosition:
        """The last entry whose batch starts at or before `position`."""
        if self._sealed_entries >= 0:
            return self._lookup_in_file(position, 1)
        index = bisect_right(self.positions, position) - 1
        if index < 0:
            return OffsetPosition(self.base_offset, 0)
        return OffsetPosition(self.base_offset + self.offsets[index], self.positions[index])

    def _lookup_in_file(self, target: int, field: int) -> OffsetPosition:
        # Both fields grow from entry to entry, so either can be searched.
        file = self._open()
        low, high = 0, self._sealed_entries
        found = (0, 0)
        while low < high:
            middle = (low + high) // 2
            entry: tuple[int, int] = _ENTRY.unpack(file.read_at(middle * ENTRY_BYTES, ENTRY_BYTES))
            if entry[field] <= target:
                found, low = entry, middle + 1
            else:
                high = middle
        return OffsetPosition(self.base_offset + found[0], found[1])

    def last(self) -> OffsetPosition:
        """The last entry; the segment's start if there is none."""
        if self._sealed_entries >= 0:
            return self._lookup_in_file(MAX_RELATIVE_OFFSET, 0)
        if not self.offsets:
            return OffsetPosition(self.base_offset, 0)
        return OffsetPosition(self.base_offset + self.offsets[-1], self.positions[-1])

    def entries(self) -> list[OffsetPosition]:
        """All of them, from memory or file."""
        if self._sealed_entries >= 0:
            data = self._open().read_at(0, self._sealed_entries * ENTRY_BYTES)
            return [OffsetPosition(self.base_offset + o, p) for o, p in _ENTRY.iter_unpack(data)]
        return [OffsetPosition(self.base_offset + o, p) for o, p in zip(self.offsets, self.positions)]

    def truncate(self, position: int) -> None:
        """Drop entries for batches at or past `position` of the log."""
        assert self._sealed_entries < 0
        keep = bisect_right(self.positions, position - 1) if position > 0 else 0
        del self.offsets[keep:]
        del self.positions[keep:]
        self._saved = min(self._saved, keep)

    def flush(self) -> None:
        """Write the entries the file does not have yet; not synced. Raises DiskFull (call again later)."""
        if self._sealed_entries >= 0:
            return
        count = len(self.offsets)
        file = self._open(create=True)
        if count > self._saved:
            block = array("I", bytes(ENTRY_BYTES * (count - self._saved)))
            block[0::2] = self.offsets[self._saved :]
            block[1::2] = self.positions[self._saved :]
            if sys.byteorder == "little":
                block.byteswap()
            file.write_at(block.tobytes(), self._saved * ENTRY_BYTES)
            self._saved = count
        if file.size() != count * ENTRY_BYTES:
            file.truncate(count * ENTRY_BYTES)

    def seal(self) -> None:
        """Nothing will be appended: leave memory and search in the file from now on."""
        self.flush()
        self._sealed_entries = len(self.offsets)
        self.offsets, self.positions = array("I"), array("I")

    def load(self, sealed: bool) -> str | None:
        """Take over the file's entries. Returns why it cannot be trusted, None if it can."""
        assert not self.offsets and self._sealed_entries < 0
        if not self._storage.exists(self.path):
            return "there is no offset index"
        size = self._open().size()
        count, rest = divmod(size, ENTRY_BYTES)
        if rest:
            return f"the offset index has {size} bytes, not a multiple of {ENTRY_BYTES}"
        if sealed:
            self._sealed_entries = count
            return self._check_last(count)
        block = array("I", self._open().read_at(0, size))
        if sys.byteorder == "little":
            block.byteswap()
        offsets, positions = block[0::2], block[1::2]
        if any(a >= b for a, b in pairwise(positions)):
            return "the offset index is not in order"
        self.offsets, self.positions, self._saved = offsets, positions, count
        return self._check_last(count)

    def _check_last(self, count: int) -> str | None:
        # As Kafka's sanity check: zeros at the end are what a preallocated index looks like after a crash.
        if count and self.last().position == 0:
            return "the offset index ends in zeros"
        return None

    def reset(self) -> None:
        """Forget everything, to be rebuilt. The file is rewritten by the next `flush`."""
        self.offsets, self.positions = array("I"), array("I")
        self._saved, self._sealed_entries = 0, -1

    def _open(self, create: bool = False) -> File:
        if self._file is None:
            self._file = self._storage.open(self.path, create=create)
        return self._file

    @property
    def file(self) -> File:
        """What the flusher syncs when the segment is sealed."""
        return self._open()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
