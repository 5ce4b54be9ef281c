"""The broker's side of tables: notices what is durable, has the worker commit it, knows how far each table is.

    partition ──first progress since the last look──► behind ──look, five a second at most──► planner ──due──► job
                                                                              tabled offsets ◄── result ◄── worker

What is tabled is believed from the worker's results, and from a small checkpoint after a start. Whatever happens to
worker or catalog, the broker goes on: the topic waits and catches up.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from broker.tiering.behind import Behind
from broker.tiering.catalogs import properties as catalog_properties
from broker.tiering.jobs import Jobs
from broker.tiering.planning import Pace, Planner
from broker.tiering.settings import CatalogSettings
from broker.tiering.tabled import Tabled
from broker.worker.process import JobFailed, WorkerClosed, WorkerDied
from wal.errors import DiskFull
from wal.layout import deleted_directory

if TYPE_CHECKING:
    from broker.runtime import Broker
    from broker.topics.catalog import Topic
    from broker.topics.partition import Partition
    from wal.data_folder import DataFolder

log = logging.getLogger("floe.tables")

LOOK_INTERVAL_S: Final = 0.2
"""How often progress is looked at: a fraction of the shortest commit interval that makes sense."""

SAVE_INTERVAL_S: Final = 10.0
"""How often the checkpoint follows; it only has to spare the next start some work."""

MAINTENANCE_COUNTS: Final = (
    "files_before",
    "files_after",
    "snapshots_expired",
    "files_deleted",
    "orphans_deleted",
)
"""Of `maintenance.Maintained`: what the steps of one maintenance are added up in."""

MAINTENANCE_PAUSE_MS: Final = 60_000
MAX_MAINTENANCE_PAUSE_MS: Final = 3_600_000
"""How long a table whose maintenance has failed is left as it is: twice as long with each failure."""

FENCED: Final = "Fenced"
"""The worker's exception when another broker has taken the table over: trying again would be a fight."""


@dataclass(frozen=True, slots=True)
class _Waiter:
    """Somebody who wants a topic's records in its table, up to these offsets by partition."""

    end_offsets: dict[int, int]
    done: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class Unmaintained:
    """A table whose maintenance has failed, so many times in a row, the last time at `failed_ms`."""

    failures: int
    failed_ms: int
    next_try_ms: int
    reason: str


