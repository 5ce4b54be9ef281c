"""A new snapshot: its manifests, its manifest list, and the changes to the metadata that make it the current one.

Written here rather than through pyiceberg's transactions: those know no `replace`, commit again by themselves without
looking at our mark, and copy the metadata, with all its snapshots, a dozen times a commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pyiceberg.manifest import write_manifest_list
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import Operation, Snapshot, SnapshotSummaryCollector, Summary
from pyiceberg.table.update import (
    AddSnapshotUpdate,
    AssertRefSnapshotId,
    SetSnapshotRefUpdate,
    TableRequirement,
    TableUpdate,
)

from broker.tiering.manifests import FilesGone, Manifests, Place
from broker.tiering.marks import ancestors

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table.metadata import TableMetadata

_TOTALS: Final = (
    ("total-data-files", "added-data-files", "deleted-data-files"),
    ("total-delete-files", "added-delete-files", "removed-delete-files"),
    ("total-records", "added-records", "deleted-records"),
    ("total-files-size", "added-files-size", "removed-files-size"),
    ("total-position-deletes", "added-position-deletes", "removed-position-deletes"),
    ("total-equality-deletes", "added-equality-deletes", "removed-equality-deletes"),
)


@dataclass(frozen=True, slots=True)
class Change:
    """What a snapshot does to its parent: files in, files (by path) out."""

    operation: Operation
    added: Sequence[DataFile] = ()
    removed: frozenset[str] = frozenset()
    planned_on: int | None = None
    """The snapshot that `removed` was read from: since then there may have been appends, and nothing else."""
    merges_manifests: bool = False
    """Also those that are too large for a commit of rows to merge; a round of them."""


@dataclass(frozen=True, slots=True)
class Drafted:
    snapshot: Snapshot
    updates: tuple[TableUpdate, ...]
    requirements: tuple[TableRequirement, ...]


def draft(
    metadata: TableMetadata,
    change: Change,
    marks: Mapping[str, str],
    place: Place,
    snapshot_id: int,
    now_ms: int,
) -> Drafted:
    """Writes the manifests and the list of a snapshot on top of the current one. Raises FilesGone.

    `metadata` is the table's as the commit will find it, new schemas and specs included.
    """
    parent = metadata.snapshot_by_name(MAIN_BRANCH)
    if change.planned_on is not None:
        _check_only_appends(metadata, change.planned_on)
    writer = Manifests(metadata, place, snapshot_id)
    existing = parent.manifests(place.io) if parent is not None else []
    kept, removed = writer.without(existing, change.removed)
    manifests = writer.with_added(change.added, kept)
    if change.merges_manifests:
        manifests = writer.with_large_merged(manifests)
    sequence_number = metadata.next_sequence_number()
    path = place.new_path(f"snap-{snapshot_id}-0-{place.attempt_id}.avro")
    with write_manifest_list(
        format_version=metadata.format_version,
        output_file=place.io.new_output(path),
        snapshot_id=snapshot_id,
        parent_snapshot_id=parent.snapshot_id if parent is not None else None,
        sequence_number=sequence_number,
        avro_compression=writer.compression,
    ) as manifest_list:
        manifest_list.add_manifests(manifests)
    values = {
        "snapshot-id": snapshot_id,
        "parent-snapshot-id": parent.snapshot_id if parent is not None else None,
        "sequence-number": sequence_number,
        # Engines refuse a table whose history runs backwards, as it would after a clock was set back.
        "timestamp-ms": max(
            now_ms, metadata.last_updated_ms, parent.timestamp_ms + 1 if parent is not None else 0
        ),
        "manifest-list": path,
        "summary": _summary(metadata, change, removed, parent, marks),
        "schema-id": metadata.current_schema_id,
    }
    snapshot = Snapshot.model_validate(values)
    return Drafted(snapshot, _updates(snapshot), (still_current(parent),))


def _check_only_appends(metadata: TableMetadata, since: int) -> None:
    for snapshot in ancestors(metadata):
        if snapshot.snapshot_id == since:
            return
        if snapshot.summary is None or snapshot.summary.operation != Operation.APPEND:
            raise FilesGone(f"snapshot {snapshot.snapshot_id} did more than append")
    raise FilesGone(f"snapshot {since} is not an ancestor any more")


def _updates(snapshot: Snapshot) -> tuple[TableUpdate, ...]:
    reference = {"snapshot-id": snapshot.snapshot_id, "ref-name": MAIN_BRANCH, "type": SnapshotRefType.BRANCH}
    return (AddSnapshotUpdate(snapshot=snapshot), SetSnapshotRefUpdate.model_validate(reference))


def still_current(parent: Snapshot | None) -> TableRequirement:
    """That the main branch is where the caller saw it (None: that it has no snapshot)."""
    snapshot_id = parent.snapshot_id if parent is not None else None
    return AssertRefSnapshotId.model_validate({"ref": MAIN_BRANCH, "snapshot-id": snapshot_id})


def _summary(
    metadata: TableMetadata,
    change: Change,
    removed: Iterable[DataFile],
    parent: Snapshot | None,
    marks: Mapping[str, str],
) -> Summary:
    schema, specs = metadata.schema(), metadata.specs()
    collector = SnapshotSummaryCollector()
    for file in change.added:
        collector.add_file(file, schema, specs[file.spec_id])
    for file in removed:
        collector.remove_file(file, schema, specs[file.spec_id])
    counts = collector.build()
    before: Mapping[str, Any] = parent.summary if parent is not None and parent.summary is not None else {}
    for total, added, gone in _TOTALS:
        start = before.get(total) if parent is not None else "0"
        if start is not None:  # else a foreign writer kept no count: a wrong one is worse than none
            counts[total] = str(int(start) + int(counts.get(added, 0)) - int(counts.get(gone, 0)))
    return Summary(operation=change.operation, **counts, **marks)
