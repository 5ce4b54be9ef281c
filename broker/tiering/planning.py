"""Which topic is committed when. Pure: time and chance are arguments, nothing is looked up.

A topic is *dirty* from its first record that is not in the table on. It is due `interval_ms` later, at once when
`commit_bytes` are waiting, or when somebody asks. One commit covers all its partitions. Topics that are not dirty are
not in here at all, so that ten thousand idle ones cost nothing.

A busy topic is due sooner by as long as its last commit took, up to half the interval: so that a record is in the
table `interval_ms` after it was written, however long the commits of such a topic take. Between the beginnings of two
commits lies half an interval at the least, or the first of them, where that takes longer.

A failure makes the topic wait, twice as long each time (`FIRST_BACK_OFF_MS` to `MAX_BACK_OFF_MS`, with jitter); so does
a commit that failed for all alike, as when the catalog is away. A topic that was configured anew is tried at once: its
settings may have been what was wrong. A commit that ended early because there is more makes
it due again behind those that are due already: a backfill takes turns with everybody else, step by step.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Final, NamedTuple

FIRST_BACK_OFF_MS: Final = 1_000
MAX_BACK_OFF_MS: Final = 60_000
"""Long enough not to fill the log while a catalog is away, short enough to catch up soon after it is back."""


class Pace(NamedTuple):
    """How often a topic is committed: floe.table.commit.interval.ms and floe.table.commit.bytes."""

    interval_ms: int
    commit_bytes: int


class _Dirty:
    """What is known of a topic with records that are not in the table."""

    __slots__ = (
        "again_bytes",
        "again_since_ms",
        "bytes",
        "due_ms",
        "failures",
        "is_asked",
        "is_changed",
        "is_running",
        "not_before_ms",
        "pace",
        "since_ms",
        "started_ms",
    )

    def __init__(self, pace: Pace, now_ms: int) -> None:
        self.pace = pace
        self.since_ms = now_ms
        self.bytes = 0
        self.due_ms = now_ms + pace.interval_ms
        self.not_before_ms = 0
        self.failures = 0
        self.is_running = False
        self.started_ms = now_ms
        # Somebody wants another commit after the one under way.
        self.is_asked = False
        # The topic was configured anew after the commit under way had begun: if it fails, another need not wait.
        self.is_changed = False
        # Since when and how many bytes, of records that came after the commit under way had begun; None: none did.
        self.again_since_ms: int | None = None
        self.again_bytes = 0


class Planner:
    """Topics, by whatever names them, in the order in which they are due."""

    def __init__(self) -> None:
        self._dirty: dict[bytes, _Dirty] = {}
        self._queue: list[tuple[int, int, bytes]] = []  # (due, tie-breaker, topic); may hold outdated entries
        self._pushed = 0

    def __len__(self) -> int:
        return len(self._dirty)

    def __contains__(self, topic: bytes) -> bool:
        return topic in self._dirty

    def failures(self, topic: bytes) -> int:
        """How often in a row the topic's commit failed."""
        dirty = self._dirty.get(topic)
        return dirty.failures if dirty is not None else 0

    def waiting_since_ms(self, topic: bytes) -> int | None:
        """Since when the topic has had records that are not in the table; None if it has none."""
        dirty = self._dirty.get(topic)
        return dirty.since_ms if dirty is not None else None

    def progressed(self, topic: bytes, byte_count: int, pace: Pace, now_ms: int) -> None:
        """`byte_count` more bytes of the topic's log are durable."""
        dirty = self._dirty.get(topic)
        if dirty is None:
            dirty = self._dirty[topic] = _Dirty(pace, now_ms)
            self._push(topic, dirty)
        before, dirty.pace = dirty.pace, pace
        if dirty.is_running:
            if dirty.again_since_ms is None:
                dirty.again_since_ms = now_ms
            dirty.again_bytes += byte_count
        else:
            dirty.bytes += byte_count
            if dirty.bytes >= pace.commit_bytes:
                self._bring_forward(topic, dirty, now_ms)
            elif pace.interval_ms < before.interval_ms:
                self._bring_forward(topic, dirty, max(now_ms, dirty.since_ms + pace.interval_ms))

    def ask(self, topic: bytes, pace: Pace, now_ms: int) -> None:
        """Somebody wants a commit now: no interval and no back-off."""
        self.progressed(topic, 0, pace, now_ms)
        dirty = self._dirty[topic]
        dirty.not_before_ms = 0
        if dirty.is_running:
            dirty.is_asked = True
        else:
            self._bring_forward(topic, dirty, now_ms)

    def reconfigured(self, topic: bytes, now_ms: int) -> None:
        """The topic has other settings: where commits failed, the next is due now. How often they did is kept."""
        dirty = self._dirty.get(topic)
        if dirty is None:
            return
        dirty.is_changed = dirty.is_running
        dirty.not_before_ms = 0
        if dirty.failures and not dirty.is_running:
            self._bring_forward(topic, dirty, now_ms)

    def forget(self, topic: bytes) -> None:
        """The topic is gone, or has no table any more."""
        self._dirty.pop(topic, None)

    def next_due_ms(self) -> int | None:
        """When there is something to do; None if nothing is planned."""
        self._drop_outdated()
        return self._queue[0][0] if self._queue else None

    def take(self, now_ms: int) -> bytes | None:
        """The topic to commit now, the one that is due for the longest time; None if none is."""
        self._drop_outdated()
        if not self._queue or self._queue[0][0] > now_ms:
            return None
        topic = heappop(self._queue)[2]
        dirty = self._dirty[topic]
        dirty.is_running = True
        dirty.started_ms = now_ms
        return topic

    def committed(self, topic: bytes, has_more: bool, now_ms: int, has_newer: bool = False) -> None:
        """The commit that `take` gave is done; `has_more`: it did not reach the end it was given.

        `has_newer`: there are records behind that end, which nobody may have told of. They count from its beginning.
        """
        dirty = self._dirty.get(topic)
        if dirty is None:
            return
        dirty.is_running, dirty.is_changed, dirty.failures = False, False, 0
        again_since_ms, again_bytes = dirty.again_since_ms, dirty.again_bytes
        is_asked, dirty.is_asked = dirty.is_asked, False
        if has_newer and again_since_ms is None:
            again_since_ms = dirty.started_ms
        dirty.again_since_ms, dirty.again_bytes = None, 0
        if has_more:
            dirty.bytes = max(0, dirty.bytes - dirty.pace.commit_bytes) + again_bytes
            self._schedule(topic, dirty, now_ms)
        elif again_since_ms is not None:
            dirty.since_ms, dirty.bytes = again_since_ms, again_bytes
            is_urgent = is_asked or dirty.bytes >= dirty.pace.commit_bytes
            interval_ms = dirty.pace.interval_ms
            ahead_ms = min(now_ms - dirty.started_ms, interval_ms // 2)
            self._schedule(topic, dirty, now_ms if is_urgent else again_since_ms + interval_ms - ahead_ms)
        else:
            del self._dirty[topic]

    def failed(self, topic: bytes, now_ms: int, chance: float) -> int:
        """The commit failed; in how many ms it is tried again. `chance` is from 0 to 1."""
        dirty = self._dirty.get(topic)
        if dirty is None:
            return 0
        back_off_ms = min(MAX_BACK_OFF_MS, FIRST_BACK_OFF_MS << min(dirty.failures, 16))
        wait_ms = 0 if dirty.is_changed else round(back_off_ms * (0.75 + 0.25 * chance))
        dirty.failures += 1
        dirty.is_running = dirty.is_asked = dirty.is_changed = False
        dirty.bytes += dirty.again_bytes
        dirty.again_since_ms, dirty.again_bytes = None, 0
        dirty.not_before_ms = now_ms + wait_ms
        self._schedule(topic, dirty, dirty.not_before_ms)
        return wait_ms

    def _bring_forward(self, topic: bytes, dirty: _Dirty, due_ms: int) -> None:
        if max(due_ms, dirty.not_before_ms) < dirty.due_ms:
            self._schedule(topic, dirty, due_ms)

    def _schedule(self, topic: bytes, dirty: _Dirty, due_ms: int) -> None:
        dirty.due_ms = max(due_ms, dirty.not_before_ms)
        self._push(topic, dirty)

    def _push(self, topic: bytes, dirty: _Dirty) -> None:
        self._pushed += 1
        heappush(self._queue, (dirty.due_ms, self._pushed, topic))

    def _drop_outdated(self) -> None:
        queue = self._queue
        while queue:
            due_ms, _, topic = queue[0]
            dirty = self._dirty.get(topic)
            if dirty is not None and not dirty.is_running and dirty.due_ms == due_ms:
                return
            heappop(queue)