class Tables:
    """All topics' tables. Belongs to the loop; `run` is its task."""

    def __init__(self, broker: Broker, folder: DataFolder) -> None:
        config = broker.config
        self._broker = broker
        self.catalog = CatalogSettings(
            name=config["floe.table.catalog.name"],
            namespace=config["floe.table.namespace"],
            properties=catalog_properties(
                config.catalog_properties, config.data_dir, config["floe.table.warehouse"]
            ),
        )
        self.tabled = Tabled(folder.storage, folder.root, self._where())
        self.planner = Planner()
        self.errors: dict[bytes, str] = {}
        """Why a topic's last commit failed, in one line; gone with the next that does not."""
        self._final_jobs: list[dict[str, Any]] = []
        self._maintenance: dict[bytes, None] = {}
        """Topics whose table wants maintenance, when there is nothing else to do."""
        self.unmaintained: dict[bytes, Unmaintained] = {}
        """Of topics, until their table is maintained again."""
        self._wake = asyncio.Event()
        self.behind = Behind(broker, folder, self.tabled, self._wake.set)
        self.jobs = Jobs(broker, self.catalog, self.tabled)
        self._loop = asyncio.get_running_loop()
        self._saved_s = self._loop.time()
        self._closing = asyncio.Event()
        self._waiters: dict[bytes, list[_Waiter]] = {}

    def _where(self) -> str:
        """What tells one catalog from another: a digest, as there may be a password in it."""
        given = self.catalog.properties
        place = [self.catalog.name, self.catalog.namespace, given.get("type", ""), given.get("uri", "")]
        return hashlib.sha256("\n".join(place).encode()).hexdigest()

    # --- what others tell -------------------------------------------------------------------------------------

    def load(self) -> None:
        """Take over the checkpoint, and find what is behind without opening a log that is not."""
        problem = self.tabled.load()
        if problem is not None:
            log.warning("%s; retention waits until every table has been asked", problem)
        self._final_jobs += self.tabled.drops
        topics = self._broker.catalog.by_id
        for topic_id in [known for known in self.tabled.topics if known not in topics]:
            self.tabled.forget(topic_id)
        for topic in list(topics.values()):
            self._watch(topic)

    def progressed(self, partition: Partition) -> None:
        """Records of the partition have become durable: the first since the last look."""
        self.behind.progressed(partition)

    def topic_reconfigured(self, topic: Topic) -> None:
        """The topic's configuration was replaced: a table may have been switched on or off, what failed may work."""
        if topic.topic_id in self.behind.topics and not topic.has_table:
            self._forget(topic.topic_id)
        else:
            self._watch(topic)
            self.planner.reconfigured(topic.topic_id, self._broker.clock_ms())
            if (failed := self.unmaintained.get(topic.topic_id)) is not None:
                self.unmaintained[topic.topic_id] = replace(failed, next_try_ms=0)
        self._wake.set()

    def topic_deleted(self, topic: Topic) -> None:
        """The topic is about to go. Its last records still get into its table, if one attempt does it before the
        files go, or the table goes as well."""
        if not topic.is_internal and topic.config["floe.table.delete.with.topic"]:
            job = self.jobs.job(topic, "drop", [])
            del job["catalog"]  # it may hold secrets, and the job is saved
            self._final_jobs.append(job)
            self.tabled.drops.append(job)
            self.tabled.is_saved = False
        elif topic.has_table:
            self.behind.note_opened(topic)
            partitions = self.behind.ranges(topic)
            for fields in partitions:
                fields["folder"] = deleted_directory(fields["folder"], topic.topic_id)
            if partitions:
                self._final_jobs.append(self.jobs.job(topic, "commit", partitions))
        self._forget(topic.topic_id)
        self.tabled.forget(topic.topic_id)
        self._wake.set()

    def _forget(self, topic_id: bytes) -> None:
        self.behind.forget(topic_id)
        self.planner.forget(topic_id)
        self.errors.pop(topic_id, None)
        self._maintenance.pop(topic_id, None)
        self.unmaintained.pop(topic_id, None)
        self._answer(topic_id)

    def keep_from(self, partition: Partition) -> int | None:
        """The first offset that retention has to keep because it is not in the table; None if it need not wait."""
        topic = partition.topic
        if not topic.has_table or not topic.config["floe.table.retention.wait"]:
            return None
        return self.tabled_offset(topic, partition.index)

    def tabled_offset(self, topic: Topic, index: int) -> int:
        """The first offset of a partition that is not known to be in the table."""
        return self.behind.tabled_offset(topic, index)

    def pace(self, topic: Topic) -> Pace:
        config = topic.config
        return Pace(config["floe.table.commit.interval.ms"], config["floe.table.commit.bytes"])

    def _watch(self, topic: Topic) -> None:
        """Have a topic's partitions tell of their progress, and plan a commit of those that are behind already."""
        if self.behind.watch(topic):
            self.planner.progressed(topic.topic_id, 0, self.pace(topic), self._broker.clock_ms())

    def _look(self) -> None:
        """Plan commits of what has told of progress."""
        now_ms = self._broker.clock_ms()
        for topic, byte_count in self.behind.look():
            self.planner.progressed(topic.topic_id, byte_count, self.pace(topic), now_ms)

    # --- the task ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Commit what is due, for ever, until `close` says to stop after the job under way."""
        while not self._closing.is_set():
            self._look()
            self._save_now_and_then()
            await self.jobs.pause(self._closing)
            if self._final_jobs:
                await self._finish(self._final_jobs.pop(0))
                continue
            topic_id = self.planner.take(self._broker.clock_ms())
            if topic_id is not None:
                await self._commit(topic_id)
            elif self._maintenance:
                await self._maintain(next(iter(self._maintenance)))
            else:
                await self._rest()

    async def _rest(self) -> None:
        """Sleep until something is due or told, but look no more often than LOOK_INTERVAL_S."""
        if self._wake.is_set():
            if not self._closing.is_set():
                await asyncio.sleep(LOOK_INTERVAL_S)
            self._wake.clear()
            return
        due_ms = self.planner.next_due_ms()
        wait_s = SAVE_INTERVAL_S if not self.tabled.is_saved else None
        if due_ms is not None:
            due_s = max(0.0, (due_ms - self._broker.clock_ms()) / 1000)
            wait_s = due_s if wait_s is None else min(wait_s, due_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._wake.wait()

    def _save_now_and_then(self) -> None:
        now_s = self._loop.time()
        if now_s - self._saved_s >= SAVE_INTERVAL_S:
            self._saved_s = now_s
            self._save()

    def _save(self) -> None:
        try:
            self.tabled.save()
        except DiskFull as error:
            log.warning("the checkpoint of tables waits for space on the disk: %s", error)

    async def close(self, timeout_s: float) -> None:
        """Stop: a last commit of each topic that is behind, as far as the time allows; the next start does the rest."""
        deadline_s = self._loop.time() + timeout_s
        self._closing.set()
        self._wake.set()
        await self.jobs.worker.settle(max(0.0, deadline_s - self._loop.time()))
        self._look()
        try:
            async with asyncio.timeout_at(deadline_s):
                for topic_id in list(self.behind.topics):
                    if topic_id not in self.errors:
                        await self._commit(topic_id)
        except TimeoutError:
            log.info("tables of %d topics are committed after the next start", len(self.behind.topics))
        await self.jobs.worker.close(0)
        self._save()
        for waiter in chain.from_iterable(self._waiters.values()):  # theirs is committed after the next start
            if not waiter.done.done():
                waiter.done.set_result(None)
        self._waiters.clear()

    # --- a commit ---------------------------------------------------------------------------------------------

    async def _commit(self, topic_id: bytes) -> None:
        topic = self._broker.catalog.by_id.get(topic_id)
        if topic is None or not topic.has_table:
            self._forget(topic_id)
            return
        partitions = self.behind.ranges(topic)
        if not partitions:
            self.behind.topics.pop(topic_id, None)
            self.planner.committed(topic_id, False, self._broker.clock_ms())
            self._answer(topic_id)
            return
        try:
            job = self.jobs.job(topic, "commit", partitions, self.planner.failures(topic_id))
            result = await self.jobs.run(job)
        except (JobFailed, WorkerDied) as failure:
            self._failed(topic, failure)
        except WorkerClosed:
            return
        else:
            self._committed(topic, result)
        self._answer(topic_id)

    def _committed(self, topic: Topic, result: dict[str, Any]) -> None:
        topic_id = topic.topic_id
        if topic_id not in self._broker.catalog.by_id:
            return
        tabled = self.jobs.keep(topic, result)
        is_behind = self.behind.committed(topic, result)
        if result["maintenance_due"] and self._may_be_maintained(topic_id):
            self._maintenance[topic_id] = None
        if self.errors.pop(topic_id, None) is not None:
            log.info("table %s is committed again", tabled.table)
        # Nobody looks while a job is under way: what has come meanwhile is known by what is behind now.
        has_more = bool(result["more"]) and is_behind
        self.planner.committed(topic_id, has_more, self._broker.clock_ms(), is_behind)

    def _failed(self, topic: Topic, failure: JobFailed | WorkerDied) -> None:
        topic_id = topic.topic_id
        if topic_id not in self._broker.catalog.by_id:
            return
        reason = str(failure)
        if isinstance(failure, JobFailed) and failure.kind == FENCED:
            log.error("the table of topic %s is left alone until the next start: %s", topic.name, reason)
            self.behind.leave_alone(topic_id)
            self.planner.forget(topic_id)
            self.errors[topic_id] = reason
            return
        wait_ms = self.planner.failed(topic_id, self._broker.clock_ms(), random.random())
        if self.errors.get(topic_id) != reason:
            log.warning(
                "topic %s could not be committed to its table, next attempt in %.1f s: %s",
                topic.name,
                wait_ms / 1000,
                reason,
            )
        self.errors[topic_id] = reason

    async def _maintain(self, topic_id: bytes) -> None:
        """Keep a table small. What fails is tried again when a later commit says that it is due, after a pause."""
        del self._maintenance[topic_id]
        topic = self._broker.catalog.by_id.get(topic_id)
        if topic is not None and topic.has_table:
            try:
                result = await self.have_done(topic, "maintain", force=False)
            except (JobFailed, WorkerDied) as failure:
                self._put_off(topic, str(failure))
            except WorkerClosed:
                return
            else:
                if self.unmaintained.pop(topic_id, None) is not None:
                    log.info("the table of topic %s is maintained again", topic.name)
                if result["has_more"]:  # behind the other tables, and behind the commits that are due
                    self._maintenance[topic_id] = None

    def _may_be_maintained(self, topic_id: bytes) -> bool:
        before = self.unmaintained.get(topic_id)
        return before is None or self._broker.clock_ms() >= before.next_try_ms

    def _put_off(self, topic: Topic, reason: str) -> None:
        now_ms = self._broker.clock_ms()
        before = self.unmaintained.get(topic.topic_id)
        failures = before.failures + 1 if before is not None else 1
        pause_ms = min(MAINTENANCE_PAUSE_MS << min(failures - 1, 16), MAX_MAINTENANCE_PAUSE_MS)
        self.unmaintained[topic.topic_id] = Unmaintained(failures, now_ms, now_ms + pause_ms, reason)
        if before is None or before.reason != reason:
            log.warning(
                "the table of topic %s could not be maintained, next attempt in %.0f min at the earliest; commits go "
                "on: %s",
                topic.name,
                pause_ms / 60_000,
                reason,
            )

    async def have_done(self, topic: Topic, kind: str, **fields: Any) -> dict[str, Any]:
        """A job on a topic's table that leaves the log alone (`maintain`, `rewind`).

        What an operator wants maintained (`force`) is done to its end, in steps that commits go between: the result
        is that of the last, with the counts of all. Raises JobFailed, WorkerDied, WorkerClosed.
        """
        counts: Counter[str] = Counter()
        while True:
            result = await self.jobs.run(self.jobs.job(topic, kind, []) | fields)
            if topic.topic_id not in self._broker.catalog.by_id:
                return result
            self.jobs.keep(topic, result)
            self._watch(topic)
            self._wake.set()
            counts.update({name: result[name] for name in MAINTENANCE_COUNTS if name in result})
            if not (fields.get("force") and result["has_more"]):
                return {**result, **counts}
            fields["quiet_below"] = result["quiet_below"]

    async def _finish(self, job: dict[str, Any]) -> None:
        """A job of a deleted topic: a drop is tried once per run of the broker, a last commit until it fails."""
        what = "deleted with its topic" if job["kind"] == "drop" else "completed after the topic was deleted"
        try:
            result = await self.jobs.run_late(job)
        except WorkerClosed:
            return
        except (JobFailed, WorkerDied) as failure:
            log.warning("the table of topic %s could not be %s: %s", job["topic"], what, failure)
            return
        if result.get("held"):
            reasons = "; ".join(result["held"].values())
            log.warning("the table of topic %s could not be %s: %s", job["topic"], what, reasons)
        elif result.get("more"):  # from where it is now, as the table says
            self._final_jobs.append(job)
        else:
            log.info("the table of topic %s was %s", job["topic"], what)
        if job in self.tabled.drops:
            self.tabled.drops.remove(job)
            self.tabled.is_saved = False

    # --- asked by operators -----------------------------------------------------------------------------------

    async def commit_now(self, topic: Topic) -> None:
        """Commit what is durable now, and wait for it. What goes wrong is in `errors`."""
        self._look()
        end_offsets = self.behind.end_offsets(topic)
        if not end_offsets:
            return
        waiter = _Waiter(end_offsets, self._loop.create_future())
        self._waiters.setdefault(topic.topic_id, []).append(waiter)
        self.planner.ask(topic.topic_id, self.pace(topic), self._broker.clock_ms())
        self._wake.set()
        await waiter.done

    def _answer(self, topic_id: bytes) -> None:
        """Let those go whose records are in the table, or will not be: what came after they had asked is no matter."""
        topic = self._broker.catalog.by_id.get(topic_id)
        waiting = []
        for waiter in self._waiters.pop(topic_id, ()):
            is_over = topic is None or not topic.has_table or topic_id in self.errors
            if topic is None or is_over or self.behind.is_tabled(topic, waiter.end_offsets):
                if not waiter.done.done():
                    waiter.done.set_result(None)
            else:
                waiting.append(waiter)
        if waiting:
            self._waiters[topic_id] = waiting
