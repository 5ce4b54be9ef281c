"""Transactions: who may do what when, what is written, what time does, and what a crash leaves."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.coordinator.settings import TransactionSettings
from broker.coordinator.transaction import (
    EXHAUSTED_EPOCH,
    MAX_EPOCH,
    OVER,
    PREPARED,
    TRANSITIONS,
    State,
    Transaction,
    Transactions,
)
from broker.coordinator.transaction_coordinator import (
    EXPIRIES_PER_TURN,
    SETTLE_MS,
    TransactionCoordinator,
)
from broker.coordinator.transaction_decide import AddPartitions, Granted
from broker.coordinator.transaction_records import decode
from protocol.errors import ApiError, ErrorCode, Repeated
from tests.broker.coordinator.fakes import FakeHost, value_of
from tests.broker.coordinator.transaction_fakes import FakeMarkers, FakeProducerIds, FakeTransactionLog

ID = "id"
TIMEOUT_MS = 60_000
PLACE = ("topic", 0)


class Coordinated:
    """A coordinator, and what one transactional id's producer says to it."""

    def __init__(self, **settings: Any) -> None:
        self.log, self.markers = FakeTransactionLog(), FakeMarkers()
        self.host, self.ids = FakeHost(), FakeProducerIds()
        self.settings = TransactionSettings(**settings)
        self.kicks = 0
        self._load()

    def _load(self) -> None:
        self.coordinator = TransactionCoordinator(
            self.log, self.markers, self.ids, self.host, self.settings, self._kick
        )
        self.coordinator.load()

    def _kick(self) -> None:
        self.kicks += 1

    def restart(self) -> None:
        """As after a crash: only what is durable is left."""
        self.coordinator.close()
        self.log.crash(lambda _: 0)
        self._load()

    @property
    def transaction(self) -> Transaction:
        found = self.coordinator.transactions.get(ID)
        assert found is not None
        return found

    def init(self, expected: tuple[int, int] | None = None, timeout_ms: int = TIMEOUT_MS) -> Granted:
        return value_of(self.coordinator.init_producer_id(ID, timeout_ms, expected))

    def add(self, granted: Granted, *places: tuple[str, int], version: int = 2) -> ErrorCode:
        return self.coordinator.add_now(
            AddPartitions(
                ID, granted.producer_id, granted.producer_epoch, frozenset(places or (PLACE,)), version
            )
        )

    def verify(self, granted: Granted) -> ErrorCode:
        asked = AddPartitions(ID, granted.producer_id, granted.producer_epoch, frozenset((PLACE,)))
        return self.coordinator.verify(asked)[PLACE]

    def ending(self, granted: Granted, is_committed: bool = True, version: int = 2) -> Any:
        return self.coordinator.end(ID, granted.producer_id, granted.producer_epoch, is_committed, version)

    def end(self, granted: Granted, is_committed: bool = True, version: int = 2) -> Granted:
        return value_of(self.ending(granted, is_committed, version))

    def set_epoch(self, epoch: int) -> Granted:
        """As if the producer had gone through so many epochs."""
        known = self.transaction._replace(producer_epoch=epoch)
        self.coordinator.transactions.by_id[ID] = known
        return Granted(ErrorCode.NONE, known.producer_id, epoch)


@pytest.fixture
def c() -> Coordinated:
    return Coordinated()


# --- InitProducerId ---------------------------------------------------------------------------------------------


def test_every_init_raises_the_epoch(c: Coordinated) -> None:
    assert [c.init()[1:] for _ in range(3)] == [(1000, 0), (1000, 1), (1000, 2)]


@pytest.mark.parametrize("timeout_ms", [0, -1, 900_001])
def test_timeouts_out_of_bounds(c: Coordinated, timeout_ms: int) -> None:
    assert c.init(timeout_ms=timeout_ms).error == ErrorCode.INVALID_TRANSACTION_TIMEOUT


