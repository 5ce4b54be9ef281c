"""Group commit: one thread that syncs whatever is dirty, round after round.

The owner of the logs (one thread, the loop's) writes and marks; the flusher syncs and reports:

    owner     write … mark_dirty(segment) … mark_dirty(…) … kick()
    flusher                                      take all marks → sync each → on_round_complete([Durable, …])
    owner                                                      Durable.apply() moves the offsets

What was marked before a round began is durable when it ends; what is marked and kicked meanwhile waits for the next
one, which starts at once. What nobody kicked stays marked until somebody does: a round for it alone would cost the
owner more than it is worth to anybody. So however many producers write, a round costs one sync per dirty file, and
from SYNC_EVERYTHING_FILES on one `syncfs` for all.

Order is what keeps this safe, not locks. The queue is a deque, whose append and popleft are atomic. The owner
writes bytes first, then `written`, then marks; the flusher clears `dirty`, then reads `written`, then syncs.
A write that slips in between is marked again, and at worst synced twice. Marks are taken in order and a round
takes all there are, so a segment's offsets are never reported before a segment or folder that was marked
earlier.

The thread sleeps on a raw lock, which costs a third of an Event. `_running` is a lock too: whoever gets it
without waiting owns the right to wake the thread, so the wake-up lock is never released twice.

A failed sync is final. Nothing of its round is reported, no further round runs, and nothing is tried again on
those descriptors: the kernel reports a lost write once and then calls the page clean.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from wal.errors import StorageFailed
from wal.storage import File, Storage

if TYPE_CHECKING:
    from wal.segment import Segment

SYNC_EVERYTHING_FILES: Final = 4
"""From so many dirty files on, one `syncfs` instead of a `fdatasync` each.

Measured (ext4, 217 bytes per file, p50): 1 file 133 against 139 µs, 2 files 274 against 163, 4 files 607
against 189, 64 files 8.8 ms against 1.0, 900 files 122 ms against 8.7. Not less than 4, because `syncfs`
also waits for what other processes have written to the file system.
"""


DRAIN_POLL_SECONDS: Final = 0.1
"""How often a drain looks whether the thread has failed meanwhile."""


class Durable:
    """A segment is synced up to an offset. `apply` is for the thread that owns the log."""

    __slots__ = ("end_offset", "position", "segment")

    def __init__(self, segment: Segment, end_offset: int, position: int) -> None:
        self.segment = segment
        self.end_offset = end_offset  # exclusive
        self.position = position  # of that offset in the segment

    def apply(self) -> None:
        log = self.segment.log
        if log is not None:
            log.advance(self)

    def __repr__(self) -> str:
        return f"Durable({self.segment.directory}, {self.end_offset})"


class Mark(Protocol):
    """What stands in the flusher's queue beside segments."""

    def sync(self, storage: Storage) -> None: ...

    @property
    def key(self) -> object:
        """Marks with equal keys are synced once in a round."""


class FileMark:
    """A small file that belongs to what is marked after it: an index, a snapshot, metadata."""

    __slots__ = ("file",)

    def __init__(self, file: File) -> None:
        self.file = file

    @property
    def key(self) -> object:
        return self.file

    def sync(self, storage: Storage) -> None:
        self.file.sync()


