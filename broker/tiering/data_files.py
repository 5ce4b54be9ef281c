"""Rows as Parquet files of an Iceberg table: field ids, statistics, one file per partition value.

Rows come in pieces, sorted by partition and offset; a file stays open while pieces for it arrive, so that a commit
makes one file per hour rather than one per piece. Memory is bounded by the open files: at most OPEN_FILES, each of
which buffers one piece while it is written, with OPEN_CHUNKS of metadata in all.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.schema import Schema, sanitize_column_names
from pyiceberg.transforms import HourTransform
from pyiceberg.typedef import Record
from pyiceberg.types import IcebergType, ListType, MapType, StructType

from broker.tiering.local_files import told
from broker.tiering.retyping import FIELD_ID, by_position, retyped

if TYPE_CHECKING:
    from pyiceberg.io import FileIO
    from pyiceberg.partitioning import PartitionField, PartitionSpec

OPEN_FILES: Final = 16
"""Files of one commit that are written at the same time; a row for another closes the one that was used longest ago."""

OPEN_CHUNKS: Final = 1 << 14
"""Column chunks of the open files: each is about a kilobyte of metadata until its file is closed."""

TARGET_FILE_BYTES: Final = 512 << 20
"""A file that has grown to this is closed: Iceberg's write.target-file-size-bytes."""

ROW_GROUP_ROWS: Final = 1 << 20

COMPRESSION_LEVEL: Final = 1
"""zstd's: a third of the time of Iceberg's 3 for three percent more bytes; compaction writes the files again."""

SAMPLE_ROWS: Final = 1 << 13
"""Of a file's first rows, to see which columns repeat; files of fewer rows have dictionaries."""

VARIED: Final = 0.75
"""A column with more distinct values than this share of the sample has no dictionary: the file would hold nearly every
value in it, and the places beside. A tenth of the time of JSON events, and of the bytes."""

WITHOUT_DICTIONARY: Final = ("kafka_offset", "kafka_timestamp")
"""Columns of ours that hardly repeat: their dictionary costs a third of their time and twice their bytes."""

_US_PER_HOUR: Final = 3_600_000_000


class Target(Protocol):
    """What a file has to know of its table (`tables.FileTarget`)."""

    @property
    def schema(self) -> Schema: ...
    @property
    def spec(self) -> PartitionSpec: ...
    @property
    def sort_order_id(self) -> int | None: ...
    @property
    def io(self) -> FileIO: ...
    @property
    def properties(self) -> Mapping[str, str]: ...
    def new_path(self, partition_path: str, name: str) -> str: ...


def write(target: Target, rows: pa.Table) -> list[DataFile]:
    """All rows at once. Raises OSError."""
    with closing(DataFiles()) as files:
        files.append(target, rows)
        return files.finish()


class DataFiles:
    """The files of one commit, `opened` so far. `append` pieces, then `finish`.

    `close` gives up what is not finished, and deletes its files: nobody knows of them.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[Any, ...], _OpenFile] = {}  # the first was used longest ago
        self._finished: list[DataFile] = []
        self._begun: list[tuple[FileIO, str]] = []
        """Every file since the start that was not handed out."""
        self.opened = 0

    def append(self, target: Target, rows: pa.Table, max_new_files: int | None = None) -> int:
        """Rows under `target`'s schema or fewer of its columns. Raises OSError.

        How many rows were taken: all, or those before the one that would need a file beyond `max_new_files`.
        """
        if len(rows) == 0:
            return 0
        parts = _split(target, rows)
        if max_new_files is not None:
            taken = self._fitting(target, rows.schema, parts, max_new_files)
            if taken < len(rows):
                parts = _split(target, rows.slice(0, taken))
                rows = rows.slice(0, taken)
        for part in parts:
            self._append(target, part.partition, part.rows())
        return len(rows)

    def _fitting(self, target: Target, schema: pa.Schema, parts: list[_Part], max_new_files: int) -> int:
        """How many rows can be taken with so many new files."""
        for part in parts:
            if _key(target, schema, part.partition) not in self._open:
                if max_new_files <= 0:
                    return part.first_row
                max_new_files -= 1
        return sum(part.row_count for part in parts)

    def _append(self, target: Target, partition: tuple[Any, ...], rows: pa.Table) -> None:
        # A changed schema or spec makes a new file: one file has one of each.
        key = _key(target, rows.schema, partition)
        open_file = self._open.pop(key, None)
        if open_file is None:
            for other in [other for other in self._open if other[:3] != key[:3]]:
                self._close(other)  # columns only grow: no row comes for it any more
            while len(self._open) >= OPEN_FILES:
                self._close(next(iter(self._open)))
            open_file = self._begin(target, partition, rows)
        self._open[key] = open_file
        with told(open_file.path, "writing"):
            open_file.append(rows)
        if open_file.bytes_written() >= TARGET_FILE_BYTES:
            self._close(key)
        while sum(one.column_chunks for one in self._open.values()) > OPEN_CHUNKS:
            self._close(next(iter(self._open)))

    def _begin(self, target: Target, partition: tuple[Any, ...], rows: pa.Table) -> _OpenFile:
        values = Record(*partition)
        folder = target.spec.partition_to_path(values, target.schema) if partition else ""
        path = target.new_path(folder, f"{uuid.uuid4()}.parquet")
        self._begun.append((target.io, path))
        self.opened += 1
        with told(path, "writing"):
            return _OpenFile(target, path, values, rows)

    def complete(self) -> None:
        """Closes what is open, and hands out nothing yet. Raises OSError."""
        while self._open:
            self._close(next(iter(self._open)))

    def finish(self) -> list[DataFile]:
        """All files since the start, which are the caller's from now on. Raises OSError, after `complete` nothing."""
        self.complete()
        finished, self._finished = self._finished, []
        self._begun.clear()
        return finished

    def close(self) -> None:
        while self._open:
            _, open_file = self._open.popitem()
            open_file.close()
        self._finished.clear()
        while self._begun:
            io, path = self._begun.pop()
            with suppress(Exception):  # gone already, or orphan removal's; why it was given up matters more
                io.delete(path)

    def _close(self, key: tuple[Any, ...]) -> None:
        open_file = self._open[key]
        with told(open_file.path, "writing"):
            self._finished.append(open_file.finish())
        del self._open[key]


