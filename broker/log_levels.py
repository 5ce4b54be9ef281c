"""The levels of this process's loggers, under the names Kafka's tools use (KIP-412).

`root` is the logger of all of Floe, the others are its parts (`broker`, `catalog`, …). Nothing is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

from broker.topics.commands import DELETE, SET
from protocol.errors import ApiError, ErrorCode

ROOT: Final = "root"
_FLOE: Final = "floe"
_LEVELS: Final = {"DEBUG": 10, "ERROR": 40, "FATAL": 50, "INFO": 20, "TRACE": 5, "WARN": 30}
_NAMES: Final = {number: name for name, number in _LEVELS.items()}


def levels() -> Iterator[tuple[str, str]]:
    """(logger, level) of each."""
    for name in _names():
        level = _logger(name).getEffectiveLevel()
        yield name, _NAMES.get(level, str(level))


def check(name: str, operation: int, value: str | None) -> tuple[str, str | None]:
    """The logger and the level an operation asks for, None to follow root. Raises ApiError."""
    if operation not in (SET, DELETE):
        word = "APPEND" if operation == 2 else "SUBTRACT"
        text = f"{word} operation is not allowed for the BROKER_LOGGER resource"
        raise ApiError(ErrorCode.INVALID_REQUEST, text)
    if name not in _names():
        raise ApiError(ErrorCode.INVALID_CONFIG, f"Logger {name} does not exist!")
    if operation == DELETE:
        if name == ROOT:
            text = "Removing the log level of the root logger is not allowed"
            raise ApiError(ErrorCode.INVALID_REQUEST, text)
        return name, None
    if value not in _LEVELS:
        raise ApiError(
            ErrorCode.INVALID_CONFIG,
            f"Cannot set the log level of {name} to {value} as it is not a supported log level. "
            f"Valid log levels are {', '.join(_LEVELS)}",
        )
    return name, value


def change(name: str, level: str | None) -> None:
    """Set a logger's level; None lets it follow root again."""
    _logger(name).setLevel(logging.NOTSET if level is None else _LEVELS[level])


def _names() -> list[str]:
    prefix = f"{_FLOE}."
    parts = (name for name in logging.root.manager.loggerDict if name.startswith(prefix))
    return [ROOT, *sorted(name.removeprefix(prefix) for name in parts)]


def _logger(name: str) -> logging.Logger:
    return logging.getLogger(_FLOE if name == ROOT else f"{_FLOE}.{name}")
