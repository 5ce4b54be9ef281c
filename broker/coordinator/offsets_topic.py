"""`__consumer_offsets` as the coordinator uses it: created at first need, written, replayed, waited for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from broker.topics.commands import CreateTopics, NewTopic
from broker.topics.names import CONSUMER_OFFSETS
from protocol.records import Record, build, crc_is_valid, iterate, parse_batches

if TYPE_CHECKING:
    from broker.coordinator.checkpoint import GroupCheckpoint
    from broker.runtime import Broker
    from broker.topics.partition import DurabilityWaiter, Partition

logger = logging.getLogger("floe.groups")

Changes = dict[bytes, bytes | None]
"""Keys and values of records; None deletes."""

READ_BYTES: Final = 1 << 20
"""How much of a partition is read at a time at start."""

MAX_DECOMPRESSED_BYTES: Final = 64 << 20
"""Nothing is compressed here by us or by Kafka; a batch that grows beyond this is neither's."""


class GroupLog(Protocol):
    """What the coordinator needs of a log of its own. Offsets are exclusive ends."""

    @property
    def partition_count(self) -> int:
        """0 as long as the topic has not been created."""

    def has_topic(self, name: str) -> bool:
        """Whether there is a topic of this name."""

    def create(self, done: Callable[[], None]) -> None:
        """Create the topic; `done` is called when it is there, or cannot be."""

    def append(self, index: int, records: Sequence[Record], now_ms: int) -> None:
        """Write records as one batch. Raises DiskFull, StorageFailed: nothing is written then."""

    def when_durable(self, index: int, waiter: DurabilityWaiter) -> bool:
        """Have `waiter` called when all that is written to a partition by now is synced; False if it is."""

    def records(self, index: int) -> Iterator[tuple[bytes | None, bytes | None]]:
        """Key and value of every record of a partition that matters: in order, those from a checkpoint first."""

    def deleted(self) -> None:
        """The topic is gone; it may be created again."""

    def checkpoint_steps(self) -> Iterator[Callable[[], None]]:
        """What makes the next start quick, in small steps."""

    def close(self) -> None:
        """Take all those steps; nothing is written any more."""


class Sealed:
    """What changed in a partition up to an offset that is not durable yet: it may go into the checkpoint when it is."""

    __slots__ = ("_changes", "_index", "_offset", "_topic")

    def __init__(self, topic: OffsetsTopic, index: int, changes: Changes, offset: int) -> None:
        self._topic = topic
        self._index = index
        self._changes = changes
        self._offset = offset

    def durable(self) -> None:
        self._topic.write_sealed(self._index, self._changes, self._offset)