class _OpenFile:
    def __init__(self, target: Target, path: str, partition: Record, first_rows: pa.Table) -> None:
        self._target = target
        self._partition = partition
        self.column_chunks = 0
        self.path = path
        self._schema = sanitize_column_names(target.schema)
        self._arrow_schema = _with_field_ids(first_rows.schema, target.schema, self._schema)
        self._ids_by_path = parquet_path_to_id_mapping(self._schema)
        self._stream: Any = target.io.new_output(path).create()
        properties = target.properties
        self._writer = pq.ParquetWriter(
            self._stream,
            self._arrow_schema,
            use_dictionary=self._with_dictionary(first_rows),
            compression=properties.get("write.parquet.compression-codec", "zstd"),
            compression_level=int(properties.get("write.parquet.compression-level", COMPRESSION_LEVEL)),
            store_decimal_as_integer=True,
        )

    def _with_dictionary(self, rows: pa.Table) -> list[str]:
        """The paths of the columns that get one, as far as these rows tell."""
        without = set(WITHOUT_DICTIONARY)
        if len(rows) >= SAMPLE_ROWS:
            sample = rows.slice(0, SAMPLE_ROWS)
            for column, field in zip(sample.columns, self._arrow_schema, strict=True):
                without |= set(_varied(column, field.type, field.name))
        return [path for path in self._ids_by_path if path not in without]

    def append(self, rows: pa.Table) -> None:
        self.column_chunks += len(self._ids_by_path)
        columns = [
            pa.chunked_array([retyped(chunk, field.type, by_position) for chunk in column.chunks], field.type)
            for column, field in zip(rows.columns, self._arrow_schema, strict=True)
        ]
        self._writer.write_table(pa.table(columns, schema=self._arrow_schema), row_group_size=ROW_GROUP_ROWS)

    def bytes_written(self) -> int:
        return int(self._stream.tell())

    def finish(self) -> DataFile:
        try:
            self._writer.close()
            size = self.bytes_written()
        finally:
            self._stream.close()
        statistics = data_file_statistics_from_parquet_metadata(
            parquet_metadata=self._writer.writer.metadata,
            stats_columns=compute_statistics_plan(self._schema, dict(self._target.properties)),
            parquet_column_mapping=self._ids_by_path,
        )
        file = DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=self.path,
            file_format=FileFormat.PARQUET,
            partition=self._partition,
            file_size_in_bytes=size,
            sort_order_id=self._target.sort_order_id,
            equality_ids=None,
            key_metadata=None,
            **statistics.to_serialized_dict(),
        )
        file.spec_id = self._target.spec.spec_id  # not one of the arguments
        return file

    def close(self) -> None:
        """Gives it up: what cannot be written any more does not matter."""
        for one in (self._writer, self._stream):
            with suppress(OSError, ValueError, pa.ArrowException):
                one.close()


def _varied(column: pa.ChunkedArray, kind: pa.DataType, path: str) -> Iterator[str]:
    """The paths, as in the file, of columns whose values hardly repeat; what lies in lists is not looked at."""
    if pa.types.is_struct(kind):
        for part, field in zip(column.flatten(), kind, strict=True):
            yield from _varied(part, field.type, f"{path}.{field.name}")
    elif not pa.types.is_nested(kind):
        there = len(column) - column.null_count
        if there >= SAMPLE_ROWS // 2 and pc.count_distinct(column).as_py() > VARIED * there:
            yield path


