"""What keeps a table small: files merged, snapshots expired, orphans removed. Each may be switched off.

Done by the same process that commits, between commits, so that the two never race; others may still, and each step is
safe against them and at every point where the process may end.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from broker.tiering.commit import TableMoved
from broker.tiering.expiry import expirable, expire
from broker.tiering.orphans import remove_orphans
from broker.tiering.rewriting import Rewriter, Rewritten
from broker.tiering.snapshots import FilesGone

if TYPE_CHECKING:
    from pyiceberg.table.metadata import TableMetadata

    from broker.tiering.marked_table import MarkedTable
    from broker.tiering.tables import TopicTable

log = logging.getLogger("floe.tables")

PARTS: Final = ("compact", "expire", "orphans")
COMPACT_COMMITS: Final = 30
"""Commits between two looks at the files."""
EXPIRE_SNAPSHOTS: Final = 60
"""Expired snapshots that are worth a commit."""
QUIET_MS: Final = 900_000
"""A partition value without new rows for this long is taken to be complete."""
ORPHANS_INTERVAL_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class MaintenanceSettings:
    """The topic's `floe.table.maintenance.*` and `floe.table.snapshot.*`; the fields' names are theirs."""

    compact: bool = True
    expire: bool = True
    orphans: bool = True
    file_bytes: int = 128 << 20
    """Files are merged up to this."""
    snapshot_expire_ms: int = 3_600_000
    """How long a snapshot can be read after it was replaced."""
    snapshot_keep: int = 10
    """Snapshots that stay however old they are."""
    orphan_age_ms: int = 3 * 86_400_000

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> MaintenanceSettings:
        return cls(**values)


@dataclass(slots=True)
class Maintained:
    files_before: int = 0
    files_after: int = 0
    snapshots_expired: int = 0
    files_deleted: int = 0
    orphans_deleted: int = 0


class Maintenance:
    """Of one topic's table and its dead letters. Kept between jobs: it knows what was looked at."""

    def __init__(self, table: TopicTable, settings: MaintenanceSettings) -> None:
        self._topic_table = table
        self._settings = settings
        self._tables: dict[str, _One] = {}

    def is_due(self, now_ms: int) -> bool:
        """Whether `run` would do something; looks at nothing but what is in memory."""
        return any(one.is_due(self._settings, now_ms) for one in self._each())

    def run(self, now_ms: int, force: bool = False, parts: Collection[str] | None = None) -> Maintained:
        """What is due, or with `force` everything: what is switched on, or just the `parts` (names out of PARTS).

        Raises CommitUnknown, CommitRefused, Fenced.
        """
        settings = self._settings
        if parts is not None:
            settings = replace(settings, **{name: name in parts for name in PARTS})
        done = Maintained()
        for one in self._each():
            one.run(settings, now_ms, done, force)
        return done

    def _each(self) -> list[_One]:
        for table in self._topic_table.tables():
            if self._tables.get(table.name) is None or self._tables[table.name].table is not table:
                self._tables[table.name] = _One(table)
        return list(self._tables.values())


class _One:
    def __init__(self, table: MarkedTable) -> None:
        self.table = table
        self._rewriter = Rewriter(table)
        self._looked_at = -1
        self._orphans_ms: int | None = None

    def is_due(self, settings: MaintenanceSettings, now_ms: int) -> bool:
        return (
            self._compaction_due(settings)
            or self._expiry_due(settings, now_ms)
            or self._orphans_due(settings, now_ms)
        )

    def _compaction_due(self, settings: MaintenanceSettings) -> bool:
        behind = self.table.iceberg.metadata.next_sequence_number() - self._looked_at
        return settings.compact and behind >= COMPACT_COMMITS

    def _expiry_due(self, settings: MaintenanceSettings, now_ms: int) -> bool:
        if not settings.expire:
            return False
        there = expirable(
            self.table.iceberg.metadata, now_ms - settings.snapshot_expire_ms, settings.snapshot_keep
        )
        return len(there) >= EXPIRE_SNAPSHOTS

    def _orphans_due(self, settings: MaintenanceSettings, now_ms: int) -> bool:
        if not settings.orphans:
            return False
        if self._orphans_ms is None:  # not at once: a worker that lives for a minute would look each time
            self._orphans_ms = now_ms - ORPHANS_INTERVAL_MS // 2
        return now_ms - self._orphans_ms >= ORPHANS_INTERVAL_MS

    def run(self, settings: MaintenanceSettings, now_ms: int, done: Maintained, force: bool) -> None:
        table = self.table
        try:
            if settings.compact and (force or self._compaction_due(settings)):
                self._compact(settings, now_ms, done, force)
            if settings.expire and (force or self._expiry_due(settings, now_ms)):
                expired = expire(table, now_ms - settings.snapshot_expire_ms, settings.snapshot_keep)
                done.snapshots_expired += expired.snapshots
                done.files_deleted += expired.files
            if settings.orphans and (force or self._orphans_due(settings, now_ms)):
                self._orphans_ms = now_ms
                done.orphans_deleted += remove_orphans(table, now_ms - settings.orphan_age_ms, now_ms)
        except (TableMoved, FilesGone) as moved:
            log.info("%s: maintenance is put off: %s", table.name, moved)
            table.refresh()

    def _compact(self, settings: MaintenanceSettings, now_ms: int, done: Maintained, force: bool) -> None:
        quiet_below = quiet_sequence_number(self.table.iceberg.metadata, now_ms - QUIET_MS)
        if force:
            quiet_below = self.table.iceberg.metadata.next_sequence_number()
        result = Rewritten(1)
        while result.files_before:
            result = self._rewriter.run(settings.file_bytes, quiet_below)
            done.files_before += result.files_before
            done.files_after += result.files_after
        self._looked_at = self.table.iceberg.metadata.next_sequence_number()


def quiet_sequence_number(metadata: TableMetadata, since_ms: int) -> int:
    """The sequence number below which files were written before `since_ms`, as far as the snapshots tell. Pure."""
    recent = [one.sequence_number or 0 for one in metadata.snapshots if one.timestamp_ms >= since_ms]
    return min(recent) if recent else metadata.next_sequence_number()
