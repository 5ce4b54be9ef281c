"""Run the clients, say what could not run, and keep the matrix of a whole run.

The matrix is one run's: it is written at the end of a run of all clients, and only then. A run of some of them
(`--only`), the short one (`--smoke`) and one that was interrupted leave it as it is.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from compat import matrix
from compat.matrix import EVERYTHING, FAIL, NOT_RUN, PASS, Row
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


def main(words: Sequence[str], root: Path = HERE) -> int:
    """Run what `words` ask for of the clients below `root`.

    Return 0 where nothing that `tests.allow` names has failed, 1 where something has, 2 where there is no such client.
    """
    parser = argparse.ArgumentParser(
        prog="python -m compat", description="Other people's clients against Floe."
    )
    parser.add_argument(
        "--only", default="", help="names of clients, joined by commas; leaves the matrix as it is"
    )
    parser.add_argument("--smoke", action="store_true", help="the short part; leaves the matrix as it is")
    arguments = parser.parse_args(words)
    clients = find(root)
    wanted = [name for name in arguments.only.split(",") if name]
    unknown = sorted({*wanted} - {client.name for client in clients})
    if unknown:
        print(
            f"no such client: {', '.join(unknown)}; there are {', '.join(client.name for client in clients)}"
        )
        return 2
    run = Run(root / ".build", arguments.smoke)
    with _ending_what_was_started():
        run.all([client for client in clients if not wanted or client.name in wanted])
    run.conclude()
    if not wanted and not arguments.smoke:
        keep(root, run)
    return 1 if run.broken else 0


@contextmanager
def _ending_what_was_started() -> Iterator[None]:
    """SIGTERM unwinds as an interrupt does: a run that is cancelled leaves no brokers and clients behind."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Run:
    """One go through some clients: their rows, and those of them that are regressions."""

    def __init__(self, build: Path, smoke: bool = False) -> None:
        self.rows: list[Row] = []
        self.broken: list[Row] = []
        self._build = build
        self._smoke = smoke
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it has been going on."""
        return time.monotonic() - self._started

    def all(self, clients: Sequence[Client]) -> None:
        """Run every version of these, one after the other."""
        turns = [(client, version) for client in clients for version in client.versions(self._smoke)]
        for number, (client, version) in enumerate(turns, 1):
            print(f"[{number}/{len(turns)}, {_minutes(self.seconds)}] {client.name} {version}", flush=True)
            rows = self._once(client, version)
            failed = regressions(client, version, rows)
            if failed or (not_installed(rows) and not self._smoke):
                # Clients have races of their own, registries their moments, and a machine may be slow: what fails twice
                # is broken.
                print("  once more:", flush=True)
                rows = second_try(failed, self._once(client, version))
            new = [row.feature for row in unlisted(client, version, rows)]
            if new:
                print(f"  passes, but is not in tests.allow: {', '.join(new)}", flush=True)
            self.rows += rows
            self.broken += regressions(client, version, rows)

    def _once(self, client: Client, version: str) -> list[Row]:
        started = time.monotonic()
        limit_s = SHORT_INSTALL_LIMIT_S if self._smoke else INSTALL_LIMIT_S
        rows = run_version(client, version, self._build, limit_s)
        counts = Counter(row.result for row in rows)
        told = ", ".join(f"{count} {result}" for result, count in counts.items())
        print(f"  {told} ({time.monotonic() - started:.0f} s)", flush=True)
        for row in rows:
            if row.result in (FAIL, NOT_RUN):
                print(f"  {row.result}: {row.feature}: {row.reason}", flush=True)
        return rows

    def conclude(self) -> None:
        """Say what became of it as a whole."""
        counts = Counter(row.result for row in self.rows)
        told = f"{counts[PASS]} passed, {counts[FAIL]} failed, {counts[NOT_RUN]} could not run"
        print(f"{told}, in {_minutes(self.seconds)}")
        for row in self.rows:
            if row.result == NOT_RUN:
                print(f"not run: {row.client} {row.version} {row.feature}: {row.reason}")
        for row in self.broken:
            print(f"REGRESSION: {row.client} {row.version} {row.feature}: {row.reason}")


def not_installed(rows: Sequence[Row]) -> bool:
    """Whether these are the rows of a version that could not be fetched."""
    return [(row.feature, row.result) for row in rows] == [(EVERYTHING, NOT_RUN)]


def second_try(failed: Sequence[Row], rows: Sequence[Row]) -> list[Row]:
    """Return the second try's `rows`; those that pass only now say what was wrong at the first."""
    first = {row.feature: row.reason for row in failed}
    return [
        replace(row, reason=f"at the second try; at the first: {first[row.feature]}")
        if row.result == PASS and row.feature in first
        else row
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class Revision:
    """What was run: a commit, and whether the files were those of it."""

    commit: str
    is_changed: bool

    def __str__(self) -> str:
        return self.commit + (" with changes" if self.is_changed else "")


def revision(root: Path) -> Revision:
    """Return the commit that `root` is checked out at; what the run itself writes there is no change."""

    def ask(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    own = [":/", ":(exclude,top)compat/matrix.json", ":(exclude,top)compat/README.md"]
    return Revision(
        ask("rev-parse", "--short", "HEAD") or "unknown", bool(ask("status", "--porcelain", "--", *own))
    )


def keep(root: Path, run: Run) -> None:
    """Write the matrix and its page anew: nothing of an earlier run stays in them."""
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    title = f"One run of Floe at {revision(root)}, {day}, {_minutes(run.seconds)}."
    matrix.save(root / "matrix.json", run.rows)
    page = root / "README.md"
    page.write_text(matrix.show_in(page.read_text(), run.rows, title))


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
