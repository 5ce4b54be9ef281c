"""`python -m broker.worker KIND`: the child process. Started by the broker, never by hand."""

from __future__ import annotations

import importlib
import sys
from typing import Final

from broker.worker.child import serve

KINDS: Final = {
    "compaction": "broker.compacting.worker",
    "tiering": "broker.tiering.worker",
}
"""Kind of work -> the module that does it; its `make_handler()` gives a `child.Handler`."""


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] not in KINDS:
        sys.exit(f"usage: python -m broker.worker {'|'.join(KINDS)}")
    serve(importlib.import_module(KINDS[sys.argv[1]]).make_handler())


if __name__ == "__main__":
    main()
