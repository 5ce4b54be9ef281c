"""Idempotence and open transactions: Kafka's own cases, a reference model, the snapshot file."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import records
from protocol.errors import ApiError, ErrorCode, Repeated
from protocol.records import CorruptBatch, Record, RecordBatch
from tests.protocol.golden_records import GOLDEN
from wal.producer_state import CompletedTransaction, CorruptSnapshot, ProducerState, decode_snapshot

PID = 7
MAX = 2**31 - 1
DAY_MS = 86_400_000


def batch(
    base_sequence: int,
    count: int = 1,
    *,
    offset: int = 0,
    pid: int = PID,
    epoch: int = 0,
    transactional: bool = False,
    timestamp: int = 0,
) -> RecordBatch:
    buffer = records.build(
        [Record(timestamp=timestamp)] * count,
        base_offset=offset,
        producer_id=pid,
        producer_epoch=epoch,
        base_sequence=base_sequence,
        is_transactional=transactional,
    )
    return records.parse_header(buffer, 0)


def end(
    state: ProducerState,
    offset: int,
    commit: bool = False,
    pid: int = PID,
    epoch: int = 0,
    coordinator: int = 0,
) -> CompletedTransaction | None:
    buffer = records.end_transaction_marker(
        commit,
        producer_id=pid,
        producer_epoch=epoch,
        coordinator_epoch=coordinator,
        timestamp=1,
        base_offset=offset,
    )
    [marker] = records.parse_batches(buffer)
    return state.apply(buffer, marker)


def refusal(state: ProducerState, candidate: RecordBatch) -> ErrorCode:
    before = state.encode_snapshot()
    with pytest.raises(ApiError) as caught:
        state.check(candidate)
    assert state.encode_snapshot() == before
    return caught.value.code


OUT_OF_ORDER = ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_sequences_of_one_epoch() -> None:
    state = ProducerState()
    assert state.check(batch(0, 10)) is None
    state.update(batch(0, 10))
    assert state.check(batch(10, offset=10)) is None
    assert refusal(state, batch(11)) == OUT_OF_ORDER
    assert refusal(state, batch(9)) == OUT_OF_ORDER
    assert refusal(state, batch(5, 5)) == OUT_OF_ORDER  # part of a known batch is not a duplicate
    assert refusal(state, batch(0, 11)) == OUT_OF_ORDER


def test_checks_change_nothing() -> None:
    state = ProducerState()
    state.check(batch(0))
    assert len(state) == 0
    state.update(batch(0))
    for _ in range(3):
        assert state.check(batch(1, offset=1)) is None


def test_an_unknown_producer_may_begin_anywhere() -> None:
    state = ProducerState()
    assert state.check(batch(1234, epoch=5)) is None
    state.update(batch(1234, epoch=5))
    assert state.check(batch(1235, offset=1, epoch=5)) is None


def test_the_last_five_batches_are_duplicates_with_their_offsets() -> None:
    state = ProducerState()
    for index in range(7):
        state.update(batch(index * 10, 10, offset=100 + index * 10, timestamp=index))
    for index in range(2, 7):
        known = state.check(batch(index * 10, 10, offset=9999))
        assert known is not None
        assert (known.base_offset, known.last_offset, known.timestamp) == (
            100 + index * 10,
            109 + index * 10,
            index,
        )
    assert refusal(state, batch(10, 10)) == OUT_OF_ORDER


def test_sequences_wrap_around_at_int32() -> None:
    state = ProducerState()
    state.update(batch(MAX - 1, 2))
    assert refusal(state, batch(1)) == OUT_OF_ORDER
    assert state.check(batch(0, 5, offset=2)) is None
    state.update(batch(0, 5, offset=2))
    assert state.check(batch(MAX - 1, 2)) is not None
    state = ProducerState()
    state.update(batch(MAX - 4, 10))  # MAX-4 .. MAX, 0 .. 4
    [entry] = state
    assert entry.last_sequence == 4
    assert state.check(batch(5, offset=10)) is None
    assert state.check(batch(MAX - 4, 10)) is not None


def test_a_wrap_is_only_from_the_largest_sequence() -> None:
    state = ProducerState()
    state.update(batch(MAX - 1))
    assert refusal(state, batch(0)) == OUT_OF_ORDER


def test_epochs() -> None:
    state = ProducerState()
    state.update(batch(0, epoch=5))
    assert refusal(state, batch(1, epoch=4)) == ErrorCode.INVALID_PRODUCER_EPOCH
    assert refusal(state, batch(0, epoch=4)) == ErrorCode.INVALID_PRODUCER_EPOCH
    assert refusal(state, batch(1, epoch=6)) == OUT_OF_ORDER
    assert state.check(batch(0, offset=1, epoch=6)) is None
    state.update(batch(0, offset=1, epoch=6))
    assert refusal(state, batch(0, epoch=5)) == ErrorCode.INVALID_PRODUCER_EPOCH  # forgotten with its epoch
    assert state.check(batch(0, epoch=6)) is not None


def test_several_batches_in_one_append_are_checked_after_each_other() -> None:
    state = ProducerState()
    assert state.check_batches([batch(0, 2), batch(2, 2), batch(0, pid=9), batch(4)]) is None
    assert len(state) == 0
    with pytest.raises(ApiError):
        state.check_batches([batch(0, 2), batch(3)])
    state.update(batch(0, 2))
    known = state.check_batches([batch(0, 2), batch(2)])
    assert known is not None and known.last_offset == 1
    with pytest.raises(ApiError):
        state.check_batches([batch(2), batch(4)])
    without = records.parse_header(records.build([Record()]), 0)
    assert state.check_batches([without]) is None
    assert state.check_batches([without, batch(2), batch(3)]) is None


# --- transactions ---


def test_a_transaction_holds_back_the_last_stable_offset() -> None:
    state = ProducerState()
    state.update(batch(0, 3, offset=10, transactional=True))
    state.update(batch(0, 2, offset=13, pid=8, transactional=True))
    state.update(batch(3, 1, offset=15, transactional=True))
    assert state.first_unstable_offset() == 10
    done = end(state, 16)
    assert done is not None and done.is_aborted
    assert (done.producer_id, done.first_offset, done.last_offset, done.last_stable_offset) == (
        PID,
        10,
        16,
        13,
    )
    assert state.first_unstable_offset() == 10  # the marker is not durable yet
    state.advance_high_watermark(16)
    assert state.first_unstable_offset() == 10
    state.advance_high_watermark(17)
    assert state.first_unstable_offset() == 13
    done = end(state, 17, commit=True, pid=8)
    assert done is not None and not done.is_aborted and done.last_stable_offset == 18
    state.advance_high_watermark(18)
    assert state.first_unstable_offset() == -1
    assert state.check(batch(4, offset=18, transactional=True)) is None  # the sequence goes on


def test_a_marker_without_data_ends_nothing_but_moves_the_epoch() -> None:
    state = ProducerState()
    assert end(state, 0, epoch=3) is None
    assert refusal(state, batch(0, epoch=2)) == ErrorCode.INVALID_PRODUCER_EPOCH
    assert refusal(state, batch(1, epoch=3)) == OUT_OF_ORDER
    assert state.check(batch(0, epoch=3)) is None


def test_a_marker_with_a_new_epoch_forgets_the_old_batches() -> None:
    state = ProducerState()
    state.update(batch(0, 3, transactional=True))
    assert end(state, 3, epoch=1) is not None
    assert refusal(state, batch(0, 3, transactional=True)) == ErrorCode.INVALID_PRODUCER_EPOCH
    assert refusal(state, batch(3, epoch=1, transactional=True)) == OUT_OF_ORDER
    assert state.check(batch(0, offset=4, epoch=1, transactional=True)) is None


def test_plain_writes_in_a_transaction_are_refused() -> None:
    state = ProducerState()
    state.update(batch(0, transactional=True))
    assert refusal(state, batch(1)) == ErrorCode.INVALID_TXN_STATE
    end(state, 1)
    assert state.check(batch(1, offset=2)) is None


def test_markers_of_old_coordinators_and_old_epochs() -> None:
    state = ProducerState()
    state.update(batch(0, epoch=4, transactional=True))

    def code(epoch: int, coordinator: int, version: int) -> ErrorCode | None:
        try:
            state.check_marker(PID, epoch, coordinator, version)
        except ApiError as error:
            return error.code
        return None

    assert code(3, 0, 1) == code(3, 0, 2) == code(4, 0, 2) == ErrorCode.INVALID_PRODUCER_EPOCH
    assert code(4, 0, 1) is None and code(5, 0, 2) is None
    end(state, 1, epoch=5, coordinator=20)
    assert code(5, 20, 2) is None  # the retry of the marker just written
    assert code(6, 19, 2) == ErrorCode.TRANSACTION_COORDINATOR_FENCED
    state.check_marker(99, 0, 0, 2)  # unknown producer


def test_a_marker_written_again_is_told_from_a_stale_one() -> None:
    """Version 2: the marker raised the epoch, in which the next transaction is open."""
    state = ProducerState()
    state.update(batch(0, epoch=3, transactional=True))
    end(state, 1, epoch=4)
    state.update(batch(0, offset=2, epoch=4, transactional=True))
    with pytest.raises(Repeated) as again:
        state.check_marker(PID, 4, 0, 2)
    assert again.value.code is ErrorCode.INVALID_PRODUCER_EPOCH
    with pytest.raises(ApiError) as stale:
        state.check_marker(PID, 3, 0, 2)
    assert not isinstance(stale.value, Repeated)
    state.check_marker(PID, 4, 0, 1)  # version 1 cannot tell
    state.check_marker(PID, 5, 0, 2)


def test_coordinators_write_without_sequences() -> None:
    state = ProducerState()
    first = batch(-1, epoch=2, transactional=True)
    state.check_coordinator_batch(first)
    state.update(first)
    state.check_coordinator_batch(batch(-1, offset=1, epoch=2, transactional=True))
    with pytest.raises(ApiError):
        state.check_coordinator_batch(batch(-1, epoch=1, transactional=True))
    with pytest.raises(ApiError):
        state.check_coordinator_batch(batch(-1, epoch=2))
    [entry] = state
    assert entry.last_sequence == -1


def test_apply_takes_data_markers_and_leaves_the_rest() -> None:
    state = ProducerState()
    buffer = records.build([Record()])
    assert state.apply(buffer, records.parse_header(buffer, 0)) is None and len(state) == 0
    buffer = records.build([Record()], producer_id=1, producer_epoch=0, base_sequence=0)
    assert state.apply(buffer, records.parse_header(buffer, 0)) is None and len(state) == 1
    compacted = records.build([], producer_id=2, producer_epoch=0, is_control=True)
    assert state.apply(compacted, records.parse_header(compacted, 0)) is None and len(state) == 1
    strange = records.build([Record(key=b"\0\0\0\5")], producer_id=2, producer_epoch=0, is_control=True)
    with pytest.raises(CorruptBatch):
        state.apply(strange, records.parse_header(strange, 0))


# --- expiry and snapshots ---


def test_expiry_spares_open_transactions() -> None:
    state = ProducerState()
    state.update(batch(0, timestamp=1000))
    state.update(batch(0, pid=8, timestamp=2000))
    state.update(batch(0, pid=9, timestamp=1000, transactional=True))
    assert state.expire(now_ms=1000 + DAY_MS - 1, expiration_ms=DAY_MS) == 0
    assert state.expire(now_ms=1000 + DAY_MS, expiration_ms=DAY_MS) == 1
    assert sorted(entry.producer_id for entry in state) == [8, 9]
    assert state.check(batch(77)) is None
    snapshot = state.encode_snapshot()
    again = ProducerState.from_snapshot(snapshot, now_ms=5000 + DAY_MS, expiration_ms=DAY_MS)
    assert [entry.producer_id for entry in again] == [9]


def test_kafkas_own_snapshot() -> None:
    data = GOLDEN["snapshot"]
    state = ProducerState.from_snapshot(data, now_ms=0, expiration_ms=DAY_MS)
    by_id = {entry.producer_id: entry for entry in state}
    assert set(by_id) == {4242, 5, 6}
    assert by_id[4242].current_txn_first_offset == 100 == state.first_unstable_offset()
    assert (by_id[4242].producer_epoch, by_id[4242].last_sequence) == (7, 3)
    [last] = by_id[5].batches
    assert (last.base_sequence, last.last_sequence) == (MAX - 1, 1)
    assert (last.base_offset, last.last_offset, last.timestamp) == (104, 107, 1_500_000_003_000)
    assert (by_id[6].producer_epoch, by_id[6].coordinator_epoch, by_id[6].batches) == (3, 9, [])
    assert state.check(batch(MAX - 1, 4, pid=5)) is not None
    assert state.encode_snapshot() == data


def test_a_snapshot_restores_the_order_of_open_transactions() -> None:
    state = ProducerState()
    for offset, pid in ((0, 9), (1, 3), (2, 5)):
        state.update(batch(0, pid=pid, offset=offset, transactional=True))
    end(state, 3, pid=9)
    state.update(batch(1, pid=9, offset=4, transactional=True))
    again = ProducerState.from_snapshot(state.encode_snapshot(), 0, DAY_MS)
    assert again.first_unstable_offset() == 1
    done = end(again, 5, pid=3)
    assert done is not None and done.last_stable_offset == 2


@given(st.data())
def test_any_damage_to_a_snapshot_is_noticed(data: st.DataObject) -> None:
    damaged = bytearray(GOLDEN["snapshot"])
    position = data.draw(st.integers(0, len(damaged) - 1))
    damaged[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CorruptSnapshot):
        decode_snapshot(bytes(damaged))
    with pytest.raises(CorruptSnapshot):
        decode_snapshot(GOLDEN["snapshot"][: data.draw(st.integers(0, len(damaged) - 1))])


# --- against a model that remembers everything ---


class Model:
    """One producer's whole history, and the rules in their plainest form."""

    def __init__(self) -> None:
        self.epoch = -1
        self.history: list[tuple[int, int, int]] = []  # base sequence, last sequence, base offset

    def decide(self, epoch: int, base: int, last: int) -> object:
        if self.epoch == -1:
            return "append"
        if epoch < self.epoch:
            return ErrorCode.INVALID_PRODUCER_EPOCH
        if epoch > self.epoch:
            return "append" if base == 0 else OUT_OF_ORDER
        for known_base, known_last, offset in self.history[-5:]:
            if (known_base, known_last) == (base, last):
                return offset
        expected = (self.history[-1][1] + 1) % (MAX + 1) if self.history else 0
        return "append" if base == expected else OUT_OF_ORDER

    def append(self, epoch: int, base: int, last: int, offset: int) -> None:
        if epoch != self.epoch:
            self.epoch, self.history = epoch, []
        self.history.append((base, last, offset))


@settings(max_examples=200)
@given(st.data())
def test_against_the_model(data: st.DataObject) -> None:
    state, models, offset = ProducerState(), {1: Model(), 2: Model()}, 0
    for _ in range(data.draw(st.integers(1, 30))):
        pid = data.draw(st.sampled_from([1, 2]))
        model = models[pid]
        epoch = max(0, model.epoch) + data.draw(st.sampled_from([0, 0, 0, 0, 0, 1, -1]))
        last_known = model.history[-1][1] if model.history else MAX - 3
        recent = [h[0] for h in model.history[-6:]]
        base = data.draw(
            st.sampled_from([0, (last_known + 1) % (MAX + 1), (last_known + 2) % (MAX + 1), *recent])
        )
        count = data.draw(st.sampled_from([1, 1, 3]))
        candidate = batch(base, count, offset=offset, pid=pid, epoch=max(0, epoch))
        decision = model.decide(max(0, epoch), base, candidate.last_sequence)
        try:
            known = state.check(candidate)
            outcome: object = "append" if known is None else known.base_offset
        except ApiError as error:
            outcome = error.code
        assert outcome == decision
        if outcome == "append":
            state.update(candidate)
            model.append(max(0, epoch), base, candidate.last_sequence, offset)
            offset += count
