"""Logs of topics: opened at first use, taken away with their topic."""

from __future__ import annotations

from tests.broker.topics.conftest import NOW_MS, Bench
from tests.broker.topics.test_partition import NEWEST, batch
from wal.checkpoint import TopicPartition


def test_a_partition_nobody_uses_has_no_log(bench: Bench) -> None:
    topic = bench.topic(partitions=100)
    partition = topic.partition(7)
    assert partition is not None
    assert partition.opened_log is None
    assert bench.folder.open_logs == {}
    assert partition.log.log_end_offset == 0
    assert list(bench.folder.open_logs) == [TopicPartition("t", 7)]
    assert bench.storage.list("/data/t-7") == []  # its folder comes with the first record


def test_a_deleted_topics_files_go_after_the_delay(bench: Bench) -> None:
    topic = bench.topic(file_delete_delay_ms="5000")
    partition = topic.partition(0)
    assert partition is not None
    partition.append(memoryview(batch(b"a")), NEWEST, NOW_MS)
    bench.flusher.run_round()
    bench.logs.delete(topic)
    folders = [name for name in bench.storage.list("/data") if name.endswith("-delete")]
    assert len(folders) == 1
    assert "t-0" not in bench.storage.list("/data")
    bench.logs.remove_due(NOW_MS + 4999)
    assert bench.storage.list(f"/data/{folders[0]}")
    bench.logs.remove_due(NOW_MS + 5000)
    assert not [name for name in bench.storage.list("/data") if name.endswith("-delete")]


def test_a_topic_of_the_same_name_begins_at_zero(bench: Bench) -> None:
    topic = bench.topic()
    partition = topic.partition(0)
    assert partition is not None
    partition.append(memoryview(batch(b"a", b"b")), NEWEST, NOW_MS)
    bench.flusher.run_round()
    bench.logs.delete(topic)
    successor = bench.topic().partition(0)
    assert successor is not None
    assert successor.append(memoryview(batch(b"c")), NEWEST, NOW_MS).base_offset == 0


def test_after_elections_elsewhere_a_log_goes_on_in_the_catalogs_leader_epoch(bench: Bench) -> None:
    topic = bench.topic()
    topic.set_leader_epoch(0, 5)
    partition = topic.partition(0)
    assert partition is not None
    partition.append(memoryview(batch(b"a")), NEWEST, NOW_MS)
    assert partition.leader_epoch == 5
    assert partition.log.epoch_end_offset(5) == (5, 1)


def test_clients_are_told_the_leader_epoch_of_a_log_that_is_ahead_of_the_catalog(bench: Bench) -> None:
    first = bench.topic()
    first.set_leader_epoch(0, 5)
    partition = first.partition(0)
    assert partition is not None
    partition.append(memoryview(batch(b"a")), NEWEST, NOW_MS)
    bench.flusher.run_round()
    bench.folder.close()
    again = Bench(bench.storage)
    topic = again.topic()
    partition = topic.partition(0)
    assert partition is not None and partition.leader_epoch == 5
    assert topic.leader_epochs == {0: 5}