def _key(target: Target, schema: pa.Schema, partition: tuple[Any, ...]) -> tuple[Any, ...]:
    return (target.schema.schema_id, target.spec.spec_id, schema, partition)


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of one partition value; `places` of all rows means all of `table`."""

    partition: tuple[Any, ...]
    table: pa.Table
    places: np.ndarray[tuple[int], np.dtype[np.int64]] | None = None

    @property
    def first_row(self) -> int:
        return 0 if self.places is None else int(self.places[0])

    @property
    def row_count(self) -> int:
        return len(self.table) if self.places is None else len(self.places)

    def rows(self) -> pa.Table:
        return self.table if self.places is None else self.table.take(pa.array(self.places))


def _split(target: Target, rows: pa.Table) -> list[_Part]:
    """Rows by their partition values, in the order of their first row; order within stays."""
    fields = target.spec.fields
    if not fields:
        return [_Part((), rows)]
    encoded = [_transformed(target, field, rows).dictionary_encode("encode") for field in fields]
    if all(len(column.dictionary) == 1 for column in encoded):
        return [_Part(_partition_of(encoded, 0), rows)]
    codes = np.stack([column.indices.to_numpy() for column in encoded])
    _, first_rows, groups = np.unique(codes, axis=1, return_index=True, return_inverse=True)
    order = np.argsort(groups, kind="stable")
    ends = np.cumsum(np.bincount(groups))
    parts = []
    for group in np.argsort(first_rows).tolist():
        places = order[ends[group - 1] if group else 0 : ends[group]]
        parts.append(_Part(_partition_of(encoded, int(places[0])), rows, places))
    return parts


def _partition_of(encoded: list[pa.DictionaryArray], row: int) -> tuple[Any, ...]:
    return tuple(column[row].as_py() for column in encoded)


def _transformed(target: Target, field: PartitionField, rows: pa.Table) -> pa.Array:
    name = target.schema.find_column_name(field.source_id)
    assert name is not None
    if name.partition(".")[0] not in rows.column_names:
        return pa.nulls(len(rows), pa.int32())
    head, *path = name.split(".")
    column = rows[head].combine_chunks()
    if path:
        column = pc.struct_field(column, path)
    if isinstance(field.transform, HourTransform):
        hours = np.floor_divide(column.cast(pa.int64()).fill_null(0).to_numpy(), _US_PER_HOUR)
        return pa.array(hours.astype(np.int32), mask=column.is_null().to_numpy(zero_copy_only=False))
    transformed = field.transform.pyarrow_transform(target.schema.find_type(field.source_id))(column)
    return transformed.cast(pa.int32()) if pa.types.is_date32(transformed.type) else transformed


def _with_field_ids(arrow: pa.Schema, schema: Schema, file_schema: Schema) -> pa.Schema:
    return pa.schema(_identified(list(arrow), schema.as_struct(), file_schema.as_struct()))


def _identified(fields: list[pa.Field], struct: StructType, file_struct: StructType) -> list[pa.Field]:
    ids = {field.name: field.field_id for field in struct.fields}
    in_file = {field.field_id: field for field in file_struct.fields}
    types = {field.field_id: field.field_type for field in struct.fields}
    found = []
    for field in fields:
        field_id = ids[field.name]
        kind = _typed(field.type, types[field_id], in_file[field_id].field_type)
        found.append(_field(in_file[field_id].name, kind, field_id, field.nullable))
    return found


def _typed(arrow: pa.DataType, kind: IcebergType, in_file: IcebergType) -> pa.DataType:
    if isinstance(kind, StructType):
        assert isinstance(in_file, StructType)
        return pa.struct(_identified([arrow.field(i) for i in range(arrow.num_fields)], kind, in_file))
    if isinstance(kind, ListType):
        assert isinstance(in_file, ListType)
        element = _typed(arrow.value_type, kind.element_type, in_file.element_type)
        return pa.list_(_field("element", element, kind.element_id, not kind.element_required))
    if isinstance(kind, MapType):
        assert isinstance(in_file, MapType)
        key = _typed(arrow.key_type, kind.key_type, in_file.key_type)
        item = _typed(arrow.item_type, kind.value_type, in_file.value_type)
        return pa.map_(
            _field("key", key, kind.key_id, False),
            _field("value", item, kind.value_id, not kind.value_required),
        )
    return arrow


def _field(name: str, kind: pa.DataType, field_id: int, nullable: bool) -> pa.Field:
    return pa.field(name, kind, nullable, metadata={FIELD_ID: str(field_id).encode()})
