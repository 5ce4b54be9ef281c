"""The broker's side of a worker: a child process, started when there is a job, ended after a minute without one.

    run(job) ──line on stdin──► child ──lines on stdout: progress, log, result or error──► run returns or raises

A job is data about files (paths, offsets, settings), never the data itself. Jobs run one at a time, in the order asked.
The child cannot outlive the broker: it ends when its stdin does, whatever ended the broker. A child that dies fails
its job with WorkerDied, one that says nothing about its job for too long is killed and fails it with WorkerSilent, and
the next job starts another. What the child logs arrives as log records; what libraries write to its stderr is logged
as well, cut to a bounded number of bounded lines.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from broker.worker.child import LOG_LEVEL_VARIABLE

log = logging.getLogger("floe.worker")

IDLE_END_S: Final = 60.0
"""How long a child without a job stays: long enough for a steady trickle, short enough to give its memory back."""

SILENCE_LIMIT_S: Final = 600.0
"""How long a job may go without a word, for handlers that report progress at least every half minute."""

MAX_LINE_BYTES: Final = 64 << 20
"""The longest message: a job that names ten thousand partitions takes 2 MiB."""

MAX_STDERR_LINE: Final = 2_000
"""Characters of a line from stderr that are logged."""

STDERR_LINES_PER_JOB: Final = 50
"""Lines from stderr that are logged before the next job begins: a library in a loop must not fill the broker's log."""

STDERR_CHUNK_BYTES: Final = 64 << 10

END_LIMIT_S: Final = 2.0
"""How long a child may take to end once its stdin has; then it is killed."""

Progress = Callable[[dict[str, Any]], None]


class WorkerDied(Exception):
    """The child ended in the middle of a job. What the job did until then is to be found out from its files."""


class WorkerSilent(WorkerDied):
    """The child said nothing about its job for the time allowed, and was killed: it may have hung in a system call."""


class WorkerClosed(Exception):
    """The broker is stopping: no job is taken, and one under way was given up."""


