"""What is deleted from the beginning of a log, and what a crash in the middle of it leaves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocol.errors import ApiError, ErrorCode
from tests.simulation.memory_storage import MemoryStorage
from tests.wal.conftest import NOW_MS, TOPIC_ID, append, batch, fail, read_all
from wal.checkpoint import TopicPartition, read_offsets
from wal.data_folder import DataFolder
from wal.errors import DiskFull
from wal.flusher import Flusher
from wal.layout import LOCK, LOG_START_CHECKPOINT
from wal.log import Log, LogConfig
from wal.retention import RetentionRound
from wal.storage import Storage

OpenLog = Callable[..., Log]


def fill(log: Log, flusher: Flusher, count: int = 20) -> None:
    """Four batches a segment (with segment_bytes=1000), one a second."""
    for number in range(count):
        append(log, bytes(150), timestamp=NOW_MS + 1000 * number)
    flusher.run_round()


def test_by_age_whole_segments_go(open_log: OpenLog, flusher: Flusher, storage: Storage) -> None:
    log = open_log(segment_bytes=1000, retention_ms=5000)
    fill(log, flusher)
    assert log.enforce_retention(NOW_MS + 11_999) > 0
    assert log.bases[0] == log.log_start_offset == 4
    assert log.enforce_retention(NOW_MS + 13_000) > 0
    assert log.log_start_offset == 8
    assert [offset for offset, _ in read_all(log)] == list(range(8, 20))
    with pytest.raises(ApiError) as refused:
        log.read(7, 100, 20, True)
    assert refused.value.code is ErrorCode.OFFSET_OUT_OF_RANGE


def test_by_age_even_the_active_segment_goes(open_log: OpenLog, flusher: Flusher) -> None:
    log = open_log(segment_bytes=1000, retention_ms=5000)
    fill(log, flusher)
    log.enforce_retention(NOW_MS + 100_000)
    assert (log.log_start_offset, log.log_end_offset, log.bases) == (20, 20, [20])
    assert append(log, b"next") == 20
    assert log.enforce_retention(NOW_MS + 100_000) == 0


def test_nothing_that_is_not_durable_goes(open_log: OpenLog, flusher: Flusher) -> None:
    log = open_log(segment_bytes=1000, retention_ms=0)
    for number in range(20):
        append(log, bytes(150), timestamp=NOW_MS + number)
    assert log.enforce_retention(NOW_MS + 100_000) == 0
    flusher.run_round()
    assert log.enforce_retention(NOW_MS + 100_000) > 0


def test_by_size_the_log_is_left_no_smaller_than_asked(open_log: OpenLog, flusher: Flusher) -> None:
    log = open_log(segment_bytes=1000, retention_bytes=2000, retention_ms=-1)
    fill(log, flusher)
    total, segment = log.size_bytes(), log.segments[0].size
    freed = log.enforce_retention(NOW_MS)
    assert freed == (total - 2000) // segment * segment
    assert 2000 <= log.size_bytes() == total - freed < 2000 + segment


def test_unlimited_keeps_everything(open_log: OpenLog, flusher: Flusher) -> None:
    log = open_log(segment_bytes=1000, retention_ms=-1, retention_bytes=-1)
    fill(log, flusher)
    assert log.enforce_retention(NOW_MS + 10**12) == 0


def test_a_compacted_topic_is_not_subject_to_retention(open_log: OpenLog, flusher: Flusher) -> None:
    log = open_log(segment_bytes=1000, retention_ms=0, retention_bytes=0, delete_is_enabled=False)
    fill(log, flusher)
    assert log.enforce_retention(NOW_MS + 10**9) == 0
    log.delete_records_before(9)
    assert log.enforce_retention(NOW_MS + 10**9) > 0
    assert (log.bases[0], log.log_start_offset) == (8, 9)


def test_files_are_renamed_at_once_and_unlinked_later(
    open_log: OpenLog, flusher: Flusher, storage: Storage
) -> None:
    log = open_log(segment_bytes=1000, retention_ms=5000, file_delete_delay_ms=700)
    fill(log, flusher)
    piece = log.read(0, 100, 20, True)
    now_ms = NOW_MS + 12_000
    log.enforce_retention(now_ms)
    deleted = [name for name in storage.list(log.directory) if name.endswith(".deleted")]
    assert "00000000000000000000.log.deleted" in deleted
    assert log.delete_due_files(now_ms + 699) == 0
    assert log.delete_due_files(now_ms + 700) == len(deleted)
    assert not any(name.endswith(".deleted") for name in storage.list(log.directory))
    assert piece is not None and piece.read()  # a slice that was given out stays readable
    assert log.pending_deletions == []


def test_delete_records_is_saved_before_it_takes_effect(open_log: OpenLog, flusher: Flusher) -> None:
    saved: list[int] = []
    log = open_log(save_log_start=saved.append)
    fill(log, flusher, 5)
    assert log.delete_records_before(3) == 3
    assert log.delete_records_before(2) == 3  # never back
    assert saved == [3]
    assert [offset for offset, _ in read_all(log)] == [3, 4]
    assert log.delete_records_before(-1) == 5 and saved == [3, 5]
    for offset in (-2, 6):
        with pytest.raises(ApiError) as refused:
            log.delete_records_before(offset)
        assert refused.value.code is ErrorCode.OFFSET_OUT_OF_RANGE


def test_delete_records_that_cannot_be_saved_does_not_happen(open_log: OpenLog, flusher: Flusher) -> None:
    def full(offset: int) -> None:
        raise DiskFull("no space left")

    log = open_log(save_log_start=full)
    fill(log, flusher, 5)
    with pytest.raises(DiskFull):
        log.delete_records_before(3)
    assert log.log_start_offset == 0


def test_retention_frees_space_on_a_disk_too_full_to_save_its_progress(
    open_log: OpenLog, flusher: Flusher, storage: Storage
) -> None:
    def full(offset: int) -> None:
        raise DiskFull("no space left")

    log = open_log(segment_bytes=1000, retention_ms=5000, save_log_start=full)
    fill(log, flusher)
    if isinstance(storage, MemoryStorage):
        storage.trace.clear()
    assert log.enforce_retention(NOW_MS + 15_000) > 0
    assert log.log_start_offset == 8
    if isinstance(storage, MemoryStorage):  # each segment's rename is durable before the next one's
        order = [operation for operation, path in storage.trace if path == log.directory]
        assert order.count("sync_directory") >= 2


def test_what_producers_wrote_is_known_after_their_batches_are_deleted(
    open_log: OpenLog, flusher: Flusher
) -> None:
    log = open_log(segment_bytes=1000, retention_ms=5000)
    for number in range(8):
        append(log, bytes(150), producer_id=4, producer_epoch=0, base_sequence=number)
    flusher.run_round()
    log.enforce_retention(NOW_MS + 10_000)
    assert log.log_start_offset == 8
    again = open_log(is_clean=False, recovery_point=8, log_start_offset=8)
    fields = {"producer_id": 4, "producer_epoch": 0}
    assert again.append(*batch(bytes(150), base_sequence=7, **fields), NOW_MS).duplicate
    assert append(again, b"x", base_sequence=8, **fields) == 8


def test_idle_producers_are_forgotten(open_log: OpenLog, flusher: Flusher) -> None:
    log = open_log(producer_id_expiration_ms=1000)
    append(log, b"x", producer_id=4, producer_epoch=0, base_sequence=0)
    log.enforce_retention(NOW_MS + 999)
    assert len(log.active_producers()) == 1
    log.enforce_retention(NOW_MS + 1000)
    assert log.active_producers() == []


def test_a_log_start_beyond_the_active_segments_base(open_log: OpenLog, flusher: Flusher) -> None:
    log = open_log()
    fill(log, flusher, 5)
    log.delete_records_before(3)
    log.close()
    log = open_log(log_start_offset=3)
    assert (log.log_start_offset, log.log_end_offset) == (3, 5)
    assert log.config == LogConfig()


# --- many logs ---

AGED = LogConfig(segment_bytes=1000, retention_ms=5000)
KEYS = [TopicPartition("t", index) for index in range(5)]


@pytest.fixture
def folder(root: str, storage: Storage, flusher: Flusher) -> DataFolder:
    """Five logs, of which two segments are too old at NOW_MS + 13,000."""
    folder = DataFolder(storage, root, flusher)
    for key in KEYS:
        fill(folder.open_log(key, AGED, TOPIC_ID, NOW_MS), flusher)
    return folder


def planned(folder: DataFolder) -> RetentionRound:
    retention = RetentionRound(folder.save_log_starts, NOW_MS + 13_000)
    for key, log in folder.open_logs.items():
        retention.plan(key, log)
    return retention


def carry_out(retention: RetentionRound) -> list[int]:
    return [retention.carry_out(planned) for planned in retention.planned]


def starts(folder: DataFolder) -> list[int]:
    return [log.log_start_offset for log in folder.open_logs.values()]


def test_a_round_over_many_logs_saves_their_starts_with_one_write(
    folder: DataFolder, storage: Storage, root: str
) -> None:
    retention = planned(folder)
    if isinstance(storage, MemoryStorage):
        storage.trace.clear()
    assert starts(folder) == [0] * 5
    retention.save()
    assert starts(folder) == [0] * 5  # readers still have them
    assert all(carry_out(retention))
    assert starts(folder) == [8] * 5
    assert read_offsets(storage, root, LOG_START_CHECKPOINT) == dict.fromkeys(KEYS, 8)
    if isinstance(storage, MemoryStorage):
        renamed = [path for operation, path in storage.trace if operation == "rename"]
        assert sum(LOG_START_CHECKPOINT in path for path in renamed) == 1


def test_a_crash_between_save_and_deletion_takes_nothing_back(
    folder: DataFolder, storage: Storage, root: str, flusher: Flusher
) -> None:
    retention = planned(folder)
    retention.save()
    storage.unlock(f"{root}/{LOCK}")
    again = DataFolder(storage, root, flusher)
    for key in KEYS:
        log = again.open_log(key, AGED, TOPIC_ID, NOW_MS)
        assert log.log_start_offset == 8
        assert [offset for offset, _ in read_all(log)] == list(range(8, 20))


def test_a_start_that_others_moved_on_meanwhile_stays(
    folder: DataFolder, storage: Storage, root: str
) -> None:
    retention = planned(folder)
    assert folder.open_logs[KEYS[1]].delete_records_before(17) == 17
    retention.save()
    assert all(carry_out(retention))
    assert starts(folder) == [8, 17, 8, 8, 8]
    assert read_offsets(storage, root, LOG_START_CHECKPOINT)[KEYS[1]] == 17


def test_a_log_that_is_deleted_meanwhile_passes_its_start_to_nobody(
    folder: DataFolder, storage: Storage, root: str, flusher: Flusher
) -> None:
    retention = planned(folder)
    folder.delete_log(KEYS[0], TOPIC_ID)
    successor = folder.open_log(KEYS[0], AGED, TOPIC_ID, NOW_MS)
    fill(successor, flusher, 1)
    retention.save()
    freed = carry_out(retention)
    assert freed[0] == 0 and all(freed[1:])
    assert successor.log_start_offset == 0
    assert KEYS[0] not in read_offsets(storage, root, LOG_START_CHECKPOINT)


def memory_folder() -> tuple[MemoryStorage, DataFolder]:
    storage = MemoryStorage("/data")
    flusher = Flusher(storage, lambda durables: [durable.apply() for durable in durables] and None, fail)
    folder = DataFolder(storage, "/data", flusher)
    for key in KEYS:
        fill(folder.open_log(key, AGED, TOPIC_ID, NOW_MS), flusher)
    return storage, folder


def test_a_round_on_a_disk_too_full_to_save_it_frees_space_all_the_same() -> None:
    storage, folder = memory_folder()
    retention = planned(folder)
    storage.capacity = storage.used_bytes()
    retention.save()
    storage.trace.clear()
    assert all(carry_out(retention))
    assert starts(folder) == [8] * 5
    synced = [path for operation, path in storage.trace if operation == "sync_directory"]
    assert [synced.count(log.directory) for log in folder.open_logs.values()] == [2] * 5  # each rename


def test_a_refused_log_start_is_not_saved_with_the_next() -> None:
    storage, folder = memory_folder()
    storage.capacity = storage.used_bytes()
    with pytest.raises(DiskFull):
        folder.open_logs[KEYS[0]].delete_records_before(3)
    storage.capacity = None
    folder.open_logs[KEYS[1]].delete_records_before(2)
    assert read_offsets(storage, "/data", LOG_START_CHECKPOINT) == {KEYS[1]: 2}
