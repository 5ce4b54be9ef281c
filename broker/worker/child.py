"""The child's side of a worker: jobs come as lines on stdin, answers leave as lines on stdout.

    {"job": {...}}                                              from the broker
    {"progress": {...}}                                         while the job runs, as often as the handler likes
    {"log": [logger, level, text]}                              what the handler's code logs
    {"result": {...}} or {"error": {kind, message, details}}    once for each job

End of stdin means that the broker is gone or wants the process gone: it ends at once, in the middle of whatever it
does. A handler must therefore be safe at every point of a crash.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, BinaryIO, Final

MESSAGE_CHARACTERS: Final = 600
"""Of an exception: databases tell whole statements. The traceback is in the debug log."""

NICENESS: Final = 10
"""Producers come first: a worker takes what processor time they leave, unless its kind of work says otherwise."""

LOG_LEVEL_VARIABLE: Final = "_FLOE_WORKER_LOG_LEVEL"
"""How the broker tells its log level, so that a child says what the broker would show, and no more."""

_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")

Progress = Callable[[dict[str, Any]], None]
Handler = Callable[[dict[str, Any], Progress], Mapping[str, Any]]
"""(job, report progress) -> result. What it raises fails the job, not the process; an exception's attribute `details`
(a JSON object) reaches the broker."""


def serve(handler: Handler, niceness: int = NICENESS) -> None:
    """Do jobs until stdin ends; does not return."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the broker, which then ends us
    with suppress(OSError):
        os.nice(niceness)
    jobs: SimpleQueue[dict[str, Any]] = SimpleQueue()
    answers = _Answers(_take_stdout())
    _log_to(answers)
    threading.Thread(target=_read_jobs, args=(jobs,), name="jobs", daemon=True).start()
    while True:
        job = jobs.get()
        answers.send(run_job(handler, job, lambda progress: answers.send({"progress": progress})))


def run_job(handler: Handler, job: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """The answer to one job."""
    try:
        return {"result": dict(handler(job, progress))}
    except Exception as error:
        logging.getLogger("floe.worker").debug("job failed", exc_info=True)
        details = getattr(error, "details", None)
        return {"error": {"kind": type(error).__name__, "message": _message(error), "details": details}}


def _message(error: Exception) -> str:
    """One line; with the class where it is somebody else's, whose words may mean little alone.

    Without places in memory, so that the same failure has the same words: who tells of each once could not else.
    """
    kind = type(error)
    text = " ".join(_ADDRESS.sub("", str(error)).split())[:MESSAGE_CHARACTERS]
    if kind.__module__.partition(".")[0] in ("broker", "wal", "protocol") and text:
        return text
    return f"{kind.__name__}: {text}" if text else kind.__name__


def _read_jobs(jobs: SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin.buffer:
        jobs.put(json.loads(line)["job"])
    os._exit(0)


def _take_stdout() -> BinaryIO:
    """Our own way to the broker: what a library prints must not get between the messages."""
    mine = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return mine


class _Answers:
    """Writes whole messages, from whichever thread."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def send(self, message: dict[str, Any]) -> None:
        data = memoryview(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        with self._lock:
            try:
                while data:
                    data = data[self._stream.write(data) :]
            except BrokenPipeError:
                os._exit(0)


class _ToBroker(logging.Handler):
    def __init__(self, answers: _Answers) -> None:
        super().__init__()
        self._answers = answers

    def emit(self, record: logging.LogRecord) -> None:
        self._answers.send({"log": [record.name, record.levelno, self.format(record)]})


def _log_to(answers: _Answers) -> None:
    logging.basicConfig(level=logging.WARNING, handlers=[_ToBroker(answers)], format="%(message)s")
    logging.getLogger("floe").setLevel(os.environ.get(LOG_LEVEL_VARIABLE, "INFO"))
