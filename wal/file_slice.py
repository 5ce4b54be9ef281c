"""What a read of the log returns: a range of a file, for whoever sends or reads it."""

from __future__ import annotations

from wal.errors import StorageFailed
from wal.storage import OpenFile


class FileSlice:
    """Bytes of a file, not read yet. Holds the file open. Nothing in them is at `next_offset` or later."""

    __slots__ = ("file", "length", "next_offset", "position")

    def __init__(self, file: OpenFile, position: int, length: int, next_offset: int) -> None:
        assert position >= 0 and length > 0
        self.file = file
        self.position = position
        self.length = length
        self.next_offset = next_offset

    def fileno(self) -> int:
        return self.file.fileno()

    def read(self) -> bytes:
        """The bytes. Raises StorageFailed."""
        data = self.file.read_at(self.position, self.length)
        if len(data) != self.length:
            raise StorageFailed(f"a slice of {self.length} bytes ends after {len(data)}")
        return data

    def __repr__(self) -> str:
        return f"FileSlice({self.file!r}, {self.position}, {self.length})"
