"""Log lines: for people by default, JSON on request (`floe.log.format`), always on standard error.

One line an event. What a reader needs is in the message; JSON adds nothing but structure, so both say the same.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final, TextIO

_LEVEL_NAMES: Final = {"WARNING": "WARN", "CRITICAL": "FATAL"}


class HumanFormatter(logging.Formatter):
    """`12:34:56.789 INFO  server: message`."""

    _second = -1
    _clock = ""

    def format(self, record: logging.LogRecord) -> str:
        second = int(record.created)
        if second != self._second:  # to write a time out takes as long as all the rest of the line
            self._second, self._clock = second, f"{datetime.fromtimestamp(second):%H:%M:%S}"
        level = _LEVEL_NAMES.get(record.levelname, record.levelname)
        name = record.name.removeprefix("floe.")
        line = f"{self._clock}.{int(record.msecs):03d} {level:<5} {name}: {record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC, RFC 3339), level, logger, message, and exception where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        event = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json.dumps(event, ensure_ascii=False)


def configure_logging(log_format: str, level: str, stream: TextIO | None = None) -> None:
    """Send Floe's log lines to `stream` (standard error) as `human` or `json`."""
    # Nobody is told of them, and to find them out for each line is a third of its cost.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # where it was called; the switch the documentation names
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else HumanFormatter())
    root = logging.getLogger("floe")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False
