"""Server-side assignors of consumer groups (KIP-848): pure functions from subscriptions to assignments.

An assignor is given every member, what it subscribes to and what it was to have so far, and says what it is to have.
It is a function of its arguments alone: members in another order give the same answer. Racks are not looked at: every
partition of a single broker is in the same one, and consumers fetch from the leader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from broker.coordinator.assignors.range import assign_range
from broker.coordinator.assignors.spec import Assignment, MemberSpec
from broker.coordinator.assignors.uniform import assign_uniform

Assignor = Callable[[Mapping[str, MemberSpec], Mapping[bytes, int]], dict[str, Assignment]]

ASSIGNORS: Final[dict[str, Assignor]] = {"uniform": assign_uniform, "range": assign_range}
"""By the name consumers ask for (`group.remote.assignor`)."""


def preferred(votes: Iterable[str | None], default: str) -> str:
    """The assignor most members ask for; the first by name among equals, the default if nobody asks."""
    counts: dict[str, int] = {}
    for name in votes:
        if name is not None:
            counts[name] = counts.get(name, 0) + 1
    return min(counts, key=lambda name: (-counts[name], name)) if counts else default
