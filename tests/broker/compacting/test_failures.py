"""What becomes of a partition whose rounds fail, over logs on a disk in memory and a worker that does as it is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest

from broker.compacting.admin import compact_status
from broker.compacting.planning import LONGEST_PAUSE_MS, SHORTEST_PAUSE_MS, pause_ms
from broker.compacting.supervisor import FAILURES_UNTIL_TOLD, Compaction
from broker.config import BrokerConfig, TopicConfig
from broker.runtime import Broker
from broker.topics.catalog import Topic
from broker.topics.partition import Partition
from broker.worker.process import WorkerDied, WorkerProcess, WorkerSilent
from protocol.records import Record
from tests.simulation.memory_storage import MemoryStorage
from tests.wal.compacting import append
from wal.checkpoint import TopicPartition
from wal.data_folder import DataFolder
from wal.errors import StorageFailed
from wal.flusher import Flusher
from wal.log import Log

NOW_MS = 1_700_000_000_000
TOPIC_ID = bytes(16)
LOOK_INTERVAL_MS = 15_000  # log.cleaner.backoff.ms


def _fail(failure: StorageFailed) -> None:
    raise failure


class FakeWorker:
    """Dies of the folders in `deadly`, is killed for its silence over those in `silent`, finishes a round over any
    other without changing a byte."""

    def __init__(self) -> None:
        self.deadly: set[str] = set()
        self.silent: set[str] = set()
        self.rounds: list[str] = []
        self.meanwhile: Callable[[], object] = bool

    async def run(self, job: Mapping[str, Any], on_progress: object) -> dict[str, Any]:
        order = job["round"]
        name = order["directory"].rpartition("/")[2]
        self.rounds.append(name)
        if name in self.deadly:
            raise WorkerDied("the compaction worker was killed by SIGKILL in the middle of a job")
        if name in self.silent:
            raise WorkerSilent(
                "the compaction worker said nothing for 600 s in the middle of a job and was killed"
            )
        self.meanwhile()
        numbers = ("bytes_before", "bytes_after", "records_before", "records_after", "seconds")
        return {"end_offset": order["end_offset"], **dict.fromkeys(numbers, 0)}


class FakeTopic:
    has_table = False

    def __init__(self, name: str, config: TopicConfig, partitions: list[Partition]) -> None:
        self.name, self.config, self.partitions = name, config, partitions

    @property
    def partition_count(self) -> int:
        return len(self.partitions)

    def partition(self, index: int) -> Partition:
        return self.partitions[index]


class World:
    """What Compaction reaches of a broker: two compacted partitions, `t-0` and `t-1`."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.config = BrokerConfig()
        self.storage = MemoryStorage("/d")
        self.flusher = Flusher(self.storage, lambda durables: [d.apply() for d in durables] and None, _fail)
        self.catalog = self
        self.logs = self
        self.topics: dict[str, FakeTopic] = {}
        self.opens = 0
        self.start()

    def start(self) -> None:
        self.folder = DataFolder(self.storage, "/d", self.flusher)
        config = self.config.topic_config({"cleanup.policy": "compact"})
        topic = self.topics["t"] = FakeTopic("t", config, [])
        topic.partitions = [Partition(cast(Topic, topic), index, self._open) for index in range(2)]
        self.worker = FakeWorker()
        worker = cast(WorkerProcess, self.worker)
        self.compaction = Compaction(cast(Broker, self), self.folder, worker)

    def _open(self, partition: Partition) -> Log:
        self.opens += 1
        key = TopicPartition("t", partition.index)
        return self.folder.open_log(key, partition.config.log_config(), TOPIC_ID, self.now_ms)

    def clock_ms(self) -> int:
        return self.now_ms

    def has_records(self, topic: FakeTopic, index: int) -> bool:
        return self.folder.has_folder(TopicPartition(topic.name, index))

    def write(self, index: int, segments: int = 2) -> None:
        log = self.topics["t"].partition(index).log
        for _ in range(segments):
            append(log, [Record(timestamp=self.now_ms, key=b"k", value=b"v")], self.now_ms)
            log.roll(self.now_ms)
        append(log, [Record(timestamp=self.now_ms, key=b"k", value=b"v")], self.now_ms)
        self.flusher.run_round()

    async def look(self) -> list[str]:
        """The next look at all partitions; the folders that were compacted, or tried."""
        self.now_ms += LOOK_INTERVAL_MS
        self.worker.rounds.clear()
        task = asyncio.create_task(self.compaction.run())
        self.compaction.look()
        await self.compaction.idle.wait()
        task.cancel()
        return sorted(self.worker.rounds)


def run(scenario: Callable[[World], Any]) -> None:
    asyncio.run(scenario(World()))


def test_pauses_double_and_end_at_an_hour() -> None:
    assert [pause_ms(failures, 15_000) for failures in (1, 2, 3)] == [15_000, 30_000, 60_000]
    assert pause_ms(1_000_000, 15_000) == LONGEST_PAUSE_MS
    assert pause_ms(1, 0) == SHORTEST_PAUSE_MS
    assert (
        pause_ms(5, 2 * LONGEST_PAUSE_MS) == 2 * LONGEST_PAUSE_MS
    )  # never more often than any other partition


