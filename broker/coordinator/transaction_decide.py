"""What requests and timers do to a transaction: pure decisions, with the answers Kafka's coordinator gives.

A producer is told apart by id and epoch. One with an older epoch has been replaced (PRODUCER_FENCED); one with another
id never was this one's (INVALID_PRODUCER_ID_MAPPING). While the markers of the last transaction are on their way, what
would begin the next one is asked to come again (CONCURRENT_TRANSACTIONS).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from broker.coordinator.outcome import NEVER, Outcome, Reply, TimerChange, TimerKey, TimerKind
from broker.coordinator.transaction import (
    EPOCH_BUMP_VERSION,
    EXHAUSTED_EPOCH,
    MAX_EPOCH,
    NO_EPOCH,
    NO_PRODUCER_ID,
    NO_TIME,
    OVER,
    PREPARED,
    Ending,
    State,
    TopicPartition,
    Transaction,
    record_of,
    tombstone,
)
from protocol.errors import ErrorCode

SERVER_VERSION: Final = EPOCH_BUMP_VERSION
"""The transaction version of what the coordinator does by itself."""


class Granted(NamedTuple):
    """The answer to InitProducerId and EndTxn: how the producer is to go on."""

    error: ErrorCode
    producer_id: int = NO_PRODUCER_ID
    producer_epoch: int = NO_EPOCH


class InitProducer(NamedTuple):
    """An InitProducerId request. `expected` is the id and epoch the producer believes it has (KIP-360)."""

    token: int
    transactional_id: str
    timeout_ms: int
    expected: tuple[int, int] | None = None


class AddPartitions(NamedTuple):
    """AddPartitionsToTxn, AddOffsetsToTxn, and what Produce 12 and TxnOffsetCommit 5 imply."""

    transactional_id: str
    producer_id: int
    producer_epoch: int
    partitions: frozenset[TopicPartition]
    client_version: int = 0


class EndTransaction(NamedTuple):
    """An EndTxn request."""

    token: int
    transactional_id: str
    producer_id: int
    producer_epoch: int
    is_committed: bool
    client_version: int = 0


def timeout_key(transactional_id: str) -> TimerKey:
    """The timer that aborts a transaction."""
    return TimerKey(TimerKind.TRANSACTION, transactional_id)


def outcome_of(transaction: Transaction, *more: object, replies: tuple[Reply, ...] = ()) -> Outcome:
    """A transition: the record, volatile events after it, and the timer that its state asks for."""
    timers: tuple[TimerChange, ...] = ()
    if transaction.state is State.ONGOING:
        due_ms = transaction.start_ms + transaction.timeout_ms
        timers = (TimerChange(timeout_key(transaction.transactional_id), due_ms),)
    elif transaction.state in PREPARED:  # and from there on none runs
        timers = (TimerChange(timeout_key(transaction.transactional_id), NEVER),)
    return Outcome(transaction.transactional_id, (record_of(transaction), *more), replies, timers)


def after_completion(transaction: Transaction) -> tuple[int, int]:
    """Producer id and epoch that the next transaction is made with."""
    if transaction.client_version >= EPOCH_BUMP_VERSION and transaction.next_producer_id != NO_PRODUCER_ID:
        return transaction.next_producer_id, 0
    return transaction.producer_id, transaction.producer_epoch


def has_been_told(transaction: Transaction, producer: tuple[int, int]) -> bool:
    """Whether a producer knows that what is prepared is complete: a crash came between that and its record."""
    return transaction.state in PREPARED and producer == after_completion(transaction)


# --- InitProducerId ---------------------------------------------------------------------------------------------


def init_needs_producer_id(transaction: Transaction | None, asked: InitProducer) -> bool:
    """Whether `decide_init` has to be given an id that nobody had before."""
    if transaction is None:
        return True
    expected = asked.expected
    return (
        transaction.state in OVER
        and transaction.is_epoch_exhausted
        and (expected is None or expected[1] == transaction.producer_epoch)
    )


def decide_init(
    transaction: Transaction | None, asked: InitProducer, fresh_producer_id: int, now_ms: int
) -> Outcome:
    """What an InitProducerId with a transactional id comes to: `Granted`.

    A transaction under way is aborted, with an epoch that fences whoever made it, and the client comes again.
    """
    if transaction is None:
        transaction = Transaction(asked.transactional_id, fresh_producer_id)
    if not _is_known_producer(transaction, asked.expected):
        return _init_refused(asked, ErrorCode.PRODUCER_FENCED)
    if transaction.state in PREPARED:
        return _init_refused(asked, ErrorCode.CONCURRENT_TRANSACTIONS)
    if transaction.state is State.ONGOING:
        refused = Reply(asked.token, Granted(ErrorCode.CONCURRENT_TRANSACTIONS))
        return decide_fence(transaction, now_ms)._replace(replies=(refused,))
    initial = {"timeout_ms": asked.timeout_ms, "partitions": frozenset(), "start_ms": NO_TIME}
    if init_needs_producer_id(transaction, asked) and transaction.producer_epoch != NO_EPOCH:
        assert fresh_producer_id >= 0
        last_epoch = transaction.producer_epoch if asked.expected is not None else NO_EPOCH
        granted = transaction.moved(
            State.EMPTY, now_ms, producer_id=fresh_producer_id, producer_epoch=0, **initial
        )
        return _granted(granted, asked, last_epoch)
    epoch, last_epoch = transaction.producer_epoch, NO_EPOCH
    if asked.expected is not None and epoch != NO_EPOCH:
        expected_epoch = asked.expected[1]
        if expected_epoch == epoch:
            last_epoch = epoch
        elif expected_epoch == transaction.last_producer_epoch:  # it has not heard the answer
            granted = transaction.moved(State.EMPTY, now_ms, **initial)
            return _granted(granted, asked, transaction.last_producer_epoch)
        else:
            return _init_refused(asked, ErrorCode.PRODUCER_FENCED)
    granted = transaction.moved(State.EMPTY, now_ms, producer_epoch=epoch + 1, **initial)
    if epoch == NO_EPOCH:  # new: there is no id before this one
        granted = granted._replace(previous_producer_id=NO_PRODUCER_ID)
    return _granted(granted, asked, last_epoch)


def _is_known_producer(transaction: Transaction, expected: tuple[int, int] | None) -> bool:
    if expected is None or transaction.producer_epoch == NO_EPOCH:
        return True
    producer_id, epoch = expected
    if producer_id == transaction.producer_id or has_been_told(transaction, expected):
        return True
    return producer_id == transaction.previous_producer_id and epoch >= EXHAUSTED_EPOCH


def _granted(granted: Transaction, asked: InitProducer, last_epoch: int) -> Outcome:
    answer = Granted(ErrorCode.NONE, granted.producer_id, granted.producer_epoch)
    granted = granted._replace(last_producer_epoch=last_epoch)
    return outcome_of(granted, replies=(Reply(asked.token, answer),))


def _init_refused(asked: InitProducer, code: ErrorCode) -> Outcome:
    return Outcome(asked.transactional_id, replies=(Reply(asked.token, Granted(code)),))


# --- partitions -------------------------------------------------------------------------------------------------


def producer_refusal(transaction: Transaction | None, producer_id: int, producer_epoch: int) -> ErrorCode:
    """Why a request about a transaction under way is not this producer's to make; NONE if it is."""
    if transaction is None:
        return ErrorCode.INVALID_PRODUCER_ID_MAPPING
    if has_been_told(transaction, (producer_id, producer_epoch)):
        return ErrorCode.CONCURRENT_TRANSACTIONS
    if transaction.producer_id != producer_id:
        return ErrorCode.INVALID_PRODUCER_ID_MAPPING
    if transaction.producer_epoch != producer_epoch:
        return ErrorCode.PRODUCER_FENCED
    if transaction.state in PREPARED:
        return ErrorCode.CONCURRENT_TRANSACTIONS
    return ErrorCode.NONE


