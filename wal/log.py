"""One partition's log: offsets are given out here, and nothing is acknowledged that is not where it should
be.

    log_start_offset ≤ durable_offset ≤ log_end_offset
            │                  │                └ next offset to be given out: everything below is written
            │                  └ everything below is synced; with one replica this is the high watermark
            └ everything below is deleted

A log belongs to one thread. Appends write and mark the flusher dirty; `advance` is called on the same thread
when a round of syncs has ended. A folder that is not there is an empty log: it is made by the first append.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NamedTuple

from protocol.errors import ApiError, ErrorCode
from protocol.records import RecordBatch, place
from wal import lookup, recovery, retention
from wal.checkpoint import put_file
from wal.errors import Damage, DiskFull, StorageFailed
from wal.file_slice import FileSlice
from wal.flusher import Durable, Flusher
from wal.layout import (
    LEADER_EPOCH_CHECKPOINT,
    LOG_SUFFIX,
    PARTITION_METADATA,
    SNAPSHOT_SUFFIX,
    format_partition_metadata,
    parse_base_offset,
)
from wal.producer_state import AppendedBatch, ProducerEntry
from wal.retries import remember_batches
from wal.segment import Segment
from wal.settling import Settling
from wal.snapshots import Snapshots
from wal.storage import Storage
from wal.txn_index import AbortedTransaction, collect
from wal.walk import Recovered

CONTINUATIONS: Final = 64
"""Ends of slices a log remembers, so that a reader that goes on where it stopped searches nothing."""


@dataclass(slots=True)
class LogConfig:
    """What a topic's configuration says about its logs. Kafka's names and defaults; -1 is no limit."""

    segment_bytes: int = 1 << 30
    segment_ms: int = 7 * 24 * 3600 * 1000
    segment_index_bytes: int = 10 << 20
    index_interval_bytes: int = 4096
    retention_ms: int = 7 * 24 * 3600 * 1000
    retention_bytes: int = -1
    preallocate_bytes: int = 16 << 20
    """Largest step in which the active segment's space is reserved; 0 reserves none."""
    producer_id_expiration_ms: int = 24 * 3600 * 1000
    file_delete_delay_ms: int = 60_000
    delete_is_enabled: bool = True
    """`cleanup.policy` has `delete`: retention applies."""
    compact_is_enabled: bool = False
    """`cleanup.policy` has `compact`: sealed segments may have gaps between their offsets."""


class Appended(NamedTuple):
    """Where an append went, or, for a duplicate, where its original is. Offsets are inclusive."""

    base_offset: int
    last_offset: int
    duplicate: bool
    log_start_offset: int