def test_a_partition_the_worker_dies_of_is_paused_and_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: World) -> None:
        world.write(0)
        world.write(1)
        world.worker.deadly = {"t-0"}
        assert await world.look() == ["t-0", "t-1"]
        tries, day_ms = 1, 24 * 3600 * 1000
        for _ in range(day_ms // LOOK_INTERVAL_MS):
            tries += len(await world.look())
        assert 24 <= tries <= 24 + 12  # once an hour in the end
        (status, other) = (await compact_status(cast(Broker, world), {}))["partitions"]
        assert (status["state"], status["failures"], other["failures"]) == ("paused", tries, 0)
        assert world.now_ms < status["next_try_ms"] <= world.now_ms + LONGEST_PAUSE_MS
        world.write(1, segments=9)
        assert await world.look() == ["t-1"]
        world.worker.deadly.clear()
        world.now_ms = status["next_try_ms"]
        assert await world.look() == ["t-0"]
        assert world.compaction.failures == {}

    with caplog.at_level(logging.WARNING, "floe.compaction"):
        run(scenario)
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(caplog.records) == FAILURES_UNTIL_TOLD and len(errors) == 1
    assert (
        errors[0].startswith("t-0: compaction has failed 3 times in a row") and "floe log verify" in errors[0]
    )


def test_a_worker_that_has_fallen_silent_holds_up_nobody_else() -> None:
    async def scenario(world: World) -> None:
        world.write(0)
        world.write(1)
        world.worker.silent = {"t-0"}
        assert await world.look() == ["t-0", "t-1"]
        assert list(world.compaction.failures) == [TopicPartition("t", 0)]
        assert "said nothing" in world.compaction.results[TopicPartition("t", 0)].error

    run(scenario)


def test_who_asks_does_not_wait_for_the_pause() -> None:
    async def scenario(world: World) -> None:
        world.write(0)
        world.worker.deadly = {"t-0"}
        assert await world.look() == await world.look() == ["t-0"]
        assert await world.look() == []
        world.worker.deadly.clear()
        world.compaction.request([TopicPartition("t", 0)])
        assert "t-0" in await world.look()
        assert world.compaction.failures == {}

    run(scenario)


def test_a_topic_of_the_same_name_is_another() -> None:
    async def scenario(world: World) -> None:
        world.write(0)
        world.compaction.uncleanable[TopicPartition("t", 0)] = "it is damaged"
        assert await world.look() == []
        world.compaction.topic_deleted("t")
        assert await world.look() == ["t-0"]

    run(scenario)


def test_a_round_over_a_deleted_topic_does_not_count_for_the_next_of_that_name() -> None:
    async def scenario(world: World) -> None:
        key = TopicPartition("t", 0)

        def recreate() -> None:
            world.folder.delete_log(key, TOPIC_ID)
            topic = world.topics["t"]
            topic.partitions = [Partition(cast(Topic, topic), index, world._open) for index in range(2)]
            world.write(0, segments=0)

        world.write(0)
        world.worker.meanwhile = recreate
        await world.look()
        assert world.folder.compacted_up_to(key) is None
        assert world.compaction.results[key].error == "the topic was deleted meanwhile"

    run(scenario)


def test_a_log_that_nobody_uses_is_opened_only_where_it_may_be_dirty() -> None:
    async def scenario(world: World) -> None:
        world.write(0)
        world.write(1, segments=0)
        assert await world.look() == ["t-0"]
        world.folder.close()
        world.start()
        world.opens = 0
        assert await world.look() == []
        assert world.opens == 0  # all of t-0 is compacted, t-1 has an active segment only
        world.write(0, segments=9)
        assert await world.look() == ["t-0"]
        world.folder.save_compacted_up_to(TopicPartition("t", 0), 1)
        world.folder.close()
        world.start()
        assert await world.look() == ["t-0"]

    run(scenario)


def test_segments_deleted_during_a_look_end_no_broker() -> None:
    async def scenario(world: World) -> None:
        world.write(0, segments=4)
        topic = world.topics["t"]
        topic.partitions += [Partition(cast(Topic, topic), index, world._open) for index in range(2, 40)]
        task = asyncio.create_task(world.compaction.run())
        for index in range(1, 40):
            world.write(index, segments=0)
        world.compaction.look()
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # twenty are measured
        assert not world.compaction.idle.is_set() and not world.worker.rounds
        log = topic.partition(0).log
        log.save_log_start = None
        log.delete_records_before(-1)
        idle = asyncio.create_task(world.compaction.idle.wait())
        await asyncio.wait({idle, task}, return_when=asyncio.FIRST_COMPLETED)
        assert not task.done(), task.exception()
        assert world.worker.rounds == []
        task.cancel()

    run(scenario)
