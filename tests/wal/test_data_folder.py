"""A data folder across starts, clean stops, crashes and deletions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.simulation.memory_storage import MemoryStorage
from tests.wal.conftest import NOW_MS, TOPIC_ID, append, fail, read_all
from wal.checkpoint import TopicPartition, parse_offsets, read_offsets
from wal.data_folder import DataFolder
from wal.errors import CorruptCheckpoint, DiskFull
from wal.flusher import Flusher
from wal.layout import CLEAN_SHUTDOWN, LOCK, META_PROPERTIES, RECOVERY_POINT_CHECKPOINT
from wal.log import Log, LogConfig
from wal.storage import TRUNCATING_THREADS, Storage, read_file

KEY = TopicPartition("t", 0)
CONFIG = LogConfig()
Open = Callable[[], DataFolder]


@pytest.fixture
def open_folder(root: str, storage: Storage, flusher: Flusher) -> Open:
    return lambda: DataFolder(storage, root, flusher)


def open_log(folder: DataFolder, key: TopicPartition = KEY) -> Log:
    return folder.open_log(key, CONFIG, TOPIC_ID, NOW_MS)


def crash(folder: DataFolder, storage: Storage) -> None:
    """The process is gone; what it wrote is there. (Power cuts are the simulation's.)"""
    storage.unlock(f"{folder.root}/{LOCK}")


def test_a_clean_stop_is_told_from_a_crash(open_folder: Open, storage: Storage, flusher: Flusher) -> None:
    folder = open_folder()
    assert not folder.was_clean  # never stopped yet
    append(open_log(folder), b"a", b"b")
    flusher.run_round()
    folder.close()
    folder = open_folder()
    assert folder.was_clean
    crash(folder, storage)
    assert not open_folder().was_clean


def test_recovery_points_that_a_full_disk_refused_are_saved_later() -> None:
    storage = MemoryStorage("/data")
    flusher = Flusher(storage, lambda durables: [durable.apply() for durable in durables] and None, fail)
    folder = DataFolder(storage, "/data", flusher)
    append(open_log(folder), b"a", b"b")
    flusher.run_round()
    storage.capacity = 0
    for _ in range(2):
        with pytest.raises(DiskFull):
            folder.checkpoint()
    storage.capacity = None
    folder.checkpoint()
    assert read_offsets(storage, "/data", RECOVERY_POINT_CHECKPOINT) == {KEY: 2}


def test_records_survive_stop_and_crash(open_folder: Open, storage: Storage, flusher: Flusher) -> None:
    folder = open_folder()
    log = open_log(folder)
    append(log, b"a", b"b")
    flusher.run_round()
    folder.close()
    folder = open_folder()
    log = open_log(folder)
    append(log, b"c")
    flusher.run_round()
    crash(folder, storage)
    folder = open_folder()
    assert read_all(open_log(folder)) == [(0, b"a"), (1, b"b"), (2, b"c")]


def test_a_log_left_unrecovered_keeps_the_stop_from_being_clean(
    open_folder: Open, storage: Storage, flusher: Flusher
) -> None:
    folder = open_folder()
    append(open_log(folder), b"a")
    flusher.run_round()
    crash(folder, storage)
    folder = open_folder()
    folder.close()  # nobody opened t-0, so nobody checked it
    folder = open_folder()
    assert not folder.was_clean
    assert open_log(folder).recovered is not None
    folder.close()
    assert open_folder().was_clean


def test_recovery_points_follow_what_is_synced(open_folder: Open, storage: Storage, flusher: Flusher) -> None:
    folder = open_folder()
    log = open_log(folder)
    append(log, b"a", b"b", b"c")
    folder.checkpoint()
    assert saved_points(folder, storage) == {KEY: 0}
    flusher.run_round()
    folder.checkpoint()
    assert saved_points(folder, storage) == {KEY: 3}


def saved_points(folder: DataFolder, storage: Storage) -> dict[TopicPartition, int]:
    data = read_file(storage, f"{folder.root}/{RECOVERY_POINT_CHECKPOINT}")
    assert data is not None
    return parse_offsets(RECOVERY_POINT_CHECKPOINT, data)


def test_a_name_used_again_inherits_nothing(open_folder: Open, storage: Storage, flusher: Flusher) -> None:
    folder = open_folder()
    log = open_log(folder)
    for _ in range(5):
        append(log, b"old")
    flusher.run_round()
    log.delete_records_before(4)
    folder.checkpoint()
    deleted = folder.delete_log(KEY, TOPIC_ID)
    assert deleted is not None
    log = open_log(folder)
    append(log, b"new")
    flusher.run_round()
    crash(folder, storage)
    folder = open_folder()
    log = open_log(folder)
    assert (log.log_start_offset, log.log_end_offset, log.damage) == (0, 1, [])
    assert read_all(log) == [(0, b"new")]
    folder.remove_leftovers()
    assert not storage.exists(deleted)


def test_offsets_without_a_folder_are_nobodys(open_folder: Open, storage: Storage, flusher: Flusher) -> None:
    folder = open_folder()
    log = open_log(folder)
    append(log, b"a", b"b")
    flusher.run_round()
    folder.checkpoint()
    # As a crash leaves it that comes right after the rename of a deletion.
    storage.rename(log.directory, f"{folder.root}/t-0.{TOPIC_ID.hex()}-delete")
    crash(folder, storage)
    folder = open_folder()
    log = open_log(folder)
    append(log, b"new")
    flusher.run_round()
    assert read_all(log) == [(0, b"new")]


def test_the_identity_stays(open_folder: Open) -> None:
    folder = open_folder()
    assert folder.identity(lambda: "cluster", 1, lambda: "directory") == "cluster"
    folder.close()
    folder = open_folder()
    assert folder.identity(lambda: "another", 1, lambda: "directory") == "cluster"


def test_another_nodes_folder_is_refused(open_folder: Open) -> None:
    folder = open_folder()
    folder.identity(lambda: "cluster", 1, lambda: "directory")
    with pytest.raises(CorruptCheckpoint, match=r"node\.id=1.*2"):
        folder.identity(lambda: "cluster", 2, lambda: "directory")


def test_meta_properties_without_a_cluster_is_refused(open_folder: Open, storage: Storage, root: str) -> None:
    storage.open(f"{root}/{META_PROPERTIES}", create=True).write_at(b"version=1\n", 0)
    with pytest.raises(CorruptCheckpoint, match=r"cluster\.id"):
        open_folder().identity(lambda: "cluster", 1, lambda: "directory")


def test_a_damaged_recovery_checkpoint_costs_work_not_records(
    open_folder: Open, storage: Storage, flusher: Flusher, root: str
) -> None:
    folder = open_folder()
    append(open_log(folder), b"a")
    flusher.run_round()
    folder.close()
    storage.open(f"{root}/{RECOVERY_POINT_CHECKPOINT}", create=True).write_at(b"garbage!", 0)
    folder = open_folder()
    assert not folder.was_clean
    assert read_all(open_log(folder)) == [(0, b"a")]


def test_a_second_process_is_kept_out(tmp_path: object) -> None:
    attempt = (
        "import sys; from wal.storage import FileStorage; from wal.errors import DirectoryLocked\n"
        "try: FileStorage(sys.argv[1]).lock(sys.argv[1] + '/.lock')\n"
        "except DirectoryLocked as error: print(error)"
    )
    from wal.storage import FileStorage

    storage = FileStorage(str(tmp_path))
    storage.lock(f"{tmp_path}/{LOCK}")
    done = subprocess.run(
        [sys.executable, "-c", attempt, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "another process" in done.stdout


def test_the_mark_of_a_clean_stop_is_kafkas(open_folder: Open, storage: Storage, root: str) -> None:
    open_folder().close()
    assert read_file(storage, f"{root}/{CLEAN_SHUTDOWN}") == b'{"version":0,"brokerEpoch":-1}'


def test_many_recovered_logs_share_cuts_and_syncs(
    open_folder: Open, storage: Storage, flusher: Flusher
) -> None:
    folder = open_folder()
    keys = [TopicPartition("t", index) for index in range(2 * TRUNCATING_THREADS)]
    logs = [open_log(folder, key) for key in keys]
    for log in logs:
        append(log, b"a", b"b")
    files = [log.segments[-1].file for log in logs]
    batches = [log.segments[-1].size for log in logs]
    assert all(file.size() > size for file, size in zip(files, batches))  # reserved space
    crash(folder, storage)
    folder = open_folder()
    if isinstance(storage, MemoryStorage):
        storage.trace.clear()
    with folder.recovering():
        recovered = [open_log(folder, key) for key in keys]
    assert [file.size() for file in files] == batches
    assert all(read_all(log) == [(0, b"a"), (1, b"b")] for log in recovered)
    if isinstance(storage, MemoryStorage):
        assert [name for name, _path in storage.trace if name.startswith("sync")] == ["sync_everything"]


def test_a_stop_gives_back_what_was_reserved(open_folder: Open, storage: Storage) -> None:
    folder = open_folder()
    logs = [open_log(folder, TopicPartition("t", index)) for index in range(2 * TRUNCATING_THREADS)]
    for log in logs:
        append(log, b"a", b"b")
    files = [log.segments[-1].file for log in logs]
    batches = [log.segments[-1].size for log in logs]
    folder.close()
    assert [file.size() for file in files] == batches
    folder = open_folder()
    assert folder.was_clean
    assert all(
        read_all(open_log(folder, TopicPartition("t", index))) == [(0, b"a"), (1, b"b")]
        for index in range(2 * TRUNCATING_THREADS)
    )
