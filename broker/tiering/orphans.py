"""Files in a table's folder that nothing names: of attempts that lost a race, or of a process that died.

A file may be named a moment later, by the commit it was written for. So only files of a certain age go, far older
than any commit takes, and the folder is listed *before* the metadata is read: what was committed in between is found
named.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from pyarrow.fs import FileSelector, FileType
from pyiceberg.io.pyarrow import PyArrowFileIO

from broker.tiering.expiry import delete

if TYPE_CHECKING:
    from broker.tiering.marked_table import MarkedTable

log = logging.getLogger("floe.tables")

OWN_FOLDER: Final = "floe.own-folder"
"""Table property: the table's folder is nobody else's, so that what is in it may be judged."""
MIN_AGE_MS: Final = 3_600_000
"""However the setting stands: a commit, with all its attempts, is over long before."""


def remove_orphans(table: MarkedTable, older_than_ms: int, now_ms: int) -> int:
    """How many files were deleted. Raises CommitUnknown, TableMoved and OSError."""
    iceberg = table.iceberg
    if iceberg.properties.get(OWN_FOLDER) != "true":
        return 0
    before_ms = min(older_than_ms, now_ms - MIN_AGE_MS)
    io = iceberg.io if isinstance(iceberg.io, PyArrowFileIO) else PyArrowFileIO(iceberg.io.properties)
    old = dict(_old_files(io, iceberg.location(), before_ms))
    if not old:
        return 0
    table.refresh()
    for path in _named(table):
        old.pop(_plain(io, path), None)
    if old:
        log.info("%s: %d files that nothing names are deleted", table.name, len(old))
    return delete(io, sorted(old.values()))


def _old_files(io: PyArrowFileIO, location: str, before_ms: int) -> Iterator[tuple[str, str]]:
    """Path and URL of each."""
    scheme, netloc, root = io.parse_location(location, io.properties)
    filesystem = io.fs_by_scheme(scheme, netloc)
    for info in filesystem.get_file_info(FileSelector(root, allow_not_found=True, recursive=True)):
        if info.type == FileType.File and info.mtime_ns is not None and info.mtime_ns < before_ms * 1_000_000:
            yield info.path, location + info.path.removeprefix(root)


def _plain(io: PyArrowFileIO, location: str) -> str:
    return io.parse_location(location, io.properties)[2]


def _named(table: MarkedTable) -> Iterator[str]:
    """Every file that the table's metadata refers to, of any snapshot, live or removed."""
    iceberg = table.iceberg
    metadata = iceberg.metadata
    yield iceberg.metadata_location
    yield from (entry.metadata_file for entry in metadata.metadata_log)
    yield from (file.statistics_path for file in [*metadata.statistics, *metadata.partition_statistics])
    seen: set[str] = set()
    for snapshot in metadata.snapshots:
        yield snapshot.manifest_list
        for manifest in snapshot.manifests(iceberg.io):
            if manifest.manifest_path in seen:
                continue
            seen.add(manifest.manifest_path)
            yield manifest.manifest_path
            for entry in manifest.fetch_manifest_entry(iceberg.io, discard_deleted=False):
                yield entry.data_file.file_path
