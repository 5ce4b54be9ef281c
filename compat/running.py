"""One client's folder: its versions, installing them, running each against a fresh broker, judging the result.

A folder has `run.sh` (see `lib.sh` for its four verbs) and `tests.allow`. The client's program prints a JSON object a
line for each feature, `{"feature": …, "result": "pass" | "fail" | "not_run", "reason": …}`; its other lines are talk,
which the log keeps.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compat.matrix import EVERYTHING, FAIL, NOT_RUN, PASS, Row
from tests.floe_process import FloeProcess

INSTALL_LIMIT_S = 400.0
SHORT_INSTALL_LIMIT_S = 90.0
"""Of the short part: a registry that does not answer must not hold up a build."""
RUN_LIMIT_S = 480.0
_LAST_WORDS = 400
_ROOT = str(Path(__file__).resolve().parents[1])
_SETTINGS = {
    "group.initial.rebalance.delay.ms": "0",
    "group.consumer.heartbeat.interval.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "1000",
}
"""The first as in the server.properties that Kafka comes with; the others because members learn of their partitions by
heartbeat, and five seconds each are most of a run."""
BROKER_UNHARMED = "broker unharmed"
"""The runner's own feature: the broker is alive after the client, and logged no traceback."""
UNREADABLE = "an unreadable report"
"""The runner's own feature, which can only fail: a line that begins as a report and is none."""


@dataclass(frozen=True, slots=True)
class Client:
    """A folder below `compat/`."""

    folder: Path

    @property
    def name(self) -> str:
        """The folder's name, which is the client's in the matrix."""
        return self.folder.name

    def versions(self, smoke: bool = False) -> list[str]:
        """Return the pinned versions, or only those of the smoke part."""
        return self._ask("smoke" if smoke else "versions").stdout.split()

    def _ask(self, *verb: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*verb), capture_output=True, text=True, check=True)

    def command(self, *verb: str) -> list[str]:
        """Return the command line of one of `run.sh`'s verbs."""
        return ["bash", str(self.folder / "run.sh"), *verb]

    def allowed(self, version: str) -> list[str]:
        """Return the features that must pass with this version."""
        path = self.folder / "tests.allow"
        return parse_allow(path.read_text(), version) if path.exists() else []


def find(root: Path) -> list[Client]:
    """Return the clients below `root`, by name."""
    return [Client(path.parent) for path in sorted(root.glob("*/run.sh"))]


def parse_allow(text: str, version: str) -> list[str]:
    """Return the features of `tests.allow` for a version.

    A line is `<versions> <feature>`: versions are `*` or names joined by commas; the feature may contain spaces.
    `#` begins a comment.
    """
    features = []
    for line in text.splitlines():
        words = line.split("#")[0].split(maxsplit=1)
        if words and (words[0] == "*" or version in words[0].split(",")):
            features.append(words[1].strip())
    return features


def run_version(
    client: Client,
    version: str,
    build: Path,
    install_limit_s: float = INSTALL_LIMIT_S,
    settings: Mapping[str, str] = _SETTINGS,
) -> list[Row]:
    """Install one version, run it against a broker of its own, and return its rows. Logs are kept below `build`."""
    logs = build / "logs" / f"{client.name}-{version}"
    logs.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "FLOE_COMPAT_BUILD": str(build), "FLOE_PYTHON": sys.executable}
    installed = execute(client.command("install", version), environment, install_limit_s, logs / "install")
    if installed.code != 0:
        return [Row(client.name, version, EVERYTHING, NOT_RUN, installed.last_words())]
    ended, alive, broker_log = _beside_a_broker(client.command("run", version), environment, settings, logs)
    reported = parse_report(client.name, version, ended.output.splitlines())
    rows = with_missing(client, version, reported, ended)
    return [*rows, _broker_row(client.name, version, alive, broker_log)]


def _beside_a_broker(
    command: Sequence[str], environment: Mapping[str, str], settings: Mapping[str, str], logs: Path
) -> tuple[Ended, bool, str]:
    """Run a command with a broker of its own: how it ended, whether the broker then lived, and the broker's log."""
    # What was killed a moment ago may still be writing: what is left of it then is no reason to end the whole run.
    with tempfile.TemporaryDirectory(prefix="floe-compat-", ignore_cleanup_errors=True) as scratch:
        floe = FloeProcess(Path(scratch) / "data", settings)
        try:
            floe.start()
            more = {
                "FLOE_BOOTSTRAP": floe.bootstrap,
                "FLOE_DATA": str(floe.data_dir),
                "SCRATCH": scratch,
                "TMPDIR": scratch,  # whatever a client that is ended leaves behind goes with it
            }
            ended = execute(command, {**environment, **more}, RUN_LIMIT_S, logs / "run")
            alive = floe.is_running
        except AssertionError as error:  # FloeProcess's word for a broker that does not start
            ended, alive = Ended(-1, "", str(error)), False
        finally:
            floe.end()
            log = floe.log()
            (logs / "broker").write_text(log)
    return ended, alive, log


