"""What the supervisor of tables does when topics and tables are taken away from under it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from broker.tiering.admin import describe
from broker.tiering.jobs import DEATHS_OF_ONE_TOPIC
from broker.worker.process import JobFailed, WorkerClosed, WorkerDied
from protocol.api import ApiKey
from protocol.messages.delete_topics import DeleteTopicsRequest
from protocol.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from tests.broker.handlers.whole import Whole, with_broker

LIMIT_S = 30.0
SETTINGS = {"floe_table_enable": "true"}


class RefusingWorker:
    """In the place of the worker process: every job fails, once `allowed` is set; without a `kind` by its death."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.jobs: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.allowed = asyncio.Event()
        self.is_closed = False

    async def run(self, job: Mapping[str, Any], on_progress: Any = None) -> dict[str, Any]:
        self.jobs.put_nowait({**job, "at_s": asyncio.get_running_loop().time()})
        await self.allowed.wait()
        if self.is_closed:
            raise WorkerClosed("it is closed")
        raise JobFailed(self.kind, "refused") if self.kind else WorkerDied("it died")

    async def settle(self, timeout_s: float) -> bool:
        return True

    async def close(self, timeout_s: float = 0.0) -> None:
        self.is_closed = True
        self.allowed.set()


def with_worker(whole: Whole, kind: str) -> RefusingWorker:
    worker = RefusingWorker(kind)
    whole.broker.tables.jobs.worker = worker  # type: ignore[assignment]
    return worker


class ObedientWorker(RefusingWorker):
    """Once it is allowed to, commits what it is given, in steps of so many offsets; fails at the kinds in `refuses`."""

    def __init__(self, step: int = 1_000) -> None:
        super().__init__("Refused")
        self.step = step
        self.refuses: set[str] = set()
        self.maintenance_due = False
        self.marks: dict[str, int] = {}
        self.before: Callable[[], Awaitable[None]] | None = None
        """Run once, while a job is under way."""

    async def run(self, job: Mapping[str, Any], on_progress: Any = None) -> dict[str, Any]:
        self.jobs.put_nowait(dict(job))
        await self.allowed.wait()
        if self.before is not None:
            before, self.before = self.before, None
            await before()
        if job["kind"] in self.refuses:
            raise JobFailed("Refused", f"it does not {job['kind']}")
        reached: dict[str, int] = {}
        for one in job["partitions"]:
            start_offset = self.marks.get(str(one["index"]), one["start_offset"])
            reached[str(one["index"])] = min(one["end_offset"], start_offset + self.step)
        has_more = any(reached[str(one["index"])] < one["end_offset"] for one in job["partitions"])
        self.marks |= reached
        counts = dict.fromkeys(("records", "dead_letters", "read_ms", "commit_ms"), 0)
        names = dict.fromkeys(("table", "snapshot_id", "metadata_location", "dead_letters_metadata_location"))
        return {
            **counts,
            **names,
            "committed": reached,
            "held": {},
            "more": has_more,
            "has_more": False,
            "maintenance_due": self.maintenance_due,
            "marks": dict(self.marks),
        }


def with_obedient_worker(whole: Whole, step: int = 1_000) -> ObedientWorker:
    worker = ObedientWorker(step)
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


