"""Opening a log: at once after a clean stop, by walking its end after a crash.

After a clean stop nothing is walked: the last segment's batches behind its last index entry are looked at (a
few kilobytes), its indexes are loaded, and the producers' state comes from the snapshot at the log's end.

After a crash, in numbered passes:

    1  sweep        leftovers of replacements that did not finish are removed, swaps of compaction finished
    2  list         the segments that are there; those below the log start offset wait for retention, because
                    what the first one behind them relies on may have to be replayed from them
    3  producers    the newest sound snapshot at or below the first segment to be walked is loaded, and
                    what lies between the two is replayed (headers only)
    4  walk         segments that reach past the recovery point, batch by batch: CRC, offsets in order;
                    indexes, producer state and leader epochs are rebuilt on the way
    5  decide       where the batches stop, by the table DECISIONS in walk.py
    6  cut          the tail at the first bad batch, reserved space, segments and snapshots behind the end
    7  sync         the cuts are carried out, then what was walked and cut is synced, files before folders: only
                    now does it count as durable. Many logs share this pass (`settling.py`)

Everything below the recovery point was synced and acknowledged, so bytes there that are not batches any more
are damage: they are reported and stay where they are, and the log goes on behind them. Offsets are never
given out twice: a log whose end is missing goes on at the recovery point. Recovery may itself be cut short
at any point and starts over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wal.checkpoint import TEMPORARY_SUFFIX, replace_file
from wal.compaction_swap import finish_swaps
from wal.errors import Damage, DiskFull
from wal.layout import (
    DELETED_SUFFIX,
    LEADER_EPOCH_CHECKPOINT,
    LEFTOVER_SUFFIXES,
    LOG_SUFFIX,
    OFFSET_INDEX_SUFFIX,
    PARTITION_METADATA,
    SNAPSHOT_SUFFIX,
    TIME_INDEX_SUFFIX,
    TXN_INDEX_SUFFIX,
    parse_base_offset,
    segment_path,
)
from wal.leader_epochs import CorruptCheckpoint as CorruptLeaderEpochs
from wal.leader_epochs import LeaderEpochs
from wal.producer_state import ProducerState
from wal.segment import Segment
from wal.settling import Settling
from wal.snapshots import Snapshots, snapshot_offsets
from wal.storage import Storage, read_file
from wal.walk import Cut, Recovered, Walker

if TYPE_CHECKING:
    from wal.log import LogConfig


class Opened:
    """The parts of a log, as found on disk."""

    __slots__ = (
        "directory_is_complete",
        "epochs",
        "log_end_offset",
        "log_start_offset",
        "pending_deletions",
        "producers",
        "recovered",
        "segments",
    )

    def __init__(self, log_start_offset: int) -> None:
        self.segments: list[Segment] = []
        self.producers = ProducerState()
        self.epochs = LeaderEpochs()
        self.log_start_offset = log_start_offset
        self.log_end_offset = log_start_offset
        self.recovered: Recovered | None = None
        self.pending_deletions: list[tuple[int, str]] = []
        self.directory_is_complete = False


def open_log(
    storage: Storage,
    directory: str,
    config: LogConfig,
    log_start_offset: int,
    recovery_point: int,
    is_clean: bool,
    now_ms: int,
    settling: Settling | None = None,
) -> Opened:
    """Open the log in `directory`, walking it if it was not closed cleanly or does not look like it.

    With `settling` a recovered log may be used only once that is finished, which is the caller's.
    Raises StorageFailed.
    """
    opened = Opened(log_start_offset)
    names = storage.list(directory)
    if finish_swaps(storage, directory, names):
        names = storage.list(directory)
    bases = _sweep_and_list(storage, directory, names, opened, now_ms)
    # After a crash of the process what is there may still not be durable, the folder's own name included.
    opened.directory_is_complete = is_clean and PARTITION_METADATA in names
    opened.segments = _segments(storage, directory, bases, now_ms)
    snapshots = snapshot_offsets(names)
    if not bases and recovery_point <= log_start_offset:
        return opened
    if is_clean and bases and _open_clean(opened, snapshots, config, recovery_point, now_ms):
        return opened
    if is_clean:
        # The marker vouches for everything up to the snapshot that the clean stop wrote.
        recovery_point = max(recovery_point, max(snapshots, default=0))
        opened.segments = _segments(storage, directory, bases, now_ms)
    own = Settling() if settling is None else settling
    end = max(recovery_point, log_start_offset)
    _Recovery(storage, directory, config, opened, end, now_ms, own).run(snapshots)
    if settling is None:
        own.finish(storage)
    return opened


def _segments(storage: Storage, directory: str, bases: Sequence[int], now_ms: int) -> list[Segment]:
    segments = [Segment(storage, directory, base) for base in bases]
    for segment in segments:
        segment.created_ms = (
            now_ms  # as Kafka: segment.ms of records without timestamps counts from the start
        )
    return segments


def _sweep_and_list(
    storage: Storage, directory: str, names: Sequence[str], opened: Opened, now_ms: int
) -> list[int]:
    """Passes 1 and 2: the base offsets of the segments, in order."""
    bases = []
    for name in names:
        if name.endswith(LEFTOVER_SUFFIXES):
            storage.unlink(f"{directory}/{name}")
        elif name.endswith(DELETED_SUFFIX):
            opened.pending_deletions.append((now_ms, f"{directory}/{name}"))
        else:
            base = parse_base_offset(name, LOG_SUFFIX)
            if base is not None:
                bases.append(base)
    if bases:
        opened.log_start_offset = max(opened.log_start_offset, bases[0])
    assert bases == sorted(bases)
    return bases


def give_up_segment(
    storage: Storage, directory: str, base_offset: int, now_ms: int, pending: list[tuple[int, str]]
) -> None:
    """Rename a segment's files to `.deleted`; they are to be unlinked at `now_ms`."""
    suffixes = (LOG_SUFFIX, OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX, SNAPSHOT_SUFFIX)
    for suffix in suffixes:
        path = segment_path(directory, base_offset, suffix)
        if storage.exists(path):
            storage.rename(path, path + DELETED_SUFFIX)
            pending.append((now_ms, path + DELETED_SUFFIX))


