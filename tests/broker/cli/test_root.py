import subprocess
import sys
import tomllib
from pathlib import Path

from click.testing import CliRunner

from broker.cli.root import COMMANDS, floe


def test_help_lists_every_command_and_each_has_help() -> None:
    listing = CliRunner().invoke(floe, ["--help"]).output
    for name in COMMANDS:
        assert f"  {name} " in listing
        result = CliRunner().invoke(floe, [name, "--help"])
        assert result.exit_code == 0, result.output


def test_usage_errors_are_exit_status_2() -> None:
    for arguments in (
        ["nonsense"],
        ["topics", "create"],
        ["topics", "alter", "t"],
        ["produce", "t", "--acks", "7"],
        ["produce", "t", "--key-separator", ""],
        ["topics", "create", "t", "-p", "99999999999"],
        ["topics", "alter", "t", "-p", "99999999999"],
        ["generate", "clickstream", "t", "--start", "9" * 18],
        ["tables", "lag", "--timeout", "nan"],
    ):
        assert CliRunner().invoke(floe, arguments).exit_code == 2, arguments


def test_importing_the_package_or_asking_for_help_loads_little() -> None:
    code = (
        "import sys, broker.cli; assert 'click' not in sys.modules\n"
        "sys.argv = ['floe', '--help']\n"
        "try: broker.cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'asyncio', 'rich', 'protocol', 'wal', 'json'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_version() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert CliRunner().invoke(floe, ["--version"]).output == f"floe {project['version']}\n"
