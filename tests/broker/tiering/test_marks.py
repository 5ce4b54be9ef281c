"""Which mark counts, whatever others did to the table. The other writer is PyIceberg itself."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from broker.tiering import marks
from tests.broker.tiering.tables_of_tests import (
    catalog,
    catch_up,
    contents,
    once,
    open_table,
    put,
)

ENDS = {0: 40, 1: 12}


def _three_commits(made: SqlCatalog) -> list[int]:
    """The ids of three snapshots, up to 10, 20 and 30 of partition 0."""
    table = open_table(made)
    ids = []
    for end in (10, 20, 30):
        put(table, {0: range(end - 10, end), 1: range(end // 10 - 1, end // 10)})
        ids.append(table.main.iceberg.metadata.current_snapshot_id or 0)
    return ids


def _foreign(made: SqlCatalog) -> Table:
    return made.load_table("floe.orders")


def _compact(made: SqlCatalog) -> None:
    table = _foreign(made)
    table.overwrite(table.scan().to_arrow())


def _expire_all_but_the_current(made: SqlCatalog) -> None:
    table = _foreign(made)
    table.maintenance.expire_snapshots().older_than(datetime(2100, 1, 1, tzinfo=UTC)).commit()
    assert len(_foreign(made).snapshots()) == 1


def _roll_back(made: SqlCatalog, snapshot_id: int) -> None:
    _foreign(made).manage_snapshots().rollback_to_snapshot(snapshot_id).commit()


def _catches_up(made: SqlCatalog, expected: marks.Offsets) -> None:
    table = open_table(made, epoch=2)
    assert table.marks() == expected
    catch_up(table, ENDS)
    assert contents(made) == once(ENDS)


def test_a_foreign_compaction(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    _three_commits(made)
    _compact(made)
    _catches_up(made, {0: 30, 1: 3})


def test_a_foreign_compaction_and_the_expiry_of_all_that_was_before(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    _three_commits(made)
    _compact(made)
    _expire_all_but_the_current(made)
    _catches_up(made, {0: 30, 1: 3})


def test_what_was_rolled_back_is_written_again(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    first, _, _ = _three_commits(made)
    _roll_back(made, first)
    _catches_up(made, {0: 10, 1: 1})


def test_a_rollback_behind_a_compaction(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    _, second, _ = _three_commits(made)
    _compact(made)
    _roll_back(made, second)
    _expire_all_but_the_current(made)
    _catches_up(made, {0: 20, 1: 2})


def test_a_rollback_to_a_compaction_whose_history_is_gone(tmp_path: Path) -> None:
    """No marked ancestor, and the property is of a commit that was rolled back: the rows tell."""
    made = catalog(tmp_path)
    ids = _three_commits(made)
    _compact(made)
    compacted = _foreign(made).metadata.current_snapshot_id or 0
    put(open_table(made, epoch=2), {0: range(30, 40)})
    _roll_back(made, compacted)
    table = _foreign(made)
    table.maintenance.expire_snapshots().by_ids(ids).commit()
    assert marks.newest_marked(_foreign(made).metadata) is None
    with pytest.raises(marks.Unknown):
        marks.current(_foreign(made).metadata)
    table = open_table(made, epoch=3)  # type: ignore[assignment]
    assert table.marks() == {0: 30, 1: 3}  # type: ignore[attr-defined]
    catch_up(table, ENDS)  # type: ignore[arg-type]
    assert contents(made) == once(ENDS)


def test_the_same_after_the_rolled_back_snapshot_is_expired_too(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    _three_commits(made)
    _compact(made)
    compacted = _foreign(made).metadata.current_snapshot_id or 0
    put(open_table(made, epoch=2), {0: range(30, 40)})
    _roll_back(made, compacted)
    _expire_all_but_the_current(made)
    with pytest.raises(marks.Unknown):
        marks.current(_foreign(made).metadata)
    table = open_table(made, epoch=3)
    assert table.marks() == {0: 30, 1: 3}
    catch_up(table, ENDS)
    assert contents(made) == once(ENDS)


def test_marks_that_somebody_edited_are_taken_from_the_rows(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    _three_commits(made)
    _compact(made)
    _expire_all_but_the_current(made)
    with _foreign(made).transaction() as transaction:
        transaction.set_properties({marks.MARK: "mine"})
    _catches_up(made, {0: 30, 1: 3})


def test_text_form() -> None:
    offsets = {1: 5, 0: 2**62}
    assert marks.format_offsets(offsets) == f"0:{2**62},1:5"
    assert marks.parse_offsets(marks.format_offsets(offsets)) == offsets
    assert marks.parse_offsets("") == {}
    mark = marks.Mark("c", "t", 7, "id", offsets)
    assert marks.parse(mark.summary()) == mark
    with pytest.raises(ValueError, match="invalid literal"):
        marks.parse_offsets("0:x")
