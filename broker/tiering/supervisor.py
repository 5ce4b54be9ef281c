"""The broker's side of tables: notices what is durable, has the worker commit it, knows how far each table is.

    partition ──first progress since the last look──► noted ──look, five a second at most──► planner ──due──► job
                                                                              tabled offsets ◄── result ◄── worker

A partition tells of its progress once and is then not asked again until somebody has looked, so what is idle costs
nothing and what is busy costs one call per look. What is tabled is believed from the worker's results, and from a small
checkpoint after a start. Whatever happens to worker or catalog, the broker goes on: the topic waits and catches up.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import random
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from broker.tiering.catalogs import properties as catalog_properties
from broker.tiering.planning import Pace, Planner
from broker.tiering.settings import CatalogSettings, TableSettings
from broker.tiering.tabled import Tabled, TabledTopic
from broker.worker.process import JobFailed, WorkerClosed, WorkerDied, WorkerProcess
from protocol.errors import ApiError
from wal.checkpoint import TopicPartition
from wal.errors import DiskFull
from wal.layout import deleted_directory, partition_directory
from wal.txn_index import CorruptTransactionIndex

if TYPE_CHECKING:
    from broker.runtime import Broker
    from broker.topics.catalog import Topic
    from broker.topics.partition import Partition
    from wal.data_folder import DataFolder
    from wal.log import Log

log = logging.getLogger("floe.tables")

LOOK_INTERVAL_S: Final = 0.2
"""How often progress is looked at: a fraction of the shortest commit interval that makes sense."""

SAVE_INTERVAL_S: Final = 10.0
"""How often the checkpoint follows; it only has to spare the next start some work."""

MAX_ABORTED: Final = 50_000
"""Aborted transactions named in one job; a range with more of them takes several."""

JOB_LIMIT_S: Final = 1_800.0
"""How long a job may take, its turn included: far more than any does. A catalog that never answers is noticed by it."""

DEATHS_OF_ONE_TOPIC: Final = 3
"""So many deaths of the worker in a row are no topic's fault (a package is missing, memory is short): all wait."""

MAX_PAUSE_S: Final = 60.0
"""How long all wait at most, after a pause of a second that doubles with every death."""

LEAST_COMMIT_BYTES: Final = 1 << 20
"""What a job is cut down to, halving, when the worker dies of it."""

WORKER_ENVIRONMENT: Final = {
    "MALLOC_ARENA_MAX": "2",
    "OMP_NUM_THREADS": "2",
    "MIMALLOC_PURGE_DELAY": "1000",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}
"""Memory for each thread's own arena would be most of what an idle worker holds. What a chunk of log took, the next one
takes again: given back in between (Arrow's allocator does so after 10 ms), its pages cost a tenth of a commit's time to
get anew. The process ends when it is idle."""

MAINTENANCE_COUNTS: Final = (
    "files_before",
    "files_after",
    "snapshots_expired",
    "files_deleted",
    "orphans_deleted",
)
"""Of `maintenance.Maintained`: what the steps of one maintenance are added up in."""

FENCED: Final = "Fenced"
"""The worker's exception when another broker has taken the table over: trying again would be a fight."""


