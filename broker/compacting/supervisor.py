"""The broker's side of compaction: finds the dirtiest partition, has the worker rewrite it, and swaps the result in.

    every log.cleaner.backoff.ms, or when asked ─► measure all compacted partitions, a few a turn of the loop
        ─► the dirtiest: job ─► worker: map, rewrite ──cleaned segment──► swap (a few renames, on the loop)
                                                     ──totals──────────► cleaner-offset-checkpoint

The worker only adds files. Until a segment is swapped nobody sees it, and where retention, a deleted topic or a crash
comes first, it is thrown away. A partition that cannot be compacted is left alone until the broker starts again, and
is listed with the reason. One whose rounds fail otherwise (its worker dies, a file is gone) is tried again after
pauses that grow, while the others go on.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from broker.compacting.planning import Candidate, choose, is_due, job, measure, pause_ms
from broker.worker.process import JobFailed, WorkerClosed, WorkerDied, WorkerProcess
from wal.checkpoint import TopicPartition
from wal.compaction_swap import swap
from wal.errors import StorageFailed

if TYPE_CHECKING:
    from broker.runtime import Broker
    from broker.topics.partition import Partition
    from wal.data_folder import DataFolder

log = logging.getLogger("floe.compaction")

PARTITIONS_PER_TURN: Final = 20
"""Partitions measured before others get their turn of the loop."""

KEPT_RESULTS: Final = 1000
"""Partitions whose last round is remembered for the status."""

FAILURES_UNTIL_TOLD: Final = 3
"""Failed rounds in a row after which a partition is called an operator's matter, once: one or two may be chance."""

SEED_WORDS: Final = 4
SEED_BITS: Final = 64

WORKER_ENVIRONMENT: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""numpy starts threads for arithmetic that is not done here."""

CANNOT_COMPACT: Final = "CannotCompact"
"""The worker's exception when trying again would end the same."""


@dataclass(slots=True)
class RoundState:
    """One round under way or over, as the status shows it."""

    key: TopicPartition
    candidate: Candidate
    started_ms: int
    ended_ms: int = -1
    read_bytes: int = 0
    swapped: int = 0
    is_swapped_whole: bool = True
    error: str = ""
    totals: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Failures:
    """A partition's rounds that failed, one after the other."""

    count: int = 0
    next_try_ms: int = 0


