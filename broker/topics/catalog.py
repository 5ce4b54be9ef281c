"""The catalog: topics, their ids and settings, event-sourced into `__cluster_metadata`.

    submit ──► queue ──► decide ──► append to the log ──► … durable … ──► apply ──► answer
                 ▲        (pure: records and answer)       (the log says so)  │
                 └───────────────── the next command ◄───────────────────────┘

One command is under way at a time, so each is decided on a state that has all before it. What readers see is durable.
Nothing here waits: the log calls `on_durable`. At start the checkpoint is loaded and the rest of the log replayed.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from broker.request import Deferred
from broker.topics.checkpoint import Checkpoint, UnusableCheckpoint
from broker.topics.commands import Command, Outcome, RegisterBroker, Result, SetFeatures
from broker.topics.decide import decide
from broker.topics.metadata_log import (
    MetadataLog,
    UnreadableMetadata,
    append,
    newest_snapshot,
    records_of,
    replay,
)
from broker.topics.names import CLUSTER_METADATA
from broker.topics.state import BROKER, TOPIC, State, Topic
from protocol.errors import ErrorCode, StorageFailed
from protocol.messages.internal.topic_records import (
    ConfigRecord,
    PartitionChangeRecord,
    PartitionRecord,
    RemoveTopicRecord,
)
from wal.checkpoint import TopicPartition
from wal.layout import partition_directory
from wal.log import LogConfig
from wal.storage import read_file

if TYPE_CHECKING:
    from broker.config import BrokerConfig
    from broker.runtime import Broker
    from broker.topics.partition import Partition
    from wal.data_folder import DataFolder

__all__ = ["Catalog", "Topic"]

T = TypeVar("T")

log = logging.getLogger("floe.catalog")

INITIAL_FEATURES: Final = (("metadata.version", 30), ("group.version", 1), ("transaction.version", 2))
"""metadata.version 4.3-IV0 is the level needed to read the records written here: it is the first record of the log.
group.version 1 is KIP-848; transaction.version 2 is KIP-890, which clients use if they find it finalised."""


METADATA_TOPIC_ID: Final = (1).to_bytes(16, "big")
"""Kafka's Uuid.METADATA_TOPIC_ID."""

LOG_CONFIG: Final = LogConfig(
    retention_ms=-1, retention_bytes=-1, segment_ms=2**63 - 1, preallocate_bytes=1 << 20
)
"""The metadata log keeps everything: what it says of topics is nowhere else."""

CHECKPOINT_FOLDER: Final = "catalog.checkpoint"


class Pending(NamedTuple):
    """A command whose records are written and not durable yet."""

    end_offset: int
    outcome: Outcome
    deferred: Deferred[list[Result]]