def _open_clean(
    opened: Opened, snapshots: Sequence[int], config: LogConfig, recovery_point: int, now_ms: int
) -> bool:
    """Take over a log that was closed cleanly; False if it has to be walked after all."""
    active = opened.segments[-1]
    reason = active.load(sealed=False)
    end_offset = active.next_offset
    if reason is None and end_offset < recovery_point:
        reason = f"it ends at offset {end_offset}, before the recovery point {recovery_point}"
    epochs = _read_epochs(active.storage, active.directory)
    if reason is None and epochs is None:
        reason = "there is no sound leader epoch checkpoint"
    producers = None
    if reason is None and end_offset in snapshots:
        producers = Snapshots(active.storage, active.directory, config, now_ms).read(end_offset)
    if reason is None and producers is None:
        reason = f"there is no sound producer snapshot at offset {end_offset}"
    if reason is not None or epochs is None or producers is None:
        opened.recovered = Recovered()
        opened.recovered.rebuilt.append(f"{active!r}: {reason}")
        return False
    opened.epochs, opened.producers = epochs, producers
    opened.log_end_offset = max(end_offset, opened.log_start_offset)
    return opened.log_end_offset == end_offset


def _read_epochs(storage: Storage, directory: str) -> LeaderEpochs | None:
    data = read_file(storage, f"{directory}/{LEADER_EPOCH_CHECKPOINT}")
    if data is None:
        return None
    try:
        return LeaderEpochs.decode(data)
    except CorruptLeaderEpochs:
        return None


def load_sealed(segment: Segment, next_base_offset: int, config: LogConfig) -> None:
    """Load a sealed segment at its first use, rebuilding indexes that cannot be trusted.

    A sealed segment is below the recovery point: what is wrong in its log is reported, never cut.
    """
    if segment.load(sealed=True, next_base_offset=next_base_offset) is None:
        return
    segment.offset_index.reset()
    segment.time_index.reset()
    rebuilt = Segment(segment.storage, segment.directory, segment.base_offset)
    recovered = Recovered()
    settling = Settling()
    Walker(rebuilt, config, recovered, next_base_offset, next_base_offset, None, None, settling).walk()
    settling.finish(segment.storage)
    rebuilt.aborted = None  # without the state of producers no transaction was seen: its file is as it was
    _adopt(segment, rebuilt)


def _adopt(segment: Segment, rebuilt: Segment) -> None:
    rebuilt.seal_as_it_is()
    for name in ("offset_index", "time_index", "size", "allocated", "next_offset", "written", "damage"):
        setattr(segment, name, getattr(rebuilt, name))
    segment.max_timestamp, segment.max_timestamp_offset = rebuilt.max_timestamp, rebuilt.max_timestamp_offset
    segment.is_loaded = segment.is_sealed = True


