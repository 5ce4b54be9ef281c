"""Background work on the logs: retention, recovery points, files whose time has come.

Planned here, run by the runtime step by step, so that ten thousand partitions never keep the loop from its clients.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from protocol.errors import StorageFailed
from wal.checkpoint import TopicPartition

if TYPE_CHECKING:
    from broker.config import BrokerConfig
    from broker.runtime import Broker
    from broker.topics.catalog import Topic
    from wal.data_folder import DataFolder
    from wal.retention import Planned, RetentionRound

log = logging.getLogger("floe.upkeep")

RECOVERY_POINT_INTERVAL_MS: Final = 60_000
"""How often recovery points are saved: how much of a log is walked after a crash (Kafka's
log.flush.offset.checkpoint.interval.ms)."""

Step = Callable[[], None]


class Upkeep:
    """What is due when. `due` yields steps of a few milliseconds at most."""

    def __init__(self, broker: Broker, folder: DataFolder, config: BrokerConfig) -> None:
        self._broker = broker
        self._folder = folder
        self._retention_interval_ms: int = config["log.retention.check.interval.ms"]
        self._compacts: bool = config["log.cleaner.enable"]
        now_ms = broker.clock_ms()
        self._next_retention_ms = now_ms + min(self._retention_interval_ms, 30_000)
        self._next_checkpoint_ms = now_ms + RECOVERY_POINT_INTERVAL_MS
        self._catalog_interval_ms: int = config["floe.metadata.checkpoint.interval.ms"]
        self._next_catalog_ms = now_ms + self._catalog_interval_ms

    def due(self, now_ms: int) -> Iterator[Step]:
        """What is to be done now. What a full disk refuses is left for later: other steps are what frees it."""
        for step in self._due(now_ms):
            yield partial(self._take, step)

    def _take(self, step: Step) -> None:
        try:
            step()
        except StorageFailed as failure:
            self._broker.storage_failed(failure)

    def _due(self, now_ms: int) -> Iterator[Step]:
        yield lambda: self._broker.logs.remove_due(now_ms)
        if now_ms >= self._next_checkpoint_ms:
            self._next_checkpoint_ms = now_ms + RECOVERY_POINT_INTERVAL_MS
            yield self._folder.checkpoint
        if now_ms >= self._next_catalog_ms:
            self._next_catalog_ms = now_ms + self._catalog_interval_ms
            yield self._broker.catalog.write_checkpoint
            yield from self._broker.parts.checkpoint_steps()
        if now_ms >= self._next_retention_ms:
            self._next_retention_ms = now_ms + self._retention_interval_ms
            yield from self._retention(now_ms)
        if self._compacts and self._has_compacted_topics():
            yield self._broker.compaction.look
        for _, opened in self._broker.logs.opened():
            if opened.pending_deletions:
                yield lambda opened=opened: opened.delete_due_files(now_ms)  # type: ignore[misc]

    def _has_compacted_topics(self) -> bool:
        topics = self._broker.catalog.topics.values()
        return self._broker.parts.made_compaction is not None or any(
            topic.config.is_compacted for topic in topics
        )

    def _retention(self, now_ms: int) -> Iterator[Step]:
        """All partitions in one round, so that their new starts are saved with one write."""
        retention = self._broker.logs.retention_round(now_ms)
        for topic in list(self._broker.catalog.topics.values()):
            for index in range(topic.partition_count):
                yield partial(self._plan, retention, topic, index, now_ms)
        if retention.planned:
            yield retention.save
        for planned in retention.planned:
            yield partial(self._carry_out, retention, planned)

    def _plan(self, retention: RetentionRound, topic: Topic, index: int, now_ms: int) -> None:
        if self._broker.catalog.topics.get(topic.name) is not topic:
            return  # deleted since the round began
        if not self._broker.logs.retention_may_be_due(topic, index, now_ms):
            return
        partition = topic.partition(index)
        if partition is not None:
            keep_from = self._broker.tables.keep_from(partition) if topic.has_table else None
            retention.plan(TopicPartition(topic.name, index), partition.log, keep_from)

    def _carry_out(self, retention: RetentionRound, planned: Planned) -> None:
        freed = retention.carry_out(planned)
        if freed:
            log.info("%s-%d: retention freed %d bytes", *planned.key, freed)
