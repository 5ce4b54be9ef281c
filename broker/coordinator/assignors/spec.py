"""What assignors are given and what they give."""

from __future__ import annotations

from typing import Final, NamedTuple

TopicPartition = tuple[bytes, int]
"""A partition: topic id, index."""

Assignment = frozenset[TopicPartition]

NOTHING: Final[Assignment] = frozenset()


class MemberSpec(NamedTuple):
    """A member as an assignor sees it."""

    subscribed: frozenset[bytes]
    """Ids of the topics it reads; all of them exist."""
    assigned: Assignment = NOTHING
    """What it was to have until now; no two members have the same."""
