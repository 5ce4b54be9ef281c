"""The storage port: one contract for files and for the memory that simulations use, then each one's own."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.memory_storage import Crashed, MemoryStorage
from wal.errors import DirectoryLocked, DiskFull, StorageFailed, SyncFailed
from wal.storage import TRUNCATING_THREADS, FileStorage, Storage, read_file


def test_a_file_reads_what_was_written(root: str, storage: Storage) -> None:
    file = storage.open(f"{root}/a", create=True)
    file.write_at(b"hello", 0)
    file.write_at(memoryview(b"world"), 8)
    assert file.size() == 13
    assert file.read_at(0, 100) == b"hello\0\0\0world"
    assert file.read_at(3, 2) == b"lo"
    assert file.read_at(13, 5) == b""
    assert read_file(storage, f"{root}/a") == b"hello\0\0\0world"


def test_create_keeps_what_is_there(root: str, storage: Storage) -> None:
    storage.open(f"{root}/a", create=True).write_at(b"x", 0)
    assert storage.open(f"{root}/a", create=True).size() == 1


def test_truncate_and_allocate(root: str, storage: Storage) -> None:
    file = storage.open(f"{root}/a", create=True)
    file.write_at(b"abcdef", 0)
    file.truncate(2)
    file.allocate(5000)
    assert file.size() == 5000
    assert file.read_at(0, 4) == b"ab\0\0"
    file.allocate(10)
    assert file.size() == 5000
    file.sync()


@pytest.mark.parametrize("count", [2, 2 * TRUNCATING_THREADS])
def test_many_files_are_truncated_at_once(root: str, storage: Storage, count: int) -> None:
    files = [storage.open(f"{root}/{number}", create=True) for number in range(count)]
    for file in files:
        file.allocate(5000)
    storage.truncate_all([(file, number) for number, file in enumerate(files)])
    assert [file.size() for file in files] == list(range(count))
    with pytest.raises(StorageFailed):
        storage.truncate_all([(storage.open(f"{root}/none{number}"), 1) for number in range(count)])


def test_a_missing_file_is_a_storage_failure(root: str, storage: Storage) -> None:
    with pytest.raises(StorageFailed):
        storage.open(f"{root}/none").size()
    assert read_file(storage, f"{root}/none") is None


def test_folders_and_names(root: str, storage: Storage) -> None:
    assert storage.make_directory(f"{root}/d")
    assert not storage.make_directory(f"{root}/d")
    storage.open(f"{root}/d/b", create=True).write_at(b"1", 0)
    storage.open(f"{root}/d/a", create=True)
    assert storage.list(f"{root}/d") == ["a", "b"]
    assert storage.list(f"{root}/none") == []
    storage.rename(f"{root}/d/b", f"{root}/d/a")
    assert read_file(storage, f"{root}/d/a") == b"1"
    storage.sync_directory(f"{root}/d")
    with pytest.raises(StorageFailed):
        storage.remove_directory(f"{root}/d")
    storage.unlink(f"{root}/d/a")
    storage.unlink(f"{root}/d/a")
    storage.remove_directory(f"{root}/d")
    assert not storage.exists(f"{root}/d")


def test_an_open_file_outlives_its_name(root: str, storage: Storage) -> None:
    file = storage.open(f"{root}/a", create=True)
    file.write_at(b"kept", 0)
    opened = file.open_file()
    storage.rename(f"{root}/a", f"{root}/b")
    storage.unlink(f"{root}/b")
    file.close()
    assert opened.read_at(0, 10) == b"kept"


def test_syncing_what_was_deleted_is_no_failure(root: str, storage: Storage) -> None:
    file = storage.open(f"{root}/a", create=True)
    file.close()
    storage.unlink(f"{root}/a")
    file.sync()


def test_syncing_a_missing_folder_fails(root: str, storage: Storage) -> None:
    with pytest.raises(SyncFailed):
        storage.sync_directory(f"{root}/none")


def test_a_handle_works_again_after_close(root: str, storage: Storage) -> None:
    file = storage.open(f"{root}/a", create=True)
    file.write_at(b"x", 0)
    file.close()
    file.write_at(b"y", 1)
    assert file.read_at(0, 2) == b"xy"


def test_free_bytes(root: str, storage: Storage) -> None:
    assert storage.free_bytes(root) > 0


# --- files ---


def test_descriptors_are_bounded_and_evicted_ones_come_back(tmp_path: Path) -> None:
    storage = FileStorage(str(tmp_path), max_open_files=4)
    files = [storage.open(f"{tmp_path}/{number}", create=True) for number in range(20)]
    for number, file in enumerate(files):
        file.write_at(b"%d" % number, 0)
        file.sync()
    assert storage.open_descriptors <= 5
    for number, file in enumerate(files):
        assert file.read_at(0, 10) == b"%d" % number
    assert storage.open_descriptors <= 5


def test_a_file_with_unsynced_writes_keeps_its_descriptor(tmp_path: Path) -> None:
    storage = FileStorage(str(tmp_path), max_open_files=2)
    dirty = storage.open(f"{tmp_path}/dirty", create=True)
    dirty.write_at(b"x", 0)
    descriptor = dirty.open_file()
    for number in range(10):
        storage.open(f"{tmp_path}/{number}", create=True).sync()
    assert dirty.open_file() is descriptor
    dirty.sync()


def test_a_slice_that_is_being_sent_survives_eviction(tmp_path: Path) -> None:
    storage = FileStorage(str(tmp_path), max_open_files=1)
    file = storage.open(f"{tmp_path}/a", create=True)
    file.write_at(b"abc", 0)
    file.sync()
    opened = file.open_file()
    for number in range(5):
        storage.open(f"{tmp_path}/{number}", create=True).sync()
    assert os.pread(opened.fileno(), 3, 0) == b"abc"


def test_descriptors_are_closed_with_their_last_reference(tmp_path: Path) -> None:
    storage = FileStorage(str(tmp_path))
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else None
    if before is None:
        pytest.skip("needs /proc")
    for number in range(50):
        file = storage.open(f"{tmp_path}/{number}", create=True)
        file.close()
    del file
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    storage = FileStorage(str(tmp_path))
    storage.lock(f"{tmp_path}/.lock")
    script = (
        "import sys\n"
        "from wal.errors import DirectoryLocked\n"
        "from wal.storage import FileStorage\n"
        "try:\n"
        "    FileStorage(sys.argv[1]).lock(sys.argv[1] + '/.lock')\n"
        "except DirectoryLocked:\n"
        "    sys.exit(42)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    assert subprocess.run(command, check=False, timeout=60).returncode == 42
    storage.unlock(f"{tmp_path}/.lock")
    assert subprocess.run(command, check=False, timeout=60).returncode == 0


def test_a_full_disk_is_told_apart_from_a_broken_one() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    storage = FileStorage("/")
    with pytest.raises(DiskFull):
        storage.open("/dev/full").write_at(b"x", 0)
    with pytest.raises(StorageFailed) as failed:
        storage.open("/proc/none", create=True)
    assert not isinstance(failed.value, DiskFull)


def test_sync_everything_where_there_is_syncfs(tmp_path: Path) -> None:
    storage = FileStorage(str(tmp_path))
    storage.open(f"{tmp_path}/a", create=True).write_at(b"x", 0)
    assert storage.sync_everything() == (sys.platform == "linux")


# --- memory ---


def crashed(storage: MemoryStorage, seed: int) -> MemoryStorage:
    return storage.crash(random.Random(seed))


def test_what_was_synced_survives_every_crash() -> None:
    storage = MemoryStorage("/r")
    file = storage.open("/r/a", create=True)
    file.write_at(b"x" * 10_000, 0)
    file.sync()
    storage.sync_directory("/r")
    for seed in range(50):
        assert read_file(crashed(storage, seed), "/r/a") == b"x" * 10_000


def test_a_crash_may_tear_and_lose_what_was_not() -> None:
    storage = MemoryStorage("/r")
    file = storage.open("/r/a", create=True)
    storage.sync_directory("/r")
    for page in range(8):
        file.write_at(b"%d" % page * 4096, page * 4096)
    images = {read_file(crashed(storage, seed), "/r/a") for seed in range(100)}
    assert b"" in images
    assert any(image and b"\0" * 4096 in image and image.rstrip(b"\0") for image in images)
    assert any(image and len(image) % 4096 for image in images)


def test_a_name_needs_its_folder_synced() -> None:
    storage = MemoryStorage("/r")
    file = storage.open("/r/a", create=True)
    file.write_at(b"x", 0)
    file.sync()
    assert {crashed(storage, seed).exists("/r/a") for seed in range(50)} == {True, False}
    storage.sync_directory("/r")
    storage.rename("/r/a", "/r/b")
    found = {tuple(crashed(storage, seed).list("/r")) for seed in range(50)}
    assert found == {("a",), ("b",)}


def test_a_killed_process_leaves_its_writes_unsynced() -> None:
    storage = MemoryStorage("/r")
    storage.open("/r/a", create=True).write_at(b"x", 0)
    after = storage.kill(random.Random(0))
    assert read_file(after, "/r/a") == b"x"
    assert False in {crashed(after, seed).exists("/r/a") for seed in range(50)}


def test_faults() -> None:
    storage = MemoryStorage("/r")
    file = storage.open("/r/a", create=True)
    storage.capacity = 10
    with pytest.raises(DiskFull):
        file.write_at(b"x" * 20, 0)
    assert file.size() <= 10
    storage.fail_sync_at = 0
    with pytest.raises(SyncFailed):
        file.sync()
    storage.crash_at = 0
    with pytest.raises(Crashed):
        file.truncate(0)
    with pytest.raises(DirectoryLocked):
        storage.lock("/r/.lock")
        storage.lock("/r/.lock")
