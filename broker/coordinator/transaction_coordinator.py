"""The transaction coordinator: where decisions on transactions meet the log, the clock and the clients.

    EndTxn ──► PrepareCommit ─ … durable … ─► markers ─ … durable … ─► CompleteCommit, and the reply
               written                        appended: partitions,    written; durable
                                              groups' offsets          with what comes next

As in `coordinator.py` a decision is written, then applied, then told when it is durable. Three steps are bound to each
other by durability, so that a crash between any two of them is only a detour: a marker is written when the decision it
carries out is durable, and a transaction is complete when its markers are. At a start whatever is prepared goes on from
there; a marker that is there already is written a second time, which changes nothing.

The reply to EndTxn comes when the markers are durable, later than Kafka's, which comes when it is prepared:
whoever has the reply finds the records, and the next transaction need not be told to come again. If a marker cannot be
written now (a full disk), the client is told to come again (CONCURRENT_TRANSACTIONS).

The reply does not wait for the record of the completion. A crash may lose that and keep first records of the next
transaction, whose producer has no answer yet. The markers written again must not end that one:

    version 2   its epoch is the markers', and such a marker is refused where that epoch has a transaction open
    version 1   its epoch says nothing, so nothing of it is written to a partition before the record is durable
                (`_is_settled`); the answer to AddPartitionsToTxn waits for it anyway

Partitions that Produce 12 and TxnOffsetCommit 5 add are written down together with what they are added for, and the
reply waits for both: a flusher's round, not two. After a crash that kept the one without the other, `adopt` makes up
for it before anybody is served, or as soon as the transaction before is complete.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from broker.coordinator.group_records import UnknownRecord, partition_for
from broker.coordinator.outcome import Outcome, Reply, TimerChange, TimerKey, TimerKind
from broker.coordinator.settings import TransactionSettings
from broker.coordinator.transaction import (
    EPOCH_BUMP_VERSION,
    PREPARED,
    State,
    TopicPartition,
    Transaction,
    Transactions,
)
from broker.coordinator.transaction_decide import (
    AddPartitions,
    EndTransaction,
    Granted,
    InitProducer,
    after_completion,
    decide_add,
    decide_complete,
    decide_end,
    decide_expiry,
    decide_init,
    decide_timeout,
    end_needs_producer_id,
    init_needs_producer_id,
    timeout_key,
    verify,
)
from broker.coordinator.transaction_ports import (
    Marker,
    Markers,
    MarkersUnderWay,
    ProducerIdSource,
    TransactionLog,
)
from broker.coordinator.transaction_records import decode, encode
from broker.coordinator.waiting import (
    EXPIRY,
    MAX_STRING_BYTES,
    RETRY_MS,
    WRITE_REFUSED,
    Alarm,
    Host,
    Parked,
    Requests,
    StateTopic,
    at_once,
)
from broker.request import Deferred
from protocol.errors import ApiError, ErrorCode, Malformed, Repeated, StorageFailed

if TYPE_CHECKING:
    from broker.coordinator.timers import Timers
    from broker.coordinator.waiting import Handle
    from broker.topics.partition import DurabilityWaiter

log = logging.getLogger("floe.transactions")

SETTLE_MS: Final = 50
"""How soon the record of a completion is synced if no round comes by that takes it along: nobody waits for it."""

EXPIRIES_PER_TURN: Final = 200
"""How many unused ids are forgotten before clients get their turn: each is a batch in the log."""


class TransactionCoordinator:
    """All transactional ids of this broker. `transactions` is for everybody to read."""

    def __init__(
        self,
        transaction_log: TransactionLog,
        markers: Markers,
        producer_ids: ProducerIdSource,
        host: Host,
        settings: TransactionSettings,
        kick: Callable[[], None] = lambda: None,
    ) -> None:
        """`kick` wakes the flusher after an append that neither a request nor a round of the flusher has caused."""
        self.transactions = Transactions()
        self.settings = settings
        self._log = transaction_log
        self._markers = markers
        self._producer_ids = producer_ids
        self._host = host
        self._kick = kick
        self._topic = StateTopic(transaction_log, host, kick)
        self._requests = Requests()
        self._alarm = Alarm(host, self._timer_ended, kick)
        # Of what is prepared, the partitions that have their marker.
        self._marked: dict[str, set[TopicPartition]] = {}
        # Of what is prepared, the partitions that hold records of the next transaction.
        self._orphans: dict[str, set[TopicPartition]] = {}
        # Where the completion ends in the log that the producer (of version 1) has been told of.
        self._unsettled: dict[str, int] = {}
        self._settling: Handle | None = None
        self._is_closed = False

    @property
    def timers(self) -> Timers:
        return self._alarm.timers

    # --- start and end ------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Take up what there is, and go on with what is prepared. Raises StorageFailed."""
        for index in range(self._topic.look()):
            for key, value in self._log.records(index):
                try:
                    record = decode(key, value)
                except (UnknownRecord, Malformed) as error:
                    log.error("a record of __transaction_state is passed over: %s", error)
                    continue
                self.transactions.apply(record.key, record)
        now_ms = self._host.clock_ms()
        self._alarm.set(EXPIRY, now_ms + self.settings.expiry_interval_ms)
        for transaction in list(self.transactions):
            if transaction.state is State.ONGOING:
                due_ms = transaction.start_ms + transaction.timeout_ms
                self._alarm.set(timeout_key(transaction.transactional_id), due_ms)
            elif transaction.state in PREPARED:
                self._write_markers(transaction)
        self._kick()

    def adopt(self, producer_id: int, producer_epoch: int, topic: str, partition: int) -> None:
        """A partition holds an open transaction that is not known here: it was added just before a crash that kept the
        records, and lost that. It is added again."""
        transaction = self.transactions.of_producer(producer_id)
        if transaction is None:
            return
        place, producer = (topic, partition), (producer_id, producer_epoch)
        if transaction.state in PREPARED:
            if producer == after_completion(transaction):
                self._orphans.setdefault(transaction.transactional_id, set()).add(place)
        elif producer == (transaction.producer_id, transaction.producer_epoch):
            self._adopt(transaction, {place})

    def _adopt(self, transaction: Transaction, places: set[TopicPartition]) -> None:
        asked = AddPartitions(
            transaction.transactional_id,
            transaction.producer_id,
            transaction.producer_epoch,
            frozenset(places),
            transaction.client_version,
        )
        if not self._add(asked):
            log.info("%s part of %s after all", sorted(places), transaction.transactional_id)

    def close(self) -> None:
        """No timer ends any more, and nothing more is written. Requests that wait stay unanswered."""
        self._is_closed = True
        if self._settling is not None:
            self._settling.cancel()
        self._alarm.close()
        self._log.close()

    def checkpoint_steps(self) -> Iterator[Callable[[], None]]:
        """What makes the next start quick, in small steps."""
        return self._log.checkpoint_steps()

    def forget_everything(self) -> None:
        """Somebody has deleted the topic all this is kept in."""
        log.warning("__transaction_state was deleted: all transactional ids are gone")
        self._topic.deleted()
        self.transactions = Transactions()
        self._marked.clear()
        self._orphans.clear()
        self._unsettled.clear()
        for deferred in self._requests.forget():
            deferred.resolve(Granted(WRITE_REFUSED))
        self._alarm.forget()
        self._alarm.set(EXPIRY, self._host.clock_ms() + self.settings.expiry_interval_ms)

    # --- producers ----------------------------------------------------------------------------------------------

    def init_producer_id(
        self, transactional_id: str, timeout_ms: int, expected: tuple[int, int] | None
    ) -> Deferred[Granted]:
        """InitProducerId with a transactional id."""
        if not transactional_id or len(transactional_id.encode()) > MAX_STRING_BYTES:
            return at_once(Granted(ErrorCode.INVALID_REQUEST))
        if not 0 < timeout_ms <= self.settings.max_timeout_ms:
            return at_once(Granted(ErrorCode.INVALID_TRANSACTION_TIMEOUT))
        deferred, token = self._requests.park()
        asked = InitProducer(token, transactional_id, timeout_ms, expected)
        self._topic.run(lambda: self._init(asked), lambda: self._refuse(token, WRITE_REFUSED))
        return deferred

    def _init(self, asked: InitProducer) -> None:
        transaction = self.transactions.get(asked.transactional_id)
        if not init_needs_producer_id(transaction, asked):
            self._run(decide_init(transaction, asked, -1, self._host.clock_ms()), asked.token)
            return

        def taken(producer_id: int) -> None:
            now = self.transactions.get(asked.transactional_id)
            self._run(decide_init(now, asked, producer_id, self._host.clock_ms()), asked.token)

        self._with_producer_id(taken, asked.token)

    def end(
        self,
        transactional_id: str,
        producer_id: int,
        producer_epoch: int,
        is_committed: bool,
        client_version: int,
    ) -> Deferred[Granted]:
        """EndTxn."""
        if not transactional_id:
            return at_once(Granted(ErrorCode.INVALID_REQUEST))
        deferred, token = self._requests.park()
        asked = EndTransaction(
            token, transactional_id, producer_id, producer_epoch, is_committed, client_version
        )
        transaction = self.transactions.get(transactional_id)
        if not end_needs_producer_id(transaction, asked):
            self._run(decide_end(transaction, asked, -1, self._host.clock_ms()), token)
            return deferred

        def taken(fresh_producer_id: int) -> None:
            now = self.transactions.get(transactional_id)
            self._run(decide_end(now, asked, fresh_producer_id, self._host.clock_ms()), token)

        self._with_producer_id(taken, token)
        return deferred

    # --- partitions ---------------------------------------------------------------------------------------------

    def add(self, asked: AddPartitions) -> Deferred[ErrorCode]:
        """AddPartitionsToTxn and AddOffsetsToTxn: the error for all, durable when it comes."""
        return self.durable(asked.transactional_id, self._add(asked))

    def add_now(self, asked: AddPartitions) -> ErrorCode:
        """As `add`, for records that are written at once, and whose answer waits for durability (`when_durable`)."""
        if not self._is_settled(asked.transactional_id):
            return ErrorCode.CONCURRENT_TRANSACTIONS
        return self._add(asked)

    def _add(self, asked: AddPartitions) -> ErrorCode:
        if not asked.transactional_id:
            return ErrorCode.INVALID_REQUEST
        transaction = self.transactions.get(asked.transactional_id)
        code, outcome = decide_add(transaction, asked, self._host.clock_ms())
        if not code and outcome.events and not self._commit(outcome):
            return WRITE_REFUSED
        return code

    def verify(self, asked: AddPartitions) -> dict[TopicPartition, ErrorCode]:
        """Whether partitions are part of a transaction under way."""
        if not asked.transactional_id:
            return dict.fromkeys(asked.partitions, ErrorCode.INVALID_REQUEST)
        if not self._is_settled(asked.transactional_id):
            return dict.fromkeys(asked.partitions, ErrorCode.CONCURRENT_TRANSACTIONS)
        return verify(self.transactions.get(asked.transactional_id), asked)

    def _is_settled(self, transactional_id: str) -> bool:
        """Whether records may be written to partitions: a crash cannot undo the completion before them."""
        end_offset = self._unsettled.get(transactional_id)
        if end_offset is None:
            return True
        index = partition_for(transactional_id, self._topic.partition_count)
        if self._log.durable_offset(index) < end_offset:
            return False
        del self._unsettled[transactional_id]
        return True

    def when_durable(self, transactional_id: str, waiter: DurabilityWaiter) -> bool:
        """Have `waiter` called when all that is decided on an id by now is durable; False if it is."""
        if not self._topic.partition_count:
            return False
        return self._topic.when_durable(partition_for(transactional_id, self._topic.partition_count), waiter)

    def durable(self, transactional_id: str, value: Any = None) -> Deferred[Any]:
        """`value`, when all that is decided on an id by now is durable."""
        deferred: Deferred[Any] = Deferred()
        if not self.when_durable(transactional_id, Parked(deferred.resolve, value)):
            deferred.resolve(value)
        return deferred

    # --- for administrators -------------------------------------------------------------------------------------

    def describe(self, transactional_id: str) -> Deferred[Transaction | None]:
        """The id as it is, durable when it comes."""
        return self.durable(transactional_id, self.transactions.get(transactional_id))

    def now_ms(self) -> int:
        return self._host.clock_ms()

    # --- decisions ----------------------------------------------------------------------------------------------

    def _with_producer_id(self, use: Callable[[int], None], token: int) -> None:
        def taken(producer_id: int | ApiError) -> None:
            if isinstance(producer_id, ApiError):
                self._refuse(token, producer_id.code)
            elif self._topic.partition_count and not self._is_closed:
                use(producer_id)
                self._kick()
            else:
                self._refuse(token, WRITE_REFUSED)

        self._producer_ids.take().then(taken)

    def _refuse(self, token: int, code: ErrorCode) -> None:
        self._requests.answer([Reply(token, Granted(code))])

    def _run(self, outcome: Outcome, token: int) -> None:
        if not self._commit(outcome):
            self._refuse(token, WRITE_REFUSED)

    def _commit(self, outcome: Outcome) -> bool:
        """Write, apply, set timers, and answer when it is durable. False: refused, and nothing has changed."""
        transactional_id = outcome.group_id
        if outcome.events:
            index = partition_for(transactional_id, self._topic.partition_count)
            records = [encode(record) for record in outcome.records]
            if self._topic.write(index, records, outcome) < 0:
                return False
            self.transactions.apply_all(transactional_id, outcome.events)
        if outcome.timers:
            self._alarm.change(outcome.timers)
        replies = outcome.replies
        if replies and not self.when_durable(transactional_id, Parked(self._requests.answer, replies)):
            self._requests.answer(replies)
        transaction = self.transactions.get(transactional_id)
        if (
            outcome.events
            and transaction is not None
            and transaction.state in PREPARED
            and not self.when_durable(transactional_id, Parked(self._write_markers, transaction))
        ):
            self._write_markers(transaction)
        return True

    # --- markers ------------------------------------------------------------------------------------------------

    def _write_markers(self, transaction: Transaction) -> None:
        """Write the markers of what is durably prepared; when they are durable, too, the transaction is complete."""
        transactional_id = transaction.transactional_id
        if self._is_closed or not self._is_current(transaction):
            return
        index = partition_for(transactional_id, self._topic.partition_count)
        marker = Marker(
            transaction.producer_id,
            transaction.producer_epoch,
            transaction.is_committed,
            self._log.coordinator_epoch(index),
            transaction.client_version,
        )
        under_way = MarkersUnderWay(lambda: self._complete(transaction))
        marked = self._marked.setdefault(transactional_id, set())
        now_ms = self._host.clock_ms()
        for partition in sorted(transaction.partitions - marked):
            if not self._write_marker(partition, marker, now_ms):
                self._markers_delayed(transaction, now_ms)
                return
            marked.add(partition)
        for partition in sorted(transaction.partitions):
            if self._markers.when_durable(*partition, under_way):
                under_way.missing += 1
        under_way.durable()

    def _write_marker(self, partition: TopicPartition, marker: Marker, now_ms: int) -> bool:
        """Whether there is nothing left to be done for a partition."""
        try:
            if not self._markers.append(*partition, marker, now_ms):
                log.info("no marker for %s-%d: it is gone", *partition)
        except StorageFailed as failure:
            self._host.storage_failed(failure)
            return False
        except Repeated as refusal:  # the record of the completion was lost in a crash
            log.info("no further marker for %s-%d: %s", *partition, refusal.message)
        except ApiError as refusal:
            log.warning("no marker for %s-%d: %s", *partition, refusal.message)
        return True

    def _markers_delayed(self, transaction: Transaction, now_ms: int) -> None:
        """Try again later; so does whoever waits for the end."""
        transactional_id = transaction.transactional_id
        self._alarm.set(TimerKey(TimerKind.MARKERS, transactional_id), now_ms + RETRY_MS)
        waiting = self.transactions.ending.pop(transactional_id, [])
        for token in waiting:
            self._refuse(token, ErrorCode.CONCURRENT_TRANSACTIONS)
        self._kick()

    def _is_current(self, transaction: Transaction) -> bool:
        return self.transactions.get(transaction.transactional_id) == transaction

    def _complete(self, transaction: Transaction) -> None:
        if self._is_closed or not self._is_current(transaction):
            return
        transactional_id = transaction.transactional_id
        now_ms = self._host.clock_ms()
        tokens = self.transactions.ending.get(transactional_id, ())
        if not self._commit(decide_complete(transaction, now_ms)):
            self._markers_delayed(transaction, now_ms)
            return
        self._marked.pop(transactional_id, None)
        completed = self.transactions.by_id[transactional_id]
        if completed.client_version < EPOCH_BUMP_VERSION:
            index = partition_for(transactional_id, self._topic.partition_count)
            self._unsettled[transactional_id] = self._log.end_offset(index)
        orphans = self._orphans.pop(transactional_id, None)
        if orphans is not None:
            self._adopt(completed, orphans)
        granted = Granted(ErrorCode.NONE, completed.producer_id, completed.producer_epoch)
        self._requests.answer([Reply(token, granted) for token in tokens])
        if self._settling is None:
            self._settling = self._host.call_later(SETTLE_MS, self._settle)

    def _settle(self) -> None:
        self._settling = None
        self._kick()

    # --- timers -------------------------------------------------------------------------------------------------

    def _timer_ended(self, key: TimerKey, now_ms: int) -> None:
        transaction = self.transactions.get(key.group_id)
        if key.kind is TimerKind.EXPIRY:
            self._expire(now_ms)
        elif key.kind is TimerKind.MARKERS:
            if transaction is not None and transaction.state in PREPARED:
                self._write_markers(transaction)
        else:
            assert key.kind is TimerKind.TRANSACTION
            outcome = decide_timeout(transaction, now_ms)
            if outcome is None:
                return
            log.info("transaction %s has taken too long and is aborted", key.group_id)
            if not self._commit(outcome):
                self.timers.change(TimerChange(key, now_ms + RETRY_MS))

    def _expire(self, now_ms: int) -> None:
        due_ms = now_ms + self.settings.expiry_interval_ms
        expired = 0
        for transaction in list(self.transactions):
            outcome = decide_expiry(transaction, self.settings.id_expiration_ms, now_ms)
            if outcome is None:
                continue
            if expired == EXPIRIES_PER_TURN:
                due_ms = now_ms
                break
            if not self._commit(outcome):
                break
            self._unsettled.pop(transaction.transactional_id, None)
            expired += 1
            log.info("transactional id %s is forgotten", transaction.transactional_id)
        self.timers.change(TimerChange(EXPIRY, due_ms))