class _Recovery:
    """Passes 3 to 7 over one log."""

    def __init__(
        self,
        storage: Storage,
        directory: str,
        config: LogConfig,
        opened: Opened,
        recovery_point: int,
        now_ms: int,
        settling: Settling,
    ) -> None:
        self.settling = settling
        self.storage = storage
        self.directory = directory
        self.config = config
        self.opened = opened
        self.recovery_point = recovery_point
        self.snapshots = Snapshots(storage, directory, config, now_ms)
        self.recovered = opened.recovered or Recovered()
        opened.recovered = self.recovered

    def run(self, snapshots: Sequence[int]) -> None:
        segments = self.opened.segments
        first = self._first_to_walk()
        self.opened.epochs = _read_epochs(self.storage, self.directory) or LeaderEpochs()
        self._load_producers(first)
        end = first
        while end < len(segments):
            end += 1
            if not self._walk(end - 1):
                break
        self._cut(end, snapshots)
        self.settling.add(lambda: self._sync(first))
        assert self.opened.log_end_offset >= self.recovery_point

    def _first_to_walk(self) -> int:
        """Index of the segment that holds the recovery point: the indexes of those below were synced."""
        segments = self.opened.segments
        first = 0
        while first + 1 < len(segments) and segments[first + 1].base_offset <= self.recovery_point:
            first += 1
        return first

    def _load_producers(self, first: int) -> None:
        """Pass 3."""
        if self.opened.segments:
            bases = [segment.base_offset for segment in self.opened.segments]
            self.opened.producers = self.snapshots.state_before(bases, first, self._loaded)

    def _loaded(self, index: int) -> Segment:
        segment = self.opened.segments[index]
        if not segment.is_loaded:
            load_sealed(segment, self.opened.segments[index + 1].base_offset, self.config)
            self.recovered.damage += segment.damage
        return segment

    def _walk(self, index: int) -> bool:
        """Passes 4 and 5 over one segment; False if the log ends in it."""
        segments, opened = self.opened.segments, self.opened
        segment = segments[index]
        self._save_snapshot(segment.base_offset)
        next_base = segments[index + 1].base_offset if index + 1 < len(segments) else None
        walker = Walker(
            segment,
            self.config,
            self.recovered,
            self.recovery_point,
            next_base,
            opened.producers,
            opened.epochs,
            self.settling,
        )
        goes_on = walker.walk()
        opened.log_end_offset = max(walker.next_offset, opened.log_start_offset)
        return goes_on

    def _save_snapshot(self, offset: int) -> None:
        if offset > 0 and self.snapshots.read(offset) is None:
            try:
                self.snapshots.write(offset, self.opened.producers)
            except DiskFull:
                return  # deleting what it stands for will see to it

    def _cut(self, end: int, snapshots: Sequence[int]) -> None:
        """Pass 6: remove what lies behind the log's end, and give the segments that stay their state."""
        opened = self.opened
        for segment in opened.segments[end:]:
            size = segment.file.size()
            self.recovered.cuts.append(Cut(segment.path(LOG_SUFFIX), 0, size, "it follows the log's end"))
            segment.close()
            for suffix in (LOG_SUFFIX, OFFSET_INDEX_SUFFIX, TIME_INDEX_SUFFIX, TXN_INDEX_SUFFIX):
                self.storage.unlink(segment.path(suffix))
        del opened.segments[end:]
        opened.log_end_offset = max(opened.log_end_offset, self.recovery_point)
        for offset in snapshots:
            if offset > opened.log_end_offset:
                self.storage.unlink(segment_path(self.directory, offset, SNAPSHOT_SUFFIX))
        self._report_missing_end()
        self._save_epochs()
        for segment in opened.segments[:-1]:
            if segment.is_loaded and not segment.is_sealed:
                segment.seal_as_it_is()

    def _save_epochs(self) -> None:
        epochs = self.opened.epochs
        epochs.truncate_from_end(max(1, self.opened.log_end_offset))
        data = epochs.encode()
        path = f"{self.directory}/{LEADER_EPOCH_CHECKPOINT}"
        if epochs.entries and read_file(self.storage, path) != data:
            try:
                replace_file(self.storage, self.directory, LEADER_EPOCH_CHECKPOINT, data)
            except DiskFull:
                return  # the batches carry their epochs: the next recovery finds them again

    def _report_missing_end(self) -> None:
        """Synced offsets whose segments are gone altogether, and an end that may not be appended to."""
        opened = self.opened
        found = opened.segments[-1].next_offset if opened.segments else opened.log_start_offset
        end_offset = opened.log_end_offset
        if not opened.segments:
            if found < end_offset:
                damage = Damage(self.directory, "-", 0, 0, found, end_offset, "there is no segment")
                self.recovered.damage.append(damage)
                opened.log_start_offset = end_offset
        elif found < end_offset and not opened.segments[-1].is_sealed:
            opened.segments[-1].seal_as_it_is()

    def _sync(self, first: int) -> None:
        """Pass 7."""
        for segment in self.opened.segments[first:]:
            if segment.is_sealed:
                for file in segment.index_files():
                    file.sync()
            segment.file.open_file()
            segment.file.sync()
            snapshot = self.storage.open(self.snapshots.path(segment.base_offset))
            if self.storage.exists(snapshot.path):
                snapshot.open_file()
                snapshot.sync()
        if self.opened.segments:
            epochs = self.storage.open(f"{self.directory}/{LEADER_EPOCH_CHECKPOINT}")
            if self.storage.exists(epochs.path):
                epochs.open_file()
                epochs.sync()
            self.storage.sync_directory(self.directory)
            self.storage.sync_directory(self.directory.rpartition("/")[0])


assert TEMPORARY_SUFFIX in LEFTOVER_SUFFIXES