def parse_report(client: str, version: str, lines: Iterable[str]) -> list[Row]:
    """Return the rows a client's program printed. Of a feature that was told twice, the worse result counts."""
    rows: dict[str, Row] = {}
    for line in lines:
        if not line.startswith('{"feature"'):
            continue
        try:
            told = json.loads(line)
            row = Row(client, version, told["feature"], told["result"], _reason(told))
        except (ValueError, KeyError, AssertionError):
            row = Row(client, version, UNREADABLE, FAIL, without_paths(line)[:_LAST_WORDS])
        if row.feature not in rows or rows[row.feature].result == PASS:
            rows[row.feature] = row
    return list(rows.values())


def _reason(told: Mapping[str, str]) -> str:
    default = "" if told["result"] == PASS else "no reason given"
    return without_paths(told.get("reason") or default)[:_LAST_WORDS]


def without_paths(text: str) -> str:
    """Return one line without the folders of this machine, which would be different at every run."""
    for folder in (_ROOT, str(Path.home()), tempfile.gettempdir()):
        text = text.replace(folder, "…")
    return " ".join(text.split())


def with_missing(client: Client, version: str, rows: Sequence[Row], ended: Ended) -> list[Row]:
    """Return `rows` and a failure for each feature that should have been there: a silent program has not passed."""
    told = {row.feature for row in rows}
    missing = [
        Row(client.name, version, feature, FAIL, f"not reported: {ended.last_words()}")
        for feature in client.allowed(version)
        if feature not in told and feature != BROKER_UNHARMED
    ]
    if not told and not missing:
        missing = [Row(client.name, version, EVERYTHING, FAIL, ended.last_words())]
    elif ended.code != 0 and not missing and all(row.result == PASS for row in rows):
        missing = [Row(client.name, version, "end of the program", FAIL, ended.last_words())]
    return [*rows, *missing]


def _broker_row(client: str, version: str, alive: bool, log: str) -> Row:
    if not alive:
        return Row(
            client, version, BROKER_UNHARMED, FAIL, f"the broker ended: {without_paths(log)[-_LAST_WORDS:]}"
        )
    if "Traceback" in log:
        return Row(
            client,
            version,
            BROKER_UNHARMED,
            FAIL,
            without_paths(log[log.index("Traceback") :])[-_LAST_WORDS:],
        )
    return Row(client, version, BROKER_UNHARMED, PASS)


def regressions(client: Client, version: str, rows: Iterable[Row]) -> list[Row]:
    """Return the rows that failed though `tests.allow` says that they pass."""
    allowed = {*client.allowed(version), BROKER_UNHARMED, UNREADABLE}
    return [row for row in rows if row.result == FAIL and row.feature in allowed]


def unlisted(client: Client, version: str, rows: Iterable[Row]) -> list[Row]:
    """Return the rows that passed without standing in `tests.allow`."""
    allowed = {*client.allowed(version), BROKER_UNHARMED}
    return [row for row in rows if row.result == PASS and row.feature not in allowed]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended. A limit that was reached stands in `errors` with a code of -1."""

    code: int
    output: str
    errors: str

    def last_words(self) -> str:
        """Return the last lines it wrote, errors first."""
        text = self.errors.strip() or self.output.strip() or f"ended with {self.code} and said nothing"
        return without_paths(text)[-_LAST_WORDS:]


def execute(command: Sequence[str], environment: Mapping[str, str], limit_s: float, log: Path) -> Ended:
    """Run a command in a process group of its own, which is ended as a whole, and keep what it wrote beside `log`."""
    output_path, errors_path = log.with_suffix(".out"), log.with_suffix(".err")
    with output_path.open("wb") as output, errors_path.open("wb") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=environment,
            start_new_session=True,
        )
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = -1
            errors.write(f"\nstopped after {limit_s:.0f} s".encode())
        finally:
            _end_group(process)
    return Ended(code, output_path.read_text(errors="replace"), errors_path.read_text(errors="replace"))


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End what the command left behind: the process itself at its limit, daemons always."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
