"""AddPartitionsToTxn (key 24), versions 0 to 5: what a transaction is about to write to (KIP-98).

v2  PRODUCER_FENCED (KIP-588)   v3  flexible   v4  many transactions, verify only; for brokers (KIP-890)
v5  TRANSACTION_ABORTABLE may be answered

All partitions of a transaction are added or none: where one is not there, the others are OPERATION_NOT_ATTEMPTED.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from broker.coordinator.answers import gathered, mapped
from broker.coordinator.transaction_decide import AddPartitions
from broker.coordinator.waiting import at_once
from protocol.errors import ErrorCode
from protocol.messages.add_partitions_to_txn import (
    AddPartitionsToTxnPartitionResult,
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    AddPartitionsToTxnResult,
    AddPartitionsToTxnTopic,
    AddPartitionsToTxnTopicResult,
    AddPartitionsToTxnTransaction,
)

if TYPE_CHECKING:
    from broker.request import Deferred, Request
    from broker.runtime import Broker

_FENCED_VERSION: Final = 2
_BATCH_VERSION: Final = 4

Codes = Mapping[tuple[str, int], ErrorCode]


def handle(broker: Broker, request: Request) -> Deferred[AddPartitionsToTxnResponse]:
    message: AddPartitionsToTxnRequest = request.message
    if request.version < _BATCH_VERSION:
        only = AddPartitionsToTxnTransaction(
            transactional_id=message.v3_and_below_transactional_id,
            producer_id=message.v3_and_below_producer_id,
            producer_epoch=message.v3_and_below_producer_epoch,
            topics=message.v3_and_below_topics,
        )
        return mapped(_add(broker, only, request.version), _as_one_transaction)
    results = [_add(broker, transaction, request.version) for transaction in message.transactions]
    return mapped(
        gathered(results), lambda results: AddPartitionsToTxnResponse(results_by_transaction=results)
    )


def _add(
    broker: Broker, transaction: AddPartitionsToTxnTransaction, version: int
) -> Deferred[AddPartitionsToTxnResult]:
    named = [(topic.name, index) for topic in transaction.topics for index in topic.partitions]
    asked = AddPartitions(
        transaction.transactional_id,
        transaction.producer_id,
        transaction.producer_epoch,
        frozenset(named),
        2 if version >= _BATCH_VERSION else 0,
    )
    missing = {partition for partition in named if not _exists(broker, *partition)}
    if missing:
        codes = {
            partition: ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            if partition in missing
            else ErrorCode.OPERATION_NOT_ATTEMPTED
            for partition in named
        }
        return at_once(_result(transaction, codes, version))
    if transaction.verify_only:
        return at_once(_result(transaction, broker.transactions.verify(asked), version))
    return mapped(
        broker.transactions.add(asked),
        lambda code: _result(transaction, dict.fromkeys(named, code), version),
    )


def _exists(broker: Broker, name: str, index: int) -> bool:
    topic = broker.catalog.topics.get(name)
    return topic is not None and 0 <= index < topic.partition_count


def _result(
    transaction: AddPartitionsToTxnTransaction, codes: Codes, version: int
) -> AddPartitionsToTxnResult:
    return AddPartitionsToTxnResult(
        transactional_id=transaction.transactional_id,
        topic_results=_topic_results(transaction.topics, codes, version),
    )


def _topic_results(
    topics: Sequence[AddPartitionsToTxnTopic], codes: Codes, version: int
) -> list[AddPartitionsToTxnTopicResult]:
    def told(code: ErrorCode) -> ErrorCode:
        if code is ErrorCode.PRODUCER_FENCED and version < _FENCED_VERSION:
            return ErrorCode.INVALID_PRODUCER_EPOCH
        return code

    return [
        AddPartitionsToTxnTopicResult(
            name=topic.name,
            results_by_partition=[
                AddPartitionsToTxnPartitionResult(
                    partition_index=index, partition_error_code=told(codes[topic.name, index])
                )
                for index in topic.partitions
            ],
        )
        for topic in topics
    ]


def _as_one_transaction(result: AddPartitionsToTxnResult) -> AddPartitionsToTxnResponse:
    """The answer as it was before v4."""
    return AddPartitionsToTxnResponse(results_by_topic_v3_and_below=result.topic_results)
