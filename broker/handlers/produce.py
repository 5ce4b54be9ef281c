"""Produce (key 0), versions 0 to 13.

v0  magic 0 and 1 (converted on write)      v1  throttle time              v2  log append time in the answer
v3  transactional id, magic 2 only (KIP-98) v5  log start offset           v7  zstd (KIP-110)
v8  record errors (KIP-467)                 v9  flexible                   v10 current leader (KIP-951)
v11 transactions, version 2's errors        v12 implicit partitions (KIP-890)  v13 topic ids (KIP-516)

Order: every partition is validated and written before the handler returns. acks=0 has no answer (an error closes the
connection, as Kafka does, or the producer would never learn of it); acks=1 is answered once written; acks=all once
synced. A duplicate of an idempotent producer is acknowledged no sooner than its original.

A transactional batch must belong to the transaction under way: before v12 its partition has been added to it, from v12
on that happens here, and the answer waits for that to be durable, too.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from broker.coordinator.transaction_decide import AddPartitions
from broker.request import NO_REPLY, Deferred, Request
from protocol.errors import ApiError, ErrorCode, StorageFailed
from protocol.messages.produce import (
    BatchIndexAndErrorMessage,
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
    TopicProduceResponse,
)
from protocol.record_checks import RecordsRefused

if TYPE_CHECKING:
    from broker.runtime import Broker
    from broker.topics.catalog import Topic
    from broker.topics.partition import Partition
    from protocol.records import RecordBatch

log = logging.getLogger("floe.produce")

ACKS_ALL: Final = -1
_ABORTABLE_VERSION: Final = 11
_ADD_VERSION: Final = 12
_TOPIC_ID_VERSION: Final = 13


_WITHOUT_LOG_START: Final = (
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode.CORRUPT_MESSAGE,
    ErrorCode.MESSAGE_TOO_LARGE,
    ErrorCode.RECORD_LIST_TOO_LARGE,
    ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
)
"""Refusals that Kafka answers with log start offset -1; with all others it tells the partition's."""


class ProduceWait(Deferred[ProduceResponse]):
    """A response that leaves when all its partitions' records are durable."""

    __slots__ = ("_missing", "_response")

    def __init__(self, response: ProduceResponse) -> None:
        super().__init__()
        self._response = response
        self._missing = 0

    def also(self) -> None:
        self._missing += 1

    def durable(self) -> None:
        """One more partition is there."""
        self._missing -= 1
        if not self._missing:
            self.resolve(self._response)


class Admission:
    """Lets the batches of a request into the transaction of its transactional id (KIP-890)."""

    def __init__(self, broker: Broker, transactional_id: str, version: int) -> None:
        self._broker = broker
        self._transactional_id = transactional_id
        self._version = version
        self._has_admitted = False

    def __call__(self, partition: Partition, batch: RecordBatch) -> None:
        """Raises ApiError, with what a client of this version understands."""
        place = (partition.topic.name, partition.index)
        asked = AddPartitions(
            self._transactional_id, batch.producer_id, batch.producer_epoch, frozenset((place,)), 2
        )
        self._has_admitted = True
        if self._version >= _ADD_VERSION:
            code = self._broker.transactions.add_now(asked)
        else:
            code = self._broker.transactions.verify(asked)[place]
        if code:
            raise ApiError(self._told(code), f"{partition}: the batch is part of no transaction under way")

    def _told(self, code: ErrorCode) -> ErrorCode:
        if code is ErrorCode.PRODUCER_FENCED:
            return ErrorCode.INVALID_PRODUCER_EPOCH
        if code is ErrorCode.TRANSACTION_ABORTABLE and self._version < _ABORTABLE_VERSION:
            return ErrorCode.INVALID_TXN_STATE
        if code is ErrorCode.NOT_COORDINATOR:
            return (
                ErrorCode.NOT_ENOUGH_REPLICAS
            )  # which every client sends again, without asking for metadata
        if code is ErrorCode.CONCURRENT_TRANSACTIONS and self._version < _ADD_VERSION:
            return ErrorCode.NOT_ENOUGH_REPLICAS
        return code

    def when_durable(self, waiter: ProduceWait) -> bool:
        return self._has_admitted and self._broker.transactions.when_durable(self._transactional_id, waiter)


