"""DescribeTopicPartitions (key 75), version 0 (KIP-966): topics by name, in pages.

No names means all topics. Topics come in the order of their names; at most `response_partition_limit` partitions, and
no more than MAX_PARTITIONS, go into one answer, which then says where the next begins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.security.operations import Resource, authorized_operations
from protocol.errors import ErrorCode
from protocol.messages.describe_topic_partitions import (
    Cursor,
    DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
)

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker
    from broker.topics.state import Topic

MAX_PARTITIONS: Final = 2000
"""Partitions in one answer, whatever is asked for (max.request.partition.size.limit)."""


def handle(broker: Broker, request: Request) -> DescribeTopicPartitionsResponse:
    message: DescribeTopicPartitionsRequest = request.message
    names = sorted({topic.name for topic in message.topics} or broker.catalog.topics)
    first_partition = 0
    cursor = message.cursor
    if cursor is not None:
        if cursor.partition_index < 0 or (message.topics and cursor.topic_name not in names):
            return _invalid_cursor([topic.name for topic in message.topics])
        names = [name for name in names if name >= cursor.topic_name]
        if names and names[0] == cursor.topic_name:
            first_partition = cursor.partition_index
    room = min(max(message.response_partition_limit, 1), MAX_PARTITIONS)
    response = DescribeTopicPartitionsResponse()
    for name in names:
        if room == 0:
            response.next_cursor = Cursor(topic_name=name, partition_index=0)
            break
        topic = broker.catalog.topics.get(name)
        if topic is None:
            response.topics.append(_unknown(broker, name))
            continue
        end = min(topic.partition_count, first_partition + room)
        response.topics.append(_describe(broker, topic, range(first_partition, end)))
        room -= max(0, end - first_partition)
        if end < topic.partition_count:
            response.next_cursor = Cursor(topic_name=name, partition_index=end)
            break
        first_partition = 0
    return response


def _describe(broker: Broker, topic: Topic, indexes: range) -> DescribeTopicPartitionsResponseTopic:
    node = [broker.node_id]
    epochs = topic.leader_epochs
    return DescribeTopicPartitionsResponseTopic(
        name=topic.name,
        topic_id=topic.topic_id,
        is_internal=topic.is_internal,
        partitions=[
            DescribeTopicPartitionsResponsePartition(
                partition_index=index,
                leader_id=broker.node_id,
                leader_epoch=epochs.get(index, 0),
                replica_nodes=node,
                isr_nodes=node,
                eligible_leader_replicas=[],
                last_known_elr=[],
            )
            for index in indexes
        ],
        topic_authorized_operations=authorized_operations(Resource.TOPIC),
    )


def _unknown(broker: Broker, name: str) -> DescribeTopicPartitionsResponseTopic:
    return DescribeTopicPartitionsResponseTopic(
        error_code=broker.why_no_topic(name),
        name=name,
        topic_authorized_operations=authorized_operations(Resource.TOPIC),
    )


def _invalid_cursor(names: list[str]) -> DescribeTopicPartitionsResponse:
    return DescribeTopicPartitionsResponse(
        topics=[
            DescribeTopicPartitionsResponseTopic(error_code=ErrorCode.INVALID_REQUEST, name=name)
            for name in names
        ]
    )
