"""For handlers of the byte path: a whole broker on real files, asked through codecs and a real connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from protocol.api import ApiKey
from protocol.errors import ErrorCode
from protocol.messages.create_topics import CreatableTopic, CreatableTopicConfig, CreateTopicsRequest
from tests.broker.in_process import InProcessBroker, in_process, run
from tests.faults.wire import batch, produce_request


class Whole:
    """The broker, and one connection to it."""

    def __init__(self, process: InProcessBroker) -> None:
        self.process = process
        self.broker = process.broker
        self.peer = process.connect()

    async def ask(self, api: ApiKey, version: int, message: Any) -> Any:
        return await self.peer.ask(api, version, message)

    async def create(self, name: str, partitions: int = 1, **configs: str) -> bytes:
        """A topic; its id."""
        settings = [
            CreatableTopicConfig(name=key.replace("_", "."), value=value) for key, value in configs.items()
        ]
        topic = CreatableTopic(name=name, num_partitions=partitions, replication_factor=1, configs=settings)
        answer = await self.ask(ApiKey.CREATE_TOPICS, 7, CreateTopicsRequest(topics=[topic], timeout_ms=1000))
        assert answer.topics[0].error_code == 0, answer
        return bytes(answer.topics[0].topic_id)

    async def produce(
        self, topic: str, records: bytes | bytearray | None = None, *, version: int = 9, **fields: Any
    ) -> Any:
        """One partition's answer."""
        message = produce_request(batch() if records is None else records, topic=topic, **fields)
        answer = await self.ask(ApiKey.PRODUCE, version, message)
        return answer.responses[0].partition_responses[0]

    async def produced(self, topic: str, records: bytes | bytearray | None = None, **fields: Any) -> int:
        """Produce what must succeed; its base offset."""
        result = await self.produce(topic, records, **fields)
        assert result.error_code == ErrorCode.NONE, result
        return int(result.base_offset)


def with_broker(tmp_path: Path, work: Callable[[Whole], Awaitable[None]], **settings: str) -> None:
    """Run a test's coroutine with a broker."""

    async def whole() -> None:
        async with in_process(tmp_path / "data", **settings) as process:
            await work(Whole(process))

    run(whole())
