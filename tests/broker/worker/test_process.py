from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.worker.process import (
    MAX_STDERR_LINE,
    STDERR_LINES_PER_JOB,
    JobFailed,
    WorkerClosed,
    WorkerDied,
    WorkerProcess,
    WorkerSilent,
)
from tests.broker.in_process import run

COMMAND = [sys.executable, "-m", "tests.broker.worker.jobs"]
ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 30.0


def worker(**options: Any) -> WorkerProcess:
    return WorkerProcess("test", command=COMMAND, environment={"PYTHONPATH": str(ROOT)}, **options)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110 - what is polled belongs to the operating system
            await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether there is such a process, zombies not counted."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_job_is_done_in_a_nice_child_that_stays_for_the_next() -> None:
    async def scenario() -> None:
        jobs = worker()
        assert jobs.pid is None
        first = await jobs.run({"do": "echo", "value": ["ü", 1]})
        second = await jobs.run({"do": "echo", "value": None})
        assert first["echo"] == ["ü", 1] and second["echo"] is None
        assert first["pid"] == second["pid"] == jobs.pid != os.getpid()
        assert first["nice"] == min(19, os.nice(0) + 10)
        await jobs.close()
        assert not is_alive(first["pid"])

    run(scenario())


def test_jobs_are_done_one_at_a_time_in_order_and_report_progress() -> None:
    async def scenario() -> None:
        jobs = worker()
        seen: list[tuple[str, int]] = []

        async def one(name: str) -> None:
            await jobs.run({"do": "count", "to": 3}, lambda progress: seen.append((name, progress["number"])))

        await asyncio.gather(one("a"), one("b"))
        assert seen == [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("b", 2)]
        assert jobs.starts == 1
        await jobs.close()

    run(scenario())


def test_a_failed_job_says_why_and_the_child_lives_on() -> None:
    async def scenario() -> None:
        jobs = worker()
        with pytest.raises(JobFailed, match=r"^Refused: not this one of <object object>$") as failed:
            await jobs.run({"do": "refuse"})
        assert failed.value.kind == "Refused" and failed.value.details == {"retry": False}
        assert (await jobs.run({"do": "echo", "value": 1}))["echo"] == 1
        assert jobs.starts == 1
        await jobs.close()

    run(scenario())


@pytest.mark.parametrize(("job", "how"), [("die", "killed by SIGKILL"), ("exit", "ended with status 7")])
def test_a_child_that_dies_fails_its_job_and_the_next_starts_another(job: str, how: str) -> None:
    async def scenario() -> None:
        jobs = worker()
        with pytest.raises(WorkerDied, match=how):
            await jobs.run({"do": job})
        assert (await jobs.run({"do": "echo", "value": 1}))["echo"] == 1
        assert jobs.starts == 2
        await jobs.close()

    run(scenario())


def test_a_child_whose_messages_cannot_be_taken_is_ended_and_its_job_fails() -> None:
    async def scenario() -> None:
        jobs = worker()
        with pytest.raises(WorkerDied, match="killed by SIGKILL"):
            async with asyncio.timeout(LIMIT_S):
                await jobs.run({"do": "wait", "limit_s": 2 * LIMIT_S}, lambda progress: progress["nothing"])
        assert (await jobs.run({"do": "echo", "value": 1}))["echo"] == 1
        await jobs.close()

    run(scenario())


def test_a_child_killed_while_idle_is_replaced() -> None:
    async def scenario() -> None:
        jobs = worker()
        pid = (await jobs.run({"do": "echo", "value": 1}))["pid"]
        os.kill(pid, signal.SIGKILL)
        await until(lambda: jobs.pid is None)
        assert (await jobs.run({"do": "echo", "value": 2}))["echo"] == 2
        await jobs.close()

    run(scenario())


def test_a_worker_that_cannot_be_started_is_as_one_that_died() -> None:
    async def scenario() -> None:
        jobs = WorkerProcess("test", command=["/nonexistent/python"])
        with pytest.raises(WorkerDied, match="could not be started"):
            await jobs.run({"do": "echo", "value": 1})
        await jobs.close()

    run(scenario())


def test_an_idle_child_ends() -> None:
    async def scenario() -> None:
        jobs = worker(idle_end_s=0.05)
        pid = (await jobs.run({"do": "echo", "value": 1}))["pid"]
        await until(lambda: not is_alive(pid))
        assert jobs.pid is None
        assert (await jobs.run({"do": "echo", "value": 2}))["pid"] != pid
        await jobs.close()

    run(scenario())


