"""From topics to their logs: partitions are made here, their logs opened at first use, kept and deleted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from broker.topics.partition import Partition
from wal.checkpoint import TopicPartition
from wal.retention import RetentionRound

if TYPE_CHECKING:
    from broker.topics.catalog import Topic
    from wal.data_folder import DataFolder
    from wal.log import Log

log = logging.getLogger("floe.topics")


class TopicLogs:
    """The logs of all topics in one data folder."""

    def __init__(self, folder: DataFolder, clock_ms: Callable[[], int]) -> None:
        self._folder = folder
        self._clock_ms = clock_ms
        self._removals: list[tuple[int, str]] = []  # (due ms, folder)
        self.on_progress: Callable[[Partition], None] | None = None
        """What every partition that is made tells of its first durable records."""

    def partition(self, topic: Topic, index: int) -> Partition:
        """The catalog's factory of partitions."""
        partition = Partition(topic, index, self._open)
        if not topic.is_internal:
            partition.on_progress = self.on_progress
        return partition

    def _open(self, partition: Partition) -> Log:
        topic = partition.topic
        key = TopicPartition(topic.name, partition.index)
        opened = self._folder.open_log(key, topic.config.log_config(), topic.topic_id, self._clock_ms())
        recovered = opened.recovered
        if recovered is not None and (recovered.batches_walked or recovered.cuts or recovered.damage):
            # Where nothing was amiss it is a line for each of thousands, and the start says how many there were.
            is_notable = recovered.cuts or recovered.damage or recovered.rebuilt
            log.log(logging.INFO if is_notable else logging.DEBUG, "%s recovered: %s", partition, recovered)
        self._settle_leader_epoch(topic, partition.index, opened)
        return opened

    def _settle_leader_epoch(self, topic: Topic, index: int, opened: Log) -> None:
        """The epoch clients are told is the one batches are written with: the newest that log or catalog know.

        They differ after elections that no record followed, and where a partition's folder comes from elsewhere.
        """
        known = topic.leader_epochs.get(index, 0)
        if known > opened.leader_epoch:
            opened.begin_leader_epoch(known, self._clock_ms())
        elif known < opened.leader_epoch:
            topic.set_leader_epoch(index, opened.leader_epoch)

    def delete(self, topic: Topic) -> None:
        """The topic is gone: take its logs out of service now, and their files away after a while."""
        now_ms = self._clock_ms()
        for index in range(topic.partition_count):
            key = TopicPartition(topic.name, index)
            if not self._folder.has_folder(key):
                continue
            directory = self._folder.delete_log(key, topic.topic_id)
            if directory is not None:
                self._removals.append((now_ms + topic.config.file_delete_delay_ms, directory))

    def remove_due(self, now_ms: int) -> None:
        """Remove the folders of topics that were deleted long enough ago."""
        due = [directory for due_ms, directory in self._removals if due_ms <= now_ms]
        self._removals = [(due_ms, directory) for due_ms, directory in self._removals if due_ms > now_ms]
        for directory in due:
            self._folder.remove(directory)

    def opened(self) -> Iterator[tuple[TopicPartition, Log]]:
        yield from list(self._folder.open_logs.items())

    def has_records(self, topic: Topic, index: int) -> bool:
        """Whether the partition has a folder, without opening it."""
        return self._folder.has_folder(TopicPartition(topic.name, index))

    def retention_may_be_due(self, topic: Topic, index: int, now_ms: int) -> bool:
        """Whether there may be something to delete, as far as can be told without opening the log."""
        key = TopicPartition(topic.name, index)
        return self._folder.has_folder(key) and self._folder.may_be_due(
            key, topic.config.log_config(), now_ms
        )

    def move_starts(self, starts: Mapping[Partition, int]) -> None:
        """Have logs start at these offsets, durably, with one write for all.

        Raises DiskFull, StorageFailed: then none has moved.
        """
        self._folder.save_log_starts(
            {TopicPartition(at.topic.name, at.index): offset for at, offset in starts.items()}
        )
        for partition, offset in starts.items():
            partition.log.log_start_offset = max(offset, partition.log.log_start_offset)

    def retention_round(self, now_ms: int) -> RetentionRound:
        """A round of retention over logs of this folder."""
        return RetentionRound(self._folder.save_log_starts, now_ms)
