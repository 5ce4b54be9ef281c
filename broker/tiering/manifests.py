"""A snapshot's manifests: which it takes over, which it writes, and how they stay few.

A commit adds one manifest, and every commit and every query reads the list of all. So manifests of about the same size
are merged when there are `Merging.count` of them, into one of a larger size: fewer than that stay of each size, and an
entry is rewritten once per size, however many commits there are. Commits of rows merge what is quickly merged
(`MAX_MERGED_ENTRIES`), maintenance the rest (`large_group`), until a manifest is full (`FULL_ENTRIES`, or half of
`commit.manifest.target-size-bytes`). A table of n files so has n / FULL_ENTRIES full manifests at the most, as long as
that property allows, and fewer than four times `count` smaller ones, of each partition spec there has ever been.

The order of files is not touched, nor are sequence numbers: an entry says itself which snapshot it came with. Manifests
that hold delete files are left to whoever wrote those. `commit.manifest-merge.enabled` and
`commit.manifest.min-count-to-merge` of the table are Iceberg's and hold here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, cast

from pyiceberg.manifest import (
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    write_manifest,
)

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
FULL_ENTRIES: Final = 4096
"""Entries of a manifest that is not merged any more: at a file an hour those of half a year. Twice as many are
rewritten at once at the most, which takes about a second."""
TARGET_BYTES: Final = 8 << 20
"""Iceberg's default of `commit.manifest.target-size-bytes`."""


class FilesGone(Exception):
    """What a snapshot is to replace is not there any more, or was changed."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a draft's files are written."""

    io: FileIO
    new_path: Callable[[str], str]
    """From a file's name to its place in the table's metadata folder."""
    attempt_id: str
    """Part of the files' names: no two attempts share files."""


@dataclass(frozen=True, slots=True)
class Merging:
    """What the table's properties say of it."""

    is_enabled: bool = True
    count: int = MERGE_COUNT
    target_bytes: int = TARGET_BYTES

    @classmethod
    def of(cls, properties: Mapping[str, str]) -> Merging:
        """Whoever set a property to what is no number has set nothing: commits go on."""

        def number(name: str, default: int, least: int) -> int:
            text = properties.get(name, "")
            return max(least, int(text)) if text.isdecimal() else default

        return cls(
            properties.get("commit.manifest-merge.enabled", "true").lower() != "false",
            number("commit.manifest.min-count-to-merge", MERGE_COUNT, 2),
            number("commit.manifest.target-size-bytes", TARGET_BYTES, 1),
        )


def large_group(manifests: Iterable[ManifestFile], merging: Merging) -> list[ManifestFile]:
    """Manifests to merge into one, as many as a round takes; none where few are of a size. Pure."""
    sizes: defaultdict[tuple[int, int], list[ManifestFile]] = defaultdict(list)
    for one in manifests:
        if one.content == ManifestContent.DATA and not _is_full(one, merging):
            sizes[one.partition_spec_id, _size(_live_entries(one))].append(one)
    for _, there in sorted(sizes.items(), key=lambda item: item[0]):
        if merging.is_enabled and len(there) >= merging.count:
            group: list[ManifestFile] = []
            for one in sorted(there, key=lambda one: one.min_sequence_number or 0):  # neighbours in time
                longer = [*group, one]
                if _total(longer) > 2 * FULL_ENTRIES or _bytes(longer) > merging.target_bytes:
                    break
                group = longer
            if len(group) > 1:
                return group
    return []


def _is_full(manifest: ManifestFile, merging: Merging) -> bool:
    return _live_entries(manifest) >= FULL_ENTRIES or manifest.manifest_length * 2 >= merging.target_bytes


