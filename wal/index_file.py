"""A file of fixed-size entries that grow in every field: what both indexes keep on disk.

New entries wait in memory, in the index, and are appended in blocks; nothing is read until something is
looked up. Searching costs a handful of small reads (18 for a full 10 MiB index), so no index has to be held
in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Any

from wal.storage import File, Storage


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