def test_a_producer_goes_on_after_an_error(c: Coordinated) -> None:
    """KIP-360: with the id and epoch it has; asking again gets the same answer."""
    first = c.init()
    again = c.init(first[1:])
    assert again[1:] == (1000, 1)
    assert c.init(first[1:]) == again
    assert c.init(first[1:]) == again


def test_a_replaced_producer_does_not_come_back(c: Coordinated) -> None:
    old = c.init()
    c.init()
    assert c.init(old[1:]).error == ErrorCode.PRODUCER_FENCED
    assert c.init((7, 0)).error == ErrorCode.PRODUCER_FENCED


def test_a_new_producer_aborts_what_is_under_way(c: Coordinated) -> None:
    old = c.init()
    c.add(old)
    assert c.init().error == ErrorCode.CONCURRENT_TRANSACTIONS
    assert [marker.is_committed for _, _, marker in c.markers.written] == [False]
    new = c.init()
    assert new.producer_epoch > old.producer_epoch
    assert c.add(old) == ErrorCode.PRODUCER_FENCED
    assert c.end(old).error == ErrorCode.PRODUCER_FENCED


def test_used_up_epochs_give_a_new_id(c: Coordinated) -> None:
    c.init()
    c.set_epoch(EXHAUSTED_EPOCH)
    assert c.init()[1:] == (1001, 0)


# --- partitions -------------------------------------------------------------------------------------------------


def test_only_its_producer_adds_partitions(c: Coordinated) -> None:
    granted = c.init()
    assert c.add(granted._replace(producer_id=5)) == ErrorCode.INVALID_PRODUCER_ID_MAPPING
    assert c.add(granted._replace(producer_epoch=9)) == ErrorCode.PRODUCER_FENCED
    assert c.verify(granted) == ErrorCode.TRANSACTION_ABORTABLE
    assert c.add(granted) == ErrorCode.NONE
    assert c.verify(granted) == ErrorCode.NONE
    assert c.transaction.state is State.ONGOING


def test_adding_again_writes_nothing(c: Coordinated) -> None:
    granted = c.init()
    c.add(granted)
    before = sum(map(len, c.log.batches))
    assert c.add(granted) == ErrorCode.NONE
    assert sum(map(len, c.log.batches)) == before


def test_version_1_is_verified_against_the_transaction_under_way(c: Coordinated) -> None:
    granted = c.init()
    c.add(granted, version=0)
    c.end(granted, version=0)
    assert c.verify(granted) == ErrorCode.TRANSACTION_ABORTABLE  # a late request of the last one


# --- the end ----------------------------------------------------------------------------------------------------


def test_version_2_raises_the_epoch_at_every_end(c: Coordinated) -> None:
    granted = c.init()
    for is_committed in (True, False):
        c.add(granted)
        ended = c.end(granted, is_committed)
        assert ended[1:] == (1000, granted.producer_epoch + 1)
        assert c.end(granted, is_committed) == ended  # its answer may have been lost
        assert c.end(granted, not is_committed).error == ErrorCode.INVALID_TXN_STATE
        granted = ended


def test_a_late_end_does_not_end_the_next_transaction(c: Coordinated) -> None:
    first = c.init()
    c.add(first)
    second = c.end(first)
    c.add(second)
    assert c.end(first).error == ErrorCode.PRODUCER_FENCED
    assert c.add(first, ("other", 0)) == ErrorCode.PRODUCER_FENCED
    assert c.transaction.state is State.ONGOING


def test_version_1_repeats_by_state(c: Coordinated) -> None:
    granted = c.init()
    assert c.end(granted, version=0).error == ErrorCode.INVALID_TXN_STATE
    c.add(granted, version=0)
    assert c.end(granted, version=0).error == ErrorCode.NONE
    assert c.end(granted, version=0).error == ErrorCode.NONE
    assert c.end(granted, False, version=0).error == ErrorCode.INVALID_TXN_STATE
    assert c.transaction.producer_epoch == granted.producer_epoch


def test_version_2_aborts_what_has_not_begun_and_commits_it_not(c: Coordinated) -> None:
    granted = c.init()
    assert c.end(granted).error == ErrorCode.INVALID_TXN_STATE
    assert c.end(granted, False)[1:] == (1000, 1)
    assert c.end(Granted(ErrorCode.NONE, 1000, 0)).error == ErrorCode.INVALID_TXN_STATE