def verify(transaction: Transaction | None, asked: AddPartitions) -> dict[TopicPartition, ErrorCode]:
    """Whether partitions are part of the transaction of their producer, now (KIP-890, version 1)."""
    refusal = producer_refusal(transaction, asked.producer_id, asked.producer_epoch)
    if refusal or transaction is None:
        return dict.fromkeys(asked.partitions, refusal)
    inside = transaction.partitions if transaction.state is State.ONGOING else frozenset()
    return {
        partition: ErrorCode.NONE if partition in inside else ErrorCode.TRANSACTION_ABORTABLE
        for partition in asked.partitions
    }


def decide_add(
    transaction: Transaction | None, asked: AddPartitions, now_ms: int
) -> tuple[ErrorCode, Outcome]:
    """The error, and what is to be done; adding what is there already is nothing."""
    refusal = producer_refusal(transaction, asked.producer_id, asked.producer_epoch)
    if refusal or transaction is None:
        return refusal, Outcome(asked.transactional_id)
    start_ms, partitions = now_ms, asked.partitions
    if transaction.state is State.ONGOING:
        if partitions <= transaction.partitions:
            return ErrorCode.NONE, Outcome(asked.transactional_id)
        start_ms, partitions = transaction.start_ms, partitions | transaction.partitions
    if not partitions:
        return ErrorCode.NONE, Outcome(asked.transactional_id)
    added = transaction.moved(
        State.ONGOING,
        now_ms,
        partitions=partitions,
        start_ms=start_ms,
        client_version=asked.client_version,
    )
    return ErrorCode.NONE, outcome_of(added)


