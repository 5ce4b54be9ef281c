"""What a start finds and finishes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from tests.clients.cases import cases
from tests.clients.test_confluent_kafka import LIMIT_S, produce
from tests.floe_process import FloeProcess


@pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
def test_a_start_removes_what_a_deletion_left(
    start_floe: Callable[..., FloeProcess], is_killed: bool
) -> None:
    floe = start_floe()
    produce(floe, "gone", cases())
    produce(floe, "kept", cases())
    admin = AdminClient({"bootstrap.servers": floe.bootstrap})
    admin.delete_topics(["gone"])["gone"].result(LIMIT_S)
    assert list(floe.data_dir.glob("gone-0.*-delete"))  # files stay for a while, for those who read them
    if is_killed:
        floe.kill()
    else:
        assert floe.stop() == 0
    floe.start()
    assert not list(floe.data_dir.glob("gone-0*"))
    assert (floe.data_dir / "kept-0").is_dir()


BROKEN_FLUSHER = """
import sys
from wal.flusher import Flusher

class Broken(Flusher):
    def run_round(self):
        raise LookupError("a mistake in the flusher")

import broker.runtime
broker.runtime.Flusher = Broken
from broker.cli import main
main()
"""


def test_a_thread_that_fails_ends_the_process(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        BROKEN_FLUSHER,
        "serve",
        "--data-dir",
        str(tmp_path),
        "--listen",
        "127.0.0.1:0",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "a thread failed" in ended.stderr and "a mistake in the flusher" in ended.stderr
