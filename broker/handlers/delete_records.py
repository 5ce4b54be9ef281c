"""DeleteRecords (key 21), versions 0 to 2 (KIP-107): moves the log start offset.

v2  flexible

Offset -1 is the high watermark. The new start is durable with the answer; segments below it go with the next retention.

A producer's acks=1 is answered before the sync, and what it was told the offset of may be deleted next: the request
waits until everything written before it is synced.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker


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


def _respond(broker: Broker, message: DeleteRecordsRequest) -> DeleteRecordsResponse:
    return DeleteRecordsResponse(
        topics=[
            DeleteRecordsTopicResult(
                name=topic.name,
                partitions=[_delete(broker, topic.name, partition) for partition in topic.partitions],
            )
            for topic in message.topics
        ]
    )


def _delete(broker: Broker, name: str, asked: DeleteRecordsPartition) -> DeleteRecordsPartitionResult:
    result = DeleteRecordsPartitionResult(partition_index=asked.partition_index, low_watermark=-1)
    try:
        partition = find_partition(broker, name, asked.partition_index)
        policy = partition.config.cleanup_policy
        if policy and "delete" not in policy:
            raise ApiError(ErrorCode.POLICY_VIOLATION)
        result.low_watermark = partition.log.delete_records_before(asked.offset)
    except (ApiError, StorageFailed) as error:
        result.error_code = error_code(broker, error)
    return result
