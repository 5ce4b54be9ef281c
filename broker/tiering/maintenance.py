"""What keeps a table small: files merged, snapshots expired, orphans removed. Each may be switched off.

Done by the same process that commits, between commits, so that the two never race; others may still, and each step is
safe against them and at every point where the process may end. A step is small (`STEP_BYTES`, `EXPIRE_AT_ONCE`):
commits of all topics go between two of them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from pyiceberg.table.snapshots import Operation

from broker.tiering.commit import TableMoved
from broker.tiering.expiry import expirable, expire
from broker.tiering.manifests import FilesGone, Merging, large_group
from broker.tiering.orphans import remove_orphans
from broker.tiering.rewriting import Rewriter
from broker.tiering.snapshots import Change

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
EXPIRE_AT_ONCE: Final = 120
"""Snapshots that one step expires, with the two or three files of each: an object store takes 20 ms to delete one."""
STEP_BYTES: Final = 32 << 20
"""Bytes of files that one step merges, about: one to three seconds of processor time."""
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
    """What was done."""

    files_before: int = 0
    files_after: int = 0
    snapshots_expired: int = 0
    files_deleted: int = 0
    orphans_deleted: int = 0
    has_more: bool = False
    """There is another step to do."""
    orphans_ms: int | None = None
    """When orphans were looked for."""
    quiet_below: dict[str, int] = field(default_factory=dict, compare=False)
    """Of each table: the sequence number from which on files came after the first step. For the next one."""

    def add(self, step: Maintained) -> None:
        """Count in what another step did."""
        self.files_before += step.files_before
        self.files_after += step.files_after
        self.snapshots_expired += step.snapshots_expired
        self.files_deleted += step.files_deleted
        self.orphans_deleted += step.orphans_deleted
        self.has_more = step.has_more
        self.orphans_ms = step.orphans_ms if step.orphans_ms is not None else self.orphans_ms
        self.quiet_below = step.quiet_below


class Maintenance:
    """Of one topic's table and its dead letters. Kept between jobs: it knows what was looked at."""

    def __init__(self, table: TopicTable, settings: MaintenanceSettings) -> None:
        self.orphans_ms: int | None = None
        """When orphans were looked for, as whoever remembers it says; None: nobody knows, and it is not due."""
        self._topic_table = table
        self._settings = settings
        self._tables: dict[str, _One] = {}

    def is_due(self, now_ms: int) -> bool:
        """Whether `step` would do something; looks at nothing but what is in memory."""
        return self._orphans_due(self._settings, now_ms) or any(
            one.compaction_due(self._settings) or one.expiry_due(self._settings, now_ms)
            for one in self._each()
        )

    def run(self, now_ms: int, force: bool = False, parts: Collection[str] | None = None) -> Maintained:
        """All steps, one after the other. Arguments and exceptions as of `step`."""
        done = Maintained(has_more=True)
        while done.has_more:
            done.add(self.step(now_ms, force, parts, done.quiet_below))
        return done

    def step(
        self,
        now_ms: int,
        force: bool = False,
        parts: Collection[str] | None = None,
        quiet_below: Mapping[str, int] | None = None,
    ) -> Maintained:
        """Some of what is due, or with `force` of everything: what is switched on, or just the `parts` (out of PARTS).

        `quiet_below` is that of the step before: with `force`, files that come later are no reason to go on.
        Raises CommitUnknown, CommitRefused, Fenced.
        """
        settings = self._settings
        if parts is not None:
            settings = replace(settings, **{name: name in parts for name in PARTS})
        each = self._each()
        done = Maintained(quiet_below=dict(quiet_below or {}))
        for one in each:
            there = one.table.iceberg.metadata.next_sequence_number()
            done.quiet_below.setdefault(one.table.name, there)
        for work in (_One.compact, _One.expire):
            for one in each:
                work(one, settings, now_ms, done, force)
                if done.has_more:
                    return done
        if settings.orphans and (force or self._orphans_due(settings, now_ms)):
            self.orphans_ms = done.orphans_ms = now_ms
            for one in each:
                one.remove_orphans(settings, now_ms, done)
        return done

    def _orphans_due(self, settings: MaintenanceSettings, now_ms: int) -> bool:
        looked_ms = self.orphans_ms
        return settings.orphans and looked_ms is not None and now_ms - looked_ms >= ORPHANS_INTERVAL_MS

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

    def compaction_due(self, settings: MaintenanceSettings) -> bool:
        behind = self.table.iceberg.metadata.next_sequence_number() - self._looked_at
        return settings.compact and behind >= COMPACT_COMMITS

    def expiry_due(self, settings: MaintenanceSettings, now_ms: int) -> bool:
        return settings.expire and self._expirable(settings, now_ms) >= EXPIRE_SNAPSHOTS

    def _expirable(self, settings: MaintenanceSettings, now_ms: int) -> int:
        older_than_ms = now_ms - settings.snapshot_expire_ms
        return len(expirable(self.table.iceberg.metadata, older_than_ms, settings.snapshot_keep))

    def compact(self, settings: MaintenanceSettings, now_ms: int, done: Maintained, force: bool) -> None:
        """One round."""
        if not settings.compact or not (force or self.compaction_due(settings)):
            return
        metadata = self.table.iceberg.metadata
        quiet_below = quiet_sequence_number(metadata, now_ms - QUIET_MS)
        if force:
            quiet_below = done.quiet_below[self.table.name]
        with self._unless_moved():
            result = self._rewriter.run(settings.file_bytes, quiet_below, max_bytes=STEP_BYTES)
            done.files_before += result.files_before
            done.files_after += result.files_after
            done.has_more = result.files_before > 0 or self._merge_manifests()
            if not done.has_more:
                self._looked_at = self.table.iceberg.metadata.next_sequence_number()

    def _merge_manifests(self) -> bool:
        """One round of those that are too large for commits to merge; whether there was something to do."""
        metadata = self.table.iceberg.metadata
        current = metadata.current_snapshot()
        if current is None:
            return False
        if not large_group(current.manifests(self.table.iceberg.io), Merging.of(metadata.properties)):
            return False
        self.table.apply(Change(Operation.REPLACE, merges_manifests=True), self.table.marks())
        return True

    def expire(self, settings: MaintenanceSettings, now_ms: int, done: Maintained, force: bool) -> None:
        """Some of the oldest snapshots."""
        if not settings.expire or not (force or self.expiry_due(settings, now_ms)):
            return
        with self._unless_moved():
            older_than_ms = now_ms - settings.snapshot_expire_ms
            expired = expire(self.table, older_than_ms, settings.snapshot_keep, EXPIRE_AT_ONCE)
            done.snapshots_expired += expired.snapshots
            done.files_deleted += expired.files
            # Without `force` a few may stay: they are not due.
            left = self._expirable(settings, now_ms)
            done.has_more = bool(expired.snapshots) and left >= (1 if force else EXPIRE_SNAPSHOTS)

    def remove_orphans(self, settings: MaintenanceSettings, now_ms: int, done: Maintained) -> None:
        with self._unless_moved():
            done.orphans_deleted += remove_orphans(self.table, now_ms - settings.orphan_age_ms, now_ms)

    @contextmanager
    def _unless_moved(self) -> Iterator[None]:
        try:
            yield
        except (TableMoved, FilesGone) as moved:
            log.info("%s: maintenance is put off: %s", self.table.name, moved)
            self.table.refresh()


def quiet_sequence_number(metadata: TableMetadata, since_ms: int) -> int:
    """The sequence number below which files were written before `since_ms`, as far as the snapshots tell. Pure."""
    recent = [one.sequence_number or 0 for one in metadata.snapshots if one.timestamp_ms >= since_ms]
    return min(recent) if recent else metadata.next_sequence_number()
