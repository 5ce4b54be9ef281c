"""The index of aborted transactions: Kafka's bytes, what a fetch collects, truncation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.golden_records import GOLDEN
from wal import txn_index
from wal.txn_index import AbortedTransaction, CorruptTransactionIndex


def aborted(first: int, last: int, stable: int, pid: int = 1) -> AbortedTransaction:
    return AbortedTransaction(pid, first, last, stable)


def test_kafkas_own_index() -> None:
    data = GOLDEN["txnindex"]
    entries = txn_index.decode(data)
    assert entries == [(6, 108, 109, 100), (4242, 100, 120, 121)]
    assert b"".join(map(txn_index.encode, entries)) == data
    assert txn_index.decode(data[:-1]) == entries[:1]
    assert txn_index.decode(b"") == []


def test_collecting_for_a_fetch() -> None:
    # As Kafka's TransactionIndexTest: the last stable offsets decide where the search may end.
    entries = [aborted(0, 10, 11), aborted(5, 15, 13), aborted(18, 35, 25), aborted(32, 50, 40)]
    assert txn_index.collect(entries, 0, 100) == (entries, False)
    assert txn_index.collect(entries, 0, 32) == (entries[:3], True)
    assert txn_index.collect(entries, 0, 35) == (entries, True)
    assert txn_index.collect(entries, 10, 35) == (entries, True)
    assert txn_index.collect(entries, 11, 35) == (entries[1:], True)
    assert txn_index.collect(entries, 20, 41) == (entries[2:], False)
    assert txn_index.collect(entries, 51, 60) == ([], False)


def test_truncation_keeps_what_was_decided_before() -> None:
    entries = [aborted(0, 10, 11), aborted(5, 15, 13), aborted(18, 35, 25)]
    assert [txn_index.entries_below(entries, offset) for offset in (10, 11, 15, 16, 36)] == [0, 1, 1, 2, 3]


@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 1000)), max_size=20))
def test_round_trip(spans: list[tuple[int, int]]) -> None:
    entries, last = [], 0
    for first, length in spans:
        last = max(last + 1, first + length)
        entries.append(aborted(first, last, last + 1))
    data = b"".join(map(txn_index.encode, entries))
    assert len(data) == txn_index.ENTRY_SIZE * len(entries)
    assert txn_index.decode(data) == entries


def test_corrupt_indexes() -> None:
    good = txn_index.encode(aborted(5, 10, 11))
    with pytest.raises(CorruptTransactionIndex, match="version"):
        txn_index.decode(b"\0\1" + good[2:])
    with pytest.raises(CorruptTransactionIndex, match="order"):
        txn_index.decode(good + good)
    with pytest.raises(CorruptTransactionIndex, match="order"):
        txn_index.decode(good, segment_base_offset=11)
