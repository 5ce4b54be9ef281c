"""What retention tells of logs that nobody has opened: never less than it would find in them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from tests.wal.conftest import NOW_MS, TOPIC_ID, append, fail
from wal.checkpoint import TopicPartition
from wal.data_folder import DataFolder
from wal.flusher import Flusher
from wal.layout import LOCK
from wal.log import LogConfig
from wal.storage import FileStorage, Storage

KEY = TopicPartition("t", 0)
FOREVER = LogConfig(segment_bytes=1000, retention_ms=-1)
Open = Callable[[], DataFolder]


@pytest.fixture
def open_folder(root: str, storage: Storage, flusher: Flusher) -> Open:
    return lambda: DataFolder(storage, root, flusher)


def write(folder: DataFolder, count: int, timestamp: int = NOW_MS) -> None:
    """Four batches a segment, one a second."""
    log = folder.open_logs.get(KEY) or folder.open_log(KEY, FOREVER, TOPIC_ID, NOW_MS)
    for number in range(count):
        append(log, bytes(150), timestamp=timestamp + 1000 * number if timestamp >= 0 else timestamp)
    log.flusher.drain()


def closed(open_folder: Open, count: int, timestamp: int = NOW_MS) -> DataFolder:
    """A folder after a clean stop with these batches in its one log, opened again, the log not."""
    folder = open_folder()
    write(folder, count, timestamp)
    folder.close()
    return open_folder()


SETTINGS = [
    LogConfig(retention_ms=retention_ms, retention_bytes=retention_bytes, delete_is_enabled=is_enabled)
    for retention_ms, retention_bytes, is_enabled in product(
        (-1, 0, 3_000, 1 << 40), (-1, 0, 1700, 1 << 40), (True, False)
    )
]


@pytest.mark.parametrize("count", [0, 1, 4, 5, 20])
def test_it_says_what_an_opened_log_says(open_folder: Open, count: int) -> None:
    folder = closed(open_folder, count)
    ages = (0, 2_999, 3_001, 7_000, 100_000)
    told = {
        (index, age): folder.may_be_due(KEY, config, NOW_MS + age)
        for index, config in enumerate(SETTINGS)
        for age in ages
    }
    assert KEY not in folder.open_logs
    log = folder.open_log(KEY, FOREVER, TOPIC_ID, NOW_MS)
    first = log.segments[0] if log.segments else None
    for (index, age), may_be_due in told.items():
        config = SETTINGS[index]
        is_old = first is not None and 0 <= config.retention_ms < NOW_MS + age - log.loaded(0).max_timestamp
        is_much = first is not None and 0 <= config.retention_bytes <= log.size_bytes() - log.loaded(0).size
        assert may_be_due == (count > 0 and config.delete_is_enabled and (is_old or is_much)), (config, age)


def test_nothing_is_read_twice(storage: Storage, open_folder: Open) -> None:
    folder = closed(open_folder, 20)
    assert not folder.may_be_due(KEY, FOREVER, NOW_MS)
    directory = f"{folder.root}/t-0"
    for name in storage.list(directory):
        storage.unlink(f"{directory}/{name}")
    assert not folder.may_be_due(KEY, FOREVER, NOW_MS)
    assert folder.may_be_due(KEY, LogConfig(retention_ms=1000), NOW_MS + 100_000)


def test_a_limit_of_size_that_comes_later_is_seen(open_folder: Open) -> None:
    folder = closed(open_folder, 20)
    assert not folder.may_be_due(KEY, FOREVER, NOW_MS)
    assert folder.may_be_due(KEY, LogConfig(retention_ms=-1, retention_bytes=100), NOW_MS)


def test_segments_below_the_log_start_are_due(open_folder: Open) -> None:
    folder = open_folder()
    write(folder, 20)
    folder.open_logs[KEY].delete_records_before(3)
    folder.close()
    folder = open_folder()
    assert not folder.may_be_due(KEY, FOREVER, NOW_MS)
    folder.save_log_starts({KEY: 4})
    assert folder.may_be_due(KEY, FOREVER, NOW_MS)


def test_files_that_were_given_up_are_cleared_away(open_folder: Open) -> None:
    folder = open_folder()
    write(folder, 20)
    log = folder.open_logs[KEY]
    log.configure(LogConfig(retention_ms=5_000))
    assert log.enforce_retention(NOW_MS + 12_000) > 0
    folder.close()
    assert open_folder().may_be_due(KEY, FOREVER, NOW_MS)


def test_what_only_opening_can_tell_is_opened(storage: Storage, root: str, open_folder: Open) -> None:
    folder = closed(open_folder, 5, timestamp=-1)
    assert folder.may_be_due(KEY, FOREVER, NOW_MS)  # the files' own times count
    index = storage.open(f"{root}/t-0/{0:020d}.timeindex")
    index.write_at(b"torn", 0)
    assert folder.may_be_due(KEY, FOREVER, NOW_MS)


def test_after_a_crash_every_log_is_opened(storage: Storage, open_folder: Open) -> None:
    folder = closed(open_folder, 5)
    storage.unlock(f"{folder.root}/{LOCK}")
    assert open_folder().may_be_due(KEY, FOREVER, NOW_MS)


def test_a_name_used_again_is_looked_at_again(open_folder: Open) -> None:
    folder = closed(open_folder, 20)
    assert not folder.may_be_due(KEY, FOREVER, NOW_MS)
    folder.delete_log(KEY, TOPIC_ID)
    write(folder, 1)
    assert folder.may_be_due(KEY, FOREVER, NOW_MS)  # it is open
    folder.close()
    folder = open_folder()
    aged = LogConfig(retention_ms=5_000)
    assert not folder.may_be_due(KEY, aged, NOW_MS + 5_000)
    assert folder.may_be_due(KEY, aged, NOW_MS + 5_001)


def test_a_look_leaves_no_descriptor_behind(tmp_path: Path) -> None:
    storage = FileStorage(str(tmp_path))
    flusher = Flusher(storage, lambda durables: [durable.apply() for durable in durables] and None, fail)
    folder = closed(lambda: DataFolder(storage, str(tmp_path), flusher), 20)
    before = storage.open_descriptors
    assert not folder.may_be_due(KEY, LogConfig(retention_ms=-1, retention_bytes=1 << 40), NOW_MS)
    assert storage.open_descriptors == before