class JobFailed(Exception):
    """The handler raised: `kind` is the class of the exception, `str()` what it said, `details` what it carried."""

    def __init__(self, kind: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.details = dict(details or {})


class WorkerProcess:
    """One kind of worker. Belongs to one event loop."""

    def __init__(
        self,
        kind: str,
        *,
        command: Sequence[str] | None = None,
        idle_end_s: float = IDLE_END_S,
        silence_limit_s: float = SILENCE_LIMIT_S,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`command` replaces `python -m broker.worker KIND`; `environment` is added to the broker's own.

        `silence_limit_s` is how long a job may go without progress or result: where its handler reports no progress,
        how long it may take.
        """
        self.kind = kind
        self._command = list(command or (sys.executable, "-m", "broker.worker", kind))
        self._environment = dict(environment or {})
        self._idle_end_s = idle_end_s
        self._silence_limit_s = silence_limit_s
        self._turn = asyncio.Lock()
        self._child: _Child | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self.starts = 0  # children started so far

    @property
    def pid(self) -> int | None:
        """The child's process id, or None while there is none."""
        child = self._child
        return child.pid if child is not None and child.is_alive else None

    async def run(self, job: Mapping[str, Any], on_progress: Progress | None = None) -> dict[str, Any]:
        """Have `job` done; its result. `on_progress` is called with what the handler reports meanwhile.

        Raises JobFailed, WorkerDied, WorkerSilent, WorkerClosed. Cancelling the call kills the child: no job is left
        half heard. The time until its turn comes is no silence.
        """
        async with self._turn:
            if self._is_closed:
                raise WorkerClosed(f"the {self.kind} worker is closed")
            if self._idle is not None:
                self._idle.cancel()
                self._idle = None
            child = self._child
            if child is None or not child.is_alive:
                child = self._child = await self._start()
            try:
                return await self._heard(child, job, on_progress)
            except asyncio.CancelledError:
                child.kill()
                raise
            finally:
                if not self._is_closed and child.is_alive:
                    loop = asyncio.get_running_loop()
                    self._idle = loop.call_later(self._idle_end_s, self._end_idle, child)

    async def _heard(
        self, child: _Child, job: Mapping[str, Any], on_progress: Progress | None
    ) -> dict[str, Any]:
        """The result of a job that is not silent for too long. What the child logs is no word about its job: a
        library that tries for ever may tell of every attempt."""
        loop = asyncio.get_running_loop()
        limit = asyncio.timeout(self._silence_limit_s)

        def progress(said: dict[str, Any]) -> None:
            if not limit.expired():
                limit.reschedule(loop.time() + self._silence_limit_s)
            if on_progress is not None:
                on_progress(said)

        try:
            async with limit:
                return await child.run(job, progress)
        except TimeoutError:
            child.kill()
            raise WorkerSilent(
                f"the {self.kind} worker said nothing for {self._silence_limit_s:g} s in the middle of a job and was "
                "killed"
            ) from None

    async def _start(self) -> _Child:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env={**_environment(), **self._environment},
                limit=MAX_LINE_BYTES,
            )
        except OSError as error:  # no memory, no process to be had: as if it had died at once
            raise WorkerDied(f"the {self.kind} worker could not be started: {error}") from error
        self.starts += 1
        log.debug("%s worker started, process %d", self.kind, process.pid)
        return _Child(self.kind, process)

    def _end_idle(self, child: _Child) -> None:
        self._idle = None
        log.debug("%s worker ended: nothing to do", self.kind)
        self._child = None
        task = asyncio.get_running_loop().create_task(child.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def settle(self, timeout_s: float) -> bool:
        """Wait until no job is under way, nor waits for its turn; whether that came about in time."""
        try:
            async with asyncio.timeout(timeout_s), self._turn:
                return True
        except TimeoutError:
            return False

    async def close(self, timeout_s: float = 0.0) -> None:
        """Take no more jobs, give the one under way `timeout_s` to finish, and end the child. May be called again."""
        self._is_closed = True
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        child, self._child = self._child, None
        if child is not None:
            await child.finish(timeout_s)
            await child.end()
        if self._ending:
            await asyncio.wait(set(self._ending))


def _environment() -> dict[str, str]:
    """The broker's environment, and where its code is: it may have been started from its folder, not installed."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    level = logging.getLevelName(log.getEffectiveLevel())
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), LOG_LEVEL_VARIABLE: level}


class _Child:
    """One process, from its start to its end."""

    def __init__(self, kind: str, process: Process) -> None:
        self._kind = kind
        self._process = process
        self._result: asyncio.Future[dict[str, Any]] | None = None
        self._on_progress: Progress | None = None
        self._stderr_lines = 0
        self._gives_up = False
        self._is_killed = False
        loop = asyncio.get_running_loop()
        self._reader = loop.create_task(self._read())
        self._stderr_reader = loop.create_task(self._read_stderr())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return not self._is_killed and self._process.returncode is None and not self._reader.done()

    async def run(self, job: Mapping[str, Any], on_progress: Progress) -> dict[str, Any]:
        assert self._result is None, "one job at a time"
        self._stderr_lines = 0
        result: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._result = result
        self._on_progress = on_progress
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps({"job": dict(job)}, separators=(",", ":")).encode() + b"\n")
            with suppress(ConnectionError):  # the reader finds out what became of the child
                await stdin.drain()
            if self._reader.done() and not result.done():
                result.set_exception(self._end_of_job())
            return await result
        finally:
            self._result = None
            self._on_progress = None

    async def _read(self) -> None:
        """Hand what the child says to the job under way, until it says nothing any more."""
        stdout = self._process.stdout
        assert stdout is not None
        try:
            while line := await stdout.readline():
                self._take(json.loads(line))
        except ValueError as error:  # a line too long, or not JSON: the two no longer understand each other
            log.error("%s worker is killed, its message cannot be read: %s", self._kind, error)
        finally:
            if not stdout.at_eof():  # nobody listens to it any more, so it would not end
                self.kill()
            await self._process.wait()
            if self._result is not None and not self._result.done():
                self._result.set_exception(self._end_of_job())

    def _end_of_job(self) -> Exception:
        if self._gives_up:
            return WorkerClosed(f"the {self._kind} worker was stopped in the middle of a job")
        return WorkerDied(self._epitaph())

    def _take(self, message: dict[str, Any]) -> None:
        if "log" in message:
            name, level, text = message["log"]
            logging.getLogger(name).log(level, "%s", text)
            return
        if self._result is None or self._result.done():
            return  # the job was given up
        if "progress" in message:
            if self._on_progress is not None:
                self._on_progress(message["progress"])
        elif "result" in message:
            self._result.set_result(message["result"])
        else:
            error = message["error"]
            self._result.set_exception(JobFailed(error["kind"], error["message"], error.get("details")))

    async def _read_stderr(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None
        rest = b""
        while data := await stderr.read(STDERR_CHUNK_BYTES):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > STDERR_CHUNK_BYTES:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._log_stderr(line)
        if rest:
            self._log_stderr(rest)

    def _log_stderr(self, line: bytes) -> None:
        self._stderr_lines += 1
        if self._stderr_lines <= STDERR_LINES_PER_JOB:
            text = line.decode("utf-8", "replace").rstrip()
            log.warning("%s worker: %s", self._kind, text[:MAX_STDERR_LINE])
        elif self._stderr_lines == STDERR_LINES_PER_JOB + 1:
            log.warning("%s worker: more of this is not shown", self._kind)

    def _epitaph(self) -> str:
        code = self._process.returncode
        if code is None:
            how = "stopped answering"
        elif code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        else:
            how = f"ended with status {code}"
        return f"the {self._kind} worker {how} in the middle of a job"

    async def finish(self, timeout_s: float) -> None:
        """Wait for the job under way, but not for long."""
        if self._result is not None and timeout_s > 0:
            await asyncio.wait({self._result}, timeout=timeout_s)
        self._gives_up = True

    async def end(self) -> None:
        """Close the child's stdin, at which it ends; kill it if it does not. Waits until it is gone."""
        self._gives_up = True
        assert self._process.stdin is not None
        self._process.stdin.close()
        _, late = await asyncio.wait({self._reader, self._stderr_reader}, timeout=END_LIMIT_S)
        if late:
            self.kill()
            _, late = await asyncio.wait({self._reader, self._stderr_reader}, timeout=END_LIMIT_S)
            for task in late:  # a grandchild holds the pipe
                task.cancel()

    def kill(self) -> None:
        self._is_killed = True  # it may take a moment, in which it must not be given another job
        with suppress(ProcessLookupError):
            self._process.kill()
