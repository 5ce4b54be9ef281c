"""Manifests stay few and say what is in the table; counts add up."""

from __future__ import annotations

from pathlib import Path

from pyiceberg.manifest import ManifestEntryStatus
from pyiceberg.table.snapshots import Operation

from broker.tiering.manifests import MERGE_COUNT
from broker.tiering.snapshots import Change
from tests.broker.tiering.tables_of_tests import (
    HOUR_US,
    START_US,
    catalog,
    contents,
    files,
    once,
    open_table,
    put,
)

COMMITS = 3 * MERGE_COUNT


def test_manifests_are_merged_and_entries_keep_their_numbers(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    table = open_table(made)
    for index in range(COMMITS):
        put(table, {0: range(index, index + 1)}, START_US + index * HOUR_US)
    iceberg = made.load_table("floe.orders")
    current = iceberg.current_snapshot()
    assert current is not None
    manifests = current.manifests(iceberg.io)
    assert len(manifests) < 2 * MERGE_COUNT
    entries = [entry for one in manifests for entry in one.fetch_manifest_entry(iceberg.io)]
    by_snapshot = {one.snapshot_id: one.sequence_number for one in iceberg.snapshots()}
    assert len(entries) == COMMITS
    assert {entry.snapshot_id: entry.sequence_number for entry in entries} == by_snapshot
    [planned] = iceberg.scan(row_filter="kafka_timestamp >= '2026-09-21T20:00:00+00:00'").plan_files()[-1:]
    assert planned.file.record_count == 1
    assert contents(made) == once({0: COMMITS})


def test_what_a_snapshot_says_of_itself(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    table = open_table(made)
    put(table, {0: range(10)})
    put(table, {0: range(10, 15)})
    iceberg = made.load_table("floe.orders")
    paths = frozenset(task.file.file_path for task in iceberg.scan().plan_files())
    merged = files(table.target(), {0: range(15)})
    table.main.apply(Change(Operation.REPLACE, merged, paths), table.marks())
    current = made.load_table("floe.orders").current_snapshot()
    assert current is not None and current.summary is not None
    told = {**current.summary.additional_properties}
    assert current.summary.operation == Operation.REPLACE
    assert (told["total-records"], told["total-data-files"], told["deleted-data-files"]) == ("15", "1", "2")
    assert int(told["total-files-size"]) == merged[0].file_size_in_bytes
    entries = [
        entry
        for one in current.manifests(iceberg.io)
        for entry in one.fetch_manifest_entry(iceberg.io, discard_deleted=False)
    ]
    removed = [entry for entry in entries if entry.status == ManifestEntryStatus.DELETED]
    assert {entry.data_file.file_path for entry in removed} == paths
    put(table, {0: range(15, 16)})
    after = made.load_table("floe.orders").current_snapshot()
    assert after is not None
    assert not any(one.deleted_files_count for one in after.manifests(iceberg.io)), "that is said once"
    assert contents(made) == once({0: 16})
