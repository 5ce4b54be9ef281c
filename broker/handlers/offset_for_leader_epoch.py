"""OffsetForLeaderEpoch (key 23), versions 0 to 4.

v1  the epoch in the answer (KIP-279)     v2  current leader epoch (KIP-320)     v3  replica id     v4  flexible

Consumers ask where the epoch of their position ended, to find out whether records they read were cut off since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.fetching.reading import check_leader_epoch, error_code, find_partition
from protocol.errors import ApiError, StorageFailed
from protocol.messages.offset_for_leader_epoch import (
    EpochEndOffset,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
)

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker


def handle(broker: Broker, request: Request) -> OffsetForLeaderEpochResponse:
    message: OffsetForLeaderEpochRequest = request.message
    return OffsetForLeaderEpochResponse(
        topics=[
            OffsetForLeaderTopicResult(
                topic=topic.topic,
                partitions=[_find(broker, topic.topic, partition) for partition in topic.partitions],
            )
            for topic in message.topics
        ]
    )


def _find(broker: Broker, name: str, asked: OffsetForLeaderPartition) -> EpochEndOffset:
    result = EpochEndOffset(partition=asked.partition)
    try:
        partition = find_partition(broker, name, asked.partition)
        check_leader_epoch(partition, asked.current_leader_epoch)
        if asked.leader_epoch >= 0:
            result.leader_epoch, result.end_offset = partition.log.epoch_end_offset(asked.leader_epoch)
    except (ApiError, StorageFailed) as error:
        result.error_code = error_code(broker, error)
    return result
