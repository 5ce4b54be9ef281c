"""DeleteRecords (key 21), versions 0 to 2 (KIP-107): moves the log start offset.

v2  flexible

Offset -1 is the high watermark. The new start is durable with the answer; segments below it go with the next retention.

A producer's acks=1 is answered before the sync, and what it was told the offset of may be deleted next: the request
waits until everything written before it is synced.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from broker.fetching.reading import error_code, find_partition
from broker.request import Deferred
from protocol.errors import ApiError, ErrorCode, StorageFailed
from protocol.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsPartitionResult,
    DeleteRecordsRequest,
    DeleteRecordsResponse,
    DeleteRecordsTopicResult,
)
from wal.retention import deletion_start

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker
    from broker.topics.partition import Partition


class DeleteWait(Deferred[DeleteRecordsResponse]):
    """The answer, made when every partition of the request is synced."""

    __slots__ = ("_broker", "_message", "_missing")

    def __init__(self, broker: Broker, message: DeleteRecordsRequest) -> None:
        super().__init__()
        self._broker = broker
        self._message = message
        self._missing = 0

    def is_needed(self) -> bool:
        """Begin to wait; False where everything is synced."""
        for topic in self._message.topics:
            for asked in topic.partitions:
                with suppress(ApiError, StorageFailed):  # told when the answer is made
                    partition = find_partition(self._broker, topic.name, asked.partition_index)
                    self._missing += partition.when_durable(partition.log.log_end_offset, self)
        return self._missing > 0

    def durable(self) -> None:
        """One more partition is synced."""
        self._missing -= 1
        if not self._missing:
            self.resolve(_respond(self._broker, self._message))


def handle(broker: Broker, request: Request) -> Any:
    wait = DeleteWait(broker, request.message)
    return wait if wait.is_needed() else _respond(broker, request.message)


class Move(NamedTuple):
    """A log start to be moved, and the result that says so."""

    partition: Partition
    log_start_offset: int
    result: DeleteRecordsPartitionResult


def _respond(broker: Broker, message: DeleteRecordsRequest) -> DeleteRecordsResponse:
    moves: list[Move] = []
    response = DeleteRecordsResponse(
        topics=[
            DeleteRecordsTopicResult(
                name=topic.name,
                partitions=[_resolve(broker, topic.name, asked, moves) for asked in topic.partitions],
            )
            for topic in message.topics
        ]
    )
    _carry_out(broker, moves)
    return response


def _resolve(
    broker: Broker, name: str, asked: DeleteRecordsPartition, moves: list[Move]
) -> DeleteRecordsPartitionResult:
    """The answer for one partition, as it is if the moves that this adds one to succeed."""
    result = DeleteRecordsPartitionResult(partition_index=asked.partition_index, low_watermark=-1)
    try:
        partition = find_partition(broker, name, asked.partition_index)
        policy = partition.config.cleanup_policy
        if policy and "delete" not in policy:
            raise ApiError(ErrorCode.POLICY_VIOLATION)
        result.low_watermark = deletion_start(partition.log, asked.offset)
        if result.low_watermark > partition.log.log_start_offset:
            moves.append(Move(partition, result.low_watermark, result))
    except (ApiError, StorageFailed) as error:
        result.error_code = error_code(broker, error)
    return result


def _carry_out(broker: Broker, moves: list[Move]) -> None:
    """All in one write: each names every partition there is, and a request may name a thousand."""
    starts: dict[Partition, int] = {}
    for partition, offset, _ in moves:
        starts[partition] = max(offset, starts.get(partition, 0))
    try:
        broker.logs.move_starts(starts)
    except StorageFailed as failure:
        code = error_code(broker, failure)
        for _, _, result in moves:
            result.error_code, result.low_watermark = code, -1
