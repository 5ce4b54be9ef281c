"""What a partition knows of its producers: idempotence (KIP-98, KIP-360) and open transactions.

For every producer id the last five batches are remembered, so that a retry of any of the five requests a
client keeps in flight is answered with the offset it got at first. `check` decides and changes nothing;
`update` is called once the batch is in the log. Sequence numbers advanced before the write would turn the
retry of a failed write into a "duplicate": acknowledged and lost.

    producer unknown            any sequence is accepted: its state may have expired or been deleted with the
                                log (before Kafka 2.5 this was UNKNOWN_PRODUCER_ID)
    same epoch                  the next sequence is accepted, a remembered batch is a duplicate, all else is
                                OUT_OF_ORDER_SEQUENCE_NUMBER; 2147483647 is followed by 0
    higher epoch                must begin at sequence 0
    lower epoch                 INVALID_PRODUCER_EPOCH

A transaction is open from its first batch to the control batch that ends it; it holds back the last stable
offset until the high watermark has passed its marker.

Snapshots are Kafka's `.snapshot` files, version 1, big-endian:

    version int16, crc uint32 (CRC-32C of all that follows), count int32, then per producer (46 bytes)
    producer_id int64, producer_epoch int16, last_sequence int32, last_offset int64, offset_delta int32,
    timestamp int64, coordinator_epoch int32, current_txn_first_offset int64 (-1: none)
"""

from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import Final

from protocol.checksum import crc32c
from protocol.errors import ApiError, ErrorCode, Repeated
from protocol.records import (
    ABORT_MARKER,
    COMMIT_MARKER,
    CONTROL_BIT,
    MAX_SEQUENCE,
    NO_PRODUCER_EPOCH,
    NO_SEQUENCE,
    NO_TIMESTAMP,
    TRANSACTIONAL_BIT,
    Buffer,
    CorruptBatch,
    RecordBatch,
    iterate,
    parse_control_key,
    parse_end_transaction_value,
)

RETAINED_BATCHES: Final = 5  # the most requests an idempotent client keeps in flight
NO_OFFSET: Final = -1
NO_COORDINATOR_EPOCH: Final = -1
MAX_CONTROL_RECORD_BYTES: Final = 1 << 16  # a compressed control batch is unheard of, but must not be a bomb

_SNAPSHOT_VERSION: Final = 1
_SNAPSHOT_HEADER: Final = Struct(">hIi")
_SNAPSHOT_ENTRY: Final = Struct(">qhiqiqiq")
_CRC_END: Final = 6
assert _SNAPSHOT_HEADER.size == 10
assert _SNAPSHOT_ENTRY.size == 46


class CorruptSnapshot(ValueError):
    """A producer snapshot's bytes are not what the format says."""


class AppendedBatch:
    """One remembered batch of a producer. All offsets and sequences are inclusive."""

    __slots__ = ("base_offset", "base_sequence", "last_offset", "last_sequence", "timestamp")

    def __init__(
        self, base_sequence: int, last_sequence: int, base_offset: int, last_offset: int, timestamp: int
    ) -> None:
        self.base_sequence = base_sequence
        self.last_sequence = last_sequence
        self.base_offset = base_offset
        self.last_offset = last_offset
        self.timestamp = timestamp

    def __repr__(self) -> str:
        return (
            f"AppendedBatch(sequences {self.base_sequence}-{self.last_sequence}, "
            f"offsets {self.base_offset}-{self.last_offset}, timestamp {self.timestamp})"
        )


