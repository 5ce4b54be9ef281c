"""The rows of a data file under the table's columns of today, exactly as they are in the file.

PyIceberg's scan shows a null list inside a struct as an empty one, so what it shows must not be written back. Here
columns are matched by field id as the spec says ("Column Projection"), whoever wrote the file. Files that would need
more than that are refused: without field ids (name mapping), without a column that has a default or is a constant of
the file's partition, with types that nobody may have written. Delete files are the caller's matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.manifest import FileFormat
from pyiceberg.transforms import IdentityTransform

from broker.tiering.retyping import field_id, retyped

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

PIECE_ROWS: Final = 1 << 16
"""Rows that are read and projected at a time."""


class NotExact(Exception):
    """A file that is not read here; `str()` says why."""


class FileRows:
    """Reads files of one table, under its schema as it is now."""

    def __init__(self, iceberg: Table) -> None:
        self._io = iceberg.io
        schema = iceberg.schema()
        arrow = schema_to_pyarrow(schema, include_field_ids=True)
        self._schema = pa.schema([_narrow(field) for field in arrow])
        constants = {
            field.source_id
            for spec in iceberg.metadata.partition_specs
            for field in spec.fields
            if isinstance(field.transform, IdentityTransform)
        }
        self._needed = constants | {
            number
            for number, field in schema._lazy_id_to_field.items()
            if field.required or field.initial_default is not None
        }

    def read(self, file: DataFile) -> pa.Table:
        """All rows. Raises NotExact, OSError."""
        return pa.concat_tables(self.pieces(file)) if file.record_count else self._schema.empty_table()

    def pieces(self, file: DataFile, names: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows, or of them the columns `names`, at most PIECE_ROWS at a time. Raises NotExact, OSError."""
        if file.file_format != FileFormat.PARQUET:
            raise NotExact(f"a file in {file.file_format}")
        wanted = [field for field in self._schema if names is None or field.name in names]
        target = pa.struct(wanted)
        with self._io.new_input(file.file_path).open() as stream, pq.ParquetFile(stream) as parquet:
            self._require_ids(parquet.schema_arrow)
            numbers = {field_id(field) for field in wanted}
            there = [field.name for field in parquet.schema_arrow if field_id(field) in numbers]
            if not there:
                raise NotExact("none of the columns")
            try:
                for batch in parquet.iter_batches(PIECE_ROWS, columns=there, use_threads=False):
                    rows = retyped(batch.to_struct_array(), target, self._counterpart)
                    yield pa.Table.from_struct_array(rows)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
                raise NotExact(f"values that the columns of today do not take: {error}") from error

    def _counterpart(self, there: pa.StructType, place: int, field: pa.Field) -> int:
        number = field_id(field)
        for index in range(there.num_fields):
            if field_id(there.field(index)) == number:
                return index
        if number in self._needed:
            raise NotExact(f"no {field.name}, which has a value nevertheless")
        return -1

    def _require_ids(self, there: pa.Schema) -> None:
        if any(field_id(field) is None for field in _fields(there)):
            raise NotExact("columns without field ids")


def _fields(there: pa.Schema | pa.DataType) -> Iterator[pa.Field]:
    """All fields of structs in one another; what a list or a map holds has an id of its own in its parent's type."""
    fields = (
        list(there) if isinstance(there, pa.Schema) else [there.field(i) for i in range(there.num_fields)]
    )
    for field in fields:
        if isinstance(there, pa.MapType) and pa.types.is_struct(field.type):
            yield from _fields(field.type)  # the pair itself has no id
            continue
        yield field
        yield from _fields(field.type)


def _narrow(field: pa.Field) -> pa.Field:
    """With 32-bit offsets instead of PyIceberg's 64: pieces are small."""
    return field.with_type(_narrow_type(field.type))


def _narrow_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([_narrow(kind.field(index)) for index in range(kind.num_fields)])
    if pa.types.is_map(kind):
        return pa.map_(_narrow(kind.key_field), _narrow(kind.item_field))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_narrow(kind.value_field))
    if pa.types.is_large_string(kind):
        return pa.string()
    return pa.binary() if pa.types.is_large_binary(kind) else kind
