"""What a topic may be called: the rules and sentences of `org.apache.kafka.common.internals.Topic`."""

from __future__ import annotations

import re
from typing import Final

MAX_NAME_LENGTH: Final = 249
"""So that the partition's folder, name-index with five more characters, fits into 255 bytes."""

CLUSTER_METADATA: Final = "__cluster_metadata"
CONSUMER_OFFSETS: Final = "__consumer_offsets"
TRANSACTION_STATE: Final = "__transaction_state"
INTERNAL_TOPICS: Final = frozenset({CONSUMER_OFFSETS, TRANSACTION_STATE, "__share_group_state"})

_LEGAL: Final = re.compile(r"[a-zA-Z0-9._-]+")


def name_problem(name: str) -> str | None:
    """Why `name` cannot be a topic's, or None."""
    reason = _reason(name)
    return f"Topic name is invalid: {reason}" if reason else None


def _reason(name: str) -> str | None:
    if not name:
        return "the empty string is not allowed"
    if name in (".", ".."):
        return f"'{name}' is not allowed"
    if len(name) > MAX_NAME_LENGTH:
        return f"the length of '{name}' is longer than the max allowed length {MAX_NAME_LENGTH}"
    if _LEGAL.fullmatch(name) is None:
        return f"'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
    return None


def is_valid_topic_name(name: str) -> bool:
    return _reason(name) is None


def collision_key(name: str) -> str:
    """Equal for names that would share a metric name: '.' and '_' are one there."""
    return name.replace(".", "_")


def may_collide(name: str) -> bool:
    return "." in name or "_" in name


def is_internal(name: str) -> bool:
    return name in INTERNAL_TOPICS
