"""Old snapshots, and the files that only they needed.

First the snapshots go, in one commit; then the files. A crash in between leaves files that nobody names, for orphan
removal.

Where the history is a straight line (no branches, tags or rollbacks) and its oldest part goes, no snapshot that
remains has what an expired one or the oldest remaining one *removed*, and manifests that the oldest remaining one
does not list are in none after it: only those are read. Else everything that remains is read, and what it does not
name goes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyiceberg.manifest import ManifestEntryStatus
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.update import RemoveSnapshotsUpdate

from broker.tiering.commit import Attempt, land
from broker.tiering.marks import ancestors, newest_marked
from broker.tiering.snapshots import still_current

if TYPE_CHECKING:
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import ManifestFile
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot

    from broker.tiering.marked_table import MarkedTable


log = logging.getLogger("floe.tables")


@dataclass(frozen=True, slots=True)
class Expired:
    snapshots: int = 0
    files: int = 0


def expirable(metadata: TableMetadata, older_than_ms: int, keep: int) -> list[Snapshot]:
    """Snapshots that may go: older, not the head of a branch or tag, not among the newest `keep` of the table, and not
    the one that says how far the table is. Pure."""
    kept = {reference.snapshot_id for reference in metadata.refs.values()}
    line = list(ancestors(metadata))
    kept |= {snapshot.snapshot_id for snapshot in line[: max(keep, 1)]}
    if (marked := newest_marked(metadata)) is not None:
        kept.add(marked[0].snapshot_id)
    return [
        one for one in metadata.snapshots if one.timestamp_ms < older_than_ms and one.snapshot_id not in kept
    ]


def expire(table: MarkedTable, older_than_ms: int, keep: int, at_once: int | None = None) -> Expired:
    """The oldest `at_once` of those that may go, or all. Raises TableMoved, CommitUnknown and CommitRefused."""
    before = table.iceberg.metadata
    doomed = sorted(expirable(before, older_than_ms, keep), key=_sequence_number)[:at_once]
    if not doomed:
        return Expired()
    ids = {snapshot.snapshot_id for snapshot in doomed}

    def build(metadata: TableMetadata) -> Attempt:
        nonlocal before
        before = metadata
        still = [
            one.snapshot_id for one in expirable(metadata, older_than_ms, keep) if one.snapshot_id in ids
        ]
        ids.intersection_update(still)
        update = RemoveSnapshotsUpdate.model_validate({"snapshot-ids": sorted(ids)})
        return Attempt((update,), (still_current(metadata.current_snapshot()),))

    land(
        table.iceberg,
        build,
        lambda metadata: not ids & {one.snapshot_id for one in metadata.snapshots},
        table.clock,
    )
    table.settle()
    paths = _files_of_nobody(before, ids, table.iceberg.io)
    return Expired(len(ids), delete(table.iceberg.io, paths))


def delete(io: FileIO, paths: Iterable[str]) -> int:
    """How many of them were deleted. Who may not delete is told so: the table's folder would grow for ever."""
    count = 0
    refused: list[OSError] = []
    for path in paths:
        try:
            io.delete(path)
            count += 1
        except FileNotFoundError:
            pass
        except OSError as error:  # not now, or not by us: orphan removal tries again
            refused.append(error)
    if refused:
        log.warning("%d files of no use could not be deleted: %s", len(refused), refused[0])
    return count


def _files_of_nobody(before: TableMetadata, ids: set[int], io: FileIO) -> list[str]:
    """Data files, then manifests, then lists: what names a file is deleted after it."""
    gone = [one for one in before.snapshots if one.snapshot_id in ids]
    kept = sorted((one for one in before.snapshots if one.snapshot_id not in ids), key=_sequence_number)
    straight = _is_straight(before) and max(map(_sequence_number, gone)) < _sequence_number(kept[0])
    gone_manifests = _manifests(gone, io)
    kept_manifests = _manifests(kept[:1] if straight else kept, io)
    unlisted = {path: one for path, one in gone_manifests.items() if path not in kept_manifests}
    if straight:
        data = _removed_by({**gone_manifests, **kept_manifests}.values(), {*ids, kept[0].snapshot_id}, io)
    else:
        data = _named(unlisted.values(), io) - _named(kept_manifests.values(), io, live=True)
    return [*sorted(data), *sorted(unlisted), *(one.manifest_list for one in gone)]


def _sequence_number(snapshot: Snapshot) -> int:
    return snapshot.sequence_number or 0


def _is_straight(metadata: TableMetadata) -> bool:
    line = {snapshot.snapshot_id for snapshot in ancestors(metadata)}
    return set(metadata.refs) == {MAIN_BRANCH} and all(one.snapshot_id in line for one in metadata.snapshots)


def _manifests(snapshots: Iterable[Snapshot], io: FileIO) -> dict[str, ManifestFile]:
    return {one.manifest_path: one for snapshot in snapshots for one in snapshot.manifests(io)}


def _removed_by(manifests: Iterable[ManifestFile], ids: set[int], io: FileIO) -> set[str]:
    return {
        entry.data_file.file_path
        for manifest in manifests
        if manifest.added_snapshot_id in ids and manifest.deleted_files_count != 0
        for entry in manifest.fetch_manifest_entry(io, discard_deleted=False)
        if entry.status == ManifestEntryStatus.DELETED and entry.snapshot_id in ids
    }


def _named(manifests: Iterable[ManifestFile], io: FileIO, live: bool = False) -> set[str]:
    return {
        entry.data_file.file_path
        for manifest in manifests
        for entry in manifest.fetch_manifest_entry(io, discard_deleted=live)
    }
