"""How the runner judges a client's program: what it says, what it keeps silent about, what it leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from compat.matrix import EVERYTHING, FAIL, NOT_RUN, PASS, Row
from compat.running import (
    BROKER_UNHARMED,
    UNREADABLE,
    Client,
    find,
    parse_allow,
    regressions,
    run_version,
    unlisted,
    without_paths,
)

LIB = Path(__file__).resolve().parents[2] / "compat" / "lib.sh"
GROUPS_PASS = """echo '{"feature": "groups", "result": "pass"}'"""


def client_of(folder: Path, run: str, install: str = "true", allow: str = "* groups\n") -> Client:
    folder.mkdir()
    (folder / "tests.allow").write_text(allow)
    (folder / "run.sh").write_text(
        f"source {LIB}\nVERSIONS=(1.0 2.0)\nSMOKE=(2.0)\n"
        f'install() {{ {install}; }}\nrun() {{ {run}; }}\nmain "$@"\n'
    )
    return Client(folder)


def test_versions_and_their_short_part(tmp_path: Path) -> None:
    client = client_of(tmp_path / "one", "true")
    assert [found.name for found in find(tmp_path)] == ["one"]
    assert client.versions() == ["1.0", "2.0"]
    assert client.versions(smoke=True) == ["2.0"]


def test_features_that_must_pass_depend_on_the_version() -> None:
    text = "# comment\n* produce and consume\n1.0,2.0 zstd  # since 1.0\n3.0 groups\n"
    assert parse_allow(text, "2.0") == ["produce and consume", "zstd"]
    assert parse_allow(text, "3.0") == ["produce and consume", "groups"]


def test_what_passed_is_told_with_the_state_of_the_broker(tmp_path: Path) -> None:
    client = client_of(tmp_path / "one", f"echo hello; {GROUPS_PASS}")
    rows = run_version(client, "1.0", tmp_path / "build")
    assert [(row.feature, row.result) for row in rows] == [("groups", PASS), (BROKER_UNHARMED, PASS)]
    assert regressions(client, "1.0", rows) == [] == unlisted(client, "1.0", rows)


def test_the_program_reaches_the_broker(tmp_path: Path) -> None:
    probe = f"exec 3<>/dev/tcp/${{FLOE_BOOTSTRAP/:/\\/}}; {GROUPS_PASS}"
    rows = run_version(client_of(tmp_path / "one", probe), "1.0", tmp_path / "build")
    assert [row.result for row in rows] == [PASS, PASS]


def test_what_cannot_be_installed_did_not_run(tmp_path: Path) -> None:
    client = client_of(tmp_path / "one", "true", install="need no-such-program")
    (row,) = run_version(client, "1.0", tmp_path / "build")
    assert (row.feature, row.result, row.reason) == (EVERYTHING, NOT_RUN, "no-such-program is not installed")
    assert regressions(client, "1.0", [row]) == []


@pytest.mark.parametrize("run", ["true", "echo lost >&2; exit 3", "kill -9 $$"])
def test_a_silent_program_has_failed(tmp_path: Path, run: str) -> None:
    client = client_of(tmp_path / "one", run)
    rows = run_version(client, "1.0", tmp_path / "build")
    assert [row.feature for row in regressions(client, "1.0", rows)] == ["groups"]


def test_a_program_that_ends_badly_after_its_features_is_told(tmp_path: Path) -> None:
    rows = run_version(client_of(tmp_path / "one", f"{GROUPS_PASS}; exit 4"), "1.0", tmp_path / "build")
    assert ("end of the program", FAIL) in [(row.feature, row.result) for row in rows]


def test_the_worse_of_two_results_counts_and_known_failures_are_no_regression(tmp_path: Path) -> None:
    twice = """{ "feature": "x" }"""
    assert not twice.startswith('{"feature"')  # a program's own talk in JSON is not a report
    tell = 'echo \'{"feature": "acks", "result": "%s", "reason": "late"}\''
    client = client_of(tmp_path / "one", "; ".join(tell % result for result in (PASS, FAIL, PASS)), allow="")
    rows = run_version(client, "1.0", tmp_path / "build")
    assert rows[0] == Row("one", "1.0", "acks", FAIL, "late")
    assert regressions(client, "1.0", rows) == []


def test_reasons_hold_no_folder_of_this_machine() -> None:
    assert without_paths(f"no  file {LIB}\nin {Path.home()}/x") == "no file …/compat/lib.sh in …/x"


def test_a_feature_that_newly_passes_is_told(tmp_path: Path) -> None:
    client = client_of(tmp_path / "one", GROUPS_PASS, allow="")
    rows = run_version(client, "1.0", tmp_path / "build")
    assert [row.feature for row in unlisted(client, "1.0", rows)] == ["groups"]


@pytest.mark.parametrize(
    "line",
    ['{"feature": "acks", "result": "pa', '{"feature": "acks"}', '{"feature": "acks", "result": "maybe"}'],
)
def test_a_report_that_cannot_be_read_is_a_failure_and_no_end_of_the_run(tmp_path: Path, line: str) -> None:
    client = client_of(tmp_path / "one", f"echo '{line}'; {GROUPS_PASS}")
    rows = run_version(client, "1.0", tmp_path / "build")
    assert regressions(client, "1.0", rows) == [Row("one", "1.0", UNREADABLE, FAIL, line)]


def test_temporary_files_go_with_the_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    client = client_of(tmp_path / "one", f'mktemp >{mark}; echo "${{JAVA_FLAGS[*]}}" >>{mark}; {GROUPS_PASS}')
    run_version(client, "1.0", tmp_path / "build")
    left, flags = mark.read_text().splitlines()
    assert not Path(left).exists()
    assert f"-Djava.io.tmpdir={Path(left).parent}" in flags
