"""Which batches belong to aborted transactions, and which markers have nothing left to say, as compaction reads on.

Kafka's CleanedTransactionMetadata. A marker has to stay for as long as a batch of its transaction is in the log:
without it, the batch would never become stable, or an aborted one would look committed. Whether one is left is
known when the marker is reached, because all of them lie before it.
"""

from __future__ import annotations

from collections.abc import Iterable

from protocol.records import ABORT_MARKER, COMMIT_MARKER, RecordBatch
from wal.txn_index import AbortedTransaction


class CleanedTransactions:
    """Fed with every batch in the log's order. `retained` collects the aborted transactions whose marker stays."""

    def __init__(self, aborted: Iterable[AbortedTransaction]) -> None:
        self._to_come = sorted(set(aborted), key=lambda transaction: transaction.first_offset, reverse=True)
        self._aborted: dict[int, AbortedTransaction] = {}  # under way, by producer
        self._seen: set[int] = set()  # producers of aborted transactions of which a batch was read
        self._committed: set[int] = set()  # producers of other transactions of which a batch was read
        self.retained: list[AbortedTransaction] = []

    def is_aborted(self, batch: RecordBatch) -> bool:
        """Take in a data batch; whether its transaction was aborted."""
        assert not batch.is_control
        self._begin_up_to(batch.last_offset)
        if not batch.is_transactional:
            return False
        if batch.producer_id in self._aborted:
            self._seen.add(batch.producer_id)
            return True
        self._committed.add(batch.producer_id)
        return False

    def is_needless(self, batch: RecordBatch, control_type: int | None) -> bool:
        """Take in a control batch (`control_type` None: it is empty); whether no batch of its transaction is left."""
        assert batch.is_control
        self._begin_up_to(batch.last_offset)
        producer_id = batch.producer_id
        if control_type is None:
            return True
        if control_type == ABORT_MARKER:
            transaction = self._aborted.pop(producer_id, None)
            if transaction is None or producer_id not in self._seen:
                return True
            self._seen.discard(producer_id)
            self.retained.append(transaction)
            return False
        if control_type == COMMIT_MARKER:
            if producer_id in self._committed:
                self._committed.discard(producer_id)
                return False
            return True
        return False  # a control record of a later Kafka

    def _begin_up_to(self, offset: int) -> None:
        waiting = self._to_come
        while waiting and waiting[-1].first_offset <= offset:
            transaction = waiting.pop()
            self._aborted.setdefault(transaction.producer_id, transaction)