def test_used_up_epochs_end_with_a_new_id(c: Coordinated) -> None:
    c.init()
    granted = c.set_epoch(EXHAUSTED_EPOCH)
    c.add(granted)
    ended = c.end(granted)
    assert ended[1:] == (1001, 0)
    assert c.markers.written[-1][2].producer_epoch == MAX_EPOCH
    assert c.end(granted) == ended
    assert c.add(ended) == ErrorCode.NONE


def test_the_answer_and_the_markers_wait_for_what_they_rely_on(c: Coordinated) -> None:
    granted = c.init()
    c.add(granted)
    c.log.is_synchronous = c.markers.is_synchronous = False
    deferred = c.ending(granted)
    assert not c.markers.written  # nobody must see an end that may be forgotten
    c.log.sync()
    assert len(c.markers.written) == 1
    assert c.add(Granted(ErrorCode.NONE, 1000, 1)) == ErrorCode.CONCURRENT_TRANSACTIONS
    assert c.end(granted).error == ErrorCode.CONCURRENT_TRANSACTIONS
    assert not deferred.is_resolved
    c.markers.sync()
    assert c.transaction.state is State.COMPLETE_COMMIT
    assert value_of(deferred).error == ErrorCode.NONE


def forget_the_completion(c: Coordinated, version: int = 2) -> Granted:
    """The producer has its answer to EndTxn, and what it goes on with; then the power goes. Markers are not durable."""
    granted = c.init()
    c.add(granted, version=version)
    c.log.is_synchronous = False
    deferred = c.ending(granted, version=version)
    c.log.sync()
    ended: Granted = value_of(deferred)
    c.markers.is_synchronous = False
    c.restart()
    assert c.transaction.state is State.PREPARE_COMMIT
    return ended


@pytest.mark.parametrize("epoch", [0, EXHAUSTED_EPOCH])
def test_what_was_begun_before_the_completion_was_forgotten_is_taken_up_after_it(
    c: Coordinated, epoch: int
) -> None:
    """A crash has kept first records of the next transaction: it is neither lost nor ended with the one before."""
    c.init()
    c.set_epoch(epoch - 1)
    ended = forget_the_completion(c)
    c.coordinator.adopt(ended.producer_id, ended.producer_epoch, "begun", 3)
    c.coordinator.adopt(ended.producer_id, ended.producer_epoch + 1, "later", 3)  # nobody's
    assert c.add(ended) == ErrorCode.CONCURRENT_TRANSACTIONS
    assert c.end(ended, False).error == ErrorCode.CONCURRENT_TRANSACTIONS
    assert c.init(ended[1:]).error == ErrorCode.CONCURRENT_TRANSACTIONS
    c.markers.sync()
    assert c.transaction.state is State.ONGOING
    assert c.transaction.partitions == {("begun", 3)}
    assert c.transaction[1:3] == ended[1:]
    c.markers.is_synchronous = c.log.is_synchronous = True
    c.log.sync()
    assert c.end(ended, False).error == ErrorCode.NONE
    assert c.markers.written[-1][:2] == ("begun", 3)


def test_version_1_writes_nothing_before_the_completion_is_durable(c: Coordinated) -> None:
    """Its epoch would not keep markers that are written again from ending the next transaction."""
    granted = c.init()
    c.add(granted, version=0)
    c.log.is_synchronous = False
    deferred = c.ending(granted, version=0)
    c.log.sync()
    assert value_of(deferred).error == ErrorCode.NONE
    added = c.coordinator.add(AddPartitions(ID, *granted[1:], frozenset((PLACE,))))
    assert c.transaction.state is State.ONGOING
    assert c.verify(granted) == c.add(granted, ("other", 0)) == ErrorCode.CONCURRENT_TRANSACTIONS
    c.log.sync()
    assert value_of(added) == c.verify(granted) == ErrorCode.NONE


