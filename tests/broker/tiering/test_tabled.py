from __future__ import annotations

from pathlib import Path

import pytest

from broker.tiering.tabled import CHECKPOINT, Tabled
from wal.storage import FileStorage

A, B = b"a" * 16, b"b" * 16


def tabled(folder: Path, where: str = "here") -> Tabled:
    return Tabled(FileStorage(str(folder)), str(folder), where)


def fill(folder: Path) -> None:
    made = tabled(folder)
    topic = made.of(A, "orders")
    topic.offsets, topic.metadata_location, topic.table = {0: 7, 11: 3}, "file:///m.json", "floe.orders"
    made.of(B, "other").offsets = {0: 1}
    made.drops.append({"kind": "drop", "topic": "gone"})
    made.is_saved = False
    made.save()
    assert made.is_saved


def test_what_is_saved_is_there_after_a_start(tmp_path: Path) -> None:
    fill(tmp_path)
    found = tabled(tmp_path)
    assert found.load() is None
    assert found.topics[A].offsets == {0: 7, 11: 3}
    assert found.topics[A].metadata_location == "file:///m.json"
    assert found.topics[B].name == "other"
    assert found.drops == [{"kind": "drop", "topic": "gone"}]


def test_without_a_file_nothing_is_known(tmp_path: Path) -> None:
    found = tabled(tmp_path)
    assert found.load() is None and not found.topics


def test_what_was_tabled_in_another_catalog_does_not_count(tmp_path: Path) -> None:
    fill(tmp_path)
    found = tabled(tmp_path, "elsewhere")
    assert found.load() is None and not found.topics


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 2}', '{"version": 1, "drops": []}'])
def test_a_file_that_cannot_be_read_is_told_and_done_without(tmp_path: Path, content: str) -> None:
    (tmp_path / CHECKPOINT).write_text(content)
    found = tabled(tmp_path)
    assert CHECKPOINT in str(found.load())
    assert not found.topics


def test_nothing_is_written_where_nothing_changed(tmp_path: Path) -> None:
    tabled(tmp_path).save()
    assert not list(tmp_path.iterdir())


def test_a_forgotten_topic_is_not_saved(tmp_path: Path) -> None:
    fill(tmp_path)
    found = tabled(tmp_path)
    found.load()
    found.forget(A)
    found.save()
    again = tabled(tmp_path)
    again.load()
    assert set(again.topics) == {B}
