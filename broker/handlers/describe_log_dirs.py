"""DescribeLogDirs (key 35), versions 0 to 5.

v2  flexible     v3  a top-level error     v4  total and usable bytes (KIP-827)     v5  cordoned folders (KIP-1066)

There is one folder. Sizes are those of record batches, reserved disk not included. Logs nobody used since the start
are opened to be measured, a few at a time so that others get their turn.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Final

from broker.fetching.reading import error_code
from protocol.errors import ErrorCode, StorageFailed
from protocol.messages.describe_log_dirs import (
    DescribeLogDirsPartition,
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
    DescribeLogDirsResult,
    DescribeLogDirsTopic,
)

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker
    from broker.topics.state import Topic

PARTITIONS_PER_TURN: Final = 50
"""Partitions measured before others get their turn of the loop."""


class OthersTurn:
    """Awaited, it lets the loop run everything else that is ready, once."""

    def __await__(self) -> Generator[None, None, None]:
        yield


async def handle(broker: Broker, request: Request) -> DescribeLogDirsResponse:
    message: DescribeLogDirsRequest = request.message
    result = _folder(broker)
    wanted: Iterable[tuple[str, Iterable[int] | None]]
    if message.topics is None:
        wanted = [(name, None) for name in broker.catalog.topics]
    else:
        wanted = [(topic.topic, topic.partitions) for topic in message.topics]
    measured = 0
    try:
        for name, indexes in wanted:
            described = DescribeLogDirsTopic(name=name)
            for index in indexes if indexes is not None else range(_partition_count(broker, name)):
                topic = broker.catalog.topics.get(name)  # it may be deleted between two turns
                if topic is None or not 0 <= index < topic.partition_count:
                    continue
                described.partitions.append(
                    DescribeLogDirsPartition(
                        partition_index=index, partition_size=_size(broker, topic, index)
                    )
                )
                measured += 1
                if measured % PARTITIONS_PER_TURN == 0:
                    await OthersTurn()
            if described.partitions:
                result.topics.append(described)
    except StorageFailed as failure:
        result.error_code = error_code(broker, failure)
    return DescribeLogDirsResponse(results=[result])


def _folder(broker: Broker) -> DescribeLogDirsResult:
    result = DescribeLogDirsResult(log_dir=os.path.abspath(broker.config.data_dir))
    try:
        disk = os.statvfs(broker.config.data_dir)
    except OSError:
        result.error_code = ErrorCode.KAFKA_STORAGE_ERROR
    else:
        result.total_bytes, result.usable_bytes = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    return result


def _partition_count(broker: Broker, name: str) -> int:
    topic = broker.catalog.topics.get(name)
    return 0 if topic is None else topic.partition_count


def _size(broker: Broker, topic: Topic, index: int) -> int:
    if not broker.logs.has_records(topic, index):
        return 0
    partition = topic.partition(index)
    assert partition is not None
    return partition.log.size_bytes()