class ProducerEntry:
    """One producer id's state; what DescribeProducers reports."""

    __slots__ = (
        "batches",
        "coordinator_epoch",
        "current_txn_first_offset",
        "last_timestamp",
        "producer_epoch",
        "producer_id",
    )

    def __init__(self, producer_id: int, producer_epoch: int = NO_PRODUCER_EPOCH) -> None:
        self.producer_id = producer_id
        self.producer_epoch = producer_epoch
        self.coordinator_epoch = NO_COORDINATOR_EPOCH
        self.last_timestamp = NO_TIMESTAMP
        self.current_txn_first_offset = NO_OFFSET
        self.batches: list[AppendedBatch] = []  # oldest first, at most RETAINED_BATCHES

    @property
    def last_sequence(self) -> int:
        return self.batches[-1].last_sequence if self.batches else NO_SEQUENCE

    def copy(self) -> "ProducerEntry":
        other = ProducerEntry(self.producer_id, self.producer_epoch)
        other.coordinator_epoch = self.coordinator_epoch
        other.last_timestamp = self.last_timestamp
        other.current_txn_first_offset = self.current_txn_first_offset
        other.batches = list(self.batches)
        return other


class CompletedTransaction:
    """A transaction that the marker at `last_offset` ended; aborted ones go into the transaction index."""

    __slots__ = ("first_offset", "is_aborted", "last_offset", "last_stable_offset", "producer_id")

    def __init__(
        self, producer_id: int, first_offset: int, last_offset: int, last_stable_offset: int, is_aborted: bool
    ) -> None:
        assert first_offset <= last_offset
        self.producer_id = producer_id
        self.first_offset = first_offset
        self.last_offset = last_offset
        self.last_stable_offset = last_stable_offset
        self.is_aborted = is_aborted


