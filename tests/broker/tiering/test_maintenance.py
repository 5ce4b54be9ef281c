"""Tables stay small, nothing is lost on the way, and nothing that somebody may still need is deleted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io import FileIO

from broker.tiering import data_files, local_files, maintenance
from broker.tiering.commit import TableMoved
from broker.tiering.expiry import delete
from broker.tiering.maintenance import (
    ORPHANS_INTERVAL_MS,
    Maintained,
    Maintenance,
    MaintenanceSettings,
)
from broker.tiering.manifests import FilesGone
from broker.tiering.orphans import MIN_AGE_MS
from broker.tiering.rewriting import DICTIONARY_BYTES, MAX_REWRITE_BYTES, Rewriter
from broker.tiering.tables import TopicTable
from tests.broker.tiering.tables_of_tests import (
    HOUR_US,
    START_US,
    Crash,
    Faults,
    FaultyCatalog,
    ManualTime,
    catalog,
    catch_up,
    contents,
    files,
    once,
    open_table,
    put,
    rows,
)

ALL = MaintenanceSettings(snapshot_keep=1)
SMALL = rows({0: range(30, 31)})
TARGET = 64 << 20


def _small_files(made: SqlCatalog, count: int = 12, epoch: int = 1, **given: object) -> TopicTable:
    table = open_table(made, epoch, **given)
    marks = table.marks()
    for index in range(count):
        starts = {0: marks.get(0, 0) + index * 10, 1: marks.get(1, 0) + index * 2}
        put(table, {0: range(starts[0], starts[0] + 10), 1: range(starts[1], starts[1] + 2)})
    return table


def _data_files(made: SqlCatalog) -> list[str]:
    return [task.file.file_path for task in made.load_table("floe.orders").scan().plan_files()]


def _on_disk(folder: Path) -> set[Path]:
    return {path for path in (folder / "warehouse").rglob("*") if path.is_file()}


def _run(table: TopicTable, settings: MaintenanceSettings = ALL, after_ms: int = 0) -> Maintained:
    return Maintenance(table, settings).run(START_US // 1000 + after_ms, force=True)


def test_small_files_become_one_with_the_same_rows_in_order(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    table = _small_files(made)
    marks = table.marks()
    done = _run(table)
    assert (done.files_before, done.files_after) == (12, 1)
    [path] = _data_files(made)
    read = pq.read_table(path.removeprefix("file://"))
    assert read.select(["kafka_partition", "kafka_offset"]).to_pylist() == [
        {"kafka_partition": one, "kafka_offset": offset} for one in (0, 1) for offset in range((120, 24)[one])
    ]
    assert read["value"].to_pylist() == [
        f"{one}:{offset}".encode() for one in (0, 1) for offset in range((120, 24)[one])
    ]
    assert contents(made) == once(marks)
    assert made.load_table("floe.orders").current_snapshot().summary["total-records"] == "144"  # type: ignore[union-attr,index]
    put(open_table(made, epoch=2), {0: range(120, 130)})
    assert contents(made) == once({0: 130, 1: 24})


def test_files_from_before_a_column_came_are_merged_under_todays_columns(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    layout = pa.schema([pa.field("kafka_key", pa.binary()), pa.field("value", pa.binary())])
    table = _small_files(made, initial=layout)
    headers = pa.list_(pa.struct([pa.field("key", pa.string()), pa.field("value", pa.binary())]))
    table.evolve(pa.schema([pa.field("kafka_headers", headers), pa.field("amount", pa.int32())]))
    put(table, {0: range(120, 125)})
    table.evolve(pa.schema([pa.field("amount", pa.int64())]))
    put(table, {0: range(125, 126)})
    assert _run(table).files_before == 14
    read = made.load_table("floe.orders").scan().to_arrow()
    assert read["amount"].null_count == 150
    assert pa.types.is_int64(read.schema.field("amount").type)
    assert contents(made) == once({0: 126, 1: 24})


def test_files_that_fill_the_memory_are_left_as_they_are(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    table = _small_files(made, 3)
    count = MAX_REWRITE_BYTES // 2 // (DICTIONARY_BYTES * 6) + 1
    large = pa.table(
        {name: pa.repeat(column[0], count) for name, column in zip(SMALL.column_names, SMALL.columns)}
    )
    table.commit(data_files.write(table.target(), large), {0: 30 + count})
    rewriter = Rewriter(table.main)
    assert rewriter.run(TARGET, 1 << 40).files_before == 3
    assert rewriter.run(TARGET, 1 << 40).files_before == 0
    assert len(_data_files(made)) == 2


def test_partition_values_are_kept_apart(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    table = open_table(made)
    for index in range(12):
        put(table, {0: range(index * 10, index * 10 + 10)}, START_US + index % 2 * HOUR_US)
    assert _run(table).files_after == 2
    assert contents(made) == once({0: 120})


class _Between(Faults):
    pass


def _refusing_cases() -> dict[str, Callable[[SqlCatalog], object]]:
    def deletes(made: SqlCatalog) -> None:
        made.load_table("floe.orders").delete("kafka_offset = 3")

    def overwrites(made: SqlCatalog) -> None:
        table = made.load_table("floe.orders")
        table.overwrite(table.scan().to_arrow())

    return {"delete": deletes, "overwrite": overwrites}


@pytest.mark.parametrize("case", _refusing_cases())
def test_rows_that_somebody_deletes_meanwhile_do_not_come_back(tmp_path: Path, case: str) -> None:
    faults = Faults()
    table = _small_files(catalog(tmp_path, faults))
    other = catalog(tmp_path)
    faults.between = lambda: _refusing_cases()[case](other)
    with pytest.raises(FilesGone):
        Rewriter(table.main).run(TARGET, 1 << 40)
    expected = once({0: 120, 1: 24})
    if case == "delete":
        del expected[0, 3], expected[1, 3]
    assert contents(other) == expected
    table.reopen()
    _run(table)
    assert contents(other) == expected


def test_an_append_meanwhile_is_no_conflict(tmp_path: Path) -> None:
    faults = Faults()
    table = _small_files(catalog(tmp_path, faults))
    other = catalog(tmp_path)
    row = other.load_table("floe.orders").scan(limit=1).to_arrow()
    faults.between = lambda: other.load_table("floe.orders").append(row)
    assert Rewriter(table.main).run(TARGET, 1 << 40).files_before == 12
    assert sum(contents(other).values()) == 145


def test_a_commit_of_ours_meanwhile_starts_over(tmp_path: Path) -> None:
    faults = Faults()
    table = _small_files(catalog(tmp_path, faults))
    other = catalog(tmp_path)
    faults.between = lambda: put(open_table(other), {0: range(120, 130)})
    with pytest.raises(TableMoved):
        Rewriter(table.main).run(TARGET, 1 << 40)
    table.reopen()
    _run(table)
    assert contents(other) == once({0: 130, 1: 24})


@pytest.mark.parametrize(
    "plan", [[""] * index + [fault] for index in range(3) for fault in ("died-before", "died", "lost")]
)
def test_whatever_dies_on_the_way(tmp_path: Path, plan: list[str]) -> None:
    """Compaction, expiry, orphans: ended at each commit. What is there stays readable, and the next run finishes."""
    faults = Faults()
    table = _small_files(catalog(tmp_path, faults))
    faults.plan = list(plan)
    day_ms = 86_400_000
    try:
        _run(table, after_ms=day_ms)
    except Crash:
        faults.plan = []
    made = catalog(tmp_path)
    table = open_table(made, epoch=2)
    assert contents(made) == once(table.marks()) == once({0: 120, 1: 24})
    put(table, {0: range(120, 130)})
    for path in _on_disk(tmp_path):
        os.utime(path, (0, 0))
    _run(table, after_ms=30 * day_ms)
    _run(table, after_ms=60 * day_ms)
    assert contents(made) == once({0: 130, 1: 24})
    named = made.load_table("floe.orders")
    assert len(named.snapshots()) <= 2
    assert len([path for path in _on_disk(tmp_path) if path.suffix == ".parquet"]) <= 4


def test_expiry_deletes_what_only_old_snapshots_needed(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    time = ManualTime()
    table = _small_files(made, clock=time.clock())
    _run(table)
    assert len([path for path in _on_disk(tmp_path) if path.suffix == ".parquet"]) == 13
    time.now_ms += 7_200_000
    done = Maintenance(table, ALL).run(time.now_ms, force=True)
    assert done.snapshots_expired == 12
    assert len([path for path in _on_disk(tmp_path) if path.suffix == ".parquet"]) == 1
    assert len(list(tmp_path.rglob("snap-*.avro"))) == 1
    assert contents(made) == once({0: 120, 1: 24})


@pytest.mark.parametrize("kind", ["tag", "branch", "rollback"])
def test_expiry_spares_what_somebody_named(tmp_path: Path, kind: str) -> None:
    made = catalog(tmp_path)
    time = ManualTime()
    table = _small_files(made, 6, clock=time.clock())
    named = table.main.iceberg.metadata.current_snapshot_id or 0
    manage = made.load_table("floe.orders").manage_snapshots()
    if kind == "tag":
        manage.create_tag(named, "month-end").commit()
    elif kind == "branch":
        manage.create_branch(named, "audit").commit()
    else:
        manage.rollback_to_snapshot(made.load_table("floe.orders").snapshots()[2].snapshot_id).commit()
    table = _small_files(made, 6, epoch=2, clock=time.clock())
    ends = table.marks()
    _run(table)
    time.now_ms += 7_200_000
    assert Maintenance(table, ALL).run(time.now_ms, force=True).snapshots_expired > 5
    assert contents(made) == once(ends)
    if kind != "rollback":
        read = made.load_table("floe.orders").scan(snapshot_id=named).to_arrow()
        assert len(read) == 72
    else:
        assert len([path for path in _on_disk(tmp_path) if path.suffix == ".parquet"]) == 1


def test_orphans_go_when_they_are_old_and_nothing_names_them(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    table = _small_files(made, 3)
    before = _on_disk(tmp_path)
    waiting = files(table.target(), {0: range(30, 40)})
    old, new = (
        sorted(_on_disk(tmp_path) - before)[0],
        tmp_path / "warehouse/floe/orders-id-of-orders/data/x.parquet",
    )
    new.write_bytes(b"young")
    now_ms = int(os.stat(new).st_mtime * 1000)
    for path in [*before, old]:
        os.utime(path, (now_ms / 1000 - 10 * 86_400, now_ms / 1000 - 10 * 86_400))
    other = tmp_path / "warehouse/floe/other/data.parquet"
    other.parent.mkdir()
    other.write_bytes(b"not ours")
    os.utime(other, (0, 0))
    kept = MaintenanceSettings(compact=False, expire=False)
    assert Maintenance(table, kept).run(now_ms, force=True).orphans_deleted == 1
    assert not old.exists()
    assert new.exists() and other.exists()
    assert before <= _on_disk(tmp_path)
    eager = MaintenanceSettings(compact=False, expire=False, orphan_age_ms=0)
    assert Maintenance(table, eager).run(now_ms, force=True).orphans_deleted == 0, "an hour is the least"
    assert Maintenance(table, eager).run(now_ms + 2 * MIN_AGE_MS, force=True).orphans_deleted == 1
    assert not new.exists()
    assert waiting
    assert contents(made) == once({0: 30, 1: 6})


def test_orphans_are_looked_for_once_a_day_however_short_the_worker_lives(tmp_path: Path) -> None:
    table = _small_files(catalog(tmp_path), 1)
    now_ms = START_US // 1000
    keeper = Maintenance(table, MaintenanceSettings(compact=False, expire=False))
    assert not keeper.is_due(now_ms), "nobody said when it was done last"
    keeper.orphans_ms = now_ms - ORPHANS_INTERVAL_MS + 1
    assert not keeper.is_due(now_ms)
    keeper.orphans_ms -= 1
    assert keeper.is_due(now_ms)
    assert keeper.step(now_ms).orphans_ms == now_ms
    assert not keeper.is_due(now_ms)


def test_maintenance_goes_in_small_steps_and_does_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "STEP_BYTES", 1)
    monkeypatch.setattr(maintenance, "EXPIRE_AT_ONCE", 5)
    made = catalog(tmp_path)
    table = _small_files(made, 12)
    keeper = Maintenance(table, MaintenanceSettings(snapshot_keep=1, snapshot_expire_ms=0))
    done = Maintained()
    steps = 0
    while not steps or done.has_more:
        step = keeper.step(START_US // 1000 + 3_600_000, True, None, done.quiet_below)
        assert step.snapshots_expired <= 5
        done.add(step)
        steps += 1
        catch_up(table, {0: 120 + steps * 10})  # a commit goes between, and is no reason to go on
    assert 4 <= steps < 12
    assert (done.files_before, done.files_after) == (12, 1)
    assert done.snapshots_expired >= 12
    assert contents(made) == once(table.marks())


def test_each_part_can_be_switched_off(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    table = _small_files(made)
    before = _on_disk(tmp_path)
    off = MaintenanceSettings(compact=False, expire=False, orphans=False)
    keeper = Maintenance(table, off)
    assert not keeper.is_due(1 << 50)
    assert keeper.run(1 << 50, force=True) == Maintained()
    assert _on_disk(tmp_path) == before


def test_properties_of_the_catalog_are_as_given() -> None:
    assert local_files.IMPLEMENTATION.rpartition(".")[2] == local_files.SyncedFileIO.__name__
    assert issubclass(FaultyCatalog, SqlCatalog)


class GuardedFiles:
    """May not be deleted, but for one; another is gone already."""

    def delete(self, location: str) -> None:
        if location == "gone":
            raise FileNotFoundError(location)
        if location != "ours":
            raise PermissionError(f"AccessDenied: {location}")


def test_who_may_not_delete_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    assert delete(cast(FileIO, GuardedFiles()), ["gone", "a", "ours", "b"]) == 1
    [said] = [record.getMessage() for record in caplog.records]
    assert said == "2 files of no use could not be deleted: AccessDenied: a"
    caplog.clear()
    assert delete(cast(FileIO, GuardedFiles()), ["gone"]) == 0 and not caplog.records