class OffsetsTopic:
    """The topic in the catalog, with a checkpoint in the folder `checkpoint_path` unless that is None."""

    def __init__(self, broker: Broker, checkpoint_path: str | None = None) -> None:
        self._broker = broker
        self._checkpoint_path = checkpoint_path
        self._checkpoint: GroupCheckpoint | None = None
        self._changes: dict[int, Changes] = {}  # what the checkpoint lacks

    @property
    def partition_count(self) -> int:
        topic = self._broker.catalog.topics.get(CONSUMER_OFFSETS)
        return topic.partition_count if topic is not None else 0

    def has_topic(self, name: str) -> bool:
        return name in self._broker.catalog.topics

    def create(self, done: Callable[[], None]) -> None:
        config = self._broker.config
        settings = (
            ("cleanup.policy", "compact"),
            ("compression.type", "producer"),
            ("segment.bytes", str(config["offsets.topic.segment.bytes"])),
        )
        new = NewTopic(
            CONSUMER_OFFSETS,
            self._broker.new_id(),
            config["offsets.topic.num.partitions"],
            config["offsets.topic.replication.factor"],
            settings=settings,
        )
        self._broker.catalog.submit(CreateTopics([new])).then(lambda _results: done())

    def _partition(self, index: int) -> Partition:
        partition = self._broker.catalog.topics[CONSUMER_OFFSETS].partition(index)
        assert partition is not None
        return partition

    def append(self, index: int, records: Sequence[Record], now_ms: int) -> None:
        view = memoryview(build(records))
        self._partition(index).log.append(view, parse_batches(view), now_ms)
        self._broker.write_succeeded()
        if self._checkpoint_path is not None:
            changes = self._changes.setdefault(index, {})
            for record in records:
                if record.key is not None:
                    changes[record.key] = record.value

    def when_durable(self, index: int, waiter: DurabilityWaiter) -> bool:
        partition = self._partition(index)
        return partition.when_durable(partition.log.log_end_offset, waiter)

    # --- start --------------------------------------------------------------------------------------------------

    def records(self, index: int) -> Iterator[tuple[bytes | None, bytes | None]]:
        topic = self._broker.catalog.topics[CONSUMER_OFFSETS]
        if not self._broker.logs.has_records(topic, index):
            return
        offset = self._partition(index).log.log_start_offset
        checkpoint = self._open_checkpoint()
        if checkpoint is not None and self._fits(checkpoint, index):
            yield from checkpoint.records(index)
            offset = max(offset, checkpoint.offset(index))
        changes: Changes = {}
        for record in self._replay(index, offset):
            if record.key is not None:
                changes[record.key] = record.value
            yield record.key, record.value
        if checkpoint is not None and changes:
            self.write_sealed(index, changes, self._partition(index).log.durable_offset)

    def _open_checkpoint(self) -> GroupCheckpoint | None:
        if self._checkpoint is None and self._checkpoint_path is not None:
            from broker.coordinator.checkpoint import (
                GroupCheckpoint,
            )  # late: a broker without groups needs none

            topic_id = self._broker.catalog.topics[CONSUMER_OFFSETS].topic_id
            self._checkpoint = GroupCheckpoint(self._checkpoint_path, topic_id)
        return self._checkpoint

    def _fits(self, checkpoint: GroupCheckpoint, index: int) -> bool:
        """Whether the checkpoint of a partition is one of its log; if it is ahead, the log has lost its end."""
        if checkpoint.offset(index) <= self._partition(index).log.durable_offset:
            return True
        checkpoint.clear(index)
        return False

    def _replay(self, index: int, offset: int) -> Iterator[Record]:
        log = self._partition(index).log
        while offset < log.durable_offset:
            piece = log.read(offset, READ_BYTES, log.durable_offset, True)
            if piece is None:
                return
            view = memoryview(piece.read())
            for batch in parse_batches(view):
                if not crc_is_valid(view, batch):
                    logger.error(
                        "%s-%d: the batch at %d is damaged", CONSUMER_OFFSETS, index, batch.base_offset
                    )
                elif not batch.is_control:
                    for record in iterate(view, batch, MAX_DECOMPRESSED_BYTES):
                        if record.offset >= offset:
                            yield record
                offset = batch.next_offset

    # --- checkpoint ---------------------------------------------------------------------------------------------

    def checkpoint_steps(self) -> Iterator[Callable[[], None]]:
        """Let the checkpoint follow, a partition at a time, none longer than some milliseconds."""
        for index in list(self._changes):
            yield lambda index=index: self._seal(index)  # type: ignore[misc]

    def _seal(self, index: int) -> None:
        changes = self._changes.pop(index, None)
        if not changes:
            return
        partition = self._partition(index)
        end_offset = partition.log.log_end_offset
        sealed = Sealed(self, index, changes, end_offset)
        if not partition.when_durable(end_offset, sealed):
            sealed.durable()

    def write_sealed(self, index: int, changes: Changes, offset: int) -> None:
        """Write what has become durable."""
        checkpoint = self._open_checkpoint()
        if checkpoint is not None and not checkpoint.write(index, changes, offset):
            self._changes[index] = changes | self._changes.get(
                index, {}
            )  # the next write makes up for this one

    def deleted(self) -> None:
        self._changes.clear()
        if self._checkpoint is not None:
            self._checkpoint.close()
            self._checkpoint = None  # opened for another topic it throws its contents away

    def close(self) -> None:
        for step in self.checkpoint_steps():
            step()
        if self._checkpoint is not None:
            self._checkpoint.close()
            self._checkpoint = None
            self._checkpoint_path = None
