"""The child's side of compaction: one job is one round over one partition.

{"progress": {"read": bytes}}       now and then; each byte is read twice, for the map and for the rewriting
{"progress": {"cleaned": {...}}}    a segment is ready, synced, to be swapped by the broker while we go on
{"result": totals}
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from broker.worker.child import Handler, Progress
from wal.compaction import Compaction, Round
from wal.storage import FileStorage

REPORT_BYTES: Final = 32 << 20
"""Progress is told this often: a few times a second."""

REPORT_SECONDS: Final = 30.0
"""Progress is told at least this often by a worker that is held back."""

_NO_LIMIT: Final = 1e300


def make_handler() -> Handler:
    """What `python -m broker.worker compaction` does jobs with."""
    return compact


def compact(job: dict[str, Any], progress: Progress) -> Mapping[str, Any]:
    """One round. Raises CannotCompact, StorageFailed."""
    order = Round.from_json(job["round"])
    reading = _Reading(job["bytes_per_second"], progress)
    compaction = Compaction(FileStorage(os.path.dirname(order.directory)), order, reading.read)
    started_s, started_cpu_s = time.monotonic(), time.process_time()
    for cleaned in compaction.run():
        progress({"cleaned": asdict(cleaned)})
        reading.wrote(cleaned.size)
    return {
        **asdict(compaction.totals),
        "seconds": round(time.monotonic() - started_s, 3),
        "cpu_seconds": round(time.process_time() - started_cpu_s, 3),
    }


class _Reading:
    """Counts what is read, tells of it, and waits where log.cleaner.io.max.bytes.per.second asks for it."""

    def __init__(self, bytes_per_second: float, progress: Progress) -> None:
        self._bytes_per_second = bytes_per_second
        self._progress = progress
        self._started_s = time.monotonic()
        self._moved = 0  # read and written
        self._read = 0
        self._told = 0

    def read(self, count: int) -> None:
        self._read += count
        if self._read - self._told >= REPORT_BYTES:
            self._tell()
        self._move(count)

    def wrote(self, count: int) -> None:
        self._move(count)

    def _move(self, count: int) -> None:
        self._moved += count
        if self._bytes_per_second < _NO_LIMIT:
            due_s = self._started_s + self._moved / self._bytes_per_second
            while (ahead_s := due_s - time.monotonic()) > 0:
                time.sleep(min(ahead_s, REPORT_SECONDS))
                if ahead_s > REPORT_SECONDS:
                    self._tell()

    def _tell(self) -> None:
        self._told = self._read
        self._progress({"read": self._read})