class Compaction:
    """All compacted topics' compaction. Belongs to the loop; `run` is its task."""

    def __init__(self, broker: Broker, folder: DataFolder, worker: WorkerProcess | None = None) -> None:
        self._broker = broker
        self._folder = folder
        self.worker = worker or WorkerProcess("compaction", environment=WORKER_ENVIRONMENT)
        self.uncleanable: dict[TopicPartition, str] = {}
        self.running: RoundState | None = None
        self.results: dict[TopicPartition, RoundState] = {}
        self.requested: dict[TopicPartition, None] = {}
        self._wake = asyncio.Event()
        self.idle = asyncio.Event()
        """Nothing was left to do at the last look."""
        self._next_look_ms = 0
        self.failures: dict[TopicPartition, Failures] = {}
        self._closed_and_clean: set[TopicPartition] = set()
        """Nothing was dirty when this was looked up, and nobody has opened the log since."""
        self._failed_now: set[TopicPartition] = set()
        """Failed since the last look: to be tried again at the next one, not before."""

    # --- what others tell -------------------------------------------------------------------------------------

    def look(self) -> None:
        """It may be time: called now and then by upkeep."""
        if self._broker.clock_ms() >= self._next_look_ms:
            self._awake()

    def request(self, keys: list[TopicPartition]) -> None:
        """Compact these next, however clean they are, their active segments included."""
        self.requested.update(dict.fromkeys(keys))
        self._awake()

    def _awake(self) -> None:
        self.idle.clear()
        self._wake.set()

    def topic_deleted(self, topic: str) -> None:
        """A topic is gone, and one of the same name is another."""
        self.uncleanable = {key: why for key, why in self.uncleanable.items() if key.topic != topic}
        self.failures = {key: failures for key, failures in self.failures.items() if key.topic != topic}
        self.results = {key: last for key, last in self.results.items() if key.topic != topic}
        self._closed_and_clean = {key for key in self._closed_and_clean if key.topic != topic}

    async def close(self) -> None:
        """Give up what is under way: nothing of it is seen until it is swapped."""
        await self.worker.close()

    # --- the task ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._failed_now.clear()
            try:
                while await self._step():
                    pass
            except WorkerClosed:
                return
            except StorageFailed as failure:  # a full disk: there may be space at the next look
                self._broker.storage_failed(failure)
            self._next_look_ms = self._broker.clock_ms() + self._broker.config["log.cleaner.backoff.ms"]
            self.idle.set()

    async def _step(self) -> bool:
        """One round; False if there is nothing to do."""
        if self.requested:
            key = next(iter(self.requested))
            try:
                await self._compact_requested(key)
            finally:
                del self.requested[key]
            return True
        candidate = choose(await self._due())
        if candidate is None:
            return False
        partition = self._partition(candidate.key)
        if partition is not None:
            # Measured again: others had their turns meanwhile, and segments may have been deleted.
            now = self.measure(candidate.key, partition, self._broker.clock_ms())
            if now is not None and now.dirty_bytes:
                await self._compact(partition, now)
        return True

    async def _due(self) -> list[Candidate]:
        found = []
        now_ms = self._broker.clock_ms()
        for number, (key, partition) in enumerate(self.partitions(), 1):
            if self._may_be_due(key, partition, now_ms):
                candidate = self.measure(key, partition, now_ms)
                if candidate is not None and is_due(candidate, partition.topic.config):
                    found.append(candidate)
            if number % PARTITIONS_PER_TURN == 0:
                await asyncio.sleep(0)
        return found

    def _may_be_due(self, key: TopicPartition, partition: Partition, now_ms: int) -> bool:
        """What can be told without a look into the log, or, for one that nobody uses, without opening it."""
        if key in self.uncleanable or key in self._failed_now:
            return False
        failures = self.failures.get(key)
        if failures is not None and now_ms < failures.next_try_ms:
            return False
        if partition.opened_log is not None:
            self._closed_and_clean.discard(key)
            return True
        if key not in self._closed_and_clean:
            if self._folder.may_be_dirty(key):
                return True
            self._closed_and_clean.add(key)
        return False

    async def measured(self, topic: str | None = None) -> list[tuple[TopicPartition, Candidate | None]]:
        """Every partition of one compacted topic, or of all, a few a turn of the loop; None where it is damaged."""
        found = []
        now_ms = self._broker.clock_ms()
        for key, partition in self.partitions():
            if topic is None or key.topic == topic:
                found.append((key, self.measure(key, partition, now_ms)))
                if len(found) % PARTITIONS_PER_TURN == 0:
                    await asyncio.sleep(0)
        return found

    def partitions(self) -> Iterator[tuple[TopicPartition, Partition]]:
        """Every partition of a compacted topic that has records."""
        for topic in list(self._broker.catalog.topics.values()):
            if topic.config.is_compacted:
                for index in range(topic.partition_count):
                    key = TopicPartition(topic.name, index)
                    partition = self._partition(key)
                    if partition is not None:
                        yield key, partition

    def _partition(self, key: TopicPartition) -> Partition | None:
        topic = self._broker.catalog.topics.get(key.topic)
        if topic is None or not topic.config.is_compacted:
            return None
        if not 0 <= key.partition < topic.partition_count:
            return None
        if not self._broker.logs.has_records(topic, key.partition):
            return None
        return topic.partition(key.partition)

    def measure(self, key: TopicPartition, partition: Partition, now_ms: int) -> Candidate | None:
        """The partition as a candidate; None if it is damaged, which only a repair can end."""
        if partition.log.damage:
            self._set_aside(key, f"it is damaged: {partition.log.damage[0]}")
            return None
        topic = partition.topic
        keep_from = self._broker.tables.keep_from(partition) if topic.has_table else None
        up_to = self._folder.compacted_up_to(key)
        return measure(key, partition.log, topic.config, up_to, now_ms, keep_from)

    async def _compact_requested(self, key: TopicPartition) -> None:
        partition = self._partition(key)
        if partition is None:
            return
        self.uncleanable.pop(key, None)
        self.failures.pop(key, None)
        opened = partition.log
        opened.roll(self._broker.clock_ms())
        await _durable(partition, opened.bases[-1], self._broker)
        while True:
            candidate = self.measure(key, partition, self._broker.clock_ms())
            if candidate is None or candidate.dirty_bytes == 0:
                if key not in self.results and key not in self.uncleanable and candidate is not None:
                    self._remember(
                        RoundState(key, candidate, self._broker.clock_ms(), self._broker.clock_ms())
                    )
                return
            if not await self._compact(partition, candidate):
                return

    async def _compact(self, partition: Partition, candidate: Candidate) -> bool:
        """One round over one partition; whether it got on."""
        now_ms = self._broker.clock_ms()
        state = self.running = RoundState(candidate.key, candidate, now_ms)
        seed = [secrets.randbits(SEED_BITS) for _ in range(SEED_WORDS)]
        config = partition.topic.config
        order = job(candidate, partition.log, config, self._broker.config, now_ms, seed)
        try:
            state.totals = await self.worker.run(order, lambda said: self._progress(partition, state, said))
            self._finish(partition, state)
        except (JobFailed, WorkerDied) as failure:
            state.error = str(failure)
            is_gone = self._partition(candidate.key) is not partition
            if not is_gone:
                self._failed(candidate.key, failure)
        except StorageFailed as failure:
            state.error = str(failure)
            self._broker.storage_failed(failure)
            self._failed_now.add(candidate.key)
        finally:
            self.running = None
            state.ended_ms = self._broker.clock_ms()
            self._remember(state)
        return not state.error

    def _progress(self, partition: Partition, state: RoundState, said: dict[str, Any]) -> None:
        if "read" in said:
            state.read_bytes = said["read"]
            return
        try:
            replaced = said["cleaned"]["replaced"]
            if partition.log.offline is None and swap(partition.log, replaced, self._broker.clock_ms()):
                state.swapped += 1
                return
        except StorageFailed as failure:
            state.error = str(failure)
            self._broker.storage_failed(failure)
        state.is_swapped_whole = False

    def _finish(self, partition: Partition, state: RoundState) -> None:
        totals = state.totals
        if (
            self._partition(state.key) is not partition
        ):  # the offset would count for another topic of the same name
            state.error = "the topic was deleted meanwhile"
            return
        if not state.is_swapped_whole:
            state.error = state.error or "segments were deleted meanwhile"
            self._failed_now.add(state.key)
            return
        self.failures.pop(state.key, None)
        self._folder.save_compacted_up_to(state.key, totals["end_offset"])
        log.info(
            "%s compacted up to offset %d: %d bytes became %d, %d records %d, in %.1f s",
            partition,
            totals["end_offset"],
            totals["bytes_before"],
            totals["bytes_after"],
            totals["records_before"],
            totals["records_after"],
            totals["seconds"],
        )

    def _failed(self, key: TopicPartition, failure: JobFailed | WorkerDied) -> None:
        self._failed_now.add(key)
        if isinstance(failure, JobFailed) and failure.kind == CANNOT_COMPACT:
            self._set_aside(key, str(failure))
        else:  # retention took a file away, the disk is full, the worker was killed: next time it may be otherwise
            self._pause(key, failure)

    def _pause(self, key: TopicPartition, failure: Exception) -> None:
        now_ms = self._broker.clock_ms()
        failures = self.failures.setdefault(key, Failures())
        failures.count += 1
        pause = pause_ms(failures.count, self._broker.config["log.cleaner.backoff.ms"])
        failures.next_try_ms = now_ms + pause
        if failures.count < FAILURES_UNTIL_TOLD:
            log.warning("%s-%d: compaction failed, next try in %.0f s: %s", *key, pause / 1000, failure)
        elif failures.count == FAILURES_UNTIL_TOLD:
            log.error(
                "%s-%d: compaction has failed %d times in a row: %s. It is tried again after ever longer pauses, an "
                "hour at most; other partitions go on. If the worker was killed, give it more memory or lower "
                "log.cleaner.dedupe.buffer.size; `floe log verify` says whether the partition's files are sound; "
                "`floe compact status %s` shows how it goes on, `floe compact now %s --partition %d` tries at once",
                *(*key, failures.count, failure, key.topic, *key),
            )

    def _set_aside(self, key: TopicPartition, reason: str) -> None:
        if key not in self.uncleanable:
            log.error("%s-%d is not compacted until the next start: %s", *key, reason)
        self.uncleanable[key] = reason

    def _remember(self, state: RoundState) -> None:
        self.results.pop(state.key, None)
        self.results[state.key] = state
        if len(self.results) > KEPT_RESULTS:
            del self.results[next(iter(self.results))]


class _Durable:
    """Waits on the loop until a partition is durable up to an offset."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    def durable(self) -> None:
        self.event.set()


async def _durable(partition: Partition, end_offset: int, broker: Broker) -> None:
    waiter = _Durable()
    if partition.when_durable(end_offset, waiter):
        broker.flusher.kick()
        await waiter.event.wait()
