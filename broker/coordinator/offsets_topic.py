"""`__consumer_offsets` as the coordinator uses it: created at first need, written, replayed, waited for.

Offsets committed in a transaction lie in the log as a transaction's records do, and count from its marker on. The
coordinator is told of both in the order of the log; see `transactional_offsets.py` for the keys they come under.
The checkpoint follows a partition only up to where no transaction is open, so it never holds half of one.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from broker.coordinator.transactional_offsets import Producer, marker_entry, pending_entry
from broker.topics.commands import CreateTopics, NewTopic
from broker.topics.names import CONSUMER_OFFSETS
from protocol.keyed_batch import KeyedRecord, build_keyed
from protocol.records import (
    COMMIT_MARKER,
    Record,
    RecordBatch,
    crc_is_valid,
    iterate,
    parse_batches,
    parse_control_key,
)

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

    def append(
        self, index: int, records: Sequence[KeyedRecord], now_ms: int, producer: Producer | None = None
    ) -> int:
        """Write records as one batch, in the transaction of `producer` if there is one; the offset of the first.

        Raises ApiError, DiskFull, StorageFailed: nothing is written then.
        """

    def note(self, index: int, records: Sequence[KeyedRecord]) -> None:
        """Records of a transaction count from now on: the checkpoint is to hold them."""

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

    NAME: str = CONSUMER_OFFSETS

    def __init__(self, broker: Broker, checkpoint_path: str | None = None) -> None:
        self._broker = broker
        self._checkpoint_path = checkpoint_path
        self._checkpoint: GroupCheckpoint | None = None
        self._changes: defaultdict[int, Changes] = defaultdict(dict)  # what the checkpoint lacks

    @property
    def partition_count(self) -> int:
        topic = self._broker.catalog.topics.get(self.NAME)
        return topic.partition_count if topic is not None else 0

    def has_topic(self, name: str) -> bool:
        return name in self._broker.catalog.topics

    def create(self, done: Callable[[], None]) -> None:
        self._broker.catalog.submit(CreateTopics([self._new_topic()])).then(lambda _results: done())

    def _new_topic(self) -> NewTopic:
        config = self._broker.config
        return NewTopic(
            self.NAME,
            self._broker.new_id(),
            config["offsets.topic.num.partitions"],
            config["offsets.topic.replication.factor"],
            settings=internal_settings(config["offsets.topic.segment.bytes"]),
        )

    def _partition(self, index: int) -> Partition:
        partition = self._broker.catalog.topics[self.NAME].partition(index)
        assert partition is not None
        return partition

    def append(
        self, index: int, records: Sequence[KeyedRecord], now_ms: int, producer: Producer | None = None
    ) -> int:
        log = self._partition(index).log
        if producer is None:
            batch, header = build_keyed(records, now_ms)
        else:
            batch, header = build_keyed(records, now_ms, *producer)
            log.producers.check_coordinator_batch(header)
        appended = log.append(memoryview(batch), [header], now_ms, check_producers=False)
        self._broker.write_succeeded()
        if producer is None:
            self.note(index, records)
        return appended.base_offset

    def note(self, index: int, records: Sequence[KeyedRecord]) -> None:
        if self._checkpoint_path is not None:
            self._changes[index].update(records)

    def when_durable(self, index: int, waiter: DurabilityWaiter) -> bool:
        partition = self._partition(index)
        return partition.when_durable(partition.log.log_end_offset, waiter)

    # --- start --------------------------------------------------------------------------------------------------

    def records(self, index: int) -> Iterator[tuple[bytes | None, bytes | None]]:
        topic = self._broker.catalog.topics[self.NAME]
        if not self._broker.logs.has_records(topic, index):
            return
        offset = self._partition(index).log.log_start_offset
        checkpoint = self._open_checkpoint()
        if checkpoint is not None and self._fits(checkpoint, index):
            yield from checkpoint.records(index)
            offset = max(offset, checkpoint.offset(index))
        for batch, record in self._replay(index, offset):
            if batch.is_control:
                is_committed = parse_control_key(record.key) == COMMIT_MARKER
                yield marker_entry(batch.producer_id, is_committed)
            elif batch.is_transactional:
                producer = Producer(batch.producer_id, batch.producer_epoch)
                yield pending_entry(producer, record.offset, record.key), record.value
            else:
                if record.key is not None:
                    self.note(index, ((record.key, record.value),))
                yield record.key, record.value
        if checkpoint is not None:
            self._seal(index)

    def _open_checkpoint(self) -> GroupCheckpoint | None:
        if self._checkpoint is None and self._checkpoint_path is not None:
            from broker.coordinator.checkpoint import (
                GroupCheckpoint,
            )  # late: a broker without groups needs none

            topic_id = self._broker.catalog.topics[self.NAME].topic_id
            self._checkpoint = GroupCheckpoint(self._checkpoint_path, topic_id)
        return self._checkpoint

    def _fits(self, checkpoint: GroupCheckpoint, index: int) -> bool:
        """Whether the checkpoint of a partition is one of its log; if it is ahead, the log has lost its end."""
        if checkpoint.offset(index) <= self._partition(index).log.durable_offset:
            return True
        checkpoint.clear(index)
        return False

    def _replay(self, index: int, offset: int) -> Iterator[tuple[RecordBatch, Record]]:
        log = self._partition(index).log
        while offset < log.durable_offset:
            piece = log.read(offset, READ_BYTES, log.durable_offset, True)
            if piece is None:
                return
            view = memoryview(piece.read())
            for batch in parse_batches(view):
                if not crc_is_valid(view, batch):
                    logger.error("%s-%d: the batch at %d is damaged", self.NAME, index, batch.base_offset)
                else:
                    for record in iterate(view, batch, MAX_DECOMPRESSED_BYTES):
                        if record.offset >= offset:
                            yield batch, record
                offset = batch.next_offset

    # --- checkpoint ---------------------------------------------------------------------------------------------

    def checkpoint_steps(self) -> Iterator[Callable[[], None]]:
        """Let the checkpoint follow, a partition at a time, none longer than some milliseconds."""
        for index in list(self._changes):
            yield lambda index=index: self._seal(index)  # type: ignore[misc]

    def _seal(self, index: int) -> None:
        partition = self._partition(index)
        if partition.log.producers.first_unstable_offset() >= 0:
            return  # a transaction is open: next time
        changes = self._changes.pop(index, None)
        if not changes:
            return
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


def internal_settings(segment_bytes: int) -> tuple[tuple[str, str], ...]:
    """The settings of a topic that a coordinator keeps its state in."""
    return (
        ("cleanup.policy", "compact"),
        ("compression.type", "producer"),
        ("segment.bytes", str(segment_bytes)),
    )
