"""WriteTxnMarkers (key 27), versions 1 and 2: write the markers that end transactions in partitions (KIP-98).

v1  flexible     v2  the transaction version (KIP-1228)

Here the coordinator writes its markers itself; this is what an administrator ends a hanging transaction with (KIP-664),
of which no coordinator knows. The answer comes when the markers are durable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.coordinator.answers import mapped
from broker.coordinator.transaction_ports import Marker, MarkersUnderWay
from broker.coordinator.transaction_topic import PartitionMarkers
from broker.fetching.reading import error_code
from broker.request import Deferred
from protocol.errors import ApiError, ErrorCode, StorageFailed
from protocol.messages.write_txn_markers import (
    WritableTxnMarker,
    WritableTxnMarkerPartitionResult,
    WritableTxnMarkerResult,
    WritableTxnMarkerTopicResult,
    WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
)

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker


def handle(broker: Broker, request: Request) -> Deferred[WriteTxnMarkersResponse]:
    message: WriteTxnMarkersRequest = request.message
    markers = PartitionMarkers(broker)
    done: Deferred[None] = Deferred()
    under_way = MarkersUnderWay(lambda: done.resolve(None))
    response = WriteTxnMarkersResponse(
        markers=[_write(broker, markers, marker, under_way) for marker in message.markers]
    )
    under_way.durable()
    return mapped(done, lambda _: response)


def _write(
    broker: Broker, markers: PartitionMarkers, asked: WritableTxnMarker, under_way: MarkersUnderWay
) -> WritableTxnMarkerResult:
    marker = Marker(
        asked.producer_id,
        asked.producer_epoch,
        asked.transaction_result,
        asked.coordinator_epoch,
        asked.transaction_version,
    )
    topics = []
    for topic in asked.topics:
        partitions = []
        for index in topic.partition_indexes:
            code = _append(broker, markers, topic.name, index, marker)
            if not code and markers.when_durable(topic.name, index, under_way):
                under_way.missing += 1
            partitions.append(WritableTxnMarkerPartitionResult(partition_index=index, error_code=code))
        topics.append(WritableTxnMarkerTopicResult(name=topic.name, partitions=partitions))
    return WritableTxnMarkerResult(producer_id=asked.producer_id, topics=topics)


def _append(broker: Broker, markers: PartitionMarkers, name: str, index: int, marker: Marker) -> ErrorCode:
    try:
        if not markers.append(name, index, marker, broker.clock_ms()):
            return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    except (ApiError, StorageFailed) as error:
        return error_code(broker, error)
    return ErrorCode.NONE
