"""`__consumer_offsets` as the coordinator uses it: created at first need, written, replayed, waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from broker.topics.commands import CreateTopics, NewTopic
from broker.topics.names import CONSUMER_OFFSETS
from protocol.records import Record, build, crc_is_valid, iterate, parse_batches

if TYPE_CHECKING:
    from broker.runtime import Broker
    from broker.topics.partition import DurabilityWaiter, Partition

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

    def replay(self, index: int) -> Iterator[Record]:
        """Every record of a partition, in order."""


class OffsetsTopic:
    """The topic in the catalog."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

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

    def when_durable(self, index: int, waiter: DurabilityWaiter) -> bool:
        partition = self._partition(index)
        return partition.when_durable(partition.log.log_end_offset, waiter)

    def replay(self, index: int) -> Iterator[Record]:
        topic = self._broker.catalog.topics[CONSUMER_OFFSETS]
        if not self._broker.logs.has_records(topic, index):
            return
        log = self._partition(index).log
        offset = log.log_start_offset
        while offset < log.durable_offset:
            piece = log.read(offset, READ_BYTES, log.durable_offset, True)
            if piece is None:
                return
            view = memoryview(piece.read())
            for batch in parse_batches(view):
                assert crc_is_valid(view, batch), (
                    f"{CONSUMER_OFFSETS}-{index}: a batch is damaged at {batch.base_offset}"
                )
                if not batch.is_control:
                    yield from iterate(view, batch, MAX_DECOMPRESSED_BYTES)
                offset = batch.next_offset
