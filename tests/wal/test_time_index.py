"""The time index: Kafka's format, and the entries it leaves out."""

from __future__ import annotations

import struct

import pytest

from wal.storage import Storage, read_file
from wal.time_index import TimeIndex

BASE = 1000


@pytest.fixture
def index(root: str, storage: Storage) -> TimeIndex:
    return TimeIndex(storage, f"{root}/t.timeindex", BASE)


def again(root: str, storage: Storage) -> TimeIndex:
    loaded = TimeIndex(storage, f"{root}/t.timeindex", BASE)
    assert loaded.load() is None
    return loaded


def test_the_file_is_kafkas(root: str, storage: Storage, index: TimeIndex) -> None:
    index.maybe_append(77_000, BASE + 5)
    index.flush()
    assert read_file(storage, f"{root}/t.timeindex") == struct.pack(">qi", 77_000, 5)


def test_only_newer_timestamps_are_entered(index: TimeIndex) -> None:
    index.maybe_append(-1, BASE)
    index.maybe_append(10, BASE + 1)
    index.maybe_append(10, BASE + 2)
    index.maybe_append(9, BASE + 3)
    index.maybe_append(11, BASE + 4)
    assert index.entries() == [(10, BASE + 1), (11, BASE + 4)]
    index.flush()
    index.maybe_append(11, BASE + 5)
    index.maybe_append(12, BASE + 6)
    assert index.entries() == [(10, BASE + 1), (11, BASE + 4), (12, BASE + 6)]
    assert index.count == 3


def test_lookups_agree_wherever_the_entries_are(root: str, storage: Storage, index: TimeIndex) -> None:
    for number in range(50):
        index.maybe_append(100 * (number + 1), BASE + number)
        if number == 30:
            index.flush()
    for candidate in (index, None):
        if candidate is None:
            index.flush()
            candidate = again(root, storage)
        assert candidate.lookup(99) == (-1, BASE)
        for timestamp in range(100, 5100, 33):
            number = min(timestamp // 100, 50)
            assert candidate.lookup(timestamp) == (100 * number, BASE + number - 1)
        assert candidate.last() == (5000, BASE + 49)


def test_entries_go_on_where_a_loaded_index_ends(root: str, storage: Storage, index: TimeIndex) -> None:
    index.maybe_append(10, BASE + 1)
    index.flush()
    loaded = again(root, storage)
    loaded.maybe_append(10, BASE + 2)
    loaded.maybe_append(20, BASE + 3)
    loaded.flush()
    assert again(root, storage).entries() == [(10, BASE + 1), (20, BASE + 3)]


def test_what_is_not_trusted(root: str, storage: Storage) -> None:
    path = f"{root}/t.timeindex"
    assert "there is no" in (TimeIndex(storage, path, BASE).load() or "")
    storage.open(path, create=True).write_at(struct.pack(">qiqi", 20, 1, 10, 2), 0)
    assert "order" in (TimeIndex(storage, path, BASE).load() or "")
    storage.open(path).truncate(13)
    assert "13 bytes" in (TimeIndex(storage, path, BASE).load() or "")
