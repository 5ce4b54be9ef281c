"""Background work comes when it is due, in small steps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from broker.topics.partition import Partition
from broker.topics.upkeep import RECOVERY_POINT_INTERVAL_MS, Upkeep
from tests.broker.topics.conftest import NOW_MS, Bench
from tests.broker.topics.test_partition import NEWEST, batch
from wal.checkpoint import TopicPartition, read_offsets
from wal.errors import DiskFull, StorageFailed
from wal.layout import LOG_START_CHECKPOINT, RECOVERY_POINT_CHECKPOINT

HOUR_MS = 3_600_000


class Host:
    """A bench as upkeep sees a broker, with its topics in a catalog."""

    def __init__(self, bench: Bench, *topics: Any) -> None:
        self.logs = bench.logs
        self.checkpoints = 0
        self.catalog = SimpleNamespace(
            topics={topic.name: topic for topic in topics}, write_checkpoint=self._write_checkpoint
        )
        self.tabled_offset = 1 << 60
        self.tables = SimpleNamespace(keep_from=lambda partition: self.tabled_offset)
        self.parts = SimpleNamespace(made_compaction=None, checkpoint_steps=list)
        self._bench = bench
        self.failures: list[StorageFailed] = []
        self.storage_failed = self.failures.append

    def _write_checkpoint(self) -> None:
        self.checkpoints += 1

    def clock_ms(self) -> int:
        return self._bench.now_ms

    def run(self, upkeep: Upkeep, now_ms: int) -> None:
        self._bench.now_ms = now_ms
        for step in upkeep.due(now_ms):
            step()
        while self._bench.flusher.is_dirty:
            self._bench.flusher.run_round()


def three_segments(bench: Bench, topic: Any) -> Partition:
    """The topic's first partition, with a durable record in each of three segments."""
    partition: Partition | None = topic.partition(0)
    assert partition is not None
    for _ in range(3):
        partition.append(memoryview(batch(b"x" * 900_000)), NEWEST, NOW_MS)
    bench.flusher.run_round()
    return partition


