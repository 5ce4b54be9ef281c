"""Commits share what they can, and see what others did."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from pydantic import ValidationError

from broker.tiering import shared_metadata
from tests.broker.tiering.tables_of_tests import catalog, contents, files, once, open_table


def test_a_commit_makes_no_snapshot_anew(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    table = open_table(made)
    for index in range(3):
        table.commit(files(table.target(), {0: range(index, index + 1)}), {0: index + 1})
    before = table.main.iceberg.metadata.snapshots
    table.commit(files(table.target(), {0: range(3, 4)}), {0: 4})
    after = table.main.iceberg.metadata.snapshots
    assert len(before) == 3 and len(after) == 4
    assert all(one is other for one, other in zip(before, after, strict=False))
    assert contents(catalog(tmp_path)) == once({0: 4})


def test_what_is_shared_cannot_be_changed(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    table = open_table(made)
    for index in range(2):
        table.commit(files(table.target(), {0: range(index, index + 1)}), {0: index + 1})
    metadata = table.main.iceberg.metadata
    for value in (metadata.snapshots[0], metadata.snapshot_log[0], metadata.metadata_log[0]):
        assert isinstance(value, shared_metadata.VALUES)
        assert copy.deepcopy(value) is value
        with pytest.raises(ValidationError, match="frozen"):
            value.timestamp_ms = 0


def test_a_location_that_another_writer_replaced_is_read(tmp_path: Path) -> None:
    table = open_table(catalog(tmp_path))
    table.commit(files(table.target(), {0: range(2)}), {0: 2})
    with catalog(tmp_path).load_table(("floe", "orders")).transaction() as change:
        change.set_properties(owner="somebody else")
    table.commit(files(table.target(), {0: range(2, 4)}), {0: 4})
    assert table.main.iceberg.properties["owner"] == "somebody else"
    assert contents(catalog(tmp_path)) == once({0: 4})