def test_a_completion_nobody_waits_for_is_synced_soon(c: Coordinated) -> None:
    granted = c.init()
    c.add(granted)
    c.end(granted)
    before = c.kicks
    c.host.advance(SETTLE_MS)
    assert c.kicks == before + 1


def test_markers_of_what_was_decided_in_one_round_share_the_next(c: Coordinated) -> None:
    """The first would go alone if it were kicked for: whoever hands out the round does that, after all of it."""
    granted = c.init()
    c.add(granted)
    c.log.is_synchronous = c.markers.is_synchronous = False
    c.ending(granted)
    before = c.kicks
    c.log.sync()
    assert c.markers.written
    assert c.kicks == before


def test_whose_a_producer_id_is(c: Coordinated) -> None:
    c.init()
    granted = c.set_epoch(EXHAUSTED_EPOCH)
    c.add(granted)
    c.markers.is_synchronous = False
    c.ending(granted)
    transactions = c.coordinator.transactions
    assert transactions.of_producer(1000) == transactions.of_producer(1001) == c.transaction
    c.markers.sync()
    assert transactions.of_producer(1000) is None
    assert transactions.of_producer(1001) == c.transaction


def test_markers_go_on_after_a_crash(c: Coordinated) -> None:
    granted = c.init()
    c.add(granted, ("a", 0), ("b", 1))
    c.markers.is_synchronous = False
    c.ending(granted)
    c.markers.written.clear()
    c.restart()
    assert [place[:2] for place in c.markers.written] == [("a", 0), ("b", 1)]
    c.markers.sync()
    assert c.transaction.state is State.COMPLETE_COMMIT
    assert c.end(granted)[1:] == (1000, 1)


def test_a_full_disk_delays_the_end(c: Coordinated) -> None:
    granted = c.init()
    c.add(granted)
    c.markers.is_full = True
    for _ in range(2):
        assert c.end(granted).error == ErrorCode.CONCURRENT_TRANSACTIONS
    assert c.transaction.state is State.PREPARE_COMMIT
    c.markers.is_full = False
    c.host.advance(1000)
    assert c.transaction.state is State.COMPLETE_COMMIT
    assert c.end(granted)[1:] == (1000, 1)


def test_a_full_disk_refuses_and_changes_nothing(c: Coordinated) -> None:
    granted = c.init()
    before = c.transaction
    c.log.is_full = True
    assert c.add(granted) == ErrorCode.NOT_COORDINATOR
    assert c.init().error == ErrorCode.NOT_COORDINATOR
    assert c.transaction == before


def test_a_deleted_topic_needs_no_marker(c: Coordinated) -> None:
    granted = c.init()
    c.add(granted, ("gone", 0), ("there", 0))
    c.markers.missing.add("gone")
    assert c.end(granted).error == ErrorCode.NONE
    assert [place[0] for place in c.markers.written] == ["there"]


# --- time -------------------------------------------------------------------------------------------------------


def test_only_a_refusal_that_means_something_is_a_warning(
    c: Coordinated, caplog: pytest.LogCaptureFixture
) -> None:
    """A crash that loses the record of a completion has markers written again, where the next may be open."""
    granted = c.init()
    for topic in ("again", "newer", "there"):
        c.add(granted, (topic, 0))
    c.markers.refusals["again"] = Repeated(ErrorCode.INVALID_PRODUCER_EPOCH)
    c.markers.refusals["newer"] = ApiError(ErrorCode.INVALID_PRODUCER_EPOCH)
    with caplog.at_level(logging.INFO, "floe"):
        assert c.end(granted, True).error == ErrorCode.NONE
    assert [(record.levelname, record.args[0]) for record in caplog.records if record.args] == [
        ("INFO", "again"),
        ("WARNING", "newer"),
    ]
    assert [place[0] for place in c.markers.written] == ["there"]


