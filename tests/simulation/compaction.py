"""The simulated life of a data folder whose topics are compacted: `World` with keys and rounds.

What must hold changes: offsets have gaps, and a record that was acknowledged may go, but only for a later one of
its key.
"""

from __future__ import annotations

from zlib import crc32

from protocol.errors import ApiError, StorageFailed
from protocol.records import Record, crc_is_valid, iterate, parse_batches
from tests.simulation.world import MAX_RECORD_BYTES, PARTITIONS, Broken, Producer, Sent, World
from tests.wal.compacting import order
from wal.checkpoint import TopicPartition
from wal.compaction import Compaction
from wal.compaction_swap import swap
from wal.errors import DiskFull
from wal.log import Log

KEYS = 7
DELETE_RETENTION_MS = 4_000


def key_of(value: bytes) -> bytes:
    return b"key-%d" % (crc32(value) % KEYS)


class CompactingWorld(World):
    """One seed's disk with compacted topics."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.config.compact_is_enabled = True
        self.config.segment_bytes = self.chance.choice((1500, 1800, 4000))
        self.config.delete_is_enabled = self.chance.random() < 0.3
        self.compacted: dict[TopicPartition, int] = {}
        """Up to where a round came that may have taken what told retries apart."""
        self.swaps = 0
        self._is_compacting = False

    def record(self, timestamp: int, value: bytes) -> Record:
        return Record(timestamp=timestamp, key=key_of(value), value=value)

    def upkeep(self) -> None:
        if self.chance.random() < 0.7:
            self.compact(self.chance.choice(PARTITIONS))
        else:
            super().upkeep()

    def compact(self, key: TopicPartition) -> None:
        """A round; now and then something happens between the rewriting and the swap, as with a worker process."""
        log = self.log(key)
        if self._is_compacting or len(log.bases) < 2 or log.bases[1] > log.last_stable_offset:
            return  # one round at a time, as there is one worker
        first_dirty = self.folder.compacted_up_to(key) or 0
        order_now = order(log, self.now_ms, delete_retention_ms=DELETE_RETENTION_MS)
        order_now.first_dirty_offset = first_dirty if first_dirty < order_now.end_offset else 0
        compaction = Compaction(self.storage, order_now)
        is_whole = self._is_compacting = True
        try:
            for cleaned in compaction.run():
                if self.chance.random() < 0.3:
                    self.one_step()
                self.compacted[key] = max(self.compacted.get(key, 0), order_now.end_offset)
                is_swapped = swap(log, cleaned.replaced, self.now_ms)
                is_whole &= is_swapped
                self.swaps += is_swapped
            if is_whole:
                self.folder.save_compacted_up_to(key, compaction.totals.end_offset)
        except DiskFull:
            return
        except StorageFailed:
            if all(segment.base_offset in log.bases for segment in order_now.segments):
                raise  # else retention took a file away under the worker, which fails then
        finally:
            self._is_compacting = False

    def send_failed(self, log: Log, producer: Producer, sent: Sent, error: ApiError) -> bool:
        """A retry of what compaction has thinned out: only a producer's last batch stays (as in Kafka)."""
        if -1 < sent.written_at < self.compacted.get(producer.partition, 0):
            producer.in_flight.remove(sent)
            return True
        return super().send_failed(log, producer, sent, error)

    # --- reading, with gaps ---

    def _read(self, log: Log, offset: int, max_bytes: int) -> list[tuple[int, bytes]]:
        piece = log.read(offset, max_bytes, log.high_watermark, True)
        if piece is None:
            return []
        data = memoryview(piece.read())
        records = []
        for batch in parse_batches(data):
            if not crc_is_valid(data, batch):
                raise Broken(f"{log}: the CRC of {batch} is wrong")
            records += [(r.offset, r.value or b"") for r in iterate(data, batch, MAX_RECORD_BYTES)]
        return [record for record in records if record[0] >= offset]

    def content(self, log: Log) -> dict[int, bytes]:
        """Every record below the high watermark, read from batch to batch."""
        found: dict[int, bytes] = {}
        offset = log.log_start_offset
        while (piece := log.read(offset, 3000, log.high_watermark, True)) is not None:
            data = memoryview(piece.read())
            for batch in parse_batches(data):
                if batch.last_offset < offset:
                    raise Broken(f"{log}: asked for {offset}, got {batch}")
                found.update((r.offset, r.value or b"") for r in iterate(data, batch, MAX_RECORD_BYTES))
                offset = batch.next_offset
        return {at: value for at, value in found.items() if at >= log.log_start_offset}

    def check(self, key: TopicPartition) -> None:
        log, told = self.logs[key], self.partitions[key]
        told.forget_below(log.log_start_offset)
        if log.log_start_offset < told.log_start_offset:
            raise Broken(f"{log}: deleted records are back, below {told.log_start_offset}")
        highest = max([*told.acknowledged, *told.visible], default=-1)
        if log.high_watermark <= highest:
            raise Broken(f"{log}: offset {highest} was told and is gone")
        content = self.content(log)
        newest: dict[bytes, int] = {}
        for at, value in content.items():
            newest[key_of(value)] = at
        for told_of in (told.acknowledged, told.visible):
            for at, value in told_of.items():
                if at in content:
                    self._expect(content, key, at, value)
                elif newest.get(key_of(value), -1) <= at:
                    raise Broken(f"{key}: {value!r} at {at} is gone, and no later value of its key is there")
        if len(set(content.values())) != len(content):
            raise Broken(f"{log}: a record is there twice")
