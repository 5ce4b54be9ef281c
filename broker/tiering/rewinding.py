"""Rows taken back: what a table looks like without those from given offsets on.

One snapshot, not two as pyiceberg makes (files dropped, files rewritten): whoever rolls back to the first finds rows
that its mark denies.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.table.snapshots import Operation

from broker.tiering.data_files import DataFiles
from broker.tiering.file_rows import FileRows, NotExact
from broker.tiering.schemas import SORTED_BY
from broker.tiering.snapshots import Change

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import FileScanTask, Table

    from broker.tiering.data_files import Target
    from broker.tiering.marks import Offsets

log = logging.getLogger("floe.tables")


def without(iceberg: Table, target: Target, offsets: Offsets) -> Change:
    """The change that takes back these partitions' rows from their offset on. Writes the files that lose only a part
    of their rows, one after the other. Raises OSError."""
    base = iceberg.metadata.current_snapshot_id
    removed: set[str] = set()
    reader = FileRows(iceberg)
    with closing(DataFiles()) as files:
        for task in iceberg.scan(row_filter=_filter(offsets)).plan_files():
            if all(_is_whole(piece, offsets) for piece in _pieces(iceberg, reader, task, SORTED_BY)):
                continue
            removed.add(task.file.file_path)
            for piece in _pieces(iceberg, reader, task):
                files.append(target, piece.filter(_is_kept(piece, offsets)))
        added = files.finish()
    if not removed:
        return Change(Operation.APPEND)
    return Change(Operation.OVERWRITE if added else Operation.DELETE, added, frozenset(removed), base)


def _pieces(
    iceberg: Table, reader: FileRows, task: FileScanTask, names: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """A file's rows, without those that delete files take from it: PyIceberg reads the files that have any."""
    if not task.delete_files and _is_exact(reader, task.file):
        yield from reader.pieces(task.file, names)
        return
    schema = iceberg.schema() if names is None else iceberg.schema().select(*names)
    yield ArrowScan(iceberg.metadata, iceberg.io, schema, AlwaysTrue()).to_table([task])


def _is_exact(reader: FileRows, file: DataFile) -> bool:
    """Whether all of it can be read: known before a row of it is written."""
    try:
        for _ in reader.pieces(file):
            pass
    except NotExact as reason:
        log.info("%s is read as PyIceberg shows it: %s", file.file_path, reason)
        return False
    return True


def _is_whole(rows: pa.Table, offsets: Offsets) -> bool:
    return pc.all(_is_kept(rows, offsets), min_count=0).as_py() is True


def _filter(offsets: Offsets) -> str:
    return " or ".join(
        f"(kafka_partition = {partition} and kafka_offset >= {offset})"
        for partition, offset in sorted(offsets.items())
    )


def _is_kept(rows: pa.Table, offsets: Offsets) -> pa.ChunkedArray:
    kept = pa.chunked_array([pa.repeat(True, len(rows))])
    for partition, offset in offsets.items():
        goes = pc.and_(
            pc.equal(rows["kafka_partition"], partition), pc.greater_equal(rows["kafka_offset"], offset)
        )
        kept = pc.and_(kept, pc.invert(goes.fill_null(False)))
    return kept
