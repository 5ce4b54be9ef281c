"""A new snapshot: its manifests, its manifest list, and the changes to the metadata that make it the current one.

Written here rather than through pyiceberg's transactions: those know no `replace`, commit again by themselves without
looking at our mark, and copy the metadata, with all its snapshots, a dozen times a commit.

A commit adds one manifest. So that a table that is committed to every ten seconds keeps few of them, manifests of
about the same size are merged when there are `MERGE_COUNT` of them, into one of the next size: at most `MERGE_COUNT`
per size, and an entry is rewritten once per size, however many commits there are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from pyiceberg.manifest import (
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    write_manifest,
    write_manifest_list,
)
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import Operation, Snapshot, SnapshotSummaryCollector, Summary
from pyiceberg.table.update import (
    AddSnapshotUpdate,
    AssertRefSnapshotId,
    SetSnapshotRefUpdate,
    TableRequirement,
    TableUpdate,
)

from broker.tiering.marks import ancestors

if TYPE_CHECKING:
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import DataFile
    from pyiceberg.table.metadata import TableMetadata

MERGE_COUNT: Final = 16
"""Manifests of about the same size that become one. More is fewer rewrites, and longer lists to read and plan with."""
SIZE_STEP: Final = 8
"""How many times the entries of one size are the next's."""
MAX_MERGED_ENTRIES: Final = 2000
"""Entries a commit rewrites at most: writing one takes about 0.1 ms, and a commit should stay well under 500."""

_TOTALS: Final = (
    ("total-data-files", "added-data-files", "deleted-data-files"),
    ("total-delete-files", "added-delete-files", "removed-delete-files"),
    ("total-records", "added-records", "deleted-records"),
    ("total-files-size", "added-files-size", "removed-files-size"),
    ("total-position-deletes", "added-position-deletes", "removed-position-deletes"),
    ("total-equality-deletes", "added-equality-deletes", "removed-equality-deletes"),
)


class FilesGone(Exception):
    """What a snapshot is to replace is not there any more, or was changed."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a snapshot does to its parent: files in, files (by path) out."""

    operation: Operation
    added: Sequence[DataFile] = ()
    removed: frozenset[str] = frozenset()
    planned_on: int | None = None
    """The snapshot that `removed` was read from: since then there may have been appends, and nothing else."""


