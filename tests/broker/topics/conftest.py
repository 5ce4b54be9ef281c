"""A topic's partition over a real log in memory, whose syncs are the test's to run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from broker.config import BrokerConfig
from broker.topics.opening import TopicLogs
from broker.topics.partition import Partition
from broker.topics.state import Topic
from tests.simulation.memory_storage import MemoryStorage
from wal.data_folder import DataFolder
from wal.errors import StorageFailed
from wal.flusher import Flusher

NOW_MS = 1_700_000_000_000


def _fail(failure: StorageFailed) -> None:
    raise failure


class Bench:
    """What partitions stand on: storage, flusher, folder, and a clock the test moves."""

    def __init__(self, storage: MemoryStorage | None = None) -> None:
        self.now_ms = NOW_MS
        self.storage = storage or MemoryStorage("/data")
        self.flusher = Flusher(
            self.storage, lambda durables: [durable.apply() for durable in durables] and None, _fail
        )
        self.folder = DataFolder(self.storage, "/data", self.flusher)
        self.logs = TopicLogs(self.folder, lambda: self.now_ms)
        self.config = BrokerConfig()

    def topic(self, name: str = "t", partitions: int = 1, **settings: str) -> Topic:
        config = self.config.topic_config({key.replace("_", "."): text for key, text in settings.items()})
        topic = Topic(name, name.encode().ljust(16, b"\0"), config, self.logs.partition)
        topic.partition_count = partitions
        return topic


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def make_partition(bench: Bench) -> Callable[..., Partition]:
    """The one partition of a topic with these settings (underscores for dots)."""

    def make(**settings: Any) -> Partition:
        partition = bench.topic(**settings).partition(0)
        assert partition is not None
        return partition

    return make
