"""ListOffsets (key 2), versions 0 to 11.

v0  a list of segment offsets before a time   v1  one offset per partition (KIP-79)
v2  isolation level (KIP-98)                  v4  leader epochs (KIP-320)         v6  flexible
v7  max timestamp, -3 (KIP-734)               v8  earliest local, -4 (KIP-405)
v9  latest tiered, -5 (KIP-1005)              v10 a time-out                      v11 earliest pending upload, -6

By timestamp the answer is the first *record* whose timestamp is at least the one asked for, or -1/-1. Nothing is
tiered away from the log, so -4 is the log start and -5 and -6 find nothing. The time-out of v10 is for remote
storage and has nothing to limit.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from broker.fetching.reading import READ_COMMITTED, check_leader_epoch, error_code, find_partition
from broker.request import Deferred
from protocol.errors import ApiError, ErrorCode, StorageFailed
from protocol.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from protocol.records import CorruptBatch

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker
    from broker.topics.partition import Partition

LATEST: Final = -1
EARLIEST: Final = -2
MAX_TIMESTAMP: Final = -3
EARLIEST_LOCAL: Final = -4
LATEST_TIERED: Final = -5
EARLIEST_PENDING_UPLOAD: Final = -6

_SINCE_VERSION: Final = {MAX_TIMESTAMP: 7, EARLIEST_LOCAL: 8, LATEST_TIERED: 9, EARLIEST_PENDING_UPLOAD: 11}


_LEADER_EPOCH_VERSION: Final = 4  # KIP-320
_SYNCED: Final = (EARLIEST, EARLIEST_LOCAL, LATEST_TIERED, EARLIEST_PENDING_UPLOAD)
"""What is asked of the log's beginning, to which nothing is added."""


class Found(NamedTuple):
    offset: int = -1
    timestamp: int = -1
    leader_epoch: int = -1


class ListWait(Deferred[ListOffsetsResponse]):
    """A request for ends or times that waits until what was written before it is synced, and so belongs to them."""

    __slots__ = ("_broker", "_missing", "_request")

    def __init__(self, broker: Broker, request: Request) -> None:
        super().__init__()
        self._broker = broker
        self._request = request
        self._missing = 0

    def wait_for(self, partition: Partition) -> None:
        if partition.when_durable(partition.log.log_end_offset, self):
            self._missing += 1

    @property
    def is_waiting(self) -> bool:
        return self._missing > 0

    def durable(self) -> None:
        """One more partition is synced."""
        self._missing -= 1
        if not self._missing:
            self.resolve(_respond(self._broker, self._request))


def handle(broker: Broker, request: Request) -> Any:
    message: ListOffsetsRequest = request.message
    wait = ListWait(broker, request)
    for topic in message.topics:
        for asked in topic.partitions:
            if asked.timestamp not in _SYNCED:
                _wait_for_end(broker, topic.name, asked.partition_index, wait)
    return wait if wait.is_waiting else _respond(broker, request)


def _wait_for_end(broker: Broker, topic: str, index: int, wait: ListWait) -> None:
    # A producer's acks=1 is answered before the sync, and its next question may be where the log ends, or which
    # record is the first of a time.
    with suppress(ApiError, StorageFailed):  # told when the answer is made
        wait.wait_for(find_partition(broker, topic, index))


def _respond(broker: Broker, request: Request) -> ListOffsetsResponse:
    message: ListOffsetsRequest = request.message
    committed = message.isolation_level == READ_COMMITTED
    asked = Counter((topic.name, p.partition_index) for topic in message.topics for p in topic.partitions)
    response = ListOffsetsResponse()
    for topic in message.topics:
        results = []
        refused = set()
        for partition in topic.partitions:
            index = partition.partition_index
            if asked[topic.name, index] > 1:
                if index not in refused:
                    refused.add(index)
                    results.append(_failed(index, ErrorCode.INVALID_REQUEST))
            else:
                results.append(_list(broker, topic.name, partition, committed, request.version))
        response.topics.append(ListOffsetsTopicResponse(name=topic.name, partitions=results))
    return response


def _list(
    broker: Broker, topic: str, asked: ListOffsetsPartition, committed: bool, version: int
) -> ListOffsetsPartitionResponse:
    index = asked.partition_index
    try:
        partition = find_partition(broker, topic, index)
        check_leader_epoch(partition, asked.current_leader_epoch)
        if version == 0:
            offsets = partition.log.offsets_before(asked.timestamp, asked.max_num_offsets)
            return ListOffsetsPartitionResponse(partition_index=index, old_style_offsets=offsets)
        found = _find(partition, asked.timestamp, committed, version)
    except CorruptBatch:
        return _failed(index, ErrorCode.CORRUPT_MESSAGE)  # what is inside a batch is its producer's word
    except (ApiError, StorageFailed) as error:
        return _failed(index, error_code(broker, error))
    return ListOffsetsPartitionResponse(
        partition_index=index,
        timestamp=found.timestamp,
        offset=found.offset,
        leader_epoch=found.leader_epoch if version >= _LEADER_EPOCH_VERSION else -1,
    )


def _find(partition: Partition, timestamp: int, committed: bool, version: int) -> Found:
    log = partition.log
    end_offset = log.last_stable_offset if committed else log.high_watermark
    if version < _SINCE_VERSION.get(timestamp, 0) or timestamp < EARLIEST_PENDING_UPLOAD:
        raise ApiError(ErrorCode.UNSUPPORTED_VERSION)
    if timestamp == LATEST:
        return Found(end_offset, leader_epoch=log.leader_epoch)
    if timestamp in (EARLIEST, EARLIEST_LOCAL):
        return Found(log.log_start_offset, leader_epoch=log.epoch_at(log.log_start_offset))
    if timestamp in (LATEST_TIERED, EARLIEST_PENDING_UPLOAD):
        return Found()
    if timestamp == MAX_TIMESTAMP:
        found = log.find_max_timestamp(end_offset)
    else:
        found = log.find_by_timestamp(timestamp, end_offset)
    if found is None:
        return Found()
    return Found(found.offset, found.timestamp, log.epoch_at(found.offset))


def _failed(index: int, code: ErrorCode) -> ListOffsetsPartitionResponse:
    return ListOffsetsPartitionResponse(
        partition_index=index, error_code=code, old_style_offsets=[], timestamp=-1, offset=-1, leader_epoch=-1
    )
