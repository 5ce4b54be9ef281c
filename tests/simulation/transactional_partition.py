"""Partitions with real producer state (`wal/producer_state.py`) over lists, for the simulation of transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from broker.coordinator.transaction_ports import Marker
from broker.coordinator.transactional_offsets import Producer
from protocol.keyed_batch import KeyedRecord
from protocol.records import CONTROL_BIT, TRANSACTIONAL_BIT, RecordBatch
from tests.broker.coordinator.fakes import FakeLog
from wal.producer_state import ProducerState


class Entry(NamedTuple):
    """A batch of one record, or a marker (`marker` is what it says)."""

    batch: RecordBatch
    value: Any
    marker: Marker | None


class SimulatedPartition:
    """A partition: real producer state over a list."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.durable = 0
        self._waiters: list[tuple[int, Any]] = []
        self._restore([])

    def _restore(self, entries: list[Entry]) -> None:
        self.producers = ProducerState()
        self.aborted: list[tuple[int, int, int]] = []
        self.entries = []
        for entry in entries:
            self._take(entry)
        self.durable = len(self.entries)
        self.producers.advance_high_watermark(self.durable)

    def _take(self, entry: Entry) -> None:
        entry.batch.base_offset = len(self.entries)
        if entry.marker is None:
            self.producers.update(entry.batch)
        else:
            ended = self.producers.end_transaction(
                entry.batch, not entry.marker.is_committed, entry.marker.coordinator_epoch, 0
            )
            if ended is not None and ended.is_aborted:
                self.aborted.append((ended.producer_id, ended.first_offset, ended.last_offset))
        self.entries.append(entry)

    def append(self, producer: Producer, sequence: int, value: Any) -> int:
        batch = _batch(producer, TRANSACTIONAL_BIT, sequence)
        original = self.producers.check(batch)
        if original is not None:
            return original.base_offset
        self._take(Entry(batch, value, None))
        return batch.base_offset

    def mark(self, marker: Marker) -> None:
        self.producers.check_marker(
            marker.producer_id, marker.producer_epoch, marker.coordinator_epoch, marker.transaction_version
        )
        batch = _batch(
            Producer(marker.producer_id, marker.producer_epoch), TRANSACTIONAL_BIT | CONTROL_BIT, -1
        )
        self._take(Entry(batch, None, marker))

    def when_durable(self, waiter: Any) -> bool:
        if self.durable >= len(self.entries):
            return False
        self._waiters.append((len(self.entries), waiter))
        return True

    def sync(self) -> None:
        self.durable = len(self.entries)
        self.producers.advance_high_watermark(self.durable)
        waiters, self._waiters = self._waiters, []
        for _, waiter in waiters:
            waiter.durable()

    def crash(self, keep: Callable[[int], int]) -> None:
        self._waiters = []
        self._restore(self.entries[: self.durable + keep(len(self.entries) - self.durable)])

    @property
    def last_stable_offset(self) -> int:
        unstable = self.producers.first_unstable_offset()
        return self.durable if unstable < 0 else min(unstable, self.durable)

    def read(self, offset: int) -> Iterator[tuple[int, Any]]:
        """What a read_committed reader finds from `offset` on."""
        for place in range(offset, self.last_stable_offset):
            entry = self.entries[place]
            is_aborted = any(
                entry.batch.producer_id == producer_id and first <= place <= last
                for producer_id, first, last in self.aborted
            )
            if entry.marker is None and not is_aborted:
                yield place, entry.value


class SimulatedOffsets(FakeLog):
    """`__consumer_offsets`: what is written to it in transactions, and their markers, are checked as in a partition."""

    def __init__(self) -> None:
        super().__init__(is_synchronous=False)
        self._noted: list[list[tuple[int, RecordBatch, Marker | None]]] = [[] for _ in self.batches]
        self.producers = [ProducerState() for _ in self.batches]

    def append(
        self, index: int, records: Sequence[KeyedRecord], now_ms: int, producer: Producer | None = None
    ) -> int:
        if producer is None:
            return super().append(index, records, now_ms)
        batch = _batch(producer, TRANSACTIONAL_BIT, -1)
        self.producers[index].check_coordinator_batch(batch)
        offset = super().append(index, records, now_ms, producer)
        self._note(index, batch, None)
        return offset

    def mark(self, index: int, marker: Marker) -> None:
        self.producers[index].check_marker(
            marker.producer_id, marker.producer_epoch, marker.coordinator_epoch, marker.transaction_version
        )
        self.end_transaction(index, marker.producer_id, marker.is_committed)
        producer = Producer(marker.producer_id, marker.producer_epoch)
        self._note(index, _batch(producer, TRANSACTIONAL_BIT | CONTROL_BIT, -1), marker)

    def _note(self, index: int, batch: RecordBatch, marker: Marker | None) -> None:
        count = len(self.batches[index])
        self._noted[index].append((count, batch, marker))
        self._take(index, count, batch, marker)

    def _take(self, index: int, count: int, batch: RecordBatch, marker: Marker | None) -> None:
        batch.base_offset = count - 1  # batches are numbered here, not records: only their order counts
        if marker is None:
            self.producers[index].update(batch)
        else:
            self.producers[index].end_transaction(
                batch, not marker.is_committed, marker.coordinator_epoch, timestamp=0
            )

    def crash(self, keep: Callable[[int], int]) -> None:
        super().crash(keep)
        for index, batches in enumerate(self.batches):
            self.producers[index] = ProducerState()
            self._noted[index] = [noted for noted in self._noted[index] if noted[0] <= len(batches)]
            for count, batch, marker in self._noted[index]:
                self._take(index, count, batch, marker)


def _batch(producer: Producer, attributes: int, sequence: int) -> RecordBatch:
    batch = RecordBatch()
    batch.attributes, batch.last_offset_delta, batch.record_count = attributes, 0, 1
    batch.base_sequence, batch.max_timestamp = sequence, 0
    batch.producer_id, batch.producer_epoch = producer
    return batch
