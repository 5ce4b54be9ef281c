"""What the supervisor of tables does when topics and tables are taken away from under it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from broker.tiering.jobs import DEATHS_OF_ONE_TOPIC
from broker.worker.process import JobFailed, WorkerDied
from protocol.api import ApiKey
from protocol.messages.delete_topics import DeleteTopicsRequest
from tests.broker.handlers.whole import Whole, with_broker

LIMIT_S = 30.0
SETTINGS = {"floe_table_enable": "true"}


class RefusingWorker:
    """In the place of the worker process: every job fails, once `allowed` is set; without a `kind` by its death."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.jobs: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.allowed = asyncio.Event()

    async def run(self, job: Mapping[str, Any], on_progress: Any = None) -> dict[str, Any]:
        self.jobs.put_nowait({**job, "at_s": asyncio.get_running_loop().time()})
        await self.allowed.wait()
        raise JobFailed(self.kind, "refused") if self.kind else WorkerDied("it died")

    async def settle(self, timeout_s: float) -> bool:
        return True

    async def close(self, timeout_s: float = 0.0) -> None:
        self.allowed.set()


def with_worker(whole: Whole, kind: str) -> RefusingWorker:
    worker = RefusingWorker(kind)
    whole.broker.tables.jobs.worker = worker  # type: ignore[assignment]
    return worker


def test_who_waits_for_a_commit_is_let_go_when_the_topic_is_deleted(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        worker = with_worker(whole, "OSError")
        await whole.create("t")
        await whole.produced("t")
        tables = whole.broker.tables
        waits = asyncio.create_task(tables.commit_now(whole.broker.catalog.topics["t"]))
        await asyncio.wait_for(worker.jobs.get(), LIMIT_S)
        await whole.ask(ApiKey.DELETE_TOPICS, 5, DeleteTopicsRequest(topic_names=["t"], timeout_ms=1000))
        await asyncio.wait_for(waits, LIMIT_S)
        worker.allowed.set()
        await asyncio.wait_for(worker.jobs.get(), LIMIT_S)  # the deleted topic's last
        assert not tables.errors

    with_broker(tmp_path, work, **SETTINGS)


def test_a_table_that_another_broker_has_taken_over_is_left_alone(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        worker = with_worker(whole, "Fenced")
        worker.allowed.set()
        await whole.create("t")
        tables, topic = whole.broker.tables, whole.broker.catalog.topics["t"]
        for _ in range(2):
            await whole.produced("t")
            await asyncio.wait_for(tables.commit_now(topic), LIMIT_S)
            assert tables.errors == {topic.topic_id: "refused"}
        assert worker.jobs.qsize() == 1

    with_broker(tmp_path, work, **SETTINGS)


def test_a_worker_that_dies_of_every_topic_is_started_less_and_less_often(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        worker = with_worker(whole, "")
        worker.allowed.set()
        for name in ("a", "b", "c", "d"):
            await whole.create(name, floe_table_commit_interval_ms="100")
            await whole.produced(name)
        times = [(await asyncio.wait_for(worker.jobs.get(), LIMIT_S))["at_s"] for _ in range(4)]
        assert times[DEATHS_OF_ONE_TOPIC] - times[DEATHS_OF_ONE_TOPIC - 1] >= 0.99
        assert times[DEATHS_OF_ONE_TOPIC - 1] - times[0] < 0.99

    with_broker(tmp_path, work, **SETTINGS)