def test_retention_is_enforced_on_logs_nobody_opened(bench: Bench) -> None:
    topic = bench.topic(retention_ms=str(HOUR_MS), segment_bytes="1048576")
    partition = three_segments(bench, topic)
    host: Any = Host(bench, topic)
    upkeep = Upkeep(host, bench.folder, bench.config)
    host.run(upkeep, NOW_MS + HOUR_MS // 2)
    assert partition.log.log_start_offset == 0
    host.run(upkeep, NOW_MS + 2 * HOUR_MS)
    assert partition.log.log_start_offset >= 2


@pytest.mark.parametrize(("enabled", "start"), [("true", 1), ("false", 2)])
def test_retention_keeps_what_is_not_in_the_table(bench: Bench, enabled: str, start: int) -> None:
    settings = {"floe.table.enable": enabled, "retention.ms": str(HOUR_MS), "segment.bytes": "1048576"}
    topic = bench.topic(**settings)
    partition = three_segments(bench, topic)
    host: Any = Host(bench, topic)
    upkeep = Upkeep(host, bench.folder, bench.config)
    host.tabled_offset = 1
    host.run(upkeep, NOW_MS + 2 * HOUR_MS)
    assert (
        partition.log.log_start_offset >= start
        if enabled == "false"
        else partition.log.log_start_offset == start
    )
    partition.log.delete_records_before(2)
    assert partition.log.log_start_offset >= 2


def test_a_partition_without_records_is_not_opened(bench: Bench) -> None:
    topic = bench.topic(partitions=3)
    host: Any = Host(bench, topic)
    upkeep = Upkeep(host, bench.folder, bench.config)
    host.run(upkeep, NOW_MS + HOUR_MS)
    assert bench.folder.open_logs == {}


def restarted(bench: Bench) -> Bench:
    """After a clean stop, with no log open."""
    bench.folder.close()
    again = Bench(bench.storage)
    again.now_ms = bench.now_ms
    return again


def test_an_idle_log_is_opened_when_something_of_it_is_due(bench: Bench) -> None:
    settings = {"retention_ms": str(HOUR_MS), "segment_bytes": "1048576"}
    three_segments(bench, bench.topic(**settings))
    bench = restarted(bench)
    topic = bench.topic(**settings)
    host: Any = Host(bench, topic)
    upkeep = Upkeep(host, bench.folder, bench.config)
    host.run(upkeep, NOW_MS + HOUR_MS // 2)
    assert bench.folder.open_logs == {} and not list(topic.made_partitions())
    host.run(upkeep, NOW_MS + 2 * HOUR_MS)
    partition = topic.partition(0)
    assert partition is not None and partition.log.log_start_offset >= 2


def test_a_topic_that_goes_during_a_round_is_left_alone(bench: Bench) -> None:
    topic = bench.topic(retention_ms=str(HOUR_MS), segment_bytes="1048576")
    partition = three_segments(bench, topic)
    host: Any = Host(bench, topic)
    upkeep = Upkeep(host, bench.folder, bench.config)
    bench.now_ms = NOW_MS + 2 * HOUR_MS
    steps = upkeep.due(bench.now_ms)
    for step in steps:
        step()
        if partition.log.flusher.is_dirty:  # planned: the state of producers is written
            break
    else:
        pytest.fail("nothing was planned")
    bench.logs.delete(topic)
    successor = bench.topic()
    host.catalog.topics["t"] = successor
    for step in steps:
        step()
    assert read_offsets(bench.storage, "/data", LOG_START_CHECKPOINT) == {}
    assert host.failures == []


def test_all_partitions_share_the_write_of_their_starts(bench: Bench) -> None:
    topic = bench.topic(partitions=4, retention_ms=str(HOUR_MS))
    for index in range(4):
        partition = topic.partition(index)
        assert partition is not None
        partition.append(memoryview(batch(b"a")), NEWEST, NOW_MS)
    bench.flusher.run_round()
    host: Any = Host(bench, topic)
    upkeep = Upkeep(host, bench.folder, bench.config)
    host.run(upkeep, NOW_MS + 2 * HOUR_MS)
    written = [path for operation, path in bench.storage.trace if operation == "rename"]
    assert sum(LOG_START_CHECKPOINT in path for path in written) == 1
    saved = read_offsets(bench.storage, "/data", LOG_START_CHECKPOINT)
    assert saved == {TopicPartition("t", index): 1 for index in range(4)}


def test_recovery_points_and_the_catalogs_checkpoint_are_saved(bench: Bench) -> None:
    topic = bench.topic()
    partition = topic.partition(0)
    assert partition is not None
    partition.append(memoryview(batch(b"a", b"b")), NEWEST, NOW_MS)
    bench.flusher.run_round()
    host: Any = Host(bench, topic)
    upkeep = Upkeep(host, bench.folder, bench.config)
    host.run(upkeep, NOW_MS + 1)
    assert host.checkpoints == 0
    host.run(upkeep, NOW_MS + RECOVERY_POINT_INTERVAL_MS)
    assert host.checkpoints == 1
    saved = read_offsets(bench.storage, "/data", RECOVERY_POINT_CHECKPOINT)
    assert saved == {TopicPartition("t", 0): 2}


def test_a_full_disk_does_not_keep_retention_from_freeing_it(bench: Bench) -> None:
    topic = bench.topic(retention_ms=str(HOUR_MS), segment_bytes="1048576")
    partition = three_segments(bench, topic)
    host: Any = Host(bench, topic)
    upkeep = Upkeep(host, bench.folder, bench.config)
    bench.storage.capacity = bench.storage.used_bytes()
    host.run(upkeep, NOW_MS + 2 * HOUR_MS)
    assert [type(failure) for failure in host.failures] == [DiskFull]  # the recovery points
    assert partition.log.log_start_offset == 2
    bench.storage.capacity = None
    host.run(upkeep, NOW_MS + 3 * HOUR_MS)
    assert read_offsets(bench.storage, "/data", RECOVERY_POINT_CHECKPOINT) == {TopicPartition("t", 0): 3}