class Log:
    """The log of one partition; opening it costs what its last few kilobytes cost.

    Raises DiskFull where a write was refused (the log is as before and stays usable) and StorageFailed where
    the disk failed. `on_durable` is called with the new `durable_offset` whenever it moves.
    """

    def __init__(
        self,
        storage: Storage,
        flusher: Flusher,
        directory: str,
        config: LogConfig,
        *,
        topic_id: bytes | None = None,
        log_start_offset: int = 0,
        recovery_point: int = 0,
        is_clean: bool = True,
        now_ms: int = 0,
        save_log_start: Callable[[int], None] | None = None,
        settling: Settling | None = None,
    ) -> None:
        """Open what is in `directory`.

        Everything below `recovery_point` is known to be synced. Unless the log was closed cleanly
        (`is_clean`), what comes after is walked, checked, and cut off at the first bad batch.
        `save_log_start` makes a new log start offset durable before it takes effect. With `settling`
        the log may be used only once that is finished.
        """
        self.storage = storage
        self.flusher = flusher
        self.directory = directory
        self.config = config
        self.topic_id = topic_id
        self.on_durable: Callable[[int], None] | None = None
        self.save_log_start = save_log_start
        self.save_recovery_point: Callable[[int], None] | None = None
        """Makes it durable that everything below an offset is synced. Raises DiskFull, StorageFailed."""
        self.offline: StorageFailed | None = None
        self._take_over(
            recovery.open_log(
                storage, directory, config, log_start_offset, recovery_point, is_clean, now_ms, settling
            )
        )

    def _take_over(self, opened: recovery.Opened) -> None:
        self.segments: list[Segment] = opened.segments
        self.bases: list[int] = [segment.base_offset for segment in opened.segments]
        self.producers = opened.producers
        self.epochs = opened.epochs
        self.recovered: Recovered | None = opened.recovered
        self.log_start_offset = opened.log_start_offset
        self.log_end_offset = opened.log_end_offset
        self.durable_offset = opened.log_end_offset
        self.producers.advance_high_watermark(self.durable_offset)  # markers that were replayed are durable
        self.leader_epoch = max(0, opened.epochs.latest_epoch)
        self.pending_deletions: list[tuple[int, str]] = opened.pending_deletions  # (due ms, path)
        for segment in self.segments:
            segment.log = self
        self._active: Segment | None = self.segments[-1] if self.segments else None
        if self._active is not None and self._active.is_sealed:
            self._active = None  # damaged at its end: it is never appended to
        self._durable_segment = self._active
        self._durable_position = self._active.size if self._active is not None else 0
        self._directory_is_complete = opened.directory_is_complete
        self._continuations: dict[int, int] = {}
        self._remembers_batches = not self.segments  # all of a producer's last five, not only its last
        # Whether the files are what a clean start needs: nothing was appended or recovered since they were.
        self._is_saved = opened.recovered is None
        if self.segments and not self.epochs.entries:
            with suppress(DiskFull):  # the batches carry their epoch, too
                self._note_leader_epoch(self.log_end_offset)
        assert self.log_start_offset <= self.log_end_offset

    def __repr__(self) -> str:
        return f"Log({self.directory}, {self.log_start_offset}..{self.durable_offset}..{self.log_end_offset})"

    def configure(self, config: LogConfig) -> None:
        """Use another configuration from now on."""
        self.config = config

    @property
    def high_watermark(self) -> int:
        return self.durable_offset

    @property
    def last_stable_offset(self) -> int:
        """First offset of the oldest transaction that is not over and durable, or the high watermark.

        Never before the log start, from which a transaction's first records may have been deleted.
        """
        unstable = self.producers.first_unstable_offset()
        if unstable < 0 or unstable > self.durable_offset:
            return self.durable_offset
        return max(unstable, self.log_start_offset)

    @property
    def damage(self) -> list[Damage]:
        """What cannot be served, as found so far."""
        return [damage for segment in self.segments for damage in segment.damage]

    # --- append ---

    def append(
        self, buffer: memoryview, batches: list[RecordBatch], now_ms: int, check_producers: bool = True
    ) -> Appended:
        """Write batches that lie one after the other in the writable `buffer`, giving them offsets.

        CRC, sizes and timestamps are the caller's to check; `check_producers=False` is for coordinators,
        whose markers have no sequences. A duplicate of an idempotent producer is not written again.
        Raises ApiError (sequence, epoch, RECORD_LIST_TOO_LARGE), DiskFull, StorageFailed.
        """
        if self.offline is not None:
            raise self.offline
        first = batches[0]
        has_producer = first.producer_id >= 0 or len(batches) > 1
        if has_producer and check_producers:
            original = self._check_producers(batches)
            if original is not None:
                return Appended(original.base_offset, original.last_offset, True, self.log_start_offset)
        base_offset = next_offset = self.log_end_offset
        leader_epoch = self.leader_epoch
        length = 0
        for batch in batches:
            place(buffer, batch, next_offset, leader_epoch)
            next_offset += batch.last_offset_delta + 1
            length += batch.size
        assert next_offset > base_offset
        if length != len(buffer):
            buffer = buffer[first.position : first.position + length]
        config = self.config
        segment = self._active
        if (
            segment is None
            or segment.is_full(length, next_offset, config.segment_bytes, config.segment_index_bytes)
            or self._is_old(segment, first.max_timestamp, now_ms)
        ):
            segment = self._roll(length, now_ms)
        assert segment.next_offset == base_offset
        segment.append(buffer, batches, config.index_interval_bytes, config.preallocate_bytes)
        assert segment.next_offset == next_offset
        self.log_end_offset = next_offset
        if has_producer:
            self._note_producers(buffer, batches, segment)
        self._is_saved = False
        if not segment.dirty:
            self.flusher.mark_dirty(segment)
        return Appended(base_offset, next_offset - 1, False, self.log_start_offset)

    def _check_producers(self, batches: list[RecordBatch]) -> AppendedBatch | None:
        try:
            return self.producers.check_batches(batches)
        except ApiError as error:
            if self._remembers_batches or error.code is not ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER:
                raise
        # It may be the retry of a batch from before the last start.
        self._remembers_batches = True
        remember_batches(self)
        return self.producers.check_batches(batches)

    def _is_old(self, segment: Segment, timestamp: int, now_ms: int) -> bool:
        # As Kafka: by the records' own time where they have one, so that a replay rolls like the original.
        if segment.size == 0:
            return False
        if segment.first_timestamp >= 0:
            return timestamp - segment.first_timestamp > self.config.segment_ms
        return now_ms - segment.created_ms > self.config.segment_ms

    def _note_producers(self, buffer: memoryview, batches: list[RecordBatch], segment: Segment) -> None:
        origin = batches[0].position
        for batch in batches:
            if batch.producer_id < 0:
                continue
            batch.position -= origin  # `buffer` starts with the first batch
            completed = self.producers.apply(buffer, batch)
            batch.position += origin
            if completed is not None and completed.is_aborted:
                segment.add_aborted(
                    AbortedTransaction(
                        completed.producer_id,
                        completed.first_offset,
                        completed.last_offset,
                        completed.last_stable_offset,
                    )
                )

    def _roll(self, incoming: int, now_ms: int) -> Segment:
        """Seal the active segment and begin the next at the log's end. Raises DiskFull: nothing has
        changed.
        """
        if incoming > self.config.segment_bytes:
            raise ApiError(
                ErrorCode.RECORD_LIST_TOO_LARGE,
                f"{incoming} bytes are more than segment.bytes, {self.config.segment_bytes}",
            )
        old, base_offset = self._active, self.log_end_offset
        if old is not None and old.size == 0:
            return old
        if not self._directory_is_complete:
            self._make_directory()
        if old is not None and self.durable_offset <= old.base_offset:
            # The name of the old segment may not be durable yet. Were it lost and the next one's not, the log
            # would begin in the middle, with a snapshot that vouches for batches that are gone.
            self.storage.sync_directory(self.directory)
        if self.segments:
            self.save_snapshot()
        self._note_leader_epoch(base_offset)
        segment = Segment.create(self.storage, self.directory, base_offset, now_ms)
        segment.log = self
        if old is not None:
            try:
                old.seal()
            except DiskFull:
                segment.close()
                self.storage.unlink(segment.path(LOG_SUFFIX))
                # Were the name to come back, it would claim the offsets that the old segment takes next.
                self.flusher.mark_directory(self.directory)
                raise
            for file in old.index_files():
                self.flusher.mark_file(file)
            self.flusher.mark_dirty(old)  # its size has changed
        self.flusher.mark_directory(self.directory)
        self.segments.append(segment)
        self.bases.append(base_offset)
        self._active = segment
        assert self.bases == sorted(set(self.bases))
        return segment

    def roll(self, now_ms: int) -> None:
        """Begin a new segment now, if the active one holds anything."""
        if self._active is not None and self._active.size:
            self._roll(0, now_ms)

    def _make_directory(self) -> None:
        parent = self.directory.rpartition("/")[0]
        self.storage.make_directory(self.directory)
        self.flusher.mark_directory(parent)
        if self.topic_id is not None:
            metadata = format_partition_metadata(self.topic_id)
            self.flusher.mark_file(put_file(self.storage, self.directory, PARTITION_METADATA, metadata))
        self.flusher.mark_directory(self.directory)
        self._directory_is_complete = True

    def _note_leader_epoch(self, start_offset: int) -> None:
        if self.epochs.assign(self.leader_epoch, start_offset):
            data = self.epochs.encode()
            self.flusher.mark_file(put_file(self.storage, self.directory, LEADER_EPOCH_CHECKPOINT, data))

    def begin_leader_epoch(self, leader_epoch: int, now_ms: int) -> None:
        """Mark what is appended from now on with a newer epoch."""
        assert leader_epoch > self.leader_epoch
        self.leader_epoch = leader_epoch
        if self._active is not None:
            self._note_leader_epoch(self.log_end_offset)

    def save_snapshot(self) -> None:
        """Write the producers' state at the log's end, to be synced by the flusher. Raises DiskFull."""
        snapshots = Snapshots(self.storage, self.directory, self.config, 0)
        self.flusher.mark_file(snapshots.write(self.log_end_offset, self.producers))

    def advance(self, durable: Durable) -> None:
        """Take in that a segment is synced up to an offset."""
        if durable.end_offset <= self.durable_offset:
            return
        assert durable.end_offset <= self.log_end_offset
        self.durable_offset = durable.end_offset
        self._durable_segment, self._durable_position = durable.segment, durable.position
        self.producers.advance_high_watermark(durable.end_offset)
        if self.on_durable is not None:
            self.on_durable(durable.end_offset)

    # --- read ---

    def read(self, offset: int, max_bytes: int, end_offset: int, min_one_batch: bool) -> FileSlice | None:
        """Whole batches from the one that holds `offset` on, all below `end_offset`, at most `max_bytes`.

        None if there is nothing to read there yet, or only a batch larger than `max_bytes` and not
        `min_one_batch`. The slice may be shorter than `max_bytes` would allow.
        Raises ApiError: OFFSET_OUT_OF_RANGE, CORRUPT_MESSAGE (damage), and StorageFailed.
        """
        if offset < self.log_start_offset or offset > self.log_end_offset:
            raise ApiError(
                ErrorCode.OFFSET_OUT_OF_RANGE,
                f"offset {offset} is not within {self.log_start_offset} to {self.log_end_offset}",
            )
        if offset >= end_offset:
            return None
        index = bisect_right(self.bases, offset) - 1
        while 0 <= index < len(self.segments):
            segment = self.loaded(index)
            position = self._continuations.get(offset)
            if position is None:
                position = segment.locate(offset)
            if segment.damage:
                self._refuse_damaged(segment, offset)
            if position is not None:
                return self._slice(segment, position, max_bytes, end_offset, min_one_batch)
            index += 1  # nothing from `offset` on in this segment: compacted away
        return None

    def _slice(
        self, segment: Segment, start: int, max_bytes: int, end_offset: int, min_one_batch: bool
    ) -> FileSlice | None:
        limit = self._position_of_end(segment, end_offset)
        for damage in segment.damage:
            if start < damage.start_position < limit:
                limit = damage.start_position
        end, next_offset = limit, min(end_offset, segment.next_offset)
        if limit - start > max_bytes:
            end = segment.boundary(start, start + max_bytes)
            if end <= start and min_one_batch:
                end = start + segment.header_at(start).size
            if start < end < limit:
                next_offset = self._remember(segment, end)
        assert end <= limit or limit <= start
        if end <= start or limit <= start:
            return None
        return FileSlice(segment.file.open_file(), start, end - start, next_offset)

    def _position_of_end(self, segment: Segment, end_offset: int) -> int:
        if end_offset == self.durable_offset and segment is self._durable_segment:
            return self._durable_position
        if end_offset >= segment.next_offset:
            return segment.size
        position = segment.locate(end_offset)
        assert position is not None
        return position

    def _remember(self, segment: Segment, position: int) -> int:
        offset = int.from_bytes(segment.file.read_at(position, 8), "big")
        if self.bases[bisect_right(self.bases, offset) - 1] == segment.base_offset:
            if len(self._continuations) >= CONTINUATIONS:
                del self._continuations[next(iter(self._continuations))]
            self._continuations[offset] = position
        return offset

    def _refuse_damaged(self, segment: Segment, offset: int) -> None:
        for damage in segment.damage:
            if damage.start_offset <= offset < damage.end_offset:
                raise ApiError(ErrorCode.CORRUPT_MESSAGE, str(damage))

    def loaded(self, index: int) -> Segment:
        """Segment `index`, with size and last offset known."""
        segment = self.segments[index]
        if not segment.is_loaded:
            following = self.bases[index + 1] if index + 1 < len(self.bases) else self.log_end_offset
            recovery.load_sealed(segment, following, self.config)
        return segment

    def loaded_segments(self) -> Iterator[Segment]:
        """All segments, oldest first, with sizes and last offsets known."""
        for index in range(len(self.segments)):
            yield self.loaded(index)

    def aborted_transactions(self, from_offset: int, end_offset: int) -> list[AbortedTransaction]:
        """The aborted transactions that overlap [from_offset, end_offset)."""
        found: list[AbortedTransaction] = []
        for index in range(max(0, bisect_right(self.bases, from_offset) - 1), len(self.segments)):
            overlapping, is_complete = collect(
                self.segments[index].aborted_transactions(), from_offset, end_offset
            )
            found += overlapping
            if is_complete:
                break
        return found

    # --- compaction ---

    def sealed_index(self, bases: Sequence[int]) -> int | None:
        """Where the neighbours with these base offsets stand among the segments, if all are there and sealed."""
        index = bisect_right(self.bases, bases[0]) - 1
        end = index + len(bases)
        if index < 0 or self.bases[index:end] != list(bases) or end >= len(self.bases):
            return None
        return index

    def replace_segments(self, index: int, count: int, segment: Segment) -> list[Segment]:
        """Have `segment` stand for `count` sealed ones from `index` on, whose files are the caller's."""
        originals = self.segments[index : index + count]
        assert originals[0].base_offset == segment.base_offset and self._active not in originals
        if self._durable_segment in originals:
            self._durable_segment = None
        self.segments[index : index + count] = [segment]
        self.bases[index : index + count] = [segment.base_offset]
        segment.log = self
        self._continuations.clear()  # positions in files that are gone
        for original in originals:
            original.log = None
            original.close()
        return originals

    # --- about ---

    def size_bytes(self) -> int:
        """Bytes of record batches, over all segments."""
        return sum(segment.size for segment in self.loaded_segments())

    def epoch_end_offset(self, leader_epoch: int) -> tuple[int, int]:
        """(epoch, end offset) of the largest epoch up to `leader_epoch`; (-1, -1) if unknown (KIP-320)."""
        if leader_epoch == self.leader_epoch:
            return leader_epoch, self.log_end_offset
        return self.epochs.epoch_end_offset(leader_epoch, self.log_end_offset)

    def epoch_at(self, offset: int) -> int:
        """The leader epoch of the record at `offset`; -1 if unknown."""
        if not self.epochs.entries or offset >= self.log_end_offset:
            return self.leader_epoch
        return self.epochs.epoch_for_offset(offset)

    def newest_timestamp(self) -> int:
        """The largest timestamp of any batch; -1 if none has one."""
        return max((segment.max_timestamp for segment in self.loaded_segments()), default=-1)

    def find_by_timestamp(self, timestamp: int, end_offset: int) -> lookup.TimestampOffset | None:
        """The first record below `end_offset` with a timestamp of at least `timestamp`."""
        return lookup.find_by_timestamp(self, timestamp, end_offset)

    def find_max_timestamp(self, end_offset: int) -> lookup.TimestampOffset | None:
        """The first record with the largest timestamp below `end_offset` (KIP-734)."""
        return lookup.find_max_timestamp(self, end_offset)

    def offsets_before(self, timestamp: int, max_offsets: int) -> list[int]:
        """Starts of segments older than `timestamp`, newest first (ListOffsets v0)."""
        return lookup.offsets_before(self, timestamp, max_offsets)

    def active_producers(self) -> list[ProducerEntry]:
        return list(self.producers)

    # --- deletion ---

    def enforce_retention(self, now_ms: int, keep_from: int | None = None) -> int:
        """Delete what retention lets go, and forget producers idle for too long; bytes freed.

        Records from `keep_from` on are still needed: neither age nor size lets them go.
        """
        return retention.enforce_retention(self, now_ms, keep_from)

    def delete_records_before(self, offset: int) -> int:
        """Move the log start to `offset` (-1: the high watermark), durably; the log start offset.

        Raises ApiError OFFSET_OUT_OF_RANGE, DiskFull, StorageFailed.
        """
        return retention.delete_records_before(self, offset)

    def delete_due_files(self, now_ms: int) -> int:
        """Unlink files that were given up long enough ago; how many."""
        return retention.delete_due_files(self, now_ms)

    # --- the end ---

    def save(self) -> None:
        """Write what a clean start needs; the flusher's next round, or `close`, makes it durable.

        Cuts off reserved space, writes indexes and the producers' snapshot. Raises DiskFull.
        """
        active = self._active
        if self._is_saved or not self.segments:
            return
        if active is not None:
            active.cut_back()
            active.save_indexes()
            for file in active.index_files():
                self.flusher.mark_file(file)
            self.flusher.mark_dirty(active)
        self.save_snapshot()
        self._drop_snapshots()
        self.flusher.mark_directory(self.directory)
        self._is_saved = True

    def close(self) -> None:
        """Make the log what a clean start needs, durably, and give back its descriptors.

        Raises DiskFull, StorageFailed: the log is then to be recovered at the next start.
        """
        if self.offline is not None:
            raise self.offline
        self.save()
        self.flusher.drain()
        self.durable_offset = self.log_end_offset
        self._release("the log is closed")

    def abandon(self) -> None:
        """Give back the descriptors of a log whose folder goes away; nothing is saved."""
        self._release("the log is deleted")

    def _release(self, reason: str) -> None:
        self.offline = StorageFailed(f"{self.directory}: {reason}")
        for segment in self.segments:
            segment.log = None  # a sync that is still under way has nobody to tell
            segment.close()

    def _drop_snapshots(self) -> None:
        """Remove producer snapshots that neither begin a segment nor the next start needs."""
        keep = {*self.bases, self.log_end_offset}
        for name in self.storage.list(self.directory):
            offset = parse_base_offset(name, SNAPSHOT_SUFFIX)
            if offset is not None and offset not in keep:
                self.storage.unlink(f"{self.directory}/{name}")
