"""What both indexes of a segment are: a file of fixed-size entries that grow in every field, and the newest in memory.

New entries wait in memory and are appended in blocks, at the latest when the segment is sealed: an index can be rebuilt
from its log, so nothing waits for it. Nothing is read until something is looked up. Searching costs a handful of small
reads (18 for a full 10 MiB index), so no index has to be held in memory.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from struct import Struct
from typing import Any, Final

from wal.errors import DiskFull
from wal.storage import File, Storage

BUFFERED_ENTRIES: Final = 4096
"""Entries held in memory before a block of them is written: 32 KiB for 16 MiB of log."""

MAX_RELATIVE_OFFSET: Final = 0x7FFF_FFFF
"""A segment spans at most this many offsets: Kafka reads the field as a signed int32."""


class IndexFile:
    """Entries of one `Struct` in a file. `count` says how many of its bytes are believed."""

    __slots__ = ("_file", "_storage", "count", "entry", "path")

    def __init__(self, storage: Storage, path: str, entry: Struct) -> None:
        self._storage = storage
        self._file: File | None = None
        self.path = path
        self.entry = entry
        self.count = 0

    @property
    def file(self) -> File:
        if self._file is None:
            self._file = self._storage.open(self.path)
        return self._file

    def load(self) -> str | None:
        """Believe what is there; why not, if the size alone says that it cannot be."""
        assert self.count == 0
        if not self._storage.exists(self.path):
            return f"there is no {self.path}"
        size = self.file.size()
        count, rest = divmod(size, self.entry.size)
        if rest:
            return f"{self.path} has {size} bytes, not a multiple of {self.entry.size}"
        self.count = count
        return None

    def read(self, index: int) -> tuple[Any, ...]:
        assert 0 <= index < self.count
        return self.entry.unpack(self.file.read_at(index * self.entry.size, self.entry.size))

    def read_all(self) -> Iterator[tuple[Any, ...]]:
        data = self.file.read_at(0, self.count * self.entry.size) if self.count else b""
        return self.entry.iter_unpack(data)

    def search(self, target: int, field: int) -> tuple[Any, ...] | None:
        """The last entry whose `field` is at most `target`."""
        low, high, found = 0, self.count, None
        while low < high:
            middle = (low + high) // 2
            entry = self.read(middle)
            if entry[field] <= target:
                found, low = entry, middle + 1
            else:
                high = middle
        return found

    def append(self, entries: bytes) -> None:
        """Write entries behind those that are believed. Raises DiskFull: they are not there, call again."""
        assert len(entries) % self.entry.size == 0
        if self.count == 0 and self._file is None:
            self._file = self._storage.open(self.path, create=True)
        if entries:
            self.file.write_at(entries, self.count * self.entry.size)
            self.count += len(entries) // self.entry.size

    def trim(self) -> None:
        """Cut off what is not believed: old content, or part of a refused write."""
        if self.file.size() != self.count * self.entry.size:
            self.file.truncate(self.count * self.entry.size)

    def reset(self) -> None:
        """Believe nothing; the next `append` begins at the start."""
        self.count = 0

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class Index:
    """The index of one segment: its file, and behind it the newest entries in memory."""

    __slots__ = ("_stored", "base_offset", "count", "offsets")

    ENTRY: Struct

    def __init__(self, storage: Storage, path: str, base_offset: int) -> None:
        self._stored = IndexFile(storage, path, self.ENTRY)
        self.base_offset = base_offset
        self.offsets = array("I")  # relative, of the entries in memory
        self.count = 0

    def _block(self) -> bytes:
        """The entries in memory, as they are written."""
        raise NotImplementedError

    def _forget(self) -> None:
        """Empty the memory."""
        raise NotImplementedError

    def _write_some(self) -> None:
        try:
            self._write()
        except DiskFull:
            return  # it waits in memory until there is space, at the latest for the segment's end

    def _write(self) -> None:
        self._stored.append(self._block())
        self._forget()
        assert self._stored.count == self.count

    def flush(self) -> None:
        """Write what the file misses, and make it no longer than it should be; not synced. Raises
        DiskFull.
        """
        self._write()
        self._stored.trim()

    def reset(self) -> None:
        """Forget everything, to be rebuilt. The file is rewritten by the next `flush`."""
        self._forget()
        self.count = 0
        self._stored.reset()

    @property
    def file(self) -> File:
        """What the flusher syncs when the segment is sealed."""
        return self._stored.file

    def close(self) -> None:
        self._stored.close()
