"""A real Floe process for tests: started from the console script, killed, frozen, continued, stopped."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

FLOE = Path(sys.executable).with_name("floe")
START_LIMIT_S = 60.0
WITHOUT_TABLES = {"floe.table.enable": "false"}
"""What tests that are not about tables start a broker with: each would pay for a worker at its end."""
STOP_LIMIT_S = 60.0
_LISTENING = re.compile(r"listening on (\S+):(\d+)")


class FloeProcess:
    """`floe serve` on a data folder. The port stays the same across restarts, as it does for users."""

    def __init__(
        self, data_dir: Path, settings: Mapping[str, str] | None = None, command: Sequence[str] = (str(FLOE),)
    ) -> None:
        self.data_dir = data_dir
        self.settings = {**WITHOUT_TABLES, **(settings or {})}
        self.log_path = data_dir.with_name(data_dir.name + ".log")
        self._command = list(command)
        self._process: subprocess.Popen[str] | None = None
        self._port = 0

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        return self._port

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def command(self) -> list[str]:
        command = [*self._command, "serve", "--data-dir", str(self.data_dir)]
        command += ["--listen", f"127.0.0.1:{self._port}"]
        for key, value in self.settings.items():
            command += ["--set", f"{key}={value}"]
        return command

    def start(self) -> FloeProcess:
        assert not self.is_running
        with self.log_path.open("a") as log:
            self._process = subprocess.Popen(
                self.command(), stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ}
            )
        line = self._first_line()
        match = _LISTENING.search(line)
        if match is None:
            code = self._process.wait(STOP_LIMIT_S)
            raise AssertionError(f"floe said {line!r} and ended with {code}:\n{self.log_path.read_text()}")
        self._port = int(match.group(2))
        return self

    def _first_line(self) -> str:
        assert self._process is not None and self._process.stdout is not None
        deadline = time.monotonic() + START_LIMIT_S
        ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"floe said nothing for {START_LIMIT_S} s:\n{self.log_path.read_text()}"
        return self._process.stdout.readline()

    def kill(self) -> None:
        """SIGKILL: what the kernel has is kept, what the process had is gone."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(STOP_LIMIT_S)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self._signal(signal.SIGTERM)
        assert self._process is not None
        return self._process.wait(STOP_LIMIT_S)

    def restart(self) -> None:
        if self.is_running:
            self.stop()
        self.start()

    def log(self) -> str:
        return self.log_path.read_text()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def end(self) -> None:
        """Whatever state it is in, it is gone after this."""
        if self._process is None:
            return
        if self.is_running:
            self._process.kill()
        self._process.wait(STOP_LIMIT_S)
        if self._process.stdout is not None:
            self._process.stdout.close()