# --- the end ----------------------------------------------------------------------------------------------------


def end_needs_producer_id(transaction: Transaction | None, asked: EndTransaction) -> bool:
    """Whether `decide_end` has to be given an id that nobody had before: the epochs are used up."""
    return (
        transaction is not None
        and asked.client_version >= EPOCH_BUMP_VERSION
        and transaction.is_epoch_exhausted
        and transaction.state not in PREPARED
    )


def decide_end(
    transaction: Transaction | None, asked: EndTransaction, fresh_producer_id: int, now_ms: int
) -> Outcome:
    """What an EndTxn comes to: `Granted`, at once or when the transaction is complete."""
    if asked.client_version < EPOCH_BUMP_VERSION:
        code = _end_refusal_v1(transaction, asked)
    else:
        code = _end_refusal_v2(transaction, asked)
    if code is not None or transaction is None:
        refusal = code if code is not None else ErrorCode.INVALID_PRODUCER_ID_MAPPING
        answer = Granted(refusal)
        if refusal is ErrorCode.NONE and transaction is not None:
            answer = Granted(refusal, transaction.producer_id, transaction.producer_epoch)
        return Outcome(asked.transactional_id, replies=(Reply(asked.token, answer),))
    next_producer_id = NO_PRODUCER_ID
    if end_needs_producer_id(transaction, asked):
        assert fresh_producer_id >= 0
        next_producer_id = fresh_producer_id
    return _prepare(
        transaction, asked.is_committed, asked.client_version, next_producer_id, now_ms, Ending(asked.token)
    )


def _prepare(
    transaction: Transaction,
    is_committed: bool,
    client_version: int,
    next_producer_id: int,
    now_ms: int,
    *more: object,
) -> Outcome:
    epoch, last_epoch = transaction.producer_epoch, transaction.last_producer_epoch
    if client_version >= EPOCH_BUMP_VERSION:
        epoch, last_epoch = min(epoch + 1, MAX_EPOCH), epoch
    start_ms = transaction.start_ms if transaction.state is State.ONGOING else now_ms
    prepared = transaction.moved(
        State.PREPARE_COMMIT if is_committed else State.PREPARE_ABORT,
        now_ms,
        producer_epoch=epoch,
        last_producer_epoch=last_epoch,
        start_ms=start_ms,
        next_producer_id=next_producer_id,
        client_version=client_version,
    )
    return outcome_of(prepared, *more)


def _wrong_end(transaction: Transaction, asked: EndTransaction) -> ErrorCode:
    """A prepared transaction is not ended a second time: the client comes again, or has lost its way."""
    is_same = transaction.is_committed == asked.is_committed
    return ErrorCode.CONCURRENT_TRANSACTIONS if is_same else ErrorCode.INVALID_TXN_STATE


def _end_refusal_v1(transaction: Transaction | None, asked: EndTransaction) -> ErrorCode | None:
    """The answer that is given without doing anything, or None. Version 1: a repeated request is told by the state."""
    if transaction is None or transaction.producer_id != asked.producer_id:
        return ErrorCode.INVALID_PRODUCER_ID_MAPPING
    if transaction.producer_epoch != asked.producer_epoch:
        return ErrorCode.PRODUCER_FENCED
    if transaction.state is State.ONGOING:
        return None
    if transaction.state in PREPARED:
        return _wrong_end(transaction, asked)
    repeated = State.COMPLETE_COMMIT if asked.is_committed else State.COMPLETE_ABORT
    return ErrorCode.NONE if transaction.state is repeated else ErrorCode.INVALID_TXN_STATE


