"""Rows taken back: what a table looks like without those from given offsets on.

One snapshot, not two as pyiceberg makes (files dropped, files rewritten): whoever rolls back to the first finds rows
that its mark denies.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.table.snapshots import Operation

from broker.tiering.data_files import DataFiles
from broker.tiering.snapshots import Change

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from broker.tiering.data_files import Target
    from broker.tiering.marks import Offsets


def without(iceberg: Table, target: Target, offsets: Offsets) -> Change:
    """The change that takes back these partitions' rows from their offset on. Writes the files that lose only a part
    of their rows, one after the other. Raises OSError."""
    base = iceberg.metadata.current_snapshot_id
    removed: set[str] = set()
    everything = ArrowScan(iceberg.metadata, iceberg.io, iceberg.schema(), AlwaysTrue())
    with closing(DataFiles()) as files:
        for task in iceberg.scan(row_filter=_filter(offsets)).plan_files():
            rows = everything.to_table([task])
            kept = rows.filter(_is_kept(rows, offsets))
            if len(kept) == len(rows):
                continue
            removed.add(task.file.file_path)
            files.append(target, kept)
        added = files.finish()
    if not removed:
        return Change(Operation.APPEND)
    return Change(Operation.OVERWRITE if added else Operation.DELETE, added, frozenset(removed), base)


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
