"""Timers as data: what is due when, and nothing that ticks.

One dictionary holds the truth; a heap finds the earliest. A timer that is moved further away (every heartbeat does
that) leaves its heap entry where it is: when that comes up it is put back at its present time. So a heartbeat costs
one dictionary write, and an idle member costs memory only.
"""

from __future__ import annotations

from heapq import heappop, heappush

from broker.coordinator.outcome import NEVER, TimerChange, TimerKey


class Timers:
    """The running timers of all groups."""

    def __init__(self) -> None:
        self._due: dict[TimerKey, int] = {}
        self._queued: dict[TimerKey, int] = {}  # the earliest heap entry of each key
        self._heap: list[tuple[int, int, TimerKey]] = []
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._due)

    def due_ms(self, key: TimerKey) -> int:
        """When the timer ends; NEVER if it does not run."""
        return self._due.get(key, NEVER)

    def change(self, change: TimerChange) -> None:
        key, due_ms = change
        if due_ms == NEVER:
            self._due.pop(key, None)
            return
        assert due_ms >= 0
        self._due[key] = due_ms
        queued = self._queued.get(key)
        if queued is None or due_ms < queued:
            self._push(key, due_ms)

    def _push(self, key: TimerKey, due_ms: int) -> None:
        self._sequence += 1  # equal times end in the order they were set
        self._queued[key] = due_ms
        heappush(self._heap, (due_ms, self._sequence, key))

    def earliest_ms(self) -> int:
        """When to look next; NEVER if nothing runs. It may be too early, never too late."""
        return self._heap[0][0] if self._heap else NEVER

    def take_due(self, now_ms: int, limit: int) -> list[TimerKey]:
        """Up to `limit` timers that have ended; they no longer run."""
        taken: list[TimerKey] = []
        heap = self._heap
        while heap and heap[0][0] <= now_ms and len(taken) < limit:
            queued_ms, _, key = heappop(heap)
            if self._queued.get(key) != queued_ms:
                continue  # an earlier entry of the same key has been seen to
            del self._queued[key]
            due_ms = self._due.get(key)
            if due_ms is None:
                continue
            if due_ms > now_ms:
                self._push(key, due_ms)
            else:
                del self._due[key]
                taken.append(key)
        return taken
