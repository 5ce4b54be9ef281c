"""A table that is committed to every ten seconds for a day: what there is of everything stays bounded."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from pyiceberg.table import Table

from broker.tiering.maintenance import (
    COMPACT_COMMITS,
    EXPIRE_SNAPSHOTS,
    QUIET_MS,
    Maintenance,
    MaintenanceSettings,
)
from broker.tiering.manifests import MERGE_COUNT as MERGE_MANIFESTS
from broker.tiering.rewriting import MERGE_COUNT as MERGE_FILES
from tests.broker.tiering.tables_of_tests import ManualTime, catalog, contents, files, once, open_table

IS_SOAK = bool(os.environ.get("FLOE_SOAK"))
COMMITS = 8640 if IS_SOAK else 330
INTERVAL_MS = 10_000 if IS_SOAK else 20_000
SETTINGS = MaintenanceSettings(snapshot_expire_ms=3_600_000 if IS_SOAK else 600_000)
HOUR_MS = 3_600_000
PARTITION_VALUES = max(1, COMMITS * INTERVAL_MS // HOUR_MS) + 1
FILES_OF_A_COMPLETE_HOUR = 1
FILES_OF_AN_HOUR = COMPACT_COMMITS + 2 * MERGE_FILES
"""Those that no look at the files has seen yet, and what is left of each size."""
COMPLETE_AFTER_MS = QUIET_MS + 2 * COMPACT_COMMITS * INTERVAL_MS


def files_by_hour(table: Table) -> Counter[int]:
    """Data files of the current snapshot."""
    current = table.current_snapshot()
    assert current is not None
    return Counter(
        entry.data_file.partition[0]
        for manifest in current.manifests(table.io)
        for entry in manifest.fetch_manifest_entry(table.io)
    )


def test_a_simulated_day(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    time = ManualTime()
    table = open_table(made, clock=time.clock())
    keeper = Maintenance(table, SETTINGS)
    complete_hours: set[int] = set()
    kept = SETTINGS.snapshot_expire_ms // INTERVAL_MS
    for index in range(COMMITS):
        time.now_ms += INTERVAL_MS
        table.commit(
            files(table.target(), {0: range(index * 2, index * 2 + 2)}, time.now_ms * 1000),
            {0: index * 2 + 2},
        )
        if keeper.is_due(time.now_ms):
            keeper.run(time.now_ms)
        if index % 30 == 29:
            iceberg = table.main.iceberg
            current = iceberg.current_snapshot()
            assert current is not None
            assert current.summary is not None
            for hour, count in files_by_hour(iceberg).items():
                is_complete = (hour + 1) * HOUR_MS + COMPLETE_AFTER_MS <= time.now_ms
                assert count <= (FILES_OF_A_COMPLETE_HOUR if is_complete else FILES_OF_AN_HOUR), hour
                if is_complete:
                    complete_hours.add(hour)
            # Compactions are snapshots too, one in thirty commits and sometimes several at once.
            assert len(iceberg.snapshots()) <= (kept + EXPIRE_SNAPSHOTS) * 1.2
            assert int(current.summary["total-data-files"] or 0) <= PARTITION_VALUES + 30 + 4 * MERGE_FILES
            assert len(current.manifests(iceberg.io)) <= 3 * MERGE_MANIFESTS
            assert os.path.getsize(iceberg.metadata_location.removeprefix("file://")) < 1_500 * (kept + 100)
            assert len(list(tmp_path.rglob("*.metadata.json"))) <= 102
    assert len(complete_hours) >= (COMMITS * INTERVAL_MS - COMPLETE_AFTER_MS) // HOUR_MS >= 1
    assert contents(made) == once({0: COMMITS * 2})
    # Two lists or manifests a snapshot, a data file a commit within the expiry, metadata files.
    assert (
        sum(path.is_file() for path in tmp_path.rglob("*"))
        < 5 * (kept + EXPIRE_SNAPSHOTS) + PARTITION_VALUES + 300
    )
