"""Manifests of a table that grows old: few, whoever wrote them, and every file is in one of them."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.manifest import DataFile, ManifestContent, ManifestFile
from pyiceberg.table.snapshots import Operation

from broker.tiering.maintenance import COMPACT_COMMITS, Maintenance, MaintenanceSettings
from broker.tiering.manifests import FULL_ENTRIES, MERGE_COUNT, Merging, large_group
from broker.tiering.snapshots import Change
from broker.tiering.tables import TopicTable
from tests.broker.tiering.tables_of_tests import (
    START_US,
    Crash,
    Faults,
    catalog,
    contents,
    files,
    once,
    open_table,
    put,
)

KEEP_FILES = MaintenanceSettings(expire=False, orphans=False, file_bytes=1)
"""No file is small, so that it is about manifests alone."""


def clones(table: TopicTable, count: int, name: str) -> list[DataFile]:
    """Files as far as manifests know them."""
    [model] = files(table.target(), {0: range(1)})
    made = []
    for number in range(count):
        clone = copy.copy(model)
        clone._data = [*model._data]
        clone._data[1] = f"{model.file_path.removesuffix('.parquet')}-{name}-{number}.parquet"
        clone.spec_id = model.spec_id
        made.append(clone)
    return made


def manifests(table: TopicTable) -> list[ManifestFile]:
    current = table.main.iceberg.current_snapshot()
    assert current is not None
    return current.manifests(table.main.iceberg.io)


def sequence_numbers(table: TopicTable) -> dict[str, int | None]:
    io = table.main.iceberg.io
    entries = [entry for one in manifests(table) for entry in one.fetch_manifest_entry(io)]
    found = {entry.data_file.file_path: entry.sequence_number for entry in entries}
    assert len(found) == len(entries), "each once"
    return found


def test_large_manifests_are_merged_by_maintenance(tmp_path: Path) -> None:
    table = open_table(catalog(tmp_path))
    rounds = 2 * MERGE_COUNT + 1
    for number in range(rounds):
        table.main.commit(clones(table, 128, str(number)), {0: number + 1})
    assert len(manifests(table)) == rounds, "too much for a commit of rows"
    before = sequence_numbers(table)
    assert len(before) == rounds * 128
    keeper = Maintenance(table, KEEP_FILES)
    assert rounds >= COMPACT_COMMITS and keeper.is_due(START_US // 1000)
    keeper.run(START_US // 1000)
    assert len(manifests(table)) < MERGE_COUNT
    assert max(one.existing_files_count or 0 for one in manifests(table)) >= FULL_ENTRIES
    assert sequence_numbers(table) == before
    assert table.marks() == {0: rounds}
    snapshot = table.main.iceberg.current_snapshot()
    assert snapshot is not None and snapshot.summary is not None
    assert snapshot.summary.operation == Operation.REPLACE
    assert snapshot.summary.additional_properties["total-data-files"] == str(rounds * 128)
    location = table.metadata_location
    keeper.run(START_US // 1000, force=True)
    assert table.metadata_location == location, "nothing more to do is no commit"


@pytest.mark.parametrize("fault", ["died-before", "died", "lost", "refused"])
def test_a_merge_of_manifests_is_safe_wherever_it_ends(tmp_path: Path, fault: str) -> None:
    faults = Faults()
    made = catalog(tmp_path, faults)
    table = open_table(made)
    for number in range(MERGE_COUNT):
        table.main.commit(clones(table, 128, str(number)), {0: number + 1})
    before = sequence_numbers(table)
    faults.plan = [fault]
    try:
        Maintenance(table, KEEP_FILES).run(START_US // 1000, force=True)
    except Crash:
        table = open_table(catalog(tmp_path), epoch=2)
    assert sequence_numbers(table) == before and table.marks() == {0: MERGE_COUNT}
    Maintenance(table, KEEP_FILES).run(START_US // 1000, force=True)
    assert len(manifests(table)) == 1 and sequence_numbers(table) == before


def test_what_somebody_else_does_meanwhile_stays(tmp_path: Path) -> None:
    faults = Faults()
    made = catalog(tmp_path, faults)
    table = open_table(made)
    put(table, {0: range(10)})
    for number in range(MERGE_COUNT):
        table.main.commit(clones(table, 128, str(number)), {0: number + 11})
    other = catalog(tmp_path).load_table("floe.orders")
    expected = len(sequence_numbers(table)) - 1
    [doomed] = [path for path, number in sequence_numbers(table).items() if number == 1]

    def delete() -> None:
        with other.transaction() as transaction, transaction.update_snapshot().overwrite() as snapshot:
            [task] = [task for task in other.scan().plan_files() if task.file.file_path == doomed]
            snapshot.delete_data_file(task.file)

    faults.between = delete
    Maintenance(table, KEEP_FILES).run(START_US // 1000, force=True)
    assert len(manifests(table)) <= 2
    assert doomed not in sequence_numbers(table) and len(sequence_numbers(table)) == expected


def test_what_an_earlier_snapshot_removed_keeps_no_manifest_from_being_merged(tmp_path: Path) -> None:
    """Each compaction leaves a manifest with something removed and something live."""
    made = catalog(tmp_path)
    table = open_table(made)
    for first in range(0, 12 * MERGE_COUNT, 3):
        kept, doomed = (files(table.target(), {0: range(at, at + 1)})[0] for at in (first, first + 1))
        table.main.commit([kept, doomed], {0: first + 2})
        merged = files(table.target(), {0: range(first + 1, first + 3)})
        table.main.apply(Change(Operation.REPLACE, merged, frozenset([doomed.file_path])), {0: first + 3})
    assert len(manifests(table)) < 2 * MERGE_COUNT
    assert contents(made) == once({0: 12 * MERGE_COUNT})
    expire = MaintenanceSettings(compact=False, orphans=False, snapshot_keep=1, snapshot_expire_ms=0)
    Maintenance(table, expire).run(START_US // 1000 + (1 << 41), force=True)
    assert contents(made) == once({0: 12 * MERGE_COUNT})
    live = sequence_numbers(table)
    assert {f"file://{path}" for path in tmp_path.rglob("*.parquet")} == set(live), "what was removed is gone"


def test_files_are_taken_out_of_young_manifests_without_a_look_into_old_ones(tmp_path: Path) -> None:
    table = open_table(catalog(tmp_path))
    table.main.commit(clones(table, 100, "old"), {0: 1})
    [old] = manifests(table)
    young = clones(table, 2, "young")
    table.main.commit(young, {0: 2})
    Path(old.manifest_path.removeprefix("file://")).unlink()
    table.main.apply(Change(Operation.REPLACE, removed=frozenset([young[0].file_path])), {0: 2})
    assert {one.existing_files_count for one in manifests(table)} == {0, 1}


def test_who_wants_no_manifests_merged_has_none_merged(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    table = open_table(made)
    put(table, {0: range(1)})
    with made.load_table("floe.orders").transaction() as transaction:
        transaction.set_properties(
            {"commit.manifest-merge.enabled": "false", "commit.manifest.min-count-to-merge": "many"}
        )
    table.reopen()
    for index in range(1, MERGE_COUNT + 2):
        put(table, {0: range(index, index + 1)})
    Maintenance(table, KEEP_FILES).run(START_US // 1000, force=True)
    assert len(manifests(table)) == MERGE_COUNT + 2


def test_properties_that_are_no_numbers_count_as_not_set() -> None:
    given = {"commit.manifest.min-count-to-merge": "many", "commit.manifest.target-size-bytes": "-8"}
    assert Merging.of(given) == Merging()
    assert Merging.of({"commit.manifest.min-count-to-merge": "1"}).count == 2


def fake(entries: int, number: int, spec_id: int = 0, length: int | None = None) -> ManifestFile:
    fields: dict[str, Any] = {
        "content": ManifestContent.DATA,
        "partition_spec_id": spec_id,
        "added_files_count": entries,
        "existing_files_count": 0,
        "deleted_files_count": 0,
        "manifest_length": 280 * entries if length is None else length,
        "min_sequence_number": number,
    }
    return cast(ManifestFile, SimpleNamespace(**fields))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3 * FULL_ENTRIES), st.integers(0, 1)), max_size=300),
    st.sampled_from([100 << 10, 8 << 20]),
)
def test_merged_as_long_as_there_is_something_to_do_few_are_left(
    sizes: list[tuple[int, int]], target_bytes: int
) -> None:
    merging = Merging(target_bytes=target_bytes)
    there = [fake(entries, number, spec_id) for number, (entries, spec_id) in enumerate(sizes)]
    rounds = 0
    while group := large_group(there, merging):
        assert len({one.partition_spec_id for one in group}) == 1 and len(group) > 1
        entries = sum(one.added_files_count or 0 for one in group)
        assert entries <= 2 * FULL_ENTRIES
        there = [one for one in there if not any(one is other for other in group)]
        there.append(
            fake(entries, min(one.min_sequence_number or 0 for one in group), group[0].partition_spec_id)
        )
        rounds += 1
        assert rounds <= len(sizes)
    assert sum(one.added_files_count or 0 for one in there) == sum(entries for entries, _ in sizes)
    small = [
        one
        for one in there
        if (one.added_files_count or 0) < FULL_ENTRIES and one.manifest_length * 2 < target_bytes
    ]
    assert len(small) <= 2 * 4 * (MERGE_COUNT - 1), "by size and partition spec"