class Tables:
    """All topics' tables. Belongs to the loop; `run` is its task."""

    def __init__(self, broker: Broker, folder: DataFolder) -> None:
        config = broker.config
        self._broker = broker
        self._folder = folder
        self._root = folder.root
        self.catalog = CatalogSettings(
            name=config["floe.table.catalog.name"],
            namespace=config["floe.table.namespace"],
            properties=catalog_properties(
                config.catalog_properties, config.data_dir, config["floe.table.warehouse"]
            ),
        )
        self.tabled = Tabled(folder.storage, folder.root, self._where())
        self.planner = Planner()
        self.worker = WorkerProcess("tiering", environment=WORKER_ENVIRONMENT)
        self.errors: dict[bytes, str] = {}
        """Why a topic's last commit failed, in one line; gone with the next that does not."""
        self.held: dict[bytes, dict[int, str]] = {}
        """Partitions that cannot be read on, and why."""
        self._behind: dict[bytes, set[int]] = {}
        """Partitions with records that are not in the table, by topic."""
        self._seen: dict[bytes, dict[int, tuple[int, int]]] = {}
        self._fenced: set[bytes] = set()
        """Topics whose table another broker has taken over."""
        self._noted: list[Partition] = []
        self._final_jobs: list[dict[str, Any]] = []
        self._maintenance: dict[bytes, None] = {}
        """Topics whose table wants maintenance, when there is nothing else to do."""
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._saved_s = self._loop.time()
        self._closing = asyncio.Event()
        self._deaths = 0
        """Of the worker, in a row."""
        self._waiters: dict[bytes, list[asyncio.Future[dict[str, Any]]]] = {}

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
        self._noted.append(partition)
        self._wake.set()

    def topic_reconfigured(self, topic: Topic) -> None:
        """The topic's configuration was replaced: a table may have been switched on or off."""
        if topic.topic_id in self._behind and not topic.has_table:
            self._forget(topic.topic_id)
        else:
            self._watch(topic)
        self._wake.set()

    def topic_deleted(self, topic: Topic) -> None:
        """The topic is about to go. Its last records still get into its table, if one attempt does it before the
        files go, or the table goes as well."""
        if not topic.is_internal and topic.config["floe.table.delete.with.topic"]:
            job = self._job(topic, "drop", [])
            del job["catalog"]  # it may hold secrets, and the job is saved
            self._final_jobs.append(job)
            self.tabled.drops.append(job)
            self.tabled.is_saved = False
        elif topic.has_table:
            self._note_behind(topic)
            partitions = self._ranges(topic)
            for fields in partitions:
                fields["folder"] = deleted_directory(fields["folder"], topic.topic_id)
            if partitions:
                self._final_jobs.append(self._job(topic, "commit", partitions))
        self._forget(topic.topic_id)
        self.tabled.forget(topic.topic_id)
        self._wake.set()

    def _note_behind(self, topic: Topic) -> None:
        """Find what is behind among the logs that somebody opened, looked at lately or not."""
        for partition in topic.made_partitions():
            opened = partition.opened_log
            if opened is not None and opened.last_stable_offset > self.tabled_offset(topic, partition.index):
                self._behind.setdefault(topic.topic_id, set()).add(partition.index)

    def _forget(self, topic_id: bytes) -> None:
        self._behind.pop(topic_id, None)
        self.planner.forget(topic_id)
        self.errors.pop(topic_id, None)
        self.held.pop(topic_id, None)
        self._maintenance.pop(topic_id, None)
        self._seen.pop(topic_id, None)
        self._fenced.discard(topic_id)
        self._answer(topic_id)

    def keep_from(self, partition: Partition) -> int | None:
        """The first offset that retention has to keep because it is not in the table; None if it need not wait."""
        topic = partition.topic
        if not topic.has_table or not topic.config["floe.table.retention.wait"]:
            return None
        return self.tabled_offset(topic, partition.index)

    def tabled_offset(self, topic: Topic, index: int) -> int:
        """The first offset of a partition that is not known to be in the table."""
        tabled = self.tabled.topics.get(topic.topic_id)
        return tabled.offsets.get(index, 0) if tabled is not None else 0

    # --- what is behind ---------------------------------------------------------------------------------------

    def _watch(self, topic: Topic) -> None:
        """Have a topic's partitions tell of their progress, and find those that are behind already."""
        if not topic.has_table or topic.topic_id in self._fenced:
            return
        for partition in topic.made_partitions():
            partition.on_progress = self.progressed
        now_ms = self._broker.clock_ms()
        for index in range(topic.partition_count):
            key = TopicPartition(topic.name, index)
            if not self._folder.has_folder(key):
                continue
            end_offset = self._folder.known_end_offset(key)
            if end_offset is None or end_offset > self.tabled_offset(topic, index):
                self._behind.setdefault(topic.topic_id, set()).add(index)
        if topic.topic_id in self._behind:
            self.planner.progressed(topic.topic_id, 0, self.pace(topic), now_ms)

    def pace(self, topic: Topic) -> Pace:
        config = topic.config
        return Pace(config["floe.table.commit.interval.ms"], config["floe.table.commit.bytes"])

    def _look(self) -> None:
        """Take in which partitions have told of progress, and have them tell again."""
        noted, self._noted = self._noted, []
        now_ms = self._broker.clock_ms()
        for partition in noted:
            topic = partition.topic
            opened = partition.opened_log
            if opened is None or topic.topic_id not in self._broker.catalog.by_id or not topic.has_table:
                continue
            if topic.topic_id in self._fenced:
                continue
            partition.on_progress = self.progressed
            seen = self._seen.setdefault(topic.topic_id, {})
            byte_count, seen[partition.index] = _new_bytes(opened, seen.get(partition.index))
            if opened.last_stable_offset > self.tabled_offset(topic, partition.index):
                self._behind.setdefault(topic.topic_id, set()).add(partition.index)
                self.planner.progressed(topic.topic_id, byte_count, self.pace(topic), now_ms)

    # --- the task ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Commit what is due, for ever, until `close` says to stop after the job under way."""
        while not self._closing.is_set():
            self._look()
            self._save_now_and_then()
            await self._pause()
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
        await self.worker.settle(max(0.0, deadline_s - self._loop.time()))
        self._look()
        try:
            async with asyncio.timeout_at(deadline_s):
                for topic_id in list(self._behind):
                    if topic_id not in self.errors:
                        await self._commit(topic_id)
        except TimeoutError:
            log.info("tables of %d topics are committed after the next start", len(self._behind))
        await self.worker.close(0)
        self._save()

    # --- a commit ---------------------------------------------------------------------------------------------

    async def _commit(self, topic_id: bytes) -> None:
        topic = self._broker.catalog.by_id.get(topic_id)
        if topic is None or not topic.has_table:
            self._forget(topic_id)
            return
        partitions = self._ranges(topic)
        if not partitions:
            self._behind.pop(topic_id, None)
            self.planner.committed(topic_id, False, self._broker.clock_ms())
            self._answer(topic_id)
            return
        try:
            result = await self._run(self._job(topic, "commit", partitions))
        except (JobFailed, WorkerDied) as failure:
            self._failed(topic, failure)
        except WorkerClosed:
            return
        else:
            self._committed(topic, result)
        self._answer(topic_id)

    async def _run(self, job: dict[str, Any]) -> dict[str, Any]:
        """As `WorkerProcess.run`, but a job that takes for ever is ended with its worker: WorkerDied."""
        try:
            async with asyncio.timeout(JOB_LIMIT_S):
                result = await self.worker.run(job)
        except JobFailed:
            self._deaths = 0
            raise
        except WorkerDied:
            self._deaths += 1
            raise
        except TimeoutError:
            raise WorkerDied(f"the worker had no answer after {JOB_LIMIT_S:.0f} s and was ended") from None
        self._deaths = 0
        return result

    async def _pause(self) -> None:
        """Have a worker that dies of whatever it is given start less and less often."""
        doublings = self._deaths - DEATHS_OF_ONE_TOPIC
        if doublings >= 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(MAX_PAUSE_S, 2.0 ** min(doublings, 16))):
                    await self._closing.wait()

    def _job(self, topic: Topic, kind: str, partitions: list[dict[str, Any]]) -> dict[str, Any]:
        settings = TableSettings.of(topic.config.values)
        halvings = min(self.planner.failures(topic.topic_id), 16)
        tabled = self.tabled.topics.get(topic.topic_id)
        return {
            "kind": kind,
            "topic": topic.name,
            "topic_id": base64.urlsafe_b64encode(topic.topic_id).decode().rstrip("="),
            "cluster_id": self._broker.cluster_id,
            "writer_epoch": self._broker.catalog.state.broker_epoch,
            "settings": settings.to_json(),
            "catalog": self.catalog.to_json(),
            "max_bytes": max(LEAST_COMMIT_BYTES, settings.commit_bytes >> halvings),
            "partitions": partitions,
            "orphans_ms": tabled.orphans_ms if tabled is not None else None,
        }

    def _ranges(self, topic: Topic) -> list[dict[str, Any]]:
        """What there is to read of the topic's partitions that are behind."""
        ranges = []
        for index in sorted(self._behind.get(topic.topic_id, ())):
            partition = topic.partition(index)
            if partition is None or not self._broker.logs.has_records(topic, index):
                continue
            opened = partition.log
            partition.on_progress = self.progressed
            start_offset = max(self.tabled_offset(topic, index), opened.log_start_offset)
            end_offset = opened.last_stable_offset
            if end_offset <= start_offset:
                continue
            try:
                aborted, end_offset = _aborted(opened, start_offset, end_offset)
            except (ApiError, CorruptTransactionIndex) as error:
                self._hold(topic, index, str(error))
                continue
            ranges.append(
                {
                    "index": index,
                    "folder": partition_directory(self._root, topic.name, index),
                    "log_start_offset": opened.log_start_offset,
                    "start_offset": start_offset,
                    "end_offset": end_offset,
                    "aborted": aborted,
                }
            )
        return ranges

    def _committed(self, topic: Topic, result: dict[str, Any]) -> None:
        topic_id, now_ms = topic.topic_id, self._broker.clock_ms()
        if topic_id not in self._broker.catalog.by_id:
            return
        tabled = self.tabled.of(topic_id, topic.name)
        self._take_result(tabled, result, now_ms)
        held = {int(index): reason for index, reason in result["held"].items()}
        for index in map(int, result["committed"]):
            if index in held:
                self._hold(topic, index, held[index])
            else:
                self.held.get(topic_id, {}).pop(index, None)
        behind = self._behind.get(topic_id, set())
        for index in list(behind):
            partition = topic.partition(index)
            opened = partition.opened_log if partition is not None else None
            is_tabled = opened is not None and opened.last_stable_offset <= tabled.offsets.get(index, 0)
            if is_tabled or index in held:
                behind.discard(index)
        if result["maintenance_due"]:
            self._maintenance[topic_id] = None
        if self.errors.pop(topic_id, None) is not None:
            log.info("table %s is committed again", tabled.table)
        # Nobody looks while a job is under way: what has come meanwhile is known by what is behind now.
        self.planner.committed(topic_id, bool(result["more"]) and bool(behind), now_ms, bool(behind))
        if not behind:
            self._behind.pop(topic_id, None)

    def _hold(self, topic: Topic, index: int, reason: str) -> None:
        """A partition cannot be read on; it is looked at again when it has new records."""
        reasons = self.held.setdefault(topic.topic_id, {})
        if reasons.get(index) != reason:
            log.error("%s-%d: %s; its table waits, other partitions go on", topic.name, index, reason)
        reasons[index] = reason

    def _take_result(self, tabled: TabledTopic, result: dict[str, Any], now_ms: int) -> None:
        tabled.offsets = {int(index): offset for index, offset in result["marks"].items()}
        tabled.table = result["table"]
        tabled.metadata_location = result["metadata_location"]
        tabled.dead_letters_metadata_location = result["dead_letters_metadata_location"]
        tabled.snapshot_id = result["snapshot_id"]
        if tabled.orphans_ms is None or result.get("orphans_ms") is not None:
            tabled.orphans_ms = result.get("orphans_ms") or now_ms
        if "records" in result:
            tabled.records += result["records"]
            tabled.dead_letters += result["dead_letters"]
            tabled.committed_ms = now_ms
            log.debug(
                "table %s: %d records, read in %d ms, committed in %d ms",
                tabled.table,
                result["records"],
                result["read_ms"],
                result["commit_ms"],
            )
        self.tabled.is_saved = False

    def _failed(self, topic: Topic, failure: JobFailed | WorkerDied) -> None:
        topic_id = topic.topic_id
        if topic_id not in self._broker.catalog.by_id:
            return
        reason = str(failure)
        if isinstance(failure, JobFailed) and failure.kind == FENCED:
            log.error("the table of topic %s is left alone until the next start: %s", topic.name, reason)
            self._behind.pop(topic_id, None)
            self.planner.forget(topic_id)
            self._fenced.add(topic_id)
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
        """Keep a table small. What fails is tried again when a later commit says that it is due."""
        del self._maintenance[topic_id]
        topic = self._broker.catalog.by_id.get(topic_id)
        if topic is not None and topic.has_table:
            try:
                result = await self.have_done(topic, "maintain", force=False)
                if result["has_more"]:  # behind the other tables, and behind the commits that are due
                    self._maintenance[topic_id] = None
            except (JobFailed, WorkerDied) as failure:
                log.warning("the table of topic %s could not be maintained: %s", topic.name, failure)
            except WorkerClosed:
                return

    async def have_done(self, topic: Topic, kind: str, **fields: Any) -> dict[str, Any]:
        """A job on a topic's table that leaves the log alone (`maintain`, `rewind`).

        What an operator wants maintained (`force`) is done to its end, in steps that commits go between: the result
        is that of the last, with the counts of all. Raises JobFailed, WorkerDied, WorkerClosed.
        """
        counts: Counter[str] = Counter()
        while True:
            result = await self._run(self._job(topic, kind, []) | fields)
            if topic.topic_id not in self._broker.catalog.by_id:
                return result
            self._take_result(self.tabled.of(topic.topic_id, topic.name), result, self._broker.clock_ms())
            self._watch(topic)
            self._wake.set()
            counts.update({name: result[name] for name in MAINTENANCE_COUNTS if name in result})
            if not (fields.get("force") and result["has_more"]):
                return {**result, **counts}
            fields["quiet_below"] = result["quiet_below"]

    async def _finish(self, job: dict[str, Any]) -> None:
        """A job of a deleted topic: a drop is tried once per run of the broker, a last commit once."""
        what = "deleted with its topic" if job["kind"] == "drop" else "completed after the topic was deleted"
        try:
            epoch = self._broker.catalog.state.broker_epoch
            await self._run(job | {"catalog": self.catalog.to_json(), "writer_epoch": epoch})
        except WorkerClosed:
            return
        except (JobFailed, WorkerDied) as failure:
            log.warning("the table of topic %s could not be %s: %s", job["topic"], what, failure)
            return
        log.info("the table of topic %s was %s", job["topic"], what)
        if job in self.tabled.drops:
            self.tabled.drops.remove(job)
            self.tabled.is_saved = False

    # --- asked by operators -----------------------------------------------------------------------------------

    async def commit_now(self, topic: Topic) -> None:
        """Commit what is durable now, and wait for it. What goes wrong is in `errors`."""
        self._look()
        if topic.topic_id not in self._behind:
            return
        done: asyncio.Future[Any] = self._loop.create_future()
        self._waiters.setdefault(topic.topic_id, []).append(done)
        self.planner.ask(topic.topic_id, self.pace(topic), self._broker.clock_ms())
        self._wake.set()
        await done

    def _answer(self, topic_id: bytes) -> None:
        """Let those go who wait for a commit that began after they had asked, or for one that failed."""
        if topic_id in self._behind and topic_id not in self.errors:
            return
        for done in self._waiters.pop(topic_id, ()):
            if not done.done():
                done.set_result({})


def _new_bytes(opened: Log, seen: tuple[int, int] | None) -> tuple[int, tuple[int, int]]:
    """Bytes written since the last look, about, and what to remember: (base offset, size) of the last segment."""
    if not opened.segments:
        return 0, (0, 0)
    last = opened.segments[-1]
    now = (last.base_offset, last.size)
    if seen is None or seen[0] != last.base_offset:
        return last.size, now
    return max(0, last.size - seen[1]), now


def _aborted(opened: Log, start_offset: int, end_offset: int) -> tuple[list[list[int]], int]:
    """The aborted transactions of a range, and its end: nearer, where there are too many of them."""
    found = sorted(
        opened.aborted_transactions(start_offset, end_offset), key=lambda entry: entry.first_offset
    )
    if len(found) > MAX_ABORTED and found[MAX_ABORTED].first_offset > start_offset:
        end_offset = found[MAX_ABORTED].first_offset
        found = found[:MAX_ABORTED]
    return [[entry.producer_id, entry.first_offset, entry.last_offset] for entry in found], end_offset
