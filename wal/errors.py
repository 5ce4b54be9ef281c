"""What can be wrong with a data folder, beyond the two errors every layer knows (`StorageFailed`,
`DiskFull`).

DiskFull is a refused write: the partition stays online and writing resumes by itself. Every other
StorageFailed is final for the partition. Damage is neither: a value that says which bytes of an otherwise
healthy log cannot be served, and it is reported, never cut away.
"""

from __future__ import annotations

from typing import NamedTuple

from protocol.errors import DiskFull, StorageFailed

__all__ = ["CorruptCheckpoint", "Damage", "DirectoryLocked", "DiskFull", "StorageFailed", "SyncFailed"]


class DirectoryLocked(StorageFailed):
    """Another process (Floe or Kafka) has the data folder open."""


class SyncFailed(StorageFailed):
    """A sync of written data failed: nothing it covered is durable, and trying again would lie (a kernel
    drops the dirty pages and reports the error once)."""


class CorruptCheckpoint(StorageFailed):
    """A small state file is not in its format: the message names file, line and what was found."""


class Damage(NamedTuple):
    """Bytes below the recovery point that are not the batches they were when they were synced.

    Offsets from `start_offset` up to (not including) `end_offset` cannot be served; everything else can.
    """

    directory: str  # the partition's folder, so its topic and number
    file: str
    start_position: int
    end_position: int
    start_offset: int
    end_offset: int
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.directory}: offsets {self.start_offset} to {self.end_offset - 1} are damaged "
            f"({self.file}, bytes {self.start_position} to {self.end_position}): {self.reason}"
        )