@dataclass(frozen=True, slots=True)
class Drafted:
    snapshot: Snapshot
    updates: tuple[TableUpdate, ...]
    requirements: tuple[TableRequirement, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a draft's files are written."""

    io: FileIO
    new_path: Callable[[str], str]
    """From a file's name to its place in the table's metadata folder."""
    attempt_id: str
    """Part of the files' names: no two attempts share files."""


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
    writer = _Manifests(metadata, place, snapshot_id)
    existing = parent.manifests(place.io) if parent is not None else []
    kept, removed = writer.without(existing, change.removed)
    manifests = writer.with_added(change.added, kept)
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


class _Manifests:
    """The manifests that one attempt writes."""

    def __init__(self, metadata: TableMetadata, place: Place, snapshot_id: int) -> None:
        self._metadata = metadata
        self._place = place
        self._snapshot_id = snapshot_id
        self._count = 0
        self.compression = cast("Any", metadata.properties.get("write.avro.compression-codec", "gzip"))

    def with_added(self, files: Sequence[DataFile], kept: list[ManifestFile]) -> list[ManifestFile]:
        """The manifests kept and those of the new files, merged where there are many of a size."""
        fresh: defaultdict[int, list[ManifestEntry]] = defaultdict(list)
        for file in files:
            entry = ManifestEntry.from_args(
                status=ManifestEntryStatus.ADDED, snapshot_id=self._snapshot_id, data_file=file
            )
            fresh[file.spec_id].append(entry)
        written: list[ManifestFile] = []
        for spec_id, entries in fresh.items():
            group = _same_size(kept, spec_id, _size(len(entries)))
            if len(group) + 1 >= MERGE_COUNT and len(entries) + _total(group) <= MAX_MERGED_ENTRIES:
                kept = _left_out(kept, group)
                entries = entries + self._all_entries(group)
            written.append(self._write(spec_id, entries))
        return written + self._merged(kept)

    def _merged(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        kinds = sorted({(one.partition_spec_id, _size(_live_entries(one))) for one in manifests})
        for spec_id, size in kinds:
            group = _same_size(manifests, spec_id, size)
            if len(group) >= MERGE_COUNT and _total(group) <= MAX_MERGED_ENTRIES:
                merged = self._write(spec_id, self._all_entries(group))
                manifests = [merged, *_left_out(manifests, group)]
        return manifests

    def without(
        self, manifests: Sequence[ManifestFile], paths: frozenset[str]
    ) -> tuple[list[ManifestFile], list[DataFile]]:
        """Those manifests with the files taken out, and the files. Raises FilesGone unless each was there.

        Manifests that only say what an earlier snapshot removed are left out: that snapshot keeps them.
        """
        kept = [one for one in manifests if one.has_added_files() or one.has_existing_files()]
        if not paths:
            return kept, []
        result: list[ManifestFile] = []
        removed: list[DataFile] = []
        for manifest in kept:
            entries = self._entries(manifest) if manifest.content == ManifestContent.DATA else []
            here = [entry.data_file for entry in entries if entry.data_file.file_path in paths]
            if here:
                removed += here
                result.append(self._write(manifest.partition_spec_id, entries, paths))
            else:
                result.append(manifest)
        if len(removed) != len(paths):
            raise FilesGone(f"{len(paths) - len(removed)} of {len(paths)} files")
        return result, removed

    def _all_entries(self, manifests: Iterable[ManifestFile]) -> list[ManifestEntry]:
        return [entry for manifest in manifests for entry in self._entries(manifest)]

    def _entries(self, manifest: ManifestFile) -> list[ManifestEntry]:
        return manifest.fetch_manifest_entry(self._place.io)

    def _write(
        self, spec_id: int, entries: Sequence[ManifestEntry], removed: frozenset[str] = frozenset()
    ) -> ManifestFile:
        path = self._place.new_path(f"{self._place.attempt_id}-m{self._count}.avro")
        self._count += 1
        with write_manifest(
            format_version=self._metadata.format_version,
            spec=self._metadata.specs()[spec_id],
            schema=self._metadata.schema(),
            output_file=self._place.io.new_output(path),
            snapshot_id=self._snapshot_id,
            avro_compression=self.compression,
        ) as writer:
            for entry in entries:
                if entry.data_file.file_path in removed:
                    writer.delete(entry)
                elif entry.snapshot_id == self._snapshot_id:
                    writer.add(entry)
                else:
                    writer.existing(entry)
        return writer.to_manifest_file()


def _live_entries(manifest: ManifestFile) -> int:
    return (manifest.added_files_count or 0) + (manifest.existing_files_count or 0)


def _total(manifests: Iterable[ManifestFile]) -> int:
    return sum(_live_entries(manifest) for manifest in manifests)


def _size(entries: int) -> int:
    size = 0
    while entries >= SIZE_STEP:
        entries //= SIZE_STEP
        size += 1
    return size


def _same_size(manifests: Iterable[ManifestFile], spec_id: int, size: int) -> list[ManifestFile]:
    """Those that may be merged; what says which files a snapshot removed stays as it is."""
    return [
        one
        for one in manifests
        if one.content == ManifestContent.DATA
        and one.partition_spec_id == spec_id
        and not one.deleted_files_count
        and _size(_live_entries(one)) == size
    ]


def _left_out(manifests: Iterable[ManifestFile], group: Iterable[ManifestFile]) -> list[ManifestFile]:
    gone = {one.manifest_path for one in group}
    return [one for one in manifests if one.manifest_path not in gone]