def handle(broker: Broker, request: Request) -> Any:
    message: ProduceRequest = request.message
    acks = message.acks
    if not -1 <= acks <= 1:
        return _refuse(message, ErrorCode.INVALID_REQUIRED_ACKS)
    response = ProduceResponse()
    admission = None
    if message.transactional_id is not None:
        admission = Admission(broker, message.transactional_id, request.version)
    wait = ProduceWait(response) if acks == ACKS_ALL else None
    pending = False
    failure: int = ErrorCode.NONE
    for topic_data in message.topic_data:
        if not topic_data.partition_data:
            continue
        topic = _resolve(broker, topic_data, request.version)
        results = []
        for data in topic_data.partition_data:
            result, waits = _append(broker, topic, data, request.version, wait, admission)
            pending |= waits
            if result.error_code:
                failure = result.error_code
            results.append(result)
        response.responses.append(
            TopicProduceResponse(
                name=topic_data.name, topic_id=topic_data.topic_id, partition_responses=results
            )
        )
    if acks == 0:
        if failure:
            log.warning("closing %r: acks=0 and error code %d", request.connection, failure)
            request.connection.close()
        return NO_REPLY
    if wait is not None and admission is not None and admission.when_durable(wait):
        wait.also()
        pending = True
    return wait if pending else response


def _resolve(broker: Broker, data: TopicProduceData, version: int) -> Topic | ErrorCode:
    if version >= _TOPIC_ID_VERSION:
        return broker.catalog.by_id.get(data.topic_id) or ErrorCode.UNKNOWN_TOPIC_ID
    topic = broker.catalog.topics.get(data.name)
    return topic if topic is not None else broker.why_no_topic(data.name)


def _append(
    broker: Broker,
    topic: Topic | ErrorCode,
    data: PartitionProduceData,
    version: int,
    wait: ProduceWait | None,
    admission: Admission | None,
) -> tuple[PartitionProduceResponse, bool]:
    """Write one partition's batch; (its result, whether `wait` now waits for it)."""
    partition = None
    try:
        if isinstance(topic, ErrorCode):
            raise ApiError(topic)
        if topic.is_internal:
            raise ApiError(
                ErrorCode.INVALID_TOPIC_EXCEPTION, f"{topic.name} is internal; clients may not write to it"
            )
        partition = topic.partition(data.index)
        if partition is None:
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        now_ms = broker.clock_ms()
        appended = partition.append(data.records, version, now_ms, admission)
        broker.write_succeeded()
    except ApiError as error:
        return _refused(data.index, error, partition), False
    except StorageFailed as error:
        broker.storage_failed(error)
        return _failed(data.index, ErrorCode.KAFKA_STORAGE_ERROR, str(error)), False
    waits = False
    if wait is not None and partition.when_durable(appended.last_offset + 1, wait):
        wait.also()
        waits = True
    result = PartitionProduceResponse(
        index=data.index,
        base_offset=appended.base_offset,
        log_append_time_ms=now_ms if topic.config.stamps_append_time else -1,
        log_start_offset=appended.log_start_offset,
    )
    return result, waits


def _failed(index: int, code: ErrorCode, message: str) -> PartitionProduceResponse:
    return PartitionProduceResponse(
        index=index,
        error_code=code,
        base_offset=-1,
        log_append_time_ms=-1,
        log_start_offset=-1,
        error_message=message or code.message,
    )


def _refused(index: int, error: ApiError, partition: Partition | None) -> PartitionProduceResponse:
    result = _failed(index, error.code, error.message)
    if partition is not None and error.code not in _WITHOUT_LOG_START:
        result.log_start_offset = partition.log.log_start_offset
    if isinstance(error, RecordsRefused):
        result.record_errors = [
            BatchIndexAndErrorMessage(batch_index=record.index, batch_index_error_message=record.message)
            for record in error.errors
        ]
    return result


def _refuse(message: ProduceRequest, code: ErrorCode) -> ProduceResponse:
    return ProduceResponse(
        responses=[
            TopicProduceResponse(
                name=topic.name,
                topic_id=topic.topic_id,
                partition_responses=[
                    _failed(data.index, code, code.message) for data in topic.partition_data
                ],
            )
            for topic in message.topic_data
        ]
    )
