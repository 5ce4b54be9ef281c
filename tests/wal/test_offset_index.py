"""The offset index: Kafka's format, lookups in memory and file, what is not trusted."""

from __future__ import annotations

import struct

import pytest

from tests.simulation.memory_storage import MemoryStorage
from wal.errors import DiskFull
from wal.index_file import BUFFERED_ENTRIES
from wal.offset_index import OffsetIndex, OffsetPosition
from wal.storage import Storage, read_file

BASE = 1000


@pytest.fixture
def index(root: str, storage: Storage) -> OffsetIndex:
    return OffsetIndex(storage, f"{root}/i.index", BASE)


def again(root: str, storage: Storage) -> OffsetIndex:
    loaded = OffsetIndex(storage, f"{root}/i.index", BASE)
    assert loaded.load() is None
    return loaded


def test_the_file_is_kafkas(root: str, storage: Storage, index: OffsetIndex) -> None:
    index.append(BASE + 5, 4200)
    index.append(BASE + 9, 8400)
    index.flush()
    assert read_file(storage, f"{root}/i.index") == struct.pack(">iiii", 5, 4200, 9, 8400)


def test_lookups_agree_wherever_the_entries_are(root: str, storage: Storage, index: OffsetIndex) -> None:
    for number in range(100):
        index.append(BASE + 10 * number + 3, 500 * (number + 1))
        if number == 60:
            index.flush()
    expected = [OffsetPosition(BASE, 0)]
    expected += [OffsetPosition(BASE + 10 * number + 3, 500 * (number + 1)) for number in range(100)]
    for candidate in (index, None):
        if candidate is None:
            index.flush()
            candidate = again(root, storage)
        for offset in range(BASE - 5, BASE + 1010):
            wanted = max(entry for entry in expected if entry.offset <= max(offset, BASE))
            assert candidate.lookup(offset) == wanted
        for position in range(0, 51_000, 250):
            wanted = max(entry for entry in expected if entry.position <= position)
            assert candidate.lookup_position(position) == wanted
        assert candidate.entries() == expected[1:]
        assert candidate.last() == expected[-1]
        assert candidate.count == 100


def test_memory_is_bounded(root: str, storage: Storage, index: OffsetIndex) -> None:
    for number in range(3 * BUFFERED_ENTRIES):
        index.append(BASE + number, number + 1)
    assert len(index.offsets) <= BUFFERED_ENTRIES
    assert index.lookup(BASE + 5) == (BASE + 5, 6)
    assert index.count == 3 * BUFFERED_ENTRIES


def test_an_empty_index_is_the_segments_start(root: str, storage: Storage, index: OffsetIndex) -> None:
    assert index.lookup(BASE + 7) == index.last() == (BASE, 0)
    index.flush()
    assert again(root, storage).lookup(BASE + 7) == (BASE, 0)


def test_what_is_not_trusted(root: str, storage: Storage) -> None:
    path = f"{root}/i.index"
    assert "there is no" in (OffsetIndex(storage, path, BASE).load() or "")
    storage.open(path, create=True).write_at(bytes(13), 0)
    assert "13 bytes" in (OffsetIndex(storage, path, BASE).load() or "")
    storage.open(path).truncate(8)
    assert "zeros" in (OffsetIndex(storage, path, BASE).load() or "")


def test_a_rebuilt_index_replaces_the_old_file(root: str, storage: Storage, index: OffsetIndex) -> None:
    for number in range(50):
        index.append(BASE + number, number + 1)
    index.flush()
    index.reset()
    index.append(BASE + 7, 99)
    index.flush()
    assert again(root, storage).entries() == [(BASE + 7, 99)]


def test_a_full_disk_loses_no_entry() -> None:
    storage = MemoryStorage("/r")
    index = OffsetIndex(storage, "/r/i.index", BASE)
    index.flush()
    storage.capacity = 100
    for number in range(BUFFERED_ENTRIES + 100):
        index.append(BASE + number, number + 1)
    with pytest.raises(DiskFull):
        index.flush()
    assert index.lookup(BASE + 50) == (BASE + 50, 51)
    storage.capacity = None
    index.flush()
    assert len(again("/r", storage).entries()) == BUFFERED_ENTRIES + 100
