"""Walking a segment after a crash: every batch checked, indexes rebuilt, and what to do where the batches
stop.

DECISIONS is the whole policy; `recovery.py` says where it stands among the passes.
"""

from __future__ import annotations

from enum import Enum
from struct import Struct
from typing import TYPE_CHECKING, Final

from protocol.records import BATCH_OVERHEAD, CorruptBatch, RecordBatch, crc_is_valid, parse_header
from wal.errors import Damage
from wal.layout import LOG_SUFFIX
from wal.leader_epochs import LeaderEpochs
from wal.producer_state import CompletedTransaction, ProducerState
from wal.segment import Segment
from wal.settling import Settling
from wal.txn_index import AbortedTransaction

if TYPE_CHECKING:
    from wal.log import LogConfig

WALK_CHUNK_BYTES: Final = 1 << 20
"""Read at once while checking CRCs."""

_EPOCH_AND_MAGIC: Final = Struct(">ib")
_EPOCH_POSITION: Final = 12


class Finding(Enum):
    """What stands where the next batch should be."""

    BATCH = "a whole batch with a valid CRC and the next offset"
    END = "the end of the file"
    ZEROS = "nothing but zeros up to the end of the file: space that was reserved"
    BAD = "anything else"


class Action(Enum):
    """What recovery does about it."""

    ACCEPT = "take it into the indexes and go on behind it"
    NEXT = "go on with the next segment"
    TRIM = "cut the file here and go on with the next segment"
    FINISH = "cut the file here, which is the log's end; segments behind it are removed"
    REPORT = "report damage, cut nothing, and go on at the next sound batch"


# (finding, offset is below the recovery point, the next segment starts at this very offset) -> action
DECISIONS: Final[dict[tuple[Finding, bool, bool], Action]] = {
    (Finding.BATCH, False, False): Action.ACCEPT,
    (Finding.BATCH, False, True): Action.TRIM,  # a refused write whose cutting back was lost, then a roll
    (Finding.BATCH, True, False): Action.ACCEPT,
    (Finding.BATCH, True, True): Action.NEXT,  # the later segment was written later
    (Finding.END, False, False): Action.FINISH,
    (Finding.END, False, True): Action.NEXT,
    (Finding.END, True, False): Action.REPORT,  # synced batches are missing
    (Finding.END, True, True): Action.NEXT,
    (Finding.ZEROS, False, False): Action.FINISH,
    (Finding.ZEROS, False, True): Action.TRIM,
    (Finding.ZEROS, True, False): Action.REPORT,
    (Finding.ZEROS, True, True): Action.TRIM,
    (Finding.BAD, False, False): Action.FINISH,  # torn by the crash
    (Finding.BAD, False, True): Action.TRIM,  # likewise a refused write
    (Finding.BAD, True, False): Action.REPORT,
    (Finding.BAD, True, True): Action.TRIM,
}


class Cut:
    """Bytes behind the log's end that a crash left and recovery removed."""

    __slots__ = ("bytes", "file", "position", "reason")

    def __init__(self, file: str, position: int, size: int, reason: str) -> None:
        self.file = file
        self.position = position
        self.bytes = size
        self.reason = reason

    def __repr__(self) -> str:
        return f"{self.file}: {self.bytes} bytes from {self.position} on cut off: {self.reason}"


class Recovered:
    """What recovery did, for the log line and for tests."""

    __slots__ = ("batches_walked", "bytes_walked", "cuts", "damage", "rebuilt", "segments_walked")

    def __init__(self) -> None:
        self.segments_walked = 0
        self.batches_walked = 0
        self.bytes_walked = 0
        self.cuts: list[Cut] = []
        self.damage: list[Damage] = []
        self.rebuilt: list[str] = []  # why a segment that was closed cleanly had to be walked

    def __repr__(self) -> str:
        return (
            f"walked {self.segments_walked} segments, {self.batches_walked} batches, "
            f"{self.bytes_walked} bytes; cuts {self.cuts}; "
            f"damage {[str(damage) for damage in self.damage]}; rebuilt {self.rebuilt}"
        )