class Manifests:
    """The manifests that one attempt writes."""

    def __init__(self, metadata: TableMetadata, place: Place, snapshot_id: int) -> None:
        self._metadata = metadata
        self._place = place
        self._snapshot_id = snapshot_id
        self._count = 0
        self._merging = Merging.of(metadata.properties)
        self.compression = cast("Any", metadata.properties.get("write.avro.compression-codec", "gzip"))

    def with_added(self, files: Sequence[DataFile], kept: list[ManifestFile]) -> list[ManifestFile]:
        """The manifests kept and those of the new files, merged where there are many of a size."""
        merging = self._merging
        fresh: defaultdict[int, list[ManifestEntry]] = defaultdict(list)
        for file in files:
            entry = ManifestEntry.from_args(
                status=ManifestEntryStatus.ADDED, snapshot_id=self._snapshot_id, data_file=file
            )
            fresh[file.spec_id].append(entry)
        written: list[ManifestFile] = []
        for spec_id, entries in fresh.items():
            group = self._same_size(kept, spec_id, _size(len(entries)))
            if len(group) + 1 >= merging.count and len(entries) + _total(group) <= MAX_MERGED_ENTRIES:
                kept = _left_out(kept, group)
                entries += self._all_entries(group)
            written.append(self._write(spec_id, entries))
        return written + self._merged(kept)

    def _merged(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        kinds = sorted({(one.partition_spec_id, _size(_live_entries(one))) for one in manifests})
        for spec_id, size in kinds:
            group = self._same_size(manifests, spec_id, size)
            if len(group) >= self._merging.count and _total(group) <= MAX_MERGED_ENTRIES:
                merged = self._write(spec_id, self._all_entries(group))
                manifests = [merged, *_left_out(manifests, group)]
        return manifests

    def with_large_merged(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        """One round; the manifests as they are where there is nothing to do."""
        group = [one for one in large_group(manifests, self._merging) if self._may_be_merged(one)]
        if len(group) < 2:
            return manifests
        merged = self._write(group[0].partition_spec_id, self._all_entries(group))
        return [merged, *_left_out(manifests, group)]

    def _same_size(self, manifests: Iterable[ManifestFile], spec_id: int, size: int) -> list[ManifestFile]:
        """Those that may be merged; none where the table's owner wants none merged."""
        return [
            one
            for one in manifests
            if self._merging.is_enabled
            and one.content == ManifestContent.DATA
            and one.partition_spec_id == spec_id
            and _size(_live_entries(one)) == size
            and not _is_full(one, self._merging)
            and self._may_be_merged(one)
        ]

    def _may_be_merged(self, manifest: ManifestFile) -> bool:
        """What this snapshot removes is said by its manifests; what an earlier one did, by those that it has."""
        return not manifest.deleted_files_count or manifest.added_snapshot_id != self._snapshot_id

    def without(
        self, manifests: Sequence[ManifestFile], paths: frozenset[str]
    ) -> tuple[list[ManifestFile], list[DataFile]]:
        """Those manifests with the files taken out, and the files. Raises FilesGone unless each was there.

        Manifests that only say what an earlier snapshot removed are left out: that snapshot keeps them.
        """
        kept = [one for one in manifests if one.has_added_files() or one.has_existing_files()]
        if not paths:
            return kept, []
        rewritten: dict[str, ManifestFile] = {}
        removed: list[DataFile] = []
        # What is merged or taken back is young, so that most manifests of an old table are not read at all.
        for manifest in sorted(kept, key=lambda one: one.min_sequence_number or 0, reverse=True):
            if len(removed) == len(paths):
                break
            entries = self._entries(manifest) if manifest.content == ManifestContent.DATA else []
            here = [entry.data_file for entry in entries if entry.data_file.file_path in paths]
            if here:
                removed += here
                rewritten[manifest.manifest_path] = self._write(manifest.partition_spec_id, entries, paths)
        if len(removed) != len(paths):
            raise FilesGone(f"{len(paths) - len(removed)} of {len(paths)} files")
        return [rewritten.get(one.manifest_path, one) for one in kept], removed

    def _all_entries(self, manifests: Iterable[ManifestFile]) -> Iterator[ManifestEntry]:
        """One manifest's in memory at a time."""
        return chain.from_iterable(map(self._entries, manifests))

    def _entries(self, manifest: ManifestFile) -> list[ManifestEntry]:
        return manifest.fetch_manifest_entry(self._place.io)

    def _write(
        self, spec_id: int, entries: Iterable[ManifestEntry], removed: frozenset[str] = frozenset()
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


def _bytes(manifests: Iterable[ManifestFile]) -> int:
    return sum(manifest.manifest_length for manifest in manifests)


def _left_out(manifests: Iterable[ManifestFile], group: Iterable[ManifestFile]) -> list[ManifestFile]:
    gone = {one.manifest_path for one in group}
    return [one for one in manifests if one.manifest_path not in gone]