class ProducerState:
    """The producers of one partition."""

    __slots__ = ("_open_transactions", "_producers", "_undurable_transactions")

    def __init__(self, entries: Iterable[ProducerEntry] = ()) -> None:
        self._producers: dict[int, ProducerEntry] = {entry.producer_id: entry for entry in entries}
        # First offset by producer id. Insertion order is offset order: offsets only grow.
        self._open_transactions: dict[int, int] = {
            entry.producer_id: entry.current_txn_first_offset
            for entry in sorted(self._producers.values(), key=lambda entry: entry.current_txn_first_offset)
            if entry.current_txn_first_offset != NO_OFFSET
        }
        # (first offset, marker's offset) of transactions whose marker is not below the high watermark yet.
        self._undurable_transactions: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._producers)

    def __iter__(self) -> Iterator[ProducerEntry]:
        return iter(self._producers.values())

    def get(self, producer_id: int) -> ProducerEntry | None:
        return self._producers.get(producer_id)

    # --- deciding ---

    def check(self, batch: RecordBatch) -> AppendedBatch | None:
        """Pass a client's batch that has a producer id: None, or for a duplicate the batch it repeats.

        Raises ApiError: OUT_OF_ORDER_SEQUENCE_NUMBER, INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE.
        """
        entry = self._producers.get(batch.producer_id)
        if entry is None:
            return None
        base_sequence = batch.base_sequence
        if batch.producer_epoch == entry.producer_epoch:
            last_sequence = entry.batches[-1].last_sequence if entry.batches else NO_SEQUENCE
            if base_sequence != last_sequence + 1 and (base_sequence != 0 or last_sequence != MAX_SEQUENCE):
                duplicate = _remembered(entry, batch)
                if duplicate is not None:
                    return duplicate
                if entry.producer_epoch != NO_PRODUCER_EPOCH:
                    raise _out_of_order(batch, f"{last_sequence} is the last one")
        elif batch.producer_epoch < entry.producer_epoch:
            raise _stale_epoch(batch.producer_id, batch.producer_epoch, entry.producer_epoch)
        elif base_sequence != 0 and entry.producer_epoch != NO_PRODUCER_EPOCH:
            raise _out_of_order(batch, f"a new epoch after {entry.producer_epoch} begins at 0")
        if entry.current_txn_first_offset != NO_OFFSET and not batch.attributes & TRANSACTIONAL_BIT:
            raise _not_transactional(entry)
        return None

    def check_batches(self, batches: Sequence[RecordBatch]) -> AppendedBatch | None:
        """`check` for the batches of one append, each after those before it; no producer id, no check."""
        if len(batches) == 1:
            return self.check(batches[0]) if batches[0].producer_id >= 0 else None
        ahead = ProducerState()
        for batch in batches:
            if batch.producer_id < 0:
                continue
            entry = self._producers.get(batch.producer_id)
            if entry is not None and batch.producer_id not in ahead._producers:
                ahead._producers[batch.producer_id] = entry.copy()
            duplicate = ahead.check(batch)
            if duplicate is not None:
                return duplicate
            entry = ahead._producers.setdefault(batch.producer_id, ProducerEntry(batch.producer_id))
            _remember(entry, batch)
        return None

    def check_coordinator_batch(self, batch: RecordBatch) -> None:
        """`check` for what a coordinator writes for a producer (offset commits): epochs, no sequences."""
        entry = self._producers.get(batch.producer_id)
        if entry is None:
            return
        if batch.producer_epoch < entry.producer_epoch:
            raise _stale_epoch(batch.producer_id, batch.producer_epoch, entry.producer_epoch)
        if entry.current_txn_first_offset != NO_OFFSET and not batch.attributes & TRANSACTIONAL_BIT:
            raise _not_transactional(entry)

    def check_marker(
        self, producer_id: int, producer_epoch: int, coordinator_epoch: int, transaction_version: int
    ) -> None:
        """Whether a transaction marker may be appended.

        From transaction version 2 (KIP-890) the coordinator bumps the epoch before every marker, so one with
        the producer's own epoch is a late one; only the retry of the marker already written is let through
        (KAFKA-19999). Where the next transaction has begun in that epoch, a marker of the one before is `Repeated`.
        Raises ApiError: INVALID_PRODUCER_EPOCH, TRANSACTION_COORDINATOR_FENCED.
        """
        entry = self._producers.get(producer_id)
        if entry is None:
            return
        is_retry = producer_epoch == entry.producer_epoch and entry.current_txn_first_offset == NO_OFFSET
        lowest = entry.producer_epoch + (1 if transaction_version >= 2 else 0)
        if producer_epoch < lowest and not is_retry:
            if producer_epoch == entry.producer_epoch:
                raise Repeated(
                    ErrorCode.INVALID_PRODUCER_EPOCH,
                    f"Epoch {producer_epoch} of producer {producer_id} has a transaction open since offset "
                    f"{entry.current_txn_first_offset}: the one that a marker of this epoch ends is over",
                )
            raise _stale_epoch(producer_id, producer_epoch, entry.producer_epoch)
        if coordinator_epoch < entry.coordinator_epoch:
            raise ApiError(
                ErrorCode.TRANSACTION_COORDINATOR_FENCED,
                f"Coordinator epoch {coordinator_epoch} for producer {producer_id} is older than "
                f"{entry.coordinator_epoch}",
            )

    # --- changing ---

    def apply(self, buffer: Buffer, batch: RecordBatch) -> CompletedTransaction | None:
        """Take in a batch that is in the log, data or control: after an append, and again at recovery.

        Returns the transaction that a control batch ended, if it held any data here.
        """
        if batch.producer_id < 0:
            return None
        if not batch.attributes & CONTROL_BIT:
            self.update(batch)
            return None
        if batch.record_count == 0:  # compaction took the marker: nothing of its transaction is left
            return None
        marker = next(iterate(buffer, batch, MAX_CONTROL_RECORD_BYTES))
        control_type = parse_control_key(marker.key)
        if control_type not in (ABORT_MARKER, COMMIT_MARKER):
            raise CorruptBatch(f"control record type {control_type} of producer {batch.producer_id}")
        coordinator_epoch = parse_end_transaction_value(marker.value)
        return self.end_transaction(
            batch, control_type == ABORT_MARKER, coordinator_epoch, timestamp=marker.timestamp
        )

    def update(self, batch: RecordBatch) -> None:
        """Take in a data batch that has been written; `base_offset` is the one it got."""
        producer_id = batch.producer_id
        assert producer_id >= 0
        entry = self._producers.get(producer_id)
        if entry is None:
            entry = self._producers[producer_id] = ProducerEntry(producer_id)
        assert not entry.batches or entry.batches[-1].last_offset < batch.base_offset
        if _remember(entry, batch):
            self._open_transactions[producer_id] = batch.base_offset

    def end_transaction(
        self, batch: RecordBatch, is_aborted: bool, coordinator_epoch: int, timestamp: int
    ) -> CompletedTransaction | None:
        """Take in a marker that has been written in `batch`; the transaction it ended, if there was one."""
        producer_id, last_offset = batch.producer_id, batch.base_offset
        entry = self._producers.get(producer_id)
        if entry is None:
            entry = self._producers[producer_id] = ProducerEntry(producer_id, batch.producer_epoch)
        elif entry.producer_epoch != batch.producer_epoch:
            entry.batches.clear()
            entry.producer_epoch = batch.producer_epoch
        entry.coordinator_epoch = coordinator_epoch
        entry.last_timestamp = timestamp
        entry.current_txn_first_offset = NO_OFFSET
        first_offset = self._open_transactions.pop(producer_id, NO_OFFSET)
        if first_offset == NO_OFFSET:
            return None
        next_open = next(iter(self._open_transactions.values()), NO_OFFSET)
        last_stable_offset = last_offset + 1 if next_open == NO_OFFSET else next_open
        self._undurable_transactions.append((first_offset, last_offset))
        return CompletedTransaction(producer_id, first_offset, last_offset, last_stable_offset, is_aborted)

    def advance_high_watermark(self, high_watermark: int) -> None:
        """Markers below the high watermark no longer hold back the last stable offset."""
        if self._undurable_transactions:
            self._undurable_transactions = [
                span for span in self._undurable_transactions if span[1] >= high_watermark
            ]

    def first_unstable_offset(self) -> int:
        """First offset of the oldest transaction that is open or whose end is not durable; -1 if none is."""
        first = next(iter(self._open_transactions.values()), NO_OFFSET)
        for undurable, _ in self._undurable_transactions:
            if first == NO_OFFSET or undurable < first:
                first = undurable
        return first

    def oldest_open_transaction(self) -> tuple[int, int] | None:
        """Producer id and first offset of the transaction that has been open for longest."""
        return next(iter(self._open_transactions.items()), None)

    def has_open_transaction(self, producer_id: int) -> bool:
        return producer_id in self._open_transactions

    def expire(self, now_ms: int, expiration_ms: int) -> int:
        """Forget producers idle for `producer.id.expiration.ms` that have no open transaction; how many."""
        expired = [entry.producer_id for entry in self if _is_expired(entry, now_ms, expiration_ms)]
        for producer_id in expired:
            del self._producers[producer_id]
        return len(expired)

    # --- snapshots ---

    def encode_snapshot(self) -> bytes:
        """The `.snapshot` file's bytes. Of the five batches it keeps the last, as Kafka's does."""
        out = bytearray(_SNAPSHOT_HEADER.size)
        for entry in self:
            last = entry.batches[-1] if entry.batches else None
            out += _SNAPSHOT_ENTRY.pack(
                entry.producer_id,
                entry.producer_epoch,
                last.last_sequence if last else NO_SEQUENCE,
                last.last_offset if last else NO_OFFSET,
                last.last_offset - last.base_offset if last else 0,
                entry.last_timestamp,
                entry.coordinator_epoch,
                entry.current_txn_first_offset,
            )
        _SNAPSHOT_HEADER.pack_into(out, 0, _SNAPSHOT_VERSION, 0, len(self))
        with memoryview(out) as view:
            crc = crc32c(view[_CRC_END:])
        _SNAPSHOT_HEADER.pack_into(out, 0, _SNAPSHOT_VERSION, crc, len(self))
        return bytes(out)

    @classmethod
    def from_snapshot(cls, data: bytes, now_ms: int, expiration_ms: int) -> "ProducerState":
        """The state of a snapshot, without expired producers. Raises CorruptSnapshot."""
        return cls(entry for entry in decode_snapshot(data) if not _is_expired(entry, now_ms, expiration_ms))


