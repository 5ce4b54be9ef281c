"""OffsetCommit (key 8), versions 0 to 10.

v1  generation and member, and a time (v1 only)   v2  retention, until v4
v6  leader epochs (KIP-320)                       v7  static members (KIP-345)
v8  flexible                                      v9  GROUP_ID_NOT_FOUND; members of the new protocol (KIP-848)
v10 topic ids (KIP-848)

The answer comes when the offsets are durable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.coordinator.answers import mapped
from broker.coordinator.offsets import Commit, CommitOffset
from protocol.errors import ErrorCode
from protocol.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)

if TYPE_CHECKING:
    from broker.request import Deferred, Request
    from broker.runtime import Broker
    from broker.topics.catalog import Topic

_TIMESTAMP_VERSION: Final = 1
_TOPIC_ID_VERSION: Final = 10


def handle(broker: Broker, request: Request) -> OffsetCommitResponse | Deferred[OffsetCommitResponse]:
    message: OffsetCommitRequest = request.message
    offsets: list[CommitOffset] = []
    refused: list[ErrorCode] = []
    for asked in message.topics:
        topic, unknown = _find(broker, asked, request.version)
        count = topic.partition_count if topic is not None else 0
        for partition in asked.partitions:
            index = partition.partition_index
            if topic is None or not 0 <= index < count:
                refused.append(unknown)
                continue
            refused.append(ErrorCode.NONE)
            offsets.append(
                CommitOffset(
                    topic.name,
                    index,
                    partition.committed_offset,
                    partition.committed_leader_epoch,
                    partition.committed_metadata or "",
                    partition.commit_timestamp if request.version == _TIMESTAMP_VERSION else -1,
                    topic.topic_id,
                )
            )
    if not offsets:
        return _response(message, refused)
    commit = Commit(
        message.group_id,
        message.generation_id_or_member_epoch,
        message.member_id,
        message.group_instance_id,
        offsets,
        message.retention_time_ms,
        request.version,
    )

    def decided(codes: list[ErrorCode]) -> OffsetCommitResponse:
        if len(codes) != len(refused):
            rest = iter(codes)
            codes = [code or next(rest) for code in refused]
        return _response(message, codes)

    return mapped(broker.groups.commit(commit), decided)


def _find(broker: Broker, asked: OffsetCommitRequestTopic, version: int) -> tuple[Topic | None, ErrorCode]:
    """The topic, and the error for what there is not."""
    if version < _TOPIC_ID_VERSION:
        return broker.catalog.topics.get(asked.name), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    topic = broker.catalog.by_id.get(asked.topic_id)
    return topic, ErrorCode.UNKNOWN_TOPIC_ID if topic is None else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def _response(message: OffsetCommitRequest, codes: list[ErrorCode]) -> OffsetCommitResponse:
    """`codes` are for all partitions, in the order of the request."""
    each = iter(codes)
    return OffsetCommitResponse(
        topics=[
            OffsetCommitResponseTopic(
                name=topic.name,
                topic_id=topic.topic_id,
                partitions=[
                    OffsetCommitResponsePartition(partition_index=partition.partition_index, error_code=code)
                    for partition, code in zip(topic.partitions, each)
                ],
            )
            for topic in message.topics
        ]
    )
