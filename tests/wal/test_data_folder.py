"""A data folder: one process, the clean mark, checkpoints, deletion."""

from __future__ import annotations

import random

import pytest

from tests.simulation.memory_storage import MemoryStorage
from tests.wal.conftest import NOW_MS, TOPIC_ID, append, read_all
from wal.checkpoint import TopicPartition
from wal.data_folder import DataFolder
from wal.errors import DirectoryLocked, StorageFailed
from wal.flusher import Flusher
from wal.log import Log, LogConfig
from wal.storage import Storage, read_file

KEY = TopicPartition("orders", 0)
OTHER = TopicPartition("clicks", 1)


def _fail(failure: StorageFailed) -> None:
    raise failure


def start(storage: Storage, root: str) -> tuple[DataFolder, Flusher]:
    flusher = Flusher(storage, lambda durables: [durable.apply() for durable in durables] and None, _fail)
    return DataFolder(storage, root, flusher), flusher


def open_log(folder: DataFolder, key: TopicPartition = KEY) -> Log:
    return folder.open_log(key, LogConfig(), TOPIC_ID, NOW_MS)


def killed(storage: MemoryStorage) -> MemoryStorage:
    return storage.kill(random.Random(1))


def test_a_clean_stop_is_marked_and_the_mark_used_once(root: str, storage: Storage) -> None:
    folder, _ = start(storage, root)
    assert not folder.was_clean
    append(open_log(folder), b"a")
    folder.close()
    assert read_file(storage, f"{root}/.kafka_cleanshutdown") == b'{"version":0,"brokerEpoch":-1}'
    assert read_file(storage, f"{root}/recovery-point-offset-checkpoint") == b"0\n1\norders 0 1\n"
    folder, _ = start(storage, root)
    assert folder.was_clean and not storage.exists(f"{root}/.kafka_cleanshutdown")
    log = open_log(folder)
    assert log.recovered is None and read_all(log) == [(0, b"a")]


def test_after_a_crash_every_log_is_recovered() -> None:
    storage = MemoryStorage("/r")
    folder, flusher = start(storage, "/r")
    append(open_log(folder), b"a")
    append(open_log(folder, OTHER), b"a")
    flusher.run_round()
    folder.checkpoint()
    folder, _ = start(killed(storage), "/r")
    assert sorted(folder.partitions_on_disk()) == [OTHER, KEY]
    assert open_log(folder).recovered is not None
    folder.close()


def test_a_log_left_unrecovered_keeps_the_stop_from_being_clean() -> None:
    storage = MemoryStorage("/r")
    folder, flusher = start(storage, "/r")
    append(open_log(folder), b"a")
    append(open_log(folder, OTHER), b"a")
    flusher.run_round()
    storage = killed(storage)
    folder, _ = start(storage, "/r")
    open_log(folder)
    folder.close()
    assert not storage.exists("/r/.kafka_cleanshutdown")


def test_a_second_owner_is_refused() -> None:
    storage = MemoryStorage("/r")
    folder, _ = start(storage, "/r")
    with pytest.raises(DirectoryLocked):
        start(storage, "/r")
    folder.close()
    start(storage, "/r")


def test_delete_records_outlives_a_crash() -> None:
    storage = MemoryStorage("/r")
    folder, flusher = start(storage, "/r")
    log = open_log(folder)
    for _ in range(5):
        append(log, b"a")
    flusher.run_round()
    log.delete_records_before(3)
    for seed in range(20):
        again, _ = start(storage.crash(random.Random(seed)), "/r")
        assert open_log(again).log_start_offset == 3


@pytest.mark.parametrize("calls", range(16))
def test_a_topic_of_the_same_name_finds_nothing_of_the_old_one(calls: int) -> None:
    storage = MemoryStorage("/r", random.Random(calls))
    folder, flusher = start(storage, "/r")
    log = open_log(folder)
    for _ in range(5):
        append(log, b"old")
    flusher.run_round()
    folder.checkpoint()
    log.delete_records_before(3)
    storage.crash_at = storage.calls + calls
    try:
        folder.delete_log(KEY, TOPIC_ID)
        storage.crash_at = None
    except BaseException as crash:
        assert type(crash).__name__ == "Crashed"
    storage = storage.crash(random.Random(calls))
    folder, flusher = start(storage, "/r")
    folder.remove_leftovers()
    if folder.has_folder(KEY):  # the crash came first: the catalog deletes it again
        folder.delete_log(KEY, TOPIC_ID)
    log = open_log(folder)
    assert (log.log_start_offset, log.log_end_offset, log.damage) == (0, 0, [])
    assert log.recovered is None or not log.recovered.damage
    assert append(log, b"new") == 0


def test_a_deleted_log_leaves_the_flusher_in_peace(root: str, storage: Storage) -> None:
    folder, flusher = start(storage, root)
    append(open_log(folder), b"a")
    target = folder.delete_log(KEY, TOPIC_ID)
    flusher.run_round()
    assert target is not None and not folder.has_folder(KEY)
    folder.remove(target)
    assert not storage.exists(target)
    assert open_log(folder).log_end_offset == 0