def decode_snapshot(data: bytes) -> list[ProducerEntry]:
    """All producers in a `.snapshot` file. Raises CorruptSnapshot."""
    if len(data) < _SNAPSHOT_HEADER.size:
        raise CorruptSnapshot(f"{len(data)} bytes are fewer than a snapshot's header")
    version, crc, count = _SNAPSHOT_HEADER.unpack_from(data)
    if version != _SNAPSHOT_VERSION:
        raise CorruptSnapshot(f"snapshot version {version} is unknown")
    computed = crc32c(memoryview(data)[_CRC_END:])
    if crc != computed:
        raise CorruptSnapshot(f"the stored CRC is {crc:#x}, that of the bytes {computed:#x}")
    if count < 0 or len(data) != _SNAPSHOT_HEADER.size + count * _SNAPSHOT_ENTRY.size:
        raise CorruptSnapshot(f"{len(data)} bytes for {count} producers")
    entries = []
    for fields in _SNAPSHOT_ENTRY.iter_unpack(memoryview(data)[_SNAPSHOT_HEADER.size :]):
        producer_id, producer_epoch, last_sequence, last_offset, delta, timestamp, coordinator, first = fields
        entry = ProducerEntry(producer_id, producer_epoch)
        entry.coordinator_epoch = coordinator
        entry.last_timestamp = timestamp
        entry.current_txn_first_offset = first if first >= 0 else NO_OFFSET
        if last_offset >= 0:
            base_sequence = (last_sequence - delta) & MAX_SEQUENCE if last_sequence >= 0 else NO_SEQUENCE
            entry.batches.append(
                AppendedBatch(base_sequence, last_sequence, last_offset - delta, last_offset, timestamp)
            )
        entries.append(entry)
    return entries


