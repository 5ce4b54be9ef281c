"""Killed, or without power, at every call of compaction and its swap: the log is whole, and the next round finishes."""

from __future__ import annotations

import os
import random

import pytest

from protocol.records import Record
from tests.simulation.memory_storage import Crashed, MemoryStorage
from tests.wal.compacting import DAY_MS, Writer, append, batches_of, compact, order
from tests.wal.conftest import NOW_MS
from wal.checkpoint import TopicPartition, read_offsets
from wal.compaction import Compaction
from wal.compaction_swap import finish_swaps, swap
from wal.data_folder import DataFolder
from wal.errors import DiskFull, StorageFailed
from wal.flusher import Flusher
from wal.layout import RECOVERY_POINT_CHECKPOINT
from wal.log import Log, LogConfig

ROOT = "/data"
KEY = TopicPartition("t", 0)
TOPIC_ID = bytes(range(16))
CONFIG = LogConfig(
    segment_bytes=1700, index_interval_bytes=300, compact_is_enabled=True, file_delete_delay_ms=0
)


def _fail(failure: StorageFailed) -> None:
    raise failure


def opened(storage: MemoryStorage) -> tuple[DataFolder, Log]:
    flusher = Flusher(storage, lambda durables: [durable.apply() for durable in durables] and None, _fail)
    folder = DataFolder(storage, ROOT, flusher)
    return folder, folder.open_log(KEY, CONFIG, TOPIC_ID, NOW_MS)


def written(storage: MemoryStorage) -> Log:
    """A log with something to compact, synced; its recovery point has not been saved for long."""
    _, log = opened(storage)
    writer = Writer(log, 1, NOW_MS, keys=10)
    writer.write(35, NOW_MS)
    writer.end_all(NOW_MS)
    log.roll(NOW_MS)
    append(log, [Record(timestamp=NOW_MS, key=b"active", value=b"")], NOW_MS)
    log.flusher.run_round()
    return log


def visible(log: Log) -> dict[bytes | None, Record]:
    """The last value of every key, as a reader of committed records sees it: the same before and after."""
    aborted = log.aborted_transactions(0, log.high_watermark)
    found = {}
    for batch, records in batches_of(log):
        is_aborted = batch.is_transactional and any(
            transaction.producer_id == batch.producer_id
            and transaction.first_offset <= batch.base_offset <= transaction.last_offset
            for transaction in aborted
        )
        if not batch.is_control and not is_aborted:
            found.update((record.key, record) for record in records)
    return found


def a_round(log: Log) -> None:
    """Two rounds: segments that shrank in the first are merged in the second."""
    compact(log, NOW_MS)
    compact(log, NOW_MS + 1)
    log.delete_due_files(NOW_MS + DAY_MS)


def calls_of_a_round() -> int:
    storage = MemoryStorage(ROOT)
    log = written(storage)
    before = storage.calls
    a_round(log)
    return storage.calls - before


CALLS = calls_of_a_round()
SEEDS = 5 if os.environ.get("FLOE_SOAK") == "1" else 1


def test_there_is_a_merge_to_be_crashed() -> None:
    log = written(MemoryStorage(ROOT))
    segments = len(log.segments)
    a_round(log)
    assert 2 <= len(log.segments) < segments
    assert CALLS > 60, CALLS


@pytest.mark.parametrize("part", range(10))
@pytest.mark.parametrize("end", ["kill", "crash"])
def test_a_crash_at_every_call_leaves_a_whole_log(end: str, part: int) -> None:
    for call in range(1 + part, CALLS + 1, 10):
        for seed in range(SEEDS if end == "crash" else 1):
            storage = MemoryStorage(ROOT, random.Random(call * 100 + seed))
            log = written(storage)
            expected, log_end = visible(log), log.log_end_offset
            storage.crash_at = storage.calls + call
            with pytest.raises(Crashed):
                a_round(log)
            chance = random.Random(seed)
            storage = storage.kill(chance) if end == "kill" else storage.crash(chance)
            _, log = opened(storage)
            where = f"call {call}, seed {seed}"
            assert not log.damage, where
            assert log.log_end_offset == log_end, where
            assert visible(log) == expected, where
            a_round(log)
            assert visible(log) == expected, where
            assert not [
                n for n in storage.list(log.directory) if n.endswith((".cleaned", ".swap", ".deleted"))
            ]


def test_the_recovery_point_is_above_what_was_compacted() -> None:
    storage = MemoryStorage(ROOT)
    log = written(storage)
    compact(log, NOW_MS)
    assert read_offsets(storage, ROOT, RECOVERY_POINT_CHECKPOINT)[KEY] >= log.bases[-1]


def test_a_full_disk_changes_nothing() -> None:
    storage = MemoryStorage(ROOT)
    log = written(storage)
    before = visible(log)
    storage.capacity = storage.used_bytes() + 500
    with pytest.raises(DiskFull):
        compact(log, NOW_MS)
    storage.capacity = None
    assert visible(log) == before
    compact(log, NOW_MS)
    assert visible(log) == before


class NoRoomForNames(MemoryStorage):
    """A folder that takes so many more renames."""

    renames_left = 1 << 30

    def rename(self, source: str, target: str) -> None:
        if self.renames_left == 0:
            raise DiskFull(f"cannot rename {source}: no space left")
        self.renames_left -= 1
        super().rename(source, target)


@pytest.mark.parametrize("renames", range(5))
def test_no_room_for_a_name_in_mid_swap_is_final_and_the_next_start_finishes(renames: int) -> None:
    storage = NoRoomForNames(ROOT)
    log = written(storage)
    before = visible(log)
    (first, *_) = Compaction(storage, order(log, NOW_MS)).run()
    assert log.save_recovery_point is not None
    log.save_recovery_point(log.bases[-1])
    log.save_recovery_point = None  # it has a rename of its own, which may be refused without harm
    storage.renames_left = renames
    with pytest.raises(StorageFailed) as raised:
        swap(log, first.replaced, NOW_MS)
    assert not isinstance(raised.value, DiskFull)
    storage.renames_left = 1 << 30
    _, again = opened(storage.kill(random.Random(renames)))
    assert visible(again) == before


def test_cleaned_files_of_segments_that_are_gone_are_removed() -> None:
    storage = MemoryStorage(ROOT)
    log = written(storage)
    (first, *_) = Compaction(storage, order(log, NOW_MS)).run()
    log.delete_records_before(log.bases[-1])
    log.enforce_retention(NOW_MS)
    assert not swap(log, first.replaced, NOW_MS)
    assert not [
        n for n in storage.list(log.directory) if n.startswith(f"{first.base_offset:020d}.log.cleaned")
    ]


def test_nothing_is_to_be_finished_in_a_folder_without_swaps() -> None:
    storage = MemoryStorage(ROOT)
    log = written(storage)
    assert not finish_swaps(storage, log.directory, storage.list(log.directory))