class Walker:
    """Pass 4 and 5 in one segment: every batch checked, indexes rebuilt, the end decided."""

    def __init__(
        self,
        segment: Segment,
        config: LogConfig,
        recovered: Recovered,
        recovery_point: int,
        next_base: int | None,
        producers: ProducerState | None,
        epochs: LeaderEpochs | None,
        settling: Settling,
    ) -> None:
        self.segment = segment
        self.config = config
        self.recovered = recovered
        self.recovery_point = recovery_point
        self.next_base = next_base
        self.producers = producers
        self.epochs = epochs
        self.settling = settling
        self.next_offset = segment.base_offset
        self.position = 0
        self.file_size = segment.file.size()
        self.reason = ""
        self._chunk = b""
        self._chunk_position = 0

    def walk(self) -> bool:
        """Walk the segment; True if the log goes on in the next one."""
        segment = self.segment
        segment.begin_walk(self.file_size)
        self.recovered.segments_walked += 1
        while True:
            finding, batch = self._look()
            below = self.next_offset < self.recovery_point
            action = DECISIONS[finding, below, self._continues(finding)]
            if action is Action.ACCEPT:
                assert batch is not None
                self._accept(batch)
                continue
            if action is Action.REPORT:
                if self._resume():
                    continue
                return self.next_base is not None
            self._end_here(action, finding)
            return action is not Action.FINISH

    def _continues(self, finding: Finding) -> bool:
        if self.next_base is None:
            return False
        # Kafka's compaction may take the last batches of a segment; it only touches what is synced.
        may_lack_its_end = self.config.compact_is_enabled and finding is not Finding.BATCH
        if may_lack_its_end and self.next_offset <= self.next_base <= self.recovery_point:
            return True
        return self.next_base == self.next_offset

    def _look(self) -> tuple[Finding, RecordBatch | None]:
        """What stands at `position`. A batch's position is that in the chunk."""
        remaining = self.file_size - self.position
        if remaining == 0:
            self.reason = "the file ends"
            return Finding.END, None
        try:
            batch = self._batch_at(self.position, self.next_offset)
            if batch.base_offset != self.next_offset:
                self._check_gap(batch)
        except CorruptBatch as error:
            self.reason = str(error)
            if self._is_zero_from(self.position):
                return Finding.ZEROS, None
            return Finding.BAD, None
        return Finding.BATCH, batch

    def _check_gap(self, batch: RecordBatch) -> None:
        """Tell what compaction left out from a damaged offset, which lies outside the CRC. Raises
        CorruptBatch.
        """
        compacted = self.config.compact_is_enabled or self.next_offset < self.recovery_point
        end = self.position + batch.size
        if compacted and end < self.file_size and not self._is_zero_from(end):
            compacted = self._header_at(end).base_offset >= batch.next_offset
        if not compacted:
            raise CorruptBatch(
                f"offset {batch.base_offset} at {self.position}, where {self.next_offset} is next"
            )
        self._fill(self.position, batch.size)
        batch.position = self.position - self._chunk_position

    def _header_at(self, position: int) -> RecordBatch:
        self._fill(position, BATCH_OVERHEAD)
        return parse_header(self._chunk, position - self._chunk_position)

    def _batch_at(self, position: int, lowest_offset: int) -> RecordBatch:
        """The sound batch at `position`. Raises CorruptBatch."""
        remaining = self.file_size - position
        batch = self._header_at(position)
        if batch.size > remaining:
            raise CorruptBatch(f"a batch of {batch.size} bytes at {position}, where {remaining} are left")
        if batch.base_offset < lowest_offset or batch.last_offset_delta < 0:
            raise CorruptBatch(f"offset {batch.base_offset} at {position}, where {lowest_offset} is next")
        if self.next_base is not None and batch.base_offset < self.next_base < batch.next_offset:
            raise CorruptBatch(
                f"offsets {batch.base_offset} to {batch.last_offset} reach into the next segment"
            )
        self._fill(position, batch.size)
        batch.position = position - self._chunk_position
        with memoryview(self._chunk) as view:
            if not crc_is_valid(view, batch):
                raise CorruptBatch(
                    f"the CRC of the batch at {position} (offset {batch.base_offset}) is wrong"
                )
        return batch

    def _fill(self, position: int, length: int) -> None:
        start = position - self._chunk_position
        if start < 0 or start + length > len(self._chunk):
            self._chunk = self.segment.file.read_at(position, max(WALK_CHUNK_BYTES, length))
            self._chunk_position = position

    def _is_zero_from(self, position: int) -> bool:
        start = position - self._chunk_position
        if start >= 0 and self._chunk_position + len(self._chunk) == self.file_size:  # all of it was read
            return self._chunk[start:] == bytes(len(self._chunk) - start)
        while position < self.file_size:
            chunk = self.segment.file.read_at(position, WALK_CHUNK_BYTES)
            if not chunk or chunk != bytes(len(chunk)):
                return not chunk
            position += len(chunk)
        return True

    def _accept(self, batch: RecordBatch) -> None:
        self.segment.note(batch, self.position, self.config.index_interval_bytes)
        if self.epochs is not None and batch.partition_leader_epoch >= 0:
            self.epochs.assign(batch.partition_leader_epoch, batch.base_offset)
        if batch.producer_id >= 0 and self.producers is not None:
            completed = self.producers.apply(self._chunk, batch)
            if completed is not None and completed.is_aborted:
                self.segment.add_aborted(_aborted(completed))
        self.position += batch.size
        self.next_offset = batch.next_offset
        self.segment.end_at(self.position)
        self.recovered.batches_walked += 1
        self.recovered.bytes_walked += batch.size

    def _end_here(self, action: Action, finding: Finding) -> None:
        segment = self.segment
        if action is not Action.NEXT and self.file_size > self.position:
            cut = Cut(segment.path(LOG_SUFFIX), self.position, self.file_size - self.position, self.reason)
            if finding is not Finding.ZEROS:
                self.recovered.cuts.append(cut)
            self.settling.cut(segment.file, self.position)
            segment.cut_at(self.position, self.next_offset)
        assert segment.size == self.position

    def _resume(self) -> bool:
        """Report damage from here to the next sound batch; False if there is none in this segment."""
        found = self._next_sound_batch()
        if found is not None:
            end_position, end_offset = found
        else:
            end_position = self.file_size
            end_offset = self.next_base if self.next_base is not None else self.recovery_point
        assert end_offset > self.next_offset
        damage = Damage(
            self.segment.directory,
            self.segment.path(LOG_SUFFIX),
            self.position,
            end_position,
            self.next_offset,
            end_offset,
            self.reason,
        )
        self.segment.damage = [*self.segment.damage, damage]
        self.recovered.damage.append(damage)
        if found is not None:
            self.position, self.next_offset = end_position, end_offset
        elif self.next_base is None:
            self.next_offset = end_offset
        return found is not None

    def _next_sound_batch(self) -> tuple[int, int] | None:
        """(position, base offset) of the first sound batch behind the damage.

        A batch of which only the records are damaged still says where the next one is; otherwise the leader
        epoch and the magic before every batch's CRC are looked for, byte by byte.
        """
        epoch = self.epochs.epoch_for_offset(self.next_offset) if self.epochs is not None else 0
        pattern = _EPOCH_AND_MAGIC.pack(max(0, epoch), 2)
        position = self.position + 1
        while position + BATCH_OVERHEAD <= self.file_size:
            window = self.segment.file.read_at(position, WALK_CHUNK_BYTES)
            at = window.find(pattern, _EPOCH_POSITION)
            while at >= 0:
                candidate = position + at - _EPOCH_POSITION
                try:
                    batch = self._batch_at(candidate, self.next_offset + 1)
                except CorruptBatch:
                    at = window.find(pattern, at + 1)
                    continue
                if self.next_base is None or batch.next_offset <= self.next_base:
                    return candidate, batch.base_offset
                break
            position += max(1, len(window) - _EPOCH_POSITION - len(pattern))
        return None


def _aborted(completed: CompletedTransaction) -> AbortedTransaction:
    return AbortedTransaction(
        completed.producer_id, completed.first_offset, completed.last_offset, completed.last_stable_offset
    )
