"""Offsets of transactions: pending, committed, aborted, superseded; and the same after a restart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.coordinator.group_records import partition_for
from broker.coordinator.offsets import CommitOffset
from broker.coordinator.transactional_offsets import Producer
from protocol.errors import ErrorCode
from tests.broker.coordinator.fakes import value_of
from tests.broker.coordinator.harness import GROUP, Coordinated

TOPIC = "topic"


class Transactional(Coordinated):
    """A coordinator of groups whose offsets are committed in transactions."""

    def pend(self, producer_id: int, offset: int, partition: int = 0, **member: object) -> ErrorCode:
        offsets = [CommitOffset(TOPIC, partition, offset)]
        return self.commit(offset, producer=Producer(producer_id, 0), offsets=offsets, **member)

    def mark(self, producer_id: int, *, is_committed: bool = True) -> None:
        index = partition_for(GROUP, self.log.partition_count)
        self.log.end_transaction(index, producer_id, is_committed)
        self.groups.end_transaction(index, producer_id, is_committed)

    def is_pending(self, partition: int = 0) -> bool:
        return self.groups.groups.offsets.pending.is_pending(GROUP, TOPIC, partition)


@pytest.fixture
def c() -> Transactional:
    return Transactional()


@pytest.mark.parametrize(("is_committed", "expected"), [(True, 5), (False, 1)])
@pytest.mark.parametrize("restarts", [False, True])
def test_the_marker_decides(c: Transactional, is_committed: bool, expected: int, restarts: bool) -> None:
    c.commit(1)
    c.pend(7, 5)
    if restarts:
        c.restart()
    assert (c.committed(), c.is_pending()) == (1, True)
    c.mark(7, is_committed=is_committed)
    for _ in range(2):
        assert (c.committed(), c.is_pending()) == (expected, False)
        c.restart()


def test_what_was_written_later_wins(c: Transactional) -> None:
    c.pend(7, 5)
    c.commit(9)
    c.mark(7)
    assert c.committed() == 9


def test_the_later_of_two_transactions_wins(c: Transactional) -> None:
    c.pend(7, 5)
    c.pend(8, 6)
    c.mark(8)
    c.mark(7)
    assert c.committed() == 6


def test_another_producers_marker_is_not_this_ones(c: Transactional) -> None:
    c.pend(7, 5)
    c.pend(8, 6, partition=1)
    c.mark(8)
    assert (c.committed(0), c.committed(1)) == (None, 6)
    assert c.is_pending()


def test_a_deleted_topic_takes_what_is_pending_with_it(c: Transactional) -> None:
    c.pend(7, 5)
    c.groups.topic_deleted(TOPIC)
    c.mark(7)
    assert c.committed() is None


def test_a_deleted_group_takes_what_is_pending_with_it(c: Transactional) -> None:
    c.commit(1)
    c.pend(7, 5)
    assert value_of(c.groups.delete_group(GROUP)) == ErrorCode.NONE
    c.mark(7)
    assert c.committed() is None


def test_members_are_checked_and_strangers_need_not_be_named(c: Transactional) -> None:
    (joined,) = c.stable(1)
    good = {"member_id": joined.member_id, "generation_id": joined.generation_id}
    assert c.pend(7, 1, **good) == ErrorCode.NONE
    assert c.pend(7, 1) == ErrorCode.NONE  # older producers know of no member (KIP-447)
    assert c.pend(7, 1, **good | {"generation_id": 77}) == ErrorCode.ILLEGAL_GENERATION
    assert c.pend(7, 1, **good | {"member_id": "other"}) == ErrorCode.UNKNOWN_MEMBER_ID


STEPS = st.tuples(
    st.sampled_from(("pend", "pend", "commit", "end", "abort", "restart")),
    st.integers(1, 3),
    st.integers(0, 1),
)


@given(st.lists(STEPS, max_size=25))
def test_replay_gives_the_same_offsets(steps: list[tuple[str, int, int]]) -> None:
    c = Transactional()
    for offset, (step, producer_id, partition) in enumerate(steps):
        if step == "pend":
            c.pend(producer_id, offset, partition)
        elif step == "commit":
            c.commit(offset, offsets=[CommitOffset(TOPIC, partition, offset)])
        elif step == "restart":
            before = c.groups.groups.offsets
            c.restart()
            after = c.groups.groups.offsets
            assert after.by_group == before.by_group
            assert sorted(after.pending) == sorted(before.pending)
        else:
            c.mark(producer_id, is_committed=step == "end")
