"""`python -m broker.worker KIND`: the child process. Started by the broker, never by hand."""

from __future__ import annotations

import importlib
import sys
from typing import Final

from broker.worker.child import NICENESS as DEFAULT_NICENESS
from broker.worker.child import serve

KINDS: Final = {
    "compaction": "broker.compacting.worker",
    "tiering": "broker.tiering.worker",
}
"""Kind of work -> the module that does it; its `make_handler()` gives a `child.Handler`."""

NICENESS: Final = {"tiering": 3}
"""Of kinds that must keep pace with producers. At 10, on processors that others keep busy, a worker gets a tenth of
one, and tables fall behind at 200,000 records a second, which take it 0.4. At 3 it gets half a share, and the broker,
which sleeps between requests, is still served first."""


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] not in KINDS:
        sys.exit(f"usage: python -m broker.worker {'|'.join(KINDS)}")
    kind = sys.argv[1]
    try:
        module = importlib.import_module(KINDS[kind])
    except ImportError as error:  # a package is not there, or not for this machine
        sys.exit(f"it cannot start: {error}")
    serve(module.make_handler(), NICENESS.get(kind, DEFAULT_NICENESS))


if __name__ == "__main__":
    main()