class Catalog:
    """`topics` and `by_id` are for everybody to read; every change goes through `submit`."""

    def __init__(
        self,
        config: BrokerConfig,
        metadata_log: MetadataLog,
        make_partition: Callable[[Topic, int], Partition],
        *,
        clock_ms: Callable[[], int],
        new_id: Callable[[], bytes],
        checkpoint: Checkpoint | None = None,
        snapshot: Callable[[int, int], tuple[int, bytes] | None] = lambda log_start, log_end: None,
        kick: Callable[[], None] = lambda: None,
        on_deleted: Callable[[Topic], None] = lambda topic: None,
        on_reconfigured: Callable[[Topic], None] = lambda topic: None,
        on_storage_failed: Callable[[StorageFailed], None] = lambda failure: None,
    ) -> None:
        """Load the checkpoint, replay the rest of the log.

        `new_id` draws a random uuid; `snapshot` finds (offset, bytes) of Kafka's newest within the log's ends;
        `kick` wakes the flusher after an append; `on_deleted` takes a topic's files away; `on_storage_failed` hears
        of a write that failed. Whoever makes the catalog sets the log's `on_durable` to the catalog's.
        Raises UnreadableMetadata, StorageFailed.
        """
        self._config = config
        self._log = metadata_log
        self._make_partition = make_partition
        self._clock_ms = clock_ms
        self.new_id = new_id
        """Draws an id for a topic to be created."""
        self._checkpoint = checkpoint
        self._snapshot = snapshot
        self._kick = kick
        self._on_deleted = on_deleted
        self._on_reconfigured = on_reconfigured
        self._on_storage_failed = on_storage_failed
        self._queue: deque[tuple[Command, Deferred[list[Result]]]] = deque()
        self._pending: Pending | None = None
        self._is_advancing = False
        self._checkpoint_offset = 0
        self.next_offset = 0
        """The first offset of the metadata log that is not applied."""
        self.state = self._load()
        self.topics: dict[str, Topic] = self.state.topics
        self.by_id: dict[bytes, Topic] = self.state.by_id

    @property
    def metadata_log(self) -> MetadataLog:
        """What the state is made of."""
        return self._log

    @property
    def applied_offset(self) -> int:
        """Offset of the last record applied, -1 before the first: the epoch of finalised features (KIP-584)."""
        return self.next_offset - 1

    @property
    def features(self) -> dict[str, int]:
        """Finalised feature levels."""
        return self.state.features

    # --- start ------------------------------------------------------------------------------------------------

    @classmethod
    async def open(cls, broker: Broker, folder: DataFolder) -> Catalog:
        """The catalog of a data folder, with this run of the broker written down in it."""
        config = broker.config
        key = TopicPartition(CLUSTER_METADATA, 0)
        metadata_log = folder.open_log(key, LOG_CONFIG, METADATA_TOPIC_ID, broker.clock_ms())
        catalog = cls(
            config,
            metadata_log,
            broker.logs.partition,
            clock_ms=broker.clock_ms,
            new_id=broker.new_id,
            checkpoint=Checkpoint(f"{folder.root}/{CHECKPOINT_FOLDER}", broker.cluster_id),
            snapshot=partial(_read_snapshot, folder),
            kick=broker.flusher.kick,
            on_deleted=broker.topic_deleted,
            on_reconfigured=broker.topic_reconfigured,
            on_storage_failed=broker.storage_failed,
        )
        metadata_log.on_durable = catalog.on_durable
        await catalog.register(config.advertised_listeners or config.listeners, config["broker.rack"])
        return catalog

    def _load(self) -> State:
        state = State(self._config, self._make_partition)
        if self._checkpoint is not None:
            try:
                self.next_offset = self._checkpoint.load(
                    state, self._log.log_start_offset, self._log.durable_offset
                )
            except UnusableCheckpoint:
                self._config.forget_dynamic()
                state = State(self._config, self._make_partition)
        self._checkpoint_offset = self.next_offset
        if self.next_offset < self._log.log_start_offset:
            self._load_snapshot(state)
        removed: dict[str, Topic] = {}
        for offset, record in replay(self._log, self.next_offset):
            if isinstance(record, RemoveTopicRecord):
                topic = state.by_id[record.topic_id]
                removed[topic.name] = topic
            self._mark(state, record)
            state.apply(record)
            self.next_offset = offset + 1
        if self._checkpoint is not None and self._checkpoint_offset == 0:
            self._checkpoint.mark_all(state)
        for name, topic in removed.items():
            # A crash may have come between the record and the files. A name in use again proves that it did not.
            if name not in state.topics:
                self._on_deleted(topic)
        return state

    def _load_snapshot(self, state: State) -> None:
        """What the log says no more, because Apache Kafka has deleted its beginning. Raises UnreadableMetadata."""
        start = self._log.log_start_offset
        found = self._snapshot(start, self._log.log_end_offset)
        if found is None:
            raise UnreadableMetadata(
                f"the metadata log begins at offset {start}, no snapshot has what was before"
            )
        self.next_offset, data = found
        for record in records_of(data):
            state.apply(record)

    def register(self, endpoints: Sequence[tuple[str, str, int]], rack: str | None) -> Deferred[list[Result]]:
        """Write down this run of the broker, in a new log after the features that say how to read it."""
        self.submit(SetFeatures(INITIAL_FEATURES))
        return self.submit(RegisterBroker(self.new_id(), endpoints, rack))

    # --- commands ---------------------------------------------------------------------------------------------

    def submit(self, command: Command) -> Deferred[list[Result]]:
        """Take a command; its results, one for each thing it names, come when they are durable and applied.

        A write the disk refused turns what would have succeeded into KAFKA_STORAGE_ERROR.
        """
        deferred: Deferred[list[Result]] = Deferred()
        self._queue.append((command, deferred))
        self._advance()
        return deferred

    def answer(self, command: Command, respond: Callable[[list[Result]], T]) -> Deferred[T]:
        """Take a command; what `respond` makes of its results."""
        deferred: Deferred[T] = Deferred()
        self.submit(command).then(lambda results: deferred.resolve(respond(results)))
        return deferred

    def on_durable(self, durable_offset: int) -> None:
        """The metadata log is synced up to here (exclusive)."""
        if self._pending is not None and durable_offset >= self._pending.end_offset:
            self._settle()
            self._advance()

    def _advance(self) -> None:
        if self._is_advancing:  # an answer made somebody submit again
            return
        self._is_advancing = True
        try:
            while self._queue and self._pending is None:
                self._start(*self._queue.popleft())
        finally:
            self._is_advancing = False

    def _start(self, command: Command, deferred: Deferred[list[Result]]) -> None:
        assert self._pending is None
        now_ms = self._clock_ms()
        outcome = decide(self.state, command, now_ms)
        if not outcome.records:
            deferred.resolve(outcome.results)
            return
        assert self._log.log_end_offset == self.next_offset, "everything before is applied"
        try:
            end_offset = append(self._log, outcome.records, now_ms)
        except StorageFailed as failure:
            self._on_storage_failed(failure)
            deferred.resolve([_not_written(result, failure) for result in outcome.results])
            return
        assert end_offset == self.next_offset + len(outcome.records)
        self._pending = Pending(end_offset, outcome, deferred)
        if self._log.durable_offset >= end_offset:
            self._settle()
        else:
            self._kick()

    def _settle(self) -> None:
        """Apply what is durable now, and answer."""
        pending, self._pending = self._pending, None
        assert pending is not None and self._log.durable_offset >= pending.end_offset
        self._apply(pending.outcome.records)
        self.next_offset = pending.end_offset
        pending.deferred.resolve(pending.outcome.results)

    def _apply(self, records: Sequence[Any]) -> None:
        removed: list[Topic] = []
        reconfigured: dict[str, None] = {}
        for record in records:
            if isinstance(record, RemoveTopicRecord):
                removed.append(self.by_id[record.topic_id])
            elif isinstance(record, ConfigRecord):
                if record.resource_type == TOPIC:
                    reconfigured[record.resource_name] = None
                elif record.resource_type == BROKER:
                    reconfigured.update(dict.fromkeys(self.topics))
            self._mark(self.state, record)
            self.state.apply(record)
        for topic in removed:
            self._on_deleted(topic)
            for partition in topic.made_partitions():
                partition.deleted()
        for name in reconfigured:
            if name in self.topics:
                for partition in self.topics[name].made_partitions():
                    partition.config_changed()
                self._on_reconfigured(self.topics[name])

    # --- checkpoint -------------------------------------------------------------------------------------------

    def _mark(self, state: State, record: Any) -> None:
        if self._checkpoint is None:
            return
        if isinstance(record, RemoveTopicRecord | PartitionRecord | PartitionChangeRecord):
            self._checkpoint.mark_topic(state.by_id[record.topic_id].name)
        else:
            self._checkpoint.mark(record)

    def write_checkpoint(self) -> None:
        """Let the checkpoint follow, if there is anything new. Called now and then, and never before an answer."""
        if self._checkpoint is not None and self.next_offset > self._checkpoint_offset:
            self._checkpoint.write(self.state, self.next_offset)
            self._checkpoint_offset = self.next_offset

    def close(self) -> None:
        """Write the checkpoint and give it back. Commands under way stay unanswered."""
        self.write_checkpoint()
        if self._checkpoint is not None:
            self._checkpoint.close()


def _read_snapshot(
    folder: DataFolder, log_start_offset: int, log_end_offset: int
) -> tuple[int, bytes] | None:
    directory = partition_directory(folder.root, CLUSTER_METADATA, 0)
    found = newest_snapshot(folder.storage.list(directory), log_start_offset, log_end_offset)
    if found is None:
        return None
    offset, name = found
    return offset, read_file(folder.storage, f"{directory}/{name}") or b""


def _not_written(result: Result, failure: StorageFailed) -> Result:
    if not result.is_success:
        return result
    return Result(ErrorCode.KAFKA_STORAGE_ERROR, f"The change was not written: {failure}")
