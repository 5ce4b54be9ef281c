"""Subscriptions by regular expression (KIP-848): RE2's language, which Kafka names, and RE2 itself.

RE2 matches in time proportional to the topic's name, whatever the pattern: with a backtracking engine anybody who may
subscribe could stop the broker for minutes. Python's `re` also knows what RE2 does not (backreferences, lookaround).
The module is imported at the first such subscription.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

from protocol.errors import ApiError, ErrorCode

MAX_COMPILED: Final = 128
"""Patterns kept compiled; a few kilobytes each."""

MAX_PATTERN_BYTES: Final = 32_767
"""The longest string the key of its record can hold; a pattern that lists a hundred topics fits."""

MAX_PROGRAM_BYTES: Final = 1 << 20
"""What a compiled pattern may take (RE2's own limit is 8 MiB); `x{1000}{1000}` is refused."""


def compile_pattern(pattern: str) -> Any:
    """The compiled pattern. Raises INVALID_REGULAR_EXPRESSION."""
    if len(pattern.encode()) > MAX_PATTERN_BYTES:
        raise ApiError(
            ErrorCode.INVALID_REGULAR_EXPRESSION,
            f"The regular expression is longer than {MAX_PATTERN_BYTES} bytes.",
        )
    return _compile(pattern)


@lru_cache(MAX_COMPILED)
def _compile(pattern: str) -> Any:
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_PROGRAM_BYTES
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0]
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ApiError(
            ErrorCode.INVALID_REGULAR_EXPRESSION,
            f"SubscribedTopicRegex `{pattern}` is not a valid regular expression: {text}.",
        ) from error


def matching(pattern: str, topic_names: Iterable[str]) -> frozenset[str]:
    """The topics whose whole name matches; the pattern has been compiled before."""
    match = compile_pattern(pattern).fullmatch
    return frozenset(name for name in topic_names if match(name) is not None)
