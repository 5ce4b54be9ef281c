"""Small files into larger ones.

A commit every ten seconds makes 360 files an hour and partition. Files of one partition value are merged in sizes, as
the manifests are (`manifests.py`): `MERGE_COUNT` files of about the same size become one of the next, so that a byte
is rewritten once per size. In a partition value that gets no more rows what is left is merged as well.

The rewritten rows are sorted as before and hold the same values; the snapshot is a `replace` with the mark that was
there. It is refused, and planned again later, if anything but an append happened meanwhile: rows that somebody
deletes from a file while it is being merged must not come back. Files that delete files apply to are left to whoever
wrote those.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.manifest import FileFormat, ManifestContent
from pyiceberg.table.snapshots import Operation

from broker.tiering.data_files import DataFiles
from broker.tiering.file_rows import PIECE_ROWS, FileRows, NotExact
from broker.tiering.schemas import SORTED_BY
from broker.tiering.snapshots import Change

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile, ManifestEntry, ManifestFile

    from broker.tiering.marked_table import MarkedTable

log = logging.getLogger("floe.tables")

MERGE_COUNT: Final = 8
"""Files of about the same size that become one, while their partition value still gets rows."""
SMALLEST_BYTES: Final = 32 << 10
"""Files below it are of one size: what they cost a reader is the file, not the bytes."""
MAX_REWRITE_BYTES: Final = 96 << 20
"""Rows in memory while files are merged. A file that holds half of it is not merged any further."""
DICTIONARY_BYTES: Final = 8
"""What a value may take in memory beyond what it takes in a file."""
MAX_GROUPS: Final = 16
"""Merged by one commit at most: what a crash would waste, and how long commits of rows wait."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file as planning sees it."""

    file: DataFile
    sequence_number: int


@dataclass(frozen=True, slots=True)
class Rewritten:
    files_before: int = 0
    files_after: int = 0


def plan(
    candidates: Iterable[Candidate],
    spec_id: int,
    target_bytes: int,
    quiet_below: int,
    merge_count: int = MERGE_COUNT,
) -> list[list[DataFile]]:
    """Which files become one. Pure.

    `quiet_below`: a partition value whose files all have a lower sequence number gets no more rows. Groups are of at
    least two files, in the order of their rows, and of about `target_bytes` at most.
    """
    values: defaultdict[str, list[Candidate]] = defaultdict(list)
    for one in candidates:
        if one.file.spec_id == spec_id and is_small(one.file, target_bytes):
            values[repr(one.file.partition)].append(one)
    groups: list[list[DataFile]] = []
    for there in values.values():
        if all(one.sequence_number < quiet_below for one in there):
            groups += _packed([one.file for one in there], target_bytes)
            continue
        sizes: defaultdict[int, list[DataFile]] = defaultdict(list)
        for one in there:
            sizes[_size(one.file.file_size_in_bytes)].append(one.file)
        for files in sizes.values():
            if len(files) >= merge_count:
                groups += _packed(files, target_bytes)
    return groups


def is_small(file: DataFile, target_bytes: int) -> bool:
    return file.file_size_in_bytes < target_bytes * 3 // 4


def _is_candidate(file: DataFile, target_bytes: int) -> bool:
    return is_small(file, target_bytes) and file.file_format == FileFormat.PARQUET


def _size(size_bytes: int) -> int:
    size = 0
    while size_bytes >= SMALLEST_BYTES:
        size_bytes //= MERGE_COUNT
        size += 1
    return size


def _packed(files: list[DataFile], target_bytes: int) -> list[list[DataFile]]:
    """In the order of their first rows, so that neighbours come together."""
    bins: list[list[DataFile]] = [[]]
    room = target_bytes
    for file in sorted(files, key=_first_row):
        if file.file_size_in_bytes > room and bins[-1]:
            bins.append([])
            room = target_bytes
        bins[-1].append(file)
        room -= file.file_size_in_bytes
    return [one for one in bins if len(one) > 1]


def _first_row(file: DataFile) -> tuple[int, str]:
    """By the lower bound of the offset (field id 2 in tables of ours); any order is right, this one is neat."""
    bound = (file.lower_bounds or {}).get(2)
    return (int.from_bytes(bound, "little", signed=True) if bound is not None else -1, file.file_path)