def _end_refusal_v2(transaction: Transaction | None, asked: EndTransaction) -> ErrorCode | None:
    """As `_end_refusal_v1`. Version 2: a repeated request is told by its epoch, which is the one before.

                    abort             commit
                    again   now       again   now
    Empty           fenced  aborts    fenced  INVALID_TXN_STATE
    CompleteAbort   NONE    aborts    ITS     ITS
    CompleteCommit  ITS     aborts    NONE    ITS
    """
    if transaction is None:
        return ErrorCode.INVALID_PRODUCER_ID_MAPPING
    if has_been_told(transaction, (asked.producer_id, asked.producer_epoch)):
        return ErrorCode.CONCURRENT_TRANSACTIONS
    state, epoch = transaction.state, asked.producer_epoch
    is_complete = state in (State.COMPLETE_COMMIT, State.COMPLETE_ABORT)
    is_over_with_id = (  # the producer id of the transaction that the request ended was its last
        is_complete
        and transaction.previous_producer_id == asked.producer_id
        and epoch == EXHAUSTED_EPOCH
        and transaction.producer_epoch == 0
    )
    if transaction.producer_id != asked.producer_id and not is_over_with_id:
        return ErrorCode.INVALID_PRODUCER_ID_MAPPING
    is_again = transaction.producer_epoch == epoch + 1 or is_over_with_id
    is_valid = transaction.producer_epoch == epoch
    if state in PREPARED:
        is_valid = is_again
    elif is_complete:
        is_valid = is_valid or is_again
    if not is_valid:
        return ErrorCode.PRODUCER_FENCED
    if state in PREPARED:
        return _wrong_end(transaction, asked)
    if state is State.ONGOING:
        return None
    if is_again:
        is_same = transaction.is_committed == asked.is_committed
        return ErrorCode.NONE if is_same else ErrorCode.INVALID_TXN_STATE
    return ErrorCode.INVALID_TXN_STATE if asked.is_committed else None


def decide_fence(transaction: Transaction, now_ms: int) -> Outcome:
    """Abort a transaction under way without its producer, which is shut out by a newer epoch."""
    assert transaction.state is State.ONGOING
    fenced = transaction._replace(
        producer_epoch=min(transaction.producer_epoch + 1, MAX_EPOCH), last_producer_epoch=NO_EPOCH
    )
    return _prepare(fenced, False, SERVER_VERSION, NO_PRODUCER_ID, now_ms)


def decide_timeout(transaction: Transaction | None, now_ms: int) -> Outcome | None:
    """The timer of a transaction has ended: abort it if it is still the same, and late."""
    if transaction is None or transaction.state is not State.ONGOING:
        return None
    due_ms = transaction.start_ms + transaction.timeout_ms
    if now_ms < due_ms:
        timers = (TimerChange(timeout_key(transaction.transactional_id), due_ms),)
        return Outcome(transaction.transactional_id, timers=timers)
    return decide_fence(transaction, now_ms)


def decide_complete(transaction: Transaction, now_ms: int) -> Outcome:
    """All markers of a prepared transaction are durable."""
    assert transaction.state in PREPARED
    producer_id, producer_epoch = after_completion(transaction)
    completed = transaction.moved(
        State.COMPLETE_COMMIT if transaction.is_committed else State.COMPLETE_ABORT,
        now_ms,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        next_producer_id=NO_PRODUCER_ID,
        partitions=frozenset(),
    )
    return outcome_of(completed)


def decide_expiry(transaction: Transaction, expiration_ms: int, now_ms: int) -> Outcome | None:
    """Forget a transactional id that nobody has used for `expiration_ms`."""
    if transaction.state not in OVER or now_ms - transaction.updated_ms < expiration_ms:
        return None
    assert (transaction.state, State.DEAD) in {(state, State.DEAD) for state in OVER}
    return Outcome(transaction.transactional_id, (tombstone(transaction.transactional_id),))
