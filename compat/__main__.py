"""`python -m compat [--only NAMES] [--smoke]`: run the clients, say what could not run, keep the matrix."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

from compat import matrix
from compat.matrix import FAIL, NOT_RUN, Row
from compat.running import (
    INSTALL_LIMIT_S,
    SHORT_INSTALL_LIMIT_S,
    Client,
    find,
    regressions,
    run_version,
    unlisted,
)

HERE = Path(__file__).parent
BUILD = HERE / ".build"


def main() -> int:
    """Return 0 where nothing that `tests.allow` names has failed."""
    parser = argparse.ArgumentParser(prog="python -m compat", description=__doc__)
    parser.add_argument("--only", default="", help="names of clients, joined by commas")
    parser.add_argument("--smoke", action="store_true", help="the short part; leaves the matrix as it is")
    arguments = parser.parse_args()
    clients = find(HERE)
    chosen = [client for client in clients if not arguments.only or client.name in arguments.only.split(",")]
    if not chosen:
        print(f"no such client: {arguments.only}; there are {', '.join(client.name for client in clients)}")
        return 2
    rows: list[Row] = []
    broken: list[Row] = []
    for client in chosen:
        mine, wrong = _run(client, arguments.smoke)
        rows += mine
        broken += wrong
        if not arguments.smoke and mine:
            _keep(mine, [known.name for known in clients])
    _conclude(rows, broken)
    return 1 if broken else 0


def _run(client: Client, smoke: bool) -> tuple[list[Row], list[Row]]:
    """Return a client's rows, and those of them that are regressions."""
    rows: list[Row] = []
    broken: list[Row] = []
    for version in client.versions(smoke):
        mine = _run_version(client, version, smoke)
        if smoke and regressions(client, version, mine):
            # Clients have races of their own, and a build machine is slow: what fails twice is broken.
            print("  once more:", flush=True)
            mine = _run_version(client, version, smoke)
        new = [row.feature for row in unlisted(client, version, mine)]
        if new:
            print(f"  passes, but is not in tests.allow: {', '.join(new)}", flush=True)
        rows += mine
        broken += regressions(client, version, mine)
    return rows, broken


def _run_version(client: Client, version: str, smoke: bool) -> list[Row]:
    started = time.monotonic()
    rows = run_version(client, version, BUILD, SHORT_INSTALL_LIMIT_S if smoke else INSTALL_LIMIT_S)
    counts = Counter(row.result for row in rows)
    told = ", ".join(f"{count} {result}" for result, count in counts.items())
    print(f"{client.name} {version}: {told} ({time.monotonic() - started:.0f} s)", flush=True)
    for row in rows:
        if row.result in (FAIL, NOT_RUN):
            print(f"  {row.result}: {row.feature}: {row.reason}", flush=True)
    return rows


def _keep(rows: list[Row], order: list[str]) -> None:
    path, page = HERE / "matrix.json", HERE / "README.md"
    merged = matrix.merge(matrix.load(path), rows, order)
    matrix.save(path, merged)
    page.write_text(matrix.show_in(page.read_text(), merged))


def _conclude(rows: list[Row], broken: list[Row]) -> None:
    counts = Counter(row.result for row in rows)
    print(f"{counts['pass']} passed, {counts['fail']} failed, {counts['not_run']} could not run")
    for row in rows:
        if row.result == NOT_RUN:
            print(f"not run: {row.client} {row.version} {row.feature}: {row.reason}")
    for row in broken:
        print(f"REGRESSION: {row.client} {row.version} {row.feature}: {row.reason}")


sys.exit(main())