def test_who_asks_for_a_commit_waits_for_what_there_was_not_for_what_comes(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        worker = with_obedient_worker(whole)
        await whole.create("t")
        await whole.produced("t")
        tables, topic = whole.broker.tables, whole.broker.catalog.topics["t"]
        waits = asyncio.create_task(tables.commit_now(topic))
        await asyncio.wait_for(worker.jobs.get(), LIMIT_S)

        async def come() -> None:
            await whole.produced("t")

        worker.before = come
        worker.allowed.set()
        await asyncio.wait_for(waits, LIMIT_S)
        assert tables.behind.topics == {topic.topic_id: {0}}, "more has come meanwhile"
        assert worker.jobs.empty()

    with_broker(tmp_path, work, **SETTINGS, floe_table_commit_interval_ms="3600000")


def test_who_asks_while_a_commit_is_under_way_gets_another(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        worker = with_obedient_worker(whole)
        await whole.create("t")
        await whole.produced("t")
        tables, topic = whole.broker.tables, whole.broker.catalog.topics["t"]
        first = asyncio.create_task(tables.commit_now(topic))
        await asyncio.wait_for(worker.jobs.get(), LIMIT_S)
        await whole.produced("t")
        second = asyncio.create_task(tables.commit_now(topic))
        await asyncio.sleep(0)
        worker.allowed.set()
        await asyncio.wait_for(first, LIMIT_S)
        await asyncio.wait_for(second, LIMIT_S)
        job = await asyncio.wait_for(worker.jobs.get(), LIMIT_S)
        assert job["partitions"][0]["end_offset"] == worker.marks["0"] == 2

    with_broker(tmp_path, work, **SETTINGS, floe_table_commit_interval_ms="3600000")


def test_who_waits_for_a_commit_is_let_go_when_the_broker_stops(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        worker = with_worker(whole, "OSError")
        await whole.create("t")
        await whole.produced("t")
        tables = whole.broker.tables
        waits = asyncio.create_task(tables.commit_now(whole.broker.catalog.topics["t"]))
        await asyncio.wait_for(worker.jobs.get(), LIMIT_S)
        await tables.close(0)
        await asyncio.wait_for(waits, LIMIT_S)

    with_broker(tmp_path, work, **SETTINGS)


def test_a_shorter_interval_takes_effect_at_once(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        worker = with_obedient_worker(whole)
        worker.allowed.set()
        await whole.create("t", floe_table_commit_interval_ms="3600000")
        await whole.produced("t")
        await set_config(whole, "t", "floe.table.commit.interval.ms", "100")
        await asyncio.wait_for(worker.jobs.get(), LIMIT_S)

    with_broker(tmp_path, work, **SETTINGS)


async def set_config(whole: Whole, topic: str, name: str, value: str) -> None:
    change = AlterableConfig(name=name, value=value, config_operation=0)
    resource = AlterConfigsResource(resource_type=2, resource_name=topic, configs=[change])
    await whole.ask(ApiKey.INCREMENTAL_ALTER_CONFIGS, 1, IncrementalAlterConfigsRequest(resources=[resource]))


def test_a_topic_that_is_configured_anew_is_tried_at_once(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        worker = with_obedient_worker(whole)
        worker.allowed.set()
        worker.refuses = {"commit"}
        await whole.create("t", floe_table_partition_by="hour(nothing)")
        await whole.produced("t")
        tables, topic = whole.broker.tables, whole.broker.catalog.topics["t"]
        await asyncio.wait_for(tables.commit_now(topic), LIMIT_S)
        for _ in range(12):  # as if it had failed for long: the next attempt is a minute away
            tables.planner.failed(topic.topic_id, whole.broker.clock_ms(), 1.0)
        await asyncio.wait_for(worker.jobs.get(), LIMIT_S)
        worker.refuses = set()
        started_s = asyncio.get_running_loop().time()
        await set_config(whole, "t", "floe.table.partition.by", "hour(kafka_timestamp)")
        job = await asyncio.wait_for(worker.jobs.get(), LIMIT_S)
        assert job["settings"]["partition_by"] == "hour(kafka_timestamp)"
        assert asyncio.get_running_loop().time() - started_s < LIMIT_S / 2

    with_broker(tmp_path, work, **SETTINGS, floe_table_commit_interval_ms="100")


def test_a_deleted_topics_last_records_are_committed_to_their_end(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        worker = with_obedient_worker(whole, step=1)
        worker.allowed.set()
        await whole.create("t")
        for _ in range(3):
            await whole.produced("t")
        await whole.ask(ApiKey.DELETE_TOPICS, 5, DeleteTopicsRequest(topic_names=["t"], timeout_ms=1000))
        for _ in range(3):
            await asyncio.wait_for(worker.jobs.get(), LIMIT_S)
        assert worker.marks == {"0": 3}

    with_broker(tmp_path, work, **SETTINGS, floe_table_commit_interval_ms="3600000")


def test_maintenance_that_fails_is_told_once_and_leaves_the_worker_to_commits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(whole: Whole) -> None:
        worker = with_obedient_worker(whole)
        worker.allowed.set()
        worker.maintenance_due = True
        worker.refuses = {"maintain"}
        await whole.create("t")
        tables, topic = whole.broker.tables, whole.broker.catalog.topics["t"]
        kinds: list[str] = []
        for _ in range(5):
            await whole.produced("t")
            await asyncio.wait_for(tables.commit_now(topic), LIMIT_S)
            while not worker.jobs.empty() or len(kinds) == 1:
                kinds.append((await asyncio.wait_for(worker.jobs.get(), LIMIT_S))["kind"])
        assert kinds.count("commit") == 5 and kinds.count("maintain") == 1
        [described] = (await describe(whole.broker, {}))["tables"]
        assert described["maintenance_error"] == "it does not maintain" and described["error"] is None
        assert 0 < described["maintenance_failed_ms"] <= whole.broker.clock_ms()
        worker.refuses = set()
        await set_config(whole, "t", "floe.table.maintenance.compact", "true")
        await whole.produced("t")
        await asyncio.wait_for(tables.commit_now(topic), LIMIT_S)
        while (await asyncio.wait_for(worker.jobs.get(), LIMIT_S))["kind"] != "maintain":
            pass
        worker.maintenance_due = False
        await whole.produced("t")
        await asyncio.wait_for(tables.commit_now(topic), LIMIT_S)  # by the task that maintained it before
        assert (await describe(whole.broker, {}))["tables"][0]["maintenance_error"] is None

    with caplog.at_level(logging.WARNING, "floe.tables"):
        with_broker(tmp_path, work, **SETTINGS, floe_table_commit_interval_ms="3600000")
    [said] = [record.getMessage() for record in caplog.records if "maintained" in record.getMessage()]
    assert said.endswith("it does not maintain")