def test_what_takes_too_long_is_aborted(c: Coordinated) -> None:
    granted = c.init()
    c.add(granted)
    c.host.advance(TIMEOUT_MS - 1)
    assert c.transaction.state is State.ONGOING
    c.host.advance(1)
    assert c.transaction.state is State.COMPLETE_ABORT
    assert c.end(granted).error == ErrorCode.PRODUCER_FENCED


def test_timeouts_go_on_after_a_restart(c: Coordinated) -> None:
    c.add(c.init())
    c.host.advance(TIMEOUT_MS - 10)
    c.restart()
    c.host.advance(10)
    assert c.transaction.state is State.COMPLETE_ABORT


def test_unused_ids_are_forgotten() -> None:
    c = Coordinated(id_expiration_ms=10_000, expiry_interval_ms=1000)
    c.init()
    c.host.advance(9_999)
    assert c.transaction
    c.host.advance(1001)
    assert c.coordinator.transactions.get(ID) is None
    c.restart()
    assert c.coordinator.transactions.get(ID) is None


def test_many_unused_ids_are_forgotten_in_turns() -> None:
    c = Coordinated(id_expiration_ms=10_000, expiry_interval_ms=60_000)
    count = 2 * EXPIRIES_PER_TURN + 1
    for number in range(count):
        value_of(c.coordinator.init_producer_id(f"{ID}-{number}", TIMEOUT_MS, None))
    left = []
    for _ in range(3):
        c.host.run_next()
        left.append(len(c.coordinator.transactions.by_id))
    assert left == [count - EXPIRIES_PER_TURN, 1, 0]
    assert c.coordinator.timers.earliest_ms() == c.host.now_ms + 60_000


def test_an_id_in_use_is_not_forgotten() -> None:
    c = Coordinated(id_expiration_ms=1000, expiry_interval_ms=500)
    c.add(c.init())
    c.host.advance(5000)
    assert c.transaction.state is State.ONGOING


# --- after a crash ----------------------------------------------------------------------------------------------


def test_a_partition_with_an_open_transaction_is_added_again(c: Coordinated) -> None:
    granted = c.init()
    c.log.is_synchronous = False
    c.add(granted)
    c.restart()
    assert c.transaction.state is State.EMPTY
    c.coordinator.adopt(granted.producer_id, granted.producer_epoch, *PLACE)
    assert c.transaction.partitions == {PLACE}
    c.coordinator.adopt(granted.producer_id, granted.producer_epoch - 1, "older", 0)
    assert c.transaction.partitions == {PLACE}


REQUESTS = st.sampled_from(("init", "recover", "add", "commit", "abort", "late", "time", "full", "restart"))


@given(st.lists(REQUESTS, max_size=30), st.sampled_from((0, 2)))
def test_replay_gives_the_same_state(requests: list[str], version: int) -> None:
    c = Coordinated(id_expiration_ms=200_000)
    granted = last = c.init()
    for number, request in enumerate(requests):
        c.markers.is_full = False
        if request == "init":
            granted = c.init() if c.transaction else granted
        elif request == "recover":
            granted = c.init(granted[1:])
        elif request == "add":
            c.add(granted, ("topic", number % 3), version=version)
        elif request == "late":
            c.end(last, version=version)
        elif request == "time":
            c.host.advance(TIMEOUT_MS)
        elif request == "restart":
            c.restart()
        else:
            c.markers.is_full = request == "full"
            last = granted
            ended = c.end(granted, request == "commit", version)
            granted = ended if version == 2 and not ended.error else granted
        if granted.error:
            granted = c.init()
        replayed = Transactions()
        for index in range(c.log.partition_count):
            for record in c.log.replay(index):
                decoded = decode(*record)
                replayed.apply(decoded.key, decoded)
        assert replayed.by_id == {ID: c.transaction._replace(last_producer_epoch=-1)}


def test_every_state_is_reached_and_left() -> None:
    states = set(State)
    assert {target for _, target in TRANSITIONS} == states
    assert {source for source, _ in TRANSITIONS} == states - {State.DEAD}
    assert all((state, State.DEAD) in TRANSITIONS for state in OVER)
    assert not any((state, State.ONGOING) in TRANSITIONS for state in PREPARED)
