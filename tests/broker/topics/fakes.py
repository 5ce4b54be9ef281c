"""What the catalog stands on, in memory: a log whose durability the test decides, and partitions that count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from broker.config import BrokerConfig
from broker.topics.catalog import Catalog
from broker.topics.checkpoint import Checkpoint
from broker.topics.commands import Command, NewTopic, Result
from broker.topics.partition import Partition
from broker.topics.state import Topic
from protocol.errors import StorageFailed
from protocol.records import RecordBatch, parse_batches, place

NOW_MS = 1_700_000_000_000


class Slice:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self) -> bytes:
        return self._data


class FakeLog:
    """`__cluster_metadata` as a list of batches. Synced at once, or when `sync` is called."""

    def __init__(self, batches: Sequence[bytes] = (), is_synced_at_once: bool = True) -> None:
        self.batches = list(batches)
        self.log_start_offset = 0
        self.log_end_offset = sum(parse_batches(memoryview(batch))[0].record_count for batch in batches)
        self.durable_offset = self.log_end_offset
        self.is_synced_at_once = is_synced_at_once
        self.failure: StorageFailed | None = None
        self.on_durable: Callable[[int], None] | None = None

    def append(self, buffer: memoryview, batches: list[RecordBatch], now_ms: int) -> None:
        if self.failure is not None:
            raise self.failure
        (batch,) = batches
        place(buffer, batch, self.log_end_offset, 0)
        self.batches.append(bytes(buffer))
        self.log_end_offset += batch.record_count
        if self.is_synced_at_once:
            self.durable_offset = self.log_end_offset

    def sync(self) -> None:
        self.durable_offset = self.log_end_offset
        if self.on_durable is not None:
            self.on_durable(self.durable_offset)

    def read(self, offset: int, max_bytes: int, end_offset: int, min_one_batch: bool) -> Slice | None:
        found = bytearray()
        for data in self.batches:
            batch = parse_batches(memoryview(data))[0]
            if batch.next_offset > offset and batch.next_offset <= end_offset:
                if found and len(found) + len(data) > max_bytes:
                    break
                found += data
        return Slice(bytes(found)) if found else None

    def crashed(self) -> FakeLog:
        """What is left of it after a crash."""
        kept = [
            data
            for data in self.batches
            if parse_batches(memoryview(data))[0].next_offset <= self.durable_offset
        ]
        return FakeLog(kept, self.is_synced_at_once)


class FakePartition:
    """Counts what the catalog tells it."""

    def __init__(self, topic: Topic, index: int) -> None:
        self.topic = topic
        self.index = index
        self.changes = 0
        self.is_deleted = False

    def config_changed(self) -> None:
        self.changes += 1

    def deleted(self) -> None:
        self.is_deleted = True


def make_partition(topic: Topic, index: int) -> Partition:
    return cast(Partition, FakePartition(topic, index))


class Ids:
    """Ids in ascending order."""

    def __init__(self, last: int = 0) -> None:
        self.last = last

    def __call__(self) -> bytes:
        self.last += 1
        return self.last.to_bytes(16, "big")


class Harness:
    """A catalog on a fake log."""

    def __init__(
        self,
        log: FakeLog | None = None,
        checkpoint_path: str | None = None,
        cluster_id: str = "c",
        snapshot: tuple[int, bytes] | None = None,
        **overrides: str,
    ) -> None:
        self.log = log if log is not None else FakeLog()
        self.config = BrokerConfig.load(
            overrides={name.replace("_", "."): text for name, text in overrides.items()}
        )
        self.kicks = 0
        self.deleted: list[str] = []
        self.failures: list[StorageFailed] = []
        self.ids = Ids()
        self.checkpoint = Checkpoint(checkpoint_path, cluster_id) if checkpoint_path is not None else None
        self.catalog = Catalog(
            self.config,
            self.log,
            make_partition,
            clock_ms=lambda: NOW_MS,
            new_id=self.ids,
            checkpoint=self.checkpoint,
            snapshot=lambda log_start, log_end: snapshot,
            kick=self._kick,
            on_deleted=lambda topic: self.deleted.append(topic.name),
            on_storage_failed=self.failures.append,
        )
        self.log.on_durable = self.catalog.on_durable

    def _kick(self) -> None:
        self.kicks += 1

    def run(self, command: Command) -> list[Result]:
        """Submit, and take the answer, which is there: the log syncs at once."""
        got: list[list[Result]] = []
        self.catalog.submit(command).then(got.append)
        assert got, "no answer yet"
        return got[0]

    def one(self, command: Command) -> Result:
        (result,) = self.run(command)
        return result

    def topic(self, name: str, partitions: int = 1, **settings: str) -> NewTopic:
        pairs = [(key.replace("_", "."), value) for key, value in settings.items()]
        return NewTopic(name, self.ids(), partitions, settings=pairs)
