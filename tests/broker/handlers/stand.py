"""A broker for handlers: catalog and logs on a disk in memory, requests and responses through the codecs."""

from __future__ import annotations

import asyncio
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from broker.config import BrokerConfig
from broker.request import Deferred, Request
from broker.topics.catalog import LOG_CONFIG, METADATA_TOPIC_ID, Catalog
from broker.topics.names import CLUSTER_METADATA, is_valid_topic_name
from broker.topics.opening import TopicLogs
from protocol.api import ApiKey
from protocol.compiler import decoder, encode, encoder, message_class
from protocol.errors import ErrorCode, StorageFailed
from protocol.primitives import Output
from protocol.records import Record, build, parse_batches
from tests.broker.topics.fakes import NOW_MS, Ids
from tests.simulation.memory_storage import MemoryStorage
from wal.checkpoint import TopicPartition
from wal.data_folder import DataFolder
from wal.flusher import Durable, Flusher


class StandIn:
    """What `broker.runtime.Broker` is to handlers, without loop, sockets and threads; syncs follow at once."""

    def __init__(self, **overrides: str) -> None:
        self.config = BrokerConfig.load(
            overrides={name.replace("_", "."): text for name, text in overrides.items()}
        )
        self.node_id = self.config.node_id
        self.cluster_id = "cluster"
        self.rack: str | None = None
        self.failures: list[StorageFailed] = []
        self.new_id = Ids()
        self.storage = MemoryStorage("/floe")
        self.flusher = Flusher(self.storage, self._round_complete, self.failures.append)
        folder = DataFolder(self.storage, "/floe", self.flusher)
        self.logs = TopicLogs(folder, lambda: NOW_MS)
        metadata_log = folder.open_log(
            TopicPartition(CLUSTER_METADATA, 0), LOG_CONFIG, METADATA_TOPIC_ID, NOW_MS
        )
        self.catalog = Catalog(
            self.config,
            metadata_log,
            self.logs.partition,
            clock_ms=lambda: NOW_MS,
            new_id=self.new_id,
            kick=self.flusher.run_round,
            on_deleted=self.logs.delete,
            on_storage_failed=self.failures.append,
        )
        metadata_log.on_durable = self.catalog.on_durable

    def _round_complete(self, durables: list[Durable]) -> None:
        for durable in durables:
            durable.apply()

    def clock_ms(self) -> int:
        return NOW_MS

    def advertised(self, connection: object) -> tuple[str, int]:
        return "127.0.0.1", 9092

    def why_no_topic(self, name: str) -> ErrorCode:
        valid = is_valid_topic_name(name)
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION if valid else ErrorCode.INVALID_TOPIC_EXCEPTION

    def storage_failed(self, failure: StorageFailed) -> None:
        self.failures.append(failure)

    def produce(self, topic: str, index: int, count: int, **batch: Any) -> None:
        """Append one batch and sync it."""
        partition = self.catalog.topics[topic].partition(index)
        assert partition is not None
        data = build([Record(timestamp=NOW_MS, value=b"v") for _ in range(count)], **batch)
        partition.log.append(memoryview(data), parse_batches(memoryview(data)), NOW_MS)
        self.flusher.run_round()

    def call(self, api: ApiKey, version: int, message: Any) -> Any:
        """The answer to a request, each through its bytes at `version`."""
        request_class, response_class = message_class(api, response=False), message_class(api, response=True)
        assert type(message) is request_class
        data = memoryview(bytes(encode(message, version)))
        decoded, end = decoder(request_class, version)(data, 0)
        assert end == len(data)
        module = import_module(f"broker.handlers.{api.name.lower()}")
        response = module.handle(self, Request(api, version, 1, "test", decoded, SimpleNamespace()))
        if isinstance(response, Deferred):
            got: list[Any] = []
            response.then(got.append)
            (response,) = got
        elif asyncio.iscoroutine(response):
            response = asyncio.run(response)
        out = Output()
        encoder(response_class, version)(response, out)
        answer, end = decoder(response_class, version)(memoryview(bytes(out)), 0)
        assert end == len(out)
        return answer
