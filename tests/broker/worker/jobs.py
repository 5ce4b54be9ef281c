"""A worker for tests: `python -m tests.broker.worker.jobs`."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from typing import Any

from broker.worker.child import Progress, serve


class Refused(Exception):
    """With details."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.details = {"retry": False}


def handle(job: dict[str, Any], progress: Progress) -> dict[str, Any]:
    match job["do"]:
        case "echo":
            print("a library prints")
            return {"echo": job["value"], "pid": os.getpid(), "nice": os.nice(0)}
        case "count":
            for number in range(job["to"]):
                progress({"number": number})
            return {"numbers": job["to"]}
        case "refuse":
            raise Refused(f"not this one of {object()}")
        case "log":
            logging.getLogger("floe.tiering").warning("a table is slow")
        case "babble":
            for number in range(job["lines"]):
                sys.stderr.write(f"noise {number} {'x' * 5000}\n")
            sys.stderr.flush()
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(7)
        case "wait":  # for whoever ends us
            progress({"waiting": True})
            threading.Event().wait(job["limit_s"])
    return {}


if __name__ == "__main__":
    serve(handle)