class DirectoryMark:
    """A folder in which names were made, renamed or removed."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    def key(self) -> object:
        return self.path

    def sync(self, storage: Storage) -> None:
        # A folder that was deleted meanwhile has nothing left to lose.
        if storage.exists(self.path):
            storage.sync_directory(self.path)


class Flusher:
    """The queue of what is dirty, and the thread that empties it. Without `start`, `run_round` is the
    caller's.
    """

    def __init__(
        self,
        storage: Storage,
        on_round_complete: Callable[[list[Durable]], None],
        on_failure: Callable[[StorageFailed], None],
        sync_everything_files: int = SYNC_EVERYTHING_FILES,
    ) -> None:
        """Both callbacks are called on the flusher's thread; `on_failure` at most once, and last."""
        self._storage = storage
        self._on_round_complete = on_round_complete
        self._on_failure = on_failure
        self._sync_everything_files = sync_everything_files
        self._segments: deque[Segment] = deque()
        self._marks: deque[Mark] = deque()
        self._wake = threading.Lock()
        self._wake.acquire()
        self._running = threading.Lock()
        self._stopping = False
        self._is_wanted = False
        self._thread: threading.Thread | None = None
        self.failure: StorageFailed | None = None
        self.is_awaited = False
        """Somebody waits for what is marked. For the owner to set, and to take back when he kicks."""
        self.rounds = 0
        self.syncs = 0  # fdatasync, fsync and syncfs calls

    # --- the owner's side ---

    def mark_dirty(self, segment: Segment) -> None:
        """Have `segment` synced up to what is written now. Nothing wakes up before `kick`."""
        if not segment.dirty:
            segment.dirty = True
            self._segments.append(segment)

    def mark_file(self, file: File) -> None:
        """Have `file` synced before any segment that is marked from now on is reported."""
        self._marks.append(FileMark(file))

    def mark_directory(self, path: str) -> None:
        """Have the names in `path` synced before any segment that is marked from now on is reported."""
        self._marks.append(DirectoryMark(path))

    @property
    def is_dirty(self) -> bool:
        return bool(self._segments or self._marks)

    def kick(self) -> None:
        """Have what is marked synced: now, or by the round after the one that runs. Call it once per batch of work."""
        if self._segments or self._marks:
            self._is_wanted = True
            if self._running.acquire(blocking=False):
                self._wake.release()

    def start(self) -> None:
        assert self._thread is None
        self._thread = threading.Thread(target=self._run, name="floe-flusher", daemon=True)
        self._thread.start()

    def drain(self) -> None:
        """Sync and report what is marked, on this thread, once the round that runs has ended.

        Raises StorageFailed if a sync failed.
        """
        while not self._running.acquire(timeout=DRAIN_POLL_SECONDS):
            if self.failure is not None:
                raise self.failure
        while self.failure is None and self.is_dirty:
            self.run_round()
        if self.failure is not None:
            raise self.failure  # `_running` stays taken, as when the thread fails
        self._running.release()

    def stop(self) -> None:
        """Sync what is marked, report it, end the thread. Raises StorageFailed if a sync failed."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping = True
            if self._running.acquire(blocking=False):
                self._wake.release()
            thread.join()
        self.drain()

    # --- the thread ---

    def _run(self) -> None:
        while True:
            self._wake.acquire()
            while True:
                while self._is_wanted and (self._segments or self._marks) and self.failure is None:
                    self._is_wanted = False
                    self.run_round()
                if self.failure is not None:
                    return  # `_running` stays taken: no kick reaches a thread that is gone
                self._running.release()
                # A kick before the release found `_running` taken and woke nobody: it is ours.
                if not (self._is_wanted and (self._segments or self._marks)):
                    break
                if not self._running.acquire(blocking=False):
                    break
            if self._stopping:
                return

    def run_round(self) -> None:
        """Sync everything that is marked and report it: the pure step that a thread, or a test, repeats."""
        assert self.failure is None
        # Segments before marks: whatever a taken segment relies on was marked before it, so it is taken as
        # well.
        durables = self._take_segments()
        marks = self._take_marks()
        try:
            self._sync(durables, marks)
        except StorageFailed as error:
            self.failure = error
            self._on_failure(error)
            return
        self.rounds += 1
        if durables:
            self._on_round_complete(durables)

    def _take_segments(self) -> list[Durable]:
        queue = self._segments
        durables = []
        for _ in range(len(queue)):
            segment = queue.popleft()
            segment.dirty = False
            end_offset, position = segment.written
            durables.append(Durable(segment, end_offset, position))
        return durables

    def _take_marks(self) -> list[Mark]:
        queue = self._marks
        return list({mark.key: mark for mark in (queue.popleft() for _ in range(len(queue)))}.values())

    def _sync(self, durables: list[Durable], marks: list[Mark]) -> None:
        if len(durables) + len(marks) >= self._sync_everything_files:
            self.syncs += 1
            if self._storage.sync_everything():
                return
        for mark in marks:
            self.syncs += 1
            mark.sync(self._storage)
        for durable in durables:
            self.syncs += 1
            durable.segment.file.sync()
