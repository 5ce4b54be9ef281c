"""What recovered logs still need before they count as durable, for one log or for thousands in one go.

Recovery decides on cuts and syncs log by log, but none of them has to be carried out before the next log is looked
at: as long as nobody uses the logs, a crash in between is one before the first of them. Done together they cost a
few waits for the disk instead of several a log.
"""

from __future__ import annotations

from collections.abc import Callable

from wal.storage import File, Storage


class Settling:
    """Cuts and syncs that are to be done. `finish` does them, and only then may a log be used."""

    __slots__ = ("_cuts", "_logs")

    def __init__(self) -> None:
        self._cuts: list[tuple[File, int]] = []
        self._logs: list[Callable[[], None]] = []

    def cut(self, file: File, size: int) -> None:
        """Have `file` end after `size` bytes. Nothing is written to it before `finish`."""
        self._cuts.append((file, size))

    def add(self, sync: Callable[[], None]) -> None:
        """A log that has been recovered; `sync` makes what it consists of durable, files before folders."""
        self._logs.append(sync)

    def finish(self, storage: Storage) -> None:
        """Raises StorageFailed."""
        storage.truncate_all(self._cuts)
        if len(self._logs) == 1 or not storage.sync_everything():
            for sync in self._logs:
                sync()
        self._cuts, self._logs = [], []
