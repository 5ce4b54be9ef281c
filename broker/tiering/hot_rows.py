"""Records that are not in their topic's table yet, as the rows that they will be there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from broker.tiering.rows import RowBuilder
from protocol.columns import decode
from protocol.compression import READER_LIMIT_BYTES

if TYPE_CHECKING:
    from broker.tiering.spilled_rows import RowStore
    from protocol.records import Buffer


class HotRows:
    """Rows and dead letters of one topic; `schema` is the table's, widened by what came."""

    def __init__(self, builder: RowBuilder, schema: pa.Schema, store: RowStore) -> None:
        self._builder = builder
        self.schema = schema
        self.rows = store.rows()
        self.dead_letters = store.rows()
        self.count = 0

    def add(self, partition: int, data: Buffer, start_offset: int, end_offset: int) -> int:
        """Convert the whole batches in `data`, records in [start_offset, end_offset) only; how many there were.

        Raises NoRoom (`spilled_rows`).
        """
        added = 0
        for columns in decode(data, READER_LIMIT_BYTES):
            for converted in self._builder.convert_in_parts(columns, partition, self.schema):
                self.schema = converted.schema
                for table, kept in ((converted.rows, self.rows), (converted.dead_letters, self.dead_letters)):
                    wanted = _between(table, start_offset, end_offset)
                    if len(wanted):
                        kept.add(wanted)
                        added += len(wanted)
        self.count += added
        return added


def _between(table: pa.Table, start_offset: int, end_offset: int) -> pa.Table:
    if not len(table):
        return table
    offsets = table["kafka_offset"]
    if offsets[0].as_py() >= start_offset and offsets[-1].as_py() < end_offset:
        return table
    return table.filter(pc.and_(pc.greater_equal(offsets, start_offset), pc.less(offsets, end_offset)))
