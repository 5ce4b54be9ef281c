"""Record columns and a real Iceberg table for the tests of rows and files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table
from pyiceberg.transforms import HourTransform

from protocol import columns, records
from protocol.columns import RecordColumns
from protocol.records import Record

LIMIT = 1 << 26


def as_columns(source: Sequence[Record], base_offset: int = 0) -> RecordColumns:
    [piece] = columns.decode(records.build(source, base_offset=base_offset), LIMIT)
    return piece


def of_values(values: Iterable[bytes | None], base_offset: int = 0) -> RecordColumns:
    return as_columns([Record(timestamp=1_700_000_000_000, value=value) for value in values], base_offset)


def make_table(folder: Path, schema: pa.Schema, hourly: bool = True) -> Table:
    catalog = SqlCatalog("floe", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")
    catalog.create_namespace("floe")
    table = catalog.create_table("floe.events", schema=schema)
    if hourly:
        with table.update_spec() as update:
            update.add_field("kafka_timestamp", HourTransform(), "kafka_timestamp_hour")
    return catalog.load_table("floe.events")


class TableTarget:
    """A table as `data_files.write` wants it."""

    sort_order_id = None

    def __init__(self, table: Table) -> None:
        self.schema = table.schema()
        self.spec = table.spec()
        self.io = table.io
        self.properties = dict(table.properties)
        self._location = table.location()

    def new_path(self, partition_path: str, name: str) -> str:
        return "/".join(part for part in (self._location, "data", partition_path, name) if part)


def append(table: Table, files: Iterable[Any]) -> None:
    with table.transaction() as transaction, transaction.update_snapshot().fast_append() as snapshot:
        for file in files:
            snapshot.append_data_file(file)
