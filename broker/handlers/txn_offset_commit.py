"""TxnOffsetCommit (key 28), versions 0 to 5: store how far a group has read, as part of a transaction (KIP-98).

v2  leader epochs (KIP-320)   v3  the group's member, flexible (KIP-447)   v4  TRANSACTION_ABORTABLE may be answered
v5  the group's partition becomes part of the transaction by itself (KIP-890)

Before v5 it must have been added; that is looked at, so a delayed request of an old transaction is refused. The answer
comes when both the offsets and their being part of the transaction are durable. A partition that is not there is told
as such, whatever is the matter with the producer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.coordinator.answers import gathered, mapped
from broker.coordinator.offsets import Commit, CommitOffset
from broker.coordinator.transaction_decide import AddPartitions
from broker.coordinator.transactional_offsets import Producer
from broker.request import Deferred
from broker.topics.names import CONSUMER_OFFSETS
from protocol.errors import ErrorCode
from protocol.messages.txn_offset_commit import (
    TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
    TxnOffsetCommitResponsePartition,
    TxnOffsetCommitResponseTopic,
)

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker

_ADD_VERSION: Final = 5
_ABORTABLE_VERSION: Final = 4


def handle(broker: Broker, request: Request) -> TxnOffsetCommitResponse | Deferred[TxnOffsetCommitResponse]:
    message: TxnOffsetCommitRequest = request.message
    offsets, unknown = _offsets(broker, message)
    if not offsets:
        return _response(message, unknown, [])
    answer: Deferred[TxnOffsetCommitResponse] = Deferred()

    def decided(codes: list[ErrorCode]) -> None:
        answer.resolve(_response(message, unknown, codes))

    def found(index: int) -> None:
        refusal = ErrorCode.COORDINATOR_NOT_AVAILABLE
        if index >= 0:
            refusal = _refusal(broker, message, request.version, index)
        if refusal:
            decided([refusal] * len(offsets))
        else:
            _commit(broker, message, offsets).then(decided)

    if message.group_id:
        broker.groups.transactions_partition(message.group_id).then(found)
    else:
        decided([ErrorCode.INVALID_GROUP_ID] * len(offsets))
    return answer


def _refusal(broker: Broker, message: TxnOffsetCommitRequest, version: int, index: int) -> ErrorCode:
    """Make the group's partition part of the transaction, or see that it is: why not, NONE if it is."""
    partition = (CONSUMER_OFFSETS, index)
    asked = AddPartitions(
        message.transactional_id,
        message.producer_id,
        message.producer_epoch,
        frozenset((partition,)),
        2,
    )
    if version >= _ADD_VERSION:
        refusal = broker.transactions.add_now(asked)
    else:
        refusal = broker.transactions.verify(asked)[partition]
        if refusal is ErrorCode.TRANSACTION_ABORTABLE and version < _ABORTABLE_VERSION:
            refusal = ErrorCode.INVALID_TXN_STATE
    if refusal is ErrorCode.PRODUCER_FENCED:  # as the log says it, which other brokers' clients know
        refusal = ErrorCode.INVALID_PRODUCER_EPOCH
    return refusal


def _commit(
    broker: Broker, message: TxnOffsetCommitRequest, offsets: list[CommitOffset]
) -> Deferred[list[ErrorCode]]:
    """An error for each offset, when both they and their being part of the transaction are durable."""
    commit = Commit(
        message.group_id,
        message.generation_id,
        message.member_id,
        message.group_instance_id,
        offsets,
        producer=Producer(message.producer_id, message.producer_epoch),
    )
    both = gathered([broker.groups.commit(commit), broker.transactions.durable(message.transactional_id)])
    return mapped(both, lambda results: results[0])


def _offsets(
    broker: Broker, message: TxnOffsetCommitRequest
) -> tuple[list[CommitOffset], set[tuple[str, int]]]:
    """What can be committed, and the partitions that are not there."""
    offsets, unknown = [], set()
    for asked in message.topics:
        topic = broker.catalog.topics.get(asked.name)
        for partition in asked.partitions:
            index = partition.partition_index
            if topic is None or not 0 <= index < topic.partition_count:
                unknown.add((asked.name, index))
                continue
            offsets.append(
                CommitOffset(
                    asked.name,
                    index,
                    partition.committed_offset,
                    partition.committed_leader_epoch,
                    partition.committed_metadata or "",
                    topic_id=topic.topic_id,
                )
            )
    return offsets, unknown


def _response(
    message: TxnOffsetCommitRequest, unknown: set[tuple[str, int]], codes: list[ErrorCode]
) -> TxnOffsetCommitResponse:
    """`codes` are for the partitions that are there, in the order of the request."""
    decided = iter(codes)

    def code(topic: str, partition: int) -> ErrorCode:
        is_unknown = (topic, partition) in unknown
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION if is_unknown else next(decided)

    return TxnOffsetCommitResponse(
        topics=[
            TxnOffsetCommitResponseTopic(
                name=topic.name,
                partitions=[
                    TxnOffsetCommitResponsePartition(
                        partition_index=partition.partition_index,
                        error_code=code(topic.name, partition.partition_index),
                    )
                    for partition in topic.partitions
                ],
            )
            for topic in message.topics
        ]
    )
