"""Rounds of compaction over a test's log, and what is in a log after them."""

from __future__ import annotations

import random

from protocol.records import Record, RecordBatch, build, end_transaction_marker, iterate, parse_batches
from wal.compaction import Compaction, Round, SegmentToClean, Totals
from wal.compaction_producers import last_batches
from wal.compaction_swap import swap
from wal.log import Log

SEED = [11, 12, 13, 14]
DAY_MS = 24 * 3600 * 1000


def append(log: Log, records: list[Record], now_ms: int, **fields: int | bool) -> int:
    """Append one batch; its base offset."""
    view = memoryview(build(records, **fields))  # type: ignore[arg-type]
    return log.append(view, parse_batches(view), now_ms).base_offset


def mark(log: Log, producer_id: int, commit: bool, now_ms: int) -> None:
    """End a producer's transaction."""
    marker = end_transaction_marker(
        commit, producer_id=producer_id, producer_epoch=0, coordinator_epoch=0, timestamp=now_ms
    )
    view = memoryview(marker)
    log.append(view, parse_batches(view), now_ms, check_producers=False)


class Writer:
    """Writes what compaction has to do with: keys again and again, tombstones, all codecs, every kind of producer."""

    def __init__(self, log: Log, seed: int, now_ms: int, keys: int = 40) -> None:
        self.log = log
        self.chance = random.Random(seed)
        self.now_ms = now_ms
        self.keys = keys
        self.sequences = {7: 0, 8: 0, 9: 0}  # idempotent, and two that write transactions
        self.open: set[int] = set()

    def records(self) -> list[Record]:
        chance = self.chance
        return [
            Record(
                timestamp=self.now_ms + chance.randrange(100),
                key=b"key-%d" % chance.randrange(self.keys) * chance.choice((1, 1, 9)),
                value=None if chance.random() < 0.15 else chance.randbytes(chance.randrange(90)),
                headers=[("h", chance.choice((None, b"x")))] if chance.random() < 0.2 else [],
            )
            for _ in range(chance.choice((1, 1, 3, 20)))
        ]

    def write(self, batches: int, now_ms: int) -> None:
        chance = self.chance
        for _ in range(batches):
            self.now_ms += 10
            producer_id = chance.choice((-1, -1, 7, 8, 9))
            if producer_id in self.open and chance.random() < 0.3:
                self.end(producer_id, now_ms)
                continue
            fields: dict[str, int | bool] = {"compression": chance.randrange(5)}
            records = self.records()
            if producer_id >= 0:
                sequence = self.sequences[producer_id]
                fields |= {"producer_id": producer_id, "producer_epoch": 0, "base_sequence": sequence}
                self.sequences[producer_id] += len(records)
            if producer_id > 7:
                self.open.add(producer_id)
                fields["is_transactional"] = True
            if producer_id < 0 and chance.random() < 0.1:
                fields |= {"timestamp_type": 1, "append_time": self.now_ms}
            append(self.log, records, now_ms, **fields)

    def end_all(self, now_ms: int) -> None:
        for producer_id in sorted(self.open):
            self.end(producer_id, now_ms)

    def end(self, producer_id: int, now_ms: int) -> None:
        self.open.remove(producer_id)
        mark(self.log, producer_id, self.chance.random() < 0.5, now_ms)


def order(log: Log, now_ms: int, *, first_dirty_offset: int = 0, **changes: object) -> Round:
    """A round over all sealed segments below the last stable offset."""
    end = 0
    while end + 1 < len(log.bases) and log.bases[end + 1] <= log.last_stable_offset:
        end += 1
    segments = [SegmentToClean(log.loaded(index).base_offset, log.loaded(index).size) for index in range(end)]
    values: dict[str, object] = {
        "directory": log.directory,
        "segments": segments,
        "first_dirty_offset": first_dirty_offset,
        "end_offset": log.bases[end],
        "now_ms": now_ms,
        "delete_retention_ms": DAY_MS,
        "segment_bytes": log.config.segment_bytes,
        "segment_index_bytes": log.config.segment_index_bytes,
        "index_interval_bytes": log.config.index_interval_bytes,
        "dedupe_buffer_bytes": 1 << 20,
        "load_factor": 0.9,
        "seed": SEED,
        "aborted": [
            tuple(transaction)
            for transaction in log.aborted_transactions(0, log.bases[end])
            if transaction.last_offset >= log.bases[end]
        ],
        "producers": last_batches(log, log.bases[end]),
    }
    return Round(**{**values, **changes})  # type: ignore[arg-type]


def compact(log: Log, now_ms: int, **changes: object) -> Totals:
    """One whole round, swaps included."""
    compaction = Compaction(log.storage, Round.from_json(order(log, now_ms, **changes).to_json()))
    for cleaned in compaction.run():
        assert swap(log, cleaned.replaced, now_ms)
    return compaction.totals


def batches_of(log: Log) -> list[tuple[RecordBatch, list[Record]]]:
    """Everything below the high watermark, read as consumers do: from batch to batch."""
    found: list[tuple[RecordBatch, list[Record]]] = []
    offset = log.log_start_offset
    while True:
        piece = log.read(offset, 1 << 20, log.high_watermark, True)
        if piece is None:
            return found
        data = piece.read()
        for batch in parse_batches(data):
            assert batch.last_offset >= offset
            found.append((batch, list(iterate(data, batch, 1 << 26))))
            offset = batch.next_offset


def records_of(log: Log) -> list[Record]:
    """The records that are no markers."""
    return [record for batch, records in batches_of(log) if not batch.is_control for record in records]