class Rewriter:
    """Merges the files of one table. Remembers which manifests and files there is nothing to do about."""

    def __init__(self, table: MarkedTable) -> None:
        self._table = table
        self._nothing_small: set[str] = set()
        self._left_alone: set[str] = set()

    def run(
        self,
        target_bytes: int,
        quiet_below: int,
        merge_count: int = MERGE_COUNT,
        max_bytes: int | None = None,
    ) -> Rewritten:
        """One round, in one commit; it ends early once files of `max_bytes` were merged.

        Raises TableMoved and FilesGone where others changed the table (try later), and as `commit`.
        """
        table = self._table
        metadata = table.iceberg.metadata
        base = metadata.current_snapshot()
        if base is None:
            return Rewritten()
        manifests = base.manifests(table.iceberg.io)
        candidates = self._candidates(manifests, target_bytes)
        groups = plan(candidates, table.target().spec.spec_id, target_bytes, quiet_below, merge_count)[
            :MAX_GROUPS
        ]
        added: list[DataFile] = []
        removed: set[str] = set()
        merged_bytes = 0
        for group in groups:
            merged, taken = self._merge(group)
            added += merged
            removed |= taken
            merged_bytes += sum(one.file_size_in_bytes for one in group if one.file_path in taken)
            if max_bytes is not None and merged_bytes >= max_bytes:
                break
        if not removed:
            return Rewritten()
        table.apply(Change(Operation.REPLACE, added, frozenset(removed), base.snapshot_id), table.marks())
        return Rewritten(len(removed), len(added))

    def _candidates(self, manifests: Iterable[ManifestFile], target_bytes: int) -> list[Candidate]:
        manifests = list(manifests)
        deletes = any(one.content == ManifestContent.DELETES for one in manifests)
        whole = self._without_deletes() if deletes else None
        found: list[Candidate] = []
        for manifest in manifests:
            if manifest.content != ManifestContent.DATA or manifest.manifest_path in self._nothing_small:
                continue
            small = [one for one in self._live(manifest) if _is_candidate(one.data_file, target_bytes)]
            if not small:
                self._nothing_small.add(manifest.manifest_path)
            for entry in small:
                path = entry.data_file.file_path
                if path not in self._left_alone and (whole is None or path in whole):
                    entry.data_file.spec_id = manifest.partition_spec_id
                    found.append(Candidate(entry.data_file, entry.sequence_number or 0))
        self._nothing_small &= {one.manifest_path for one in manifests}
        return found

    def _without_deletes(self) -> set[str]:
        """The files that no delete file applies to."""
        tasks = self._table.iceberg.scan().plan_files()
        return {task.file.file_path for task in tasks if not task.delete_files}

    def _live(self, manifest: ManifestFile) -> list[ManifestEntry]:
        return manifest.fetch_manifest_entry(self._table.iceberg.io)

    def _merge(self, group: list[DataFile]) -> tuple[list[DataFile], set[str]]:
        """Files with the rows of as many of the group as fit in memory, and the paths of those."""
        parts: list[pa.Table] = []
        taken: set[str] = set()
        held = 0
        reader = FileRows(self._table.iceberg)
        for file in group:
            expected = self._expected_bytes(file)
            if expected > MAX_REWRITE_BYTES // 2:
                self._left_alone.add(file.file_path)
            if expected > MAX_REWRITE_BYTES // 2 or held + expected > MAX_REWRITE_BYTES:
                continue
            try:
                part = reader.read(file)
            except NotExact as reason:
                log.info("%s is not merged with others: %s", file.file_path, reason)
                self._left_alone.add(file.file_path)
                continue
            parts.append(part)
            taken.add(file.file_path)
            held += max(part.nbytes, expected)
        if len(parts) < 2:
            return [], set()
        rows = pa.concat_tables(parts)
        del parts
        with closing(DataFiles()) as files:
            for piece in _in_order(rows):
                files.append(self._table.target(), piece)
            return files.finish(), taken

    def _expected_bytes(self, file: DataFile) -> int:
        """About what the rows take in memory: what the columns decompress to, and what a dictionary may have saved."""
        with self._table.iceberg.io.new_input(file.file_path).open() as stream:
            footer = pq.read_metadata(stream)
        groups = sum(footer.row_group(index).total_byte_size for index in range(footer.num_row_groups))
        return int(groups + footer.num_rows * footer.num_columns * DICTIONARY_BYTES)


def _in_order(rows: pa.Table) -> Iterator[pa.Table]:
    keys = [(name, "ascending") for name in SORTED_BY]
    indices = pc.sort_indices(rows.select(list(SORTED_BY)), sort_keys=keys)
    for first in range(0, len(rows), PIECE_ROWS):
        yield rows.take(indices.slice(first, PIECE_ROWS))
