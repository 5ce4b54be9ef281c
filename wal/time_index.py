"""The time index: from a timestamp to an offset before which no record is as new.

One entry per offset index entry at most, in Kafka's format, big-endian:

    position  size  field
           0     8  timestamp         the largest of the segment so far, ms since the epoch
           8     4  relative offset   last offset of the batch that has it, minus the segment's base offset

An entry (t, o) says: a record newer than t lies after offset o. Timestamps and offsets only grow, so an entry
that adds no newer timestamp is left out. Kept in memory and written like the offset index.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from struct import Struct
from typing import Final, NamedTuple

from protocol.records import NO_TIMESTAMP
from wal.offset_index import MAX_RELATIVE_OFFSET
from wal.storage import File, Storage

_ENTRY: Final = Struct(">qI")
ENTRY_BYTES: Final = 12
assert _ENTRY.size == ENTRY_BYTES


class TimestampOffset(NamedTuple):
    timestamp: int
    offset: int


class TimeIndex:
    """The time index of one segment: in memory while it grows, in its file once `seal`ed."""

    __slots__ = (
        "_file",
        "_saved",
        "_sealed_entries",
        "_storage",
        "base_offset",
        "offsets",
        "path",
        "timestamps",
    )

    def __init__(self, storage: Storage, path: str, base_offset: int) -> None:
        self._storage = storage
        self._file: File | None = None
        self.path = path
        self.base_offset = base_offset
        self.timestamps = array("q")
        self.offsets = array("I")
        self._saved = 0
        self._sealed_entries = -1

    def __len__(self) -> int:
        return len(self.offsets) if self._sealed_entries < 0 else self._sealed_entries

    def maybe_append(self, timestamp: int, offset: int) -> None:
        """Add an entry, unless it says nothing that the last one does not."""
        assert self._sealed_entries < 0
        relative = offset - self.base_offset
        assert 0 <= relative <= MAX_RELATIVE_OFFSET
        if self.timestamps:
            assert relative >= self.offsets[-1]
            if timestamp <= self.timestamps[-1]:
                return
        elif timestamp <= NO_TIMESTAMP:
            return
        self.timestamps.append(timestamp)
        self.offsets.append(relative)

    def lookup(self, timestamp: int) -> TimestampOffset:
        """The last entry at or below `timestamp`; (-1, base offset) if there is none."""
        if self._sealed_entries >= 0:
            return self._lookup_in_file(timestamp)
        return self._at(bisect_right(self.timestamps, timestamp) - 1)

    def last(self) -> TimestampOffset:
        if self._sealed_entries >= 0:
            return self._read_entry(self._sealed_entries - 1)
        return self._at(len(self.timestamps) - 1)

    def _at(self, index: int) -> TimestampOffset:
        if index < 0:
            return TimestampOffset(NO_TIMESTAMP, self.base_offset)
        return TimestampOffset(self.timestamps[index], self.base_offset + self.offsets[index])

    def _read_entry(self, index: int) -> TimestampOffset:
        if index < 0:
            return TimestampOffset(NO_TIMESTAMP, self.base_offset)
        timestamp, relative = _ENTRY.unpack(self._open().read_at(index * ENTRY_BYTES, ENTRY_BYTES))
        return TimestampOffset(timestamp, self.base_offset + relative)

    def _lookup_in_file(self, timestamp: int) -> TimestampOffset:
        low, high = 0, self._sealed_entries
        while low < high:
            middle = (low + high) // 2
            if self._read_entry(middle).timestamp <= timestamp:
                low = middle + 1
            else:
                high = middle
        return self._read_entry(low - 1)

    def truncate(self, offset: int) -> None:
        """Drop entries for offsets at or past `offset`."""
        assert self._sealed_entries < 0
        keep = bisect_right(self.offsets, offset - self.base_offset - 1) if offset > self.base_offset else 0
        del self.timestamps[keep:]
        del self.offsets[keep:]
        self._saved = min(self._saved, keep)

    def flush(self) -> None:
        """Write the entries the file does not have yet; not synced. Raises DiskFull (call again later)."""
        if self._sealed_entries >= 0:
            return
        count = len(self.offsets)
        file = self._open(create=True)
        if count > self._saved:
            new = zip(self.timestamps[self._saved :], self.offsets[self._saved :])
            file.write_at(b"".join(_ENTRY.pack(*entry) for entry in new), self._saved * ENTRY_BYTES)
            self._saved = count
        if file.size() != count * ENTRY_BYTES:
            file.truncate(count * ENTRY_BYTES)

    def seal(self) -> None:
        """Nothing will be appended: leave memory and search in the file from now on."""
        self.flush()
        self._sealed_entries = len(self.offsets)
        self.timestamps, self.offsets = array("q"), array("I")

    def load(self, sealed: bool) -> str | None:
        """Take over the file's entries. Returns why it cannot be trusted, None if it can."""
        assert not self.offsets and self._sealed_entries < 0
        if not self._storage.exists(self.path):
            return "there is no time index"
        size = self._open().size()
        count, rest = divmod(size, ENTRY_BYTES)
        if rest:
            return f"the time index has {size} bytes, not a multiple of {ENTRY_BYTES}"
        if sealed:
            self._sealed_entries = count
            if count and self.last().timestamp < self._read_entry(0).timestamp:
                return "the time index is not in order"
            return None
        data = self._open().read_at(0, size)
        timestamps, offsets = array("q"), array("I")
        for timestamp, relative in _ENTRY.iter_unpack(data):
            if timestamps and timestamp <= timestamps[-1]:
                return "the time index is not in order"
            timestamps.append(timestamp)
            offsets.append(relative)
        self.timestamps, self.offsets, self._saved = timestamps, offsets, count
        return None

    def entries(self) -> list[TimestampOffset]:
        """All of them, from memory or file."""
        at = self._at if self._sealed_entries < 0 else self._read_entry
        return [at(index) for index in range(len(self))]

    def reset(self) -> None:
        """Forget everything, to be rebuilt. The file is rewritten by the next `flush`."""
        self.timestamps, self.offsets = array("q"), array("I")
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