def test_close_lets_a_job_finish_in_time_and_gives_up_a_long_one() -> None:
    async def scenario() -> None:
        jobs = worker()
        short = asyncio.ensure_future(jobs.run({"do": "wait", "limit_s": 0.2}))
        await until(lambda: jobs.pid is not None)
        await jobs.close(LIMIT_S)
        assert await short == {}

        jobs = worker()
        waiting = asyncio.Event()
        endless = asyncio.ensure_future(
            jobs.run({"do": "wait", "limit_s": LIMIT_S}, lambda progress: waiting.set())
        )
        await waiting.wait()
        pid = jobs.pid
        assert pid is not None
        await jobs.close(0.05)
        with pytest.raises(WorkerClosed):
            await endless
        assert not is_alive(pid)
        with pytest.raises(WorkerClosed):
            await jobs.run({"do": "echo", "value": 1})

    run(scenario())


def test_a_cancelled_job_takes_its_child_along() -> None:
    async def scenario() -> None:
        jobs = worker()
        waiting = asyncio.Event()
        task = asyncio.ensure_future(
            jobs.run({"do": "wait", "limit_s": LIMIT_S}, lambda progress: waiting.set())
        )
        await waiting.wait()
        pid = jobs.pid
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert pid is not None
        await until(lambda: not is_alive(pid))
        assert (await jobs.run({"do": "echo", "value": 1}))["echo"] == 1
        await jobs.close()

    run(scenario())


class SkippingLoop(asyncio.SelectorEventLoop):
    """A loop whose time a test can put forward."""

    ahead_s = 0.0

    def time(self) -> float:
        return super().time() + self.ahead_s


def test_a_child_that_says_nothing_for_too_long_is_killed_and_the_next_job_starts_another() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SkippingLoop)
        jobs = worker(silence_limit_s=600)
        pids: list[int | None] = []

        def hang(progress: dict[str, Any]) -> None:
            pids.append(jobs.pid)
            loop.ahead_s += 700

        job = jobs.run({"do": "wait", "limit_s": 2 * LIMIT_S}, hang)
        next_job = asyncio.ensure_future(jobs.run({"do": "echo", "value": 1}))
        with pytest.raises(WorkerSilent, match="the test worker said nothing for 600 s") as silent:
            await job
        assert isinstance(silent.value, WorkerDied)
        assert (await next_job)["pid"] != pids[0], "and its wait for its turn was no silence"
        assert pids[0] is not None
        gone = pids[0]
        await until(lambda: not is_alive(gone))
        await jobs.close()

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(scenario())


def test_a_job_that_reports_progress_takes_as_long_as_it_takes() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SkippingLoop)
        jobs = worker(silence_limit_s=600)

        def progress(said: dict[str, Any]) -> None:
            loop.ahead_s += 500

        assert await jobs.run({"do": "count", "to": 10}, progress) == {"numbers": 10}
        assert jobs.starts == 1
        await jobs.close()

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(scenario())


def test_a_child_that_is_stopped_is_killed_though_it_cannot_even_log() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SkippingLoop)
        jobs = worker(silence_limit_s=600)
        pid = (await jobs.run({"do": "echo", "value": 1}))["pid"]
        os.kill(pid, signal.SIGSTOP)
        job = asyncio.ensure_future(jobs.run({"do": "echo", "value": "x" * (1 << 20)}))
        await asyncio.sleep(0)
        loop.ahead_s += 700
        with pytest.raises(WorkerSilent):
            await job
        await until(lambda: not is_alive(pid))
        await jobs.close()

    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.run(scenario())


def test_what_the_child_logs_and_prints_reaches_the_log_bounded(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        jobs = worker()
        await jobs.run({"do": "log"})
        await jobs.run({"do": "echo", "value": 1})
        await jobs.run({"do": "babble", "lines": 4 * STDERR_LINES_PER_JOB})
        await jobs.close()

    with caplog.at_level(logging.INFO):
        run(scenario())
    assert ("floe.tiering", logging.WARNING, "a table is slow") in caplog.record_tuples
    assert any("a library prints" in record.message for record in caplog.records)
    noise = [record.message for record in caplog.records if "noise" in record.message]
    assert 0 < len(noise) <= STDERR_LINES_PER_JOB
    assert all(len(message) < MAX_STDERR_LINE + 100 for message in noise)


def test_no_child_outlives_a_killed_broker() -> None:
    script = (
        "import asyncio, sys\n"
        "from broker.worker.process import WorkerProcess\n"
        "async def main():\n"
        f"    jobs = WorkerProcess('test', command={COMMAND!r})\n"
        "    await jobs.run({'do': 'wait', 'limit_s': 60},"
        " lambda progress: print(jobs.pid, flush=True))\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT) as broker:
        assert broker.stdout is not None
        pid = int(json.loads(broker.stdout.readline()))
        assert is_alive(pid)
        broker.kill()
    run(until(lambda: not is_alive(pid)))


def test_a_package_that_is_missing_is_told_in_a_line(tmp_path: Path) -> None:
    package = tmp_path / "pyarrow"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('no pyarrow here')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "broker.worker", "tiering"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 1 and done.stderr == "it cannot start: no pyarrow here\n"
