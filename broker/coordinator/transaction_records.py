"""Records of `__transaction_state` as bytes, framed as those of `__consumer_offsets` (see `group_records.py`).

Writing is done field by field, as every transaction has three of them; what is read goes through the message classes
(`TransactionLogKey`, `TransactionLogValue`), which the tests compare it with. A value, big-endian:

    int16 1                 its version, the first with tagged fields: what Kafka writes from transaction version 1 on
    int64, int16            producer id and epoch
    int32, int8             time-out in ms, state
    compact array           topics with their partitions; null for what is Empty
    int64, int64            last update and start, in ms
    tagged fields           0 previous and 1 next producer id, 2 transaction version, each where it says something
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Final

from broker.coordinator.group_records import UnknownRecord
from broker.coordinator.outcome import Record
from broker.coordinator.transaction import (
    NO_PRODUCER_ID,
    STATE_NUMBERS,
    State,
    TopicPartition,
    Transaction,
    by_topic,
)
from protocol.compiler import decoder
from protocol.errors import Malformed
from protocol.keyed_batch import KeyedRecord
from protocol.messages.internal.transaction_records import TransactionLogKey, TransactionLogValue
from protocol.primitives import uvarint
from protocol.schema import schema_of

VALUE_VERSION: Final = 1

REMEMBERED_PARTITIONS: Final = 1024
"""Sets of partitions whose bytes are remembered: a transaction has the same in two records, most producers in all."""

_INT16: Final = Struct(">h")
_KEY: Final = Struct(">hh")
_KEY_TYPE: Final = 0
_PRODUCER: Final = Struct(">hqhib")
_TIMES: Final = Struct(">qq")
_TAGGED_ID: Final = Struct(">bbq")
_TAGGED_VERSION: Final = Struct(">bbh")
assert (_PRODUCER.size, _TIMES.size, _TAGGED_ID.size, _TAGGED_VERSION.size) == (17, 16, 10, 4)
_PREVIOUS_TAG, _NEXT_TAG, _VERSION_TAG = range(3)
_STATES: Final = {number: state for state, number in STATE_NUMBERS.items()}


def encode(record: Record) -> KeyedRecord:
    """The record as it goes into the log."""
    name = record.key.encode()
    value = encode_value(record.value) if record.value is not None else None
    return _KEY.pack(_KEY_TYPE, len(name)) + name, value


def encode_value(transaction: Transaction) -> bytes:
    """All of it but what is volatile."""
    tags = []
    if transaction.previous_producer_id != NO_PRODUCER_ID:
        tags.append(_TAGGED_ID.pack(_PREVIOUS_TAG, 8, transaction.previous_producer_id))
    if transaction.next_producer_id != NO_PRODUCER_ID:
        tags.append(_TAGGED_ID.pack(_NEXT_TAG, 8, transaction.next_producer_id))
    if transaction.client_version:
        tags.append(_TAGGED_VERSION.pack(_VERSION_TAG, 2, transaction.client_version))
    return b"".join(
        (
            _PRODUCER.pack(
                VALUE_VERSION,
                transaction.producer_id,
                transaction.producer_epoch,
                transaction.timeout_ms,
                STATE_NUMBERS[transaction.state],
            ),
            b"\0" if transaction.state is State.EMPTY else _encode_partitions(transaction.partitions),
            _TIMES.pack(transaction.updated_ms, transaction.start_ms),
            b"\0\1\2\3"[len(tags) : len(tags) + 1],
            *tags,
        )
    )


@lru_cache(REMEMBERED_PARTITIONS)
def _encode_partitions(partitions: frozenset[TopicPartition]) -> bytes:
    topics = by_topic(partitions)
    out = [uvarint(len(topics) + 1)]
    for topic, indexes in topics.items():
        name = topic.encode()
        out += uvarint(len(name) + 1), name, uvarint(len(indexes) + 1)
        out += [index.to_bytes(4, "big") for index in indexes]
        out.append(uvarint(0))
    return b"".join(out)


def decode(key: bytes | None, value: bytes | None) -> Record:
    """The transactional id and its `Transaction` in the log's key and value; raises UnknownRecord and Malformed."""
    if key is None or len(key) < 2 or _INT16.unpack_from(key)[0] != _KEY_TYPE:
        raise UnknownRecord(f"key {key!r}")
    transactional_id = decoder(TransactionLogKey, 0)(memoryview(key), 2)[0].transactional_id
    if value is None:
        return Record(transactional_id, None)
    if len(value) < 2:
        raise Malformed("a value without a version", message="TransactionLogValue")
    (version,) = _INT16.unpack_from(value)
    if version not in schema_of(TransactionLogValue).versions:
        raise UnknownRecord(f"version {version} of TransactionLogValue")
    message = decoder(TransactionLogValue, version)(memoryview(value), 2)[0]
    return Record(transactional_id, _transaction(transactional_id, message))


def _transaction(transactional_id: str, value: TransactionLogValue) -> Transaction:
    partitions = frozenset(
        (topic.topic, partition)
        for topic in value.transaction_partitions or ()
        for partition in topic.partition_ids
    )
    return Transaction(
        transactional_id,
        value.producer_id,
        value.producer_epoch,
        value.transaction_timeout_ms,
        _STATES.get(value.transaction_status, State.DEAD),
        partitions,
        value.transaction_start_timestamp_ms,
        value.transaction_last_update_timestamp_ms,
        value.previous_producer_id,
        value.next_producer_id,
        value.client_transaction_version,
    )
