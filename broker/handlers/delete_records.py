"""DeleteRecords (key 21), versions 0 to 2 (KIP-107): moves the log start offset.

v2  flexible

Offset -1 is the high watermark. The new start is durable with the answer; segments below it go with the next retention.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.fetching.reading import find_partition
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


def handle(broker: Broker, request: Request) -> DeleteRecordsResponse:
    message: DeleteRecordsRequest = request.message
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
    except ApiError as error:
        result.error_code = error.code
    except StorageFailed as failure:
        broker.storage_failed(failure)
        result.error_code = ErrorCode.KAFKA_STORAGE_ERROR
    return result
