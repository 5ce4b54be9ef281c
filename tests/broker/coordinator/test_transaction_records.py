"""Records of `__transaction_state`: the same bytes as the message classes make, and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.coordinator.group_records import UnknownRecord
from broker.coordinator.transaction import NO_EPOCH, STATE_NUMBERS, State, Transaction, record_of, tombstone
from broker.coordinator.transaction_records import VALUE_VERSION, decode, encode
from protocol.compiler import encoder
from protocol.errors import Malformed
from protocol.messages.internal.transaction_records import (
    PartitionsSchema,
    TransactionLogKey,
    TransactionLogValue,
)
from protocol.primitives import Output

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=200)
IDS = st.integers(0, 2**63 - 1)
TIMES = st.integers(-1, 2**63 - 1)
TRANSACTIONS = st.builds(
    Transaction,
    NAMES,
    IDS,
    st.integers(0, 2**15 - 1),
    st.integers(0, 2**31 - 1),
    st.sampled_from([state for state in State if state is not State.EMPTY]),
    st.frozensets(st.tuples(NAMES, st.integers(0, 2**31 - 1))),
    TIMES,
    TIMES,
    st.just(-1) | IDS,
    st.just(-1) | IDS,
    st.integers(0, 2),
    st.just(NO_EPOCH),
)


def framed(version: int, message: Any, message_version: int) -> bytes:
    out = Output(version.to_bytes(2, "big"))
    encoder(type(message), message_version)(message, out)
    return bytes(out)


@given(TRANSACTIONS, st.booleans())
def test_the_bytes_are_those_of_the_message(transaction: Transaction, is_empty: bool) -> None:
    partitions: list[PartitionsSchema] | None = [
        PartitionsSchema(topic=topic, partition_ids=indexes)
        for topic, indexes in transaction.topics().items()
    ]
    if is_empty:
        transaction, partitions = transaction._replace(state=State.EMPTY, partitions=frozenset()), None
    value = TransactionLogValue(
        producer_id=transaction.producer_id,
        previous_producer_id=transaction.previous_producer_id,
        next_producer_id=transaction.next_producer_id,
        producer_epoch=transaction.producer_epoch,
        transaction_timeout_ms=transaction.timeout_ms,
        transaction_status=STATE_NUMBERS[transaction.state],
        transaction_partitions=partitions,
        transaction_last_update_timestamp_ms=transaction.updated_ms,
        transaction_start_timestamp_ms=transaction.start_ms,
        client_transaction_version=transaction.client_version,
    )
    key, encoded = encode(record_of(transaction._replace(last_producer_epoch=5)))
    assert key == framed(0, TransactionLogKey(transactional_id=transaction.transactional_id), 0)
    assert encoded == framed(VALUE_VERSION, value, VALUE_VERSION)
    assert decode(key, encoded) == (transaction.transactional_id, transaction)


def test_a_tombstone() -> None:
    key, value = encode(tombstone("id"))
    assert value is None
    assert decode(key, None) == ("id", None)


@pytest.mark.parametrize("key", [None, b"", b"\0\1\0\0", b"\0"])
def test_keys_of_others_are_told(key: bytes | None) -> None:
    with pytest.raises(UnknownRecord):
        decode(key, b"")


def test_values_that_are_none() -> None:
    key, _ = encode(tombstone("id"))
    with pytest.raises(Malformed):
        decode(key, b"\0")
    with pytest.raises(UnknownRecord):
        decode(key, b"\0\7")
    with pytest.raises(Malformed):
        decode(key, b"\0\1\0")