def _remember(entry: ProducerEntry, batch: RecordBatch) -> bool:
    """Make `batch` the producer's last; True if it opens a transaction."""
    if entry.producer_epoch != batch.producer_epoch:
        entry.batches.clear()
        entry.producer_epoch = batch.producer_epoch
    batches = entry.batches
    if len(batches) == RETAINED_BATCHES:
        del batches[0]
    base_offset, base_sequence, delta = batch.base_offset, batch.base_sequence, batch.last_offset_delta
    last_sequence = (base_sequence + delta) & MAX_SEQUENCE if base_sequence >= 0 else NO_SEQUENCE
    entry.last_timestamp = timestamp = batch.max_timestamp
    batches.append(AppendedBatch(base_sequence, last_sequence, base_offset, base_offset + delta, timestamp))
    if batch.attributes & TRANSACTIONAL_BIT and entry.current_txn_first_offset == NO_OFFSET:
        entry.current_txn_first_offset = base_offset
        return True
    return False


def _is_expired(entry: ProducerEntry, now_ms: int, expiration_ms: int) -> bool:
    return entry.current_txn_first_offset == NO_OFFSET and now_ms - entry.last_timestamp >= expiration_ms


def _remembered(entry: ProducerEntry, batch: RecordBatch) -> AppendedBatch | None:
    base_sequence, last_sequence = batch.base_sequence, batch.last_sequence
    for known in entry.batches:
        if known.base_sequence == base_sequence and known.last_sequence == last_sequence:
            return known
    return None


def _out_of_order(batch: RecordBatch, expectation: str) -> ApiError:
    return ApiError(
        ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
        f"Sequence {batch.base_sequence} of producer {batch.producer_id} (epoch {batch.producer_epoch}) "
        f"is out of order: {expectation}",
    )


def _stale_epoch(producer_id: int, producer_epoch: int, current: int) -> ApiError:
    return ApiError(
        ErrorCode.INVALID_PRODUCER_EPOCH,
        f"Epoch {producer_epoch} of producer {producer_id} is stale: its epoch is {current}",
    )


def _not_transactional(entry: ProducerEntry) -> ApiError:
    return ApiError(
        ErrorCode.INVALID_TXN_STATE,
        f"Producer {entry.producer_id} has a transaction open since offset {entry.current_txn_first_offset} "
        "and must write transactionally",
    )
