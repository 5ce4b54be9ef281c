"""OffsetFetch (key 9), versions 0 to 10.

v2  null topics are all; an error for the whole   v5  leader epochs (KIP-320)   v6  flexible
v7  require_stable (KIP-447)                      v8  many groups (KIP-709)
v9  member id and epoch (KIP-848)                 v10 topic ids (KIP-848)

A group that is not known has stored nothing: offset -1, no error. With `require_stable` an offset that a transaction
under way has committed is UNSTABLE_OFFSET_COMMIT: the client asks again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.coordinator.answers import gathered, mapped
from broker.coordinator.offsets import Committed
from broker.request import Deferred
from protocol.errors import ErrorCode
from protocol.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
    OffsetFetchResponse,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
)
from protocol.schema import ZERO_UUID

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker

_GROUPS_VERSION: Final = 8
_TOPIC_ID_VERSION: Final = 10

Unstable = set[tuple[str, int]]
"""Topics and partitions whose offset may change when a transaction ends."""

NOTHING: Final = Committed(offset=-1, leader_epoch=-1, metadata="", commit_timestamp_ms=-1)


def handle(broker: Broker, request: Request) -> Deferred[OffsetFetchResponse]:
    message: OffsetFetchRequest = request.message
    if request.version < _GROUPS_VERSION:
        topics = None
        if message.topics is not None:
            topics = [
                OffsetFetchRequestTopics(name=topic.name, partition_indexes=topic.partition_indexes)
                for topic in message.topics
            ]
        asked = OffsetFetchRequestGroup(group_id=message.group_id, topics=topics)
        fetched = _fetch(broker, asked, request.version, message.require_stable)
        return mapped(fetched, _as_one_group)
    groups = [_fetch(broker, asked, request.version, message.require_stable) for asked in message.groups]
    return mapped(gathered(groups), lambda results: OffsetFetchResponse(groups=results))


def _fetch(
    broker: Broker, asked: OffsetFetchRequestGroup, version: int, require_stable: bool
) -> Deferred[OffsetFetchResponseGroup]:
    refusal = broker.groups.fetch_refusal(asked.group_id, asked.member_id, asked.member_epoch)
    if refusal:
        refused: Deferred[OffsetFetchResponseGroup] = Deferred()
        refused.resolve(OffsetFetchResponseGroup(group_id=asked.group_id, error_code=refusal))
        return refused
    unstable: Unstable = set()
    if require_stable:
        unstable = broker.groups.groups.offsets.pending.of_group(asked.group_id)
    if asked.topics is None:
        return mapped(
            broker.groups.all_committed(asked.group_id),
            lambda found: _everything(broker, asked.group_id, found, version, unstable),
        )
    names = [_name(broker, topic, version) for topic in asked.topics]
    partitions = [
        (name, index)
        for name, topic in zip(names, asked.topics)
        if name is not None
        for index in topic.partition_indexes
    ]
    return mapped(
        broker.groups.committed(asked.group_id, partitions),
        lambda found: _asked_for(asked, names, found, unstable),
    )


def _name(broker: Broker, topic: OffsetFetchRequestTopics, version: int) -> str | None:
    """The topic's name; None for an id that no topic has."""
    if version < _TOPIC_ID_VERSION:
        return topic.name
    known = broker.catalog.by_id.get(topic.topic_id)
    return known.name if known is not None else None


def _asked_for(
    asked: OffsetFetchRequestGroup,
    names: list[str | None],
    found: list[Committed | None],
    unstable: Unstable,
) -> OffsetFetchResponseGroup:
    """`found` is for the topics with a name, in the order of the request."""
    results = iter(found)
    topics = []
    for name, topic in zip(names, asked.topics or ()):
        code = ErrorCode.NONE if name is not None else ErrorCode.UNKNOWN_TOPIC_ID
        partitions = []
        for index in topic.partition_indexes:
            committed = NOTHING if code else next(results) or NOTHING
            partitions.append(_stable_partition(name or "", index, committed, unstable, code))
        topics.append(
            OffsetFetchResponseTopics(name=name or "", topic_id=topic.topic_id, partitions=partitions)
        )
    return OffsetFetchResponseGroup(group_id=asked.group_id, topics=topics)


def _everything(
    broker: Broker,
    group_id: str,
    found: list[tuple[str, int, Committed]],
    version: int,
    unstable: Unstable,
) -> OffsetFetchResponseGroup:
    by_topic: dict[str, list[OffsetFetchResponsePartitions]] = {}
    for name, index, committed in found:
        by_topic.setdefault(name, []).append(_stable_partition(name, index, committed, unstable))
    topics = []
    for name, partitions in by_topic.items():
        topic = broker.catalog.topics.get(name)
        if topic is None and version >= _TOPIC_ID_VERSION:
            continue  # it cannot be named
        topic_id = topic.topic_id if topic is not None else ZERO_UUID
        topics.append(OffsetFetchResponseTopics(name=name, topic_id=topic_id, partitions=partitions))
    return OffsetFetchResponseGroup(group_id=group_id, topics=topics)


def _stable_partition(
    name: str,
    index: int,
    committed: Committed,
    unstable: Unstable,
    code: ErrorCode = ErrorCode.NONE,
) -> OffsetFetchResponsePartitions:
    if (name, index) in unstable:
        return _partition(index, NOTHING, ErrorCode.UNSTABLE_OFFSET_COMMIT)
    return _partition(index, committed, code)


def _partition(
    index: int, committed: Committed, code: ErrorCode = ErrorCode.NONE
) -> OffsetFetchResponsePartitions:
    return OffsetFetchResponsePartitions(
        partition_index=index,
        committed_offset=committed.offset,
        committed_leader_epoch=committed.leader_epoch,
        metadata=committed.metadata,
        error_code=code,
    )


def _as_one_group(group: OffsetFetchResponseGroup) -> OffsetFetchResponse:
    """The answer as it was before v8."""
    return OffsetFetchResponse(
        error_code=group.error_code,
        topics=[
            OffsetFetchResponseTopic(
                name=topic.name,
                partitions=[
                    OffsetFetchResponsePartition(
                        partition_index=partition.partition_index,
                        committed_offset=partition.committed_offset,
                        committed_leader_epoch=partition.committed_leader_epoch,
                        metadata=partition.metadata,
                        error_code=partition.error_code,
                    )
                    for partition in topic.partitions
                ],
            )
            for topic in group.topics
        ],
    )
