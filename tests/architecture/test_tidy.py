"""The house rules that can be counted: sizes, names, swallowed exceptions, and a README where one looks for it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for folder in ("protocol", "wal", "broker") for path in (ROOT / folder).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

MAX_FUNCTION_LINES = 70
MAX_FILE_LINES = 600

# Connection loop (a request of one client), background supervisor, main: where a surprise must not spread.
MAY_CATCH_EVERYTHING = {
    "broker/connection.py",
    "broker/server.py",
    "broker/runtime.py",
    "broker/cli/__init__.py",
    "broker/worker/child.py",
    "broker/tiering/commit.py",  # a catalog answers with any library's exceptions; what counts is then read from it
    "broker/tiering/catalogs.py",
}

FORBIDDEN_SUFFIXES = ("Manager", "Helper", "Util", "Utils", "Service", "Impl")

MAY_KNOW_THE_LOOP = re.compile(
    r"broker/(server|connection|runtime|router|request|polling)\.py|broker/(cli|tiering|gateway|worker)/|broker/compacting/(supervisor|worker)|broker/topics/catalog"
)


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def _functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_there_is_something_to_check() -> None:
    assert len(SOURCES) > 50
    assert len(TESTS) > 10


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=_name)
def test_functions_are_short(path: Path) -> None:
    long = [
        f"{_name(path)}:{function.lineno} {function.name}: {lines} lines"
        for function in _functions(_tree(path))
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > MAX_FUNCTION_LINES
    ]
    assert not long, f"over {MAX_FUNCTION_LINES} lines: {long}"


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=_name)
def test_files_are_of_one_sitting(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_FILE_LINES, f"{_name(path)} has {lines} lines"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_classes_say_what_they_are(path: Path) -> None:
    vague = [
        node.name
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ClassDef) and node.name.endswith(FORBIDDEN_SUFFIXES)
    ]
    assert not vague


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_exceptions_are_caught_by_name(path: Path) -> None:
    if _name(path) in MAY_CATCH_EVERYTHING:
        return
    broad = [
        f"{_name(path)}:{node.lineno}"
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ExceptHandler)
        and (
            node.type is None
            or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException"))
        )
    ]
    assert not broad


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    if path.read_text().strip():
        assert ast.get_docstring(_tree(path)), f"{_name(path)} has no docstring"


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_no_clock_nor_chance_below_the_edge(path: Path) -> None:
    """Time, chance and the loop are arguments below the edge (design: the I/O line)."""
    if MAY_KNOW_THE_LOOP.match(_name(path)):
        return
    allowed = {"wal/flusher.py": {"threading", "time"}}.get(_name(path), set())
    imported = {
        alias.name.split(".")[0]
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Import)
        for alias in node.names
    } | {
        (node.module or "").split(".")[0]
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.ImportFrom) and not node.level
    }
    assert not (imported & {"asyncio", "socket", "threading", "random", "secrets", "time"}) - allowed


@pytest.mark.parametrize("path", TESTS, ids=_name)
def test_tests_do_not_sleep_nor_patch(path: Path) -> None:
    if path == Path(__file__):
        return
    is_load = "bench" in path.parts and not path.name.startswith("test_")  # paces requests by the clock
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Attribute) and not is_load:
            assert not (
                node.attr == "sleep" and isinstance(node.value, ast.Name) and node.value.id == "time"
            ), f"{_name(path)}:{node.lineno} sleeps"
            assert node.attr != "patch", f"{_name(path)}:{node.lineno} patches"


def test_every_folder_has_its_page() -> None:
    folders = {path.parent for path in SOURCES} | {path.parent for path in TESTS}
    homeless = sorted(
        _name(folder)
        for folder in folders
        if not any((parent / "README.md").exists() for parent in (folder, folder.parent))
    )
    assert not homeless


def test_no_path_of_a_developers_machine() -> None:
    path_like = re.compile(r"(?<![\w.])/(?:home|root|Users|work|tmp/[a-z]+)/\w+")
    found = [
        f"{_name(path)}: {match.group()}"
        for path in [*SOURCES, *TESTS, *ROOT.glob("*.md"), *ROOT.glob("*/README.md")]
        if path != Path(__file__)
        for match in [path_like.search(path.read_text())]
        if match
    ]
    assert not found
