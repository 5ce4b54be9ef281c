"""SQL over tables together with what is not in them yet: DuckDB over Iceberg metadata and Arrow tables.

A relation is a topic: its table as of one metadata file (`cold`), and the records from that table's marks on (`hot`),
converted by the same code that will write them. The two together are what the topic holds at the moment of the
question, each record once. Runs in the command's process; nothing is downloaded, DuckDB's extensions are packages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import duckdb
import pyarrow as pa

from broker.tiering.rows import RowBuilder
from protocol.columns import decode
from protocol.compression import READER_LIMIT_BYTES

if TYPE_CHECKING:
    from protocol.records import Buffer

EXTENSIONS: Final = ("avro", "iceberg")  # in this order: iceberg needs avro


class MissingExtension(Exception):
    """A package that a query needs is not installed; `str()` says which."""


@dataclass(slots=True)
class HotRows:
    """What is not in the table yet, in memory; `schema` is the table's, widened by what came."""

    builder: RowBuilder
    schema: pa.Schema
    rows: list[pa.Table] = field(default_factory=list)
    dead_letters: list[pa.Table] = field(default_factory=list)
    count: int = 0

    def add(self, partition: int, data: Buffer, start_offset: int, end_offset: int) -> int:
        """Convert the whole batches in `data`, records in [start_offset, end_offset) only; how many there were."""
        added = 0
        for columns in decode(data, READER_LIMIT_BYTES):
            for converted in self.builder.convert_in_parts(columns, partition, self.schema):
                self.schema = converted.schema
                for table, kept in ((converted.rows, self.rows), (converted.dead_letters, self.dead_letters)):
                    wanted = _between(table, start_offset, end_offset)
                    if len(wanted):
                        kept.append(wanted)
                        added += len(wanted)
        self.count += added
        return added


def _between(table: pa.Table, start_offset: int, end_offset: int) -> pa.Table:
    if not len(table):
        return table
    offsets = table["kafka_offset"]
    if offsets[0].as_py() >= start_offset and offsets[-1].as_py() < end_offset:
        return table
    import pyarrow.compute as pc

    return table.filter(pc.and_(pc.greater_equal(offsets, start_offset), pc.less(offsets, end_offset)))


@dataclass(frozen=True, slots=True)
class Relation:
    """One name in a query. `metadata_location` is None where the table does not exist yet."""

    name: str
    """The topic's."""
    table: str
    """`namespace.table`, a second name for it."""
    metadata_location: str | None
    hot: list[pa.Table]
    schema: pa.Schema
    """The columns if there is neither a table nor a row."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """For files that are not on this machine: PyIceberg's FileIO properties."""


class Database:
    """A DuckDB in memory with a view per relation. Close it, or use it in a `with`."""

    def __init__(self) -> None:
        self._duckdb = duckdb.connect(":memory:")
        self._duckdb.execute("SET TimeZone = 'UTC'")
        self._duckdb.execute("SET autoinstall_known_extensions = false")
        self._loaded = False
        self._registered = 0

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._duckdb.close()

    def columns(self, metadata_location: str | None, properties: Mapping[str, str]) -> pa.Schema | None:
        """The columns of a table, as the worker sees them; None without one."""
        if metadata_location is None:
            return None
        from pyiceberg.table import StaticTable

        from broker.tiering.schemas import arrow_schema

        return arrow_schema(StaticTable.from_metadata(metadata_location, dict(properties)).schema())

    def add(self, relation: Relation) -> None:
        """Make its views. Raises MissingExtension, and duckdb.Error for metadata that cannot be read."""
        parts = [*self._cold(relation), *self._hot(relation)]
        if not parts:
            parts = [self._register(relation.schema.empty_table())]
        body = " UNION ALL BY NAME ".join(f"SELECT * FROM {part}" for part in parts)
        self._duckdb.execute(f"CREATE VIEW {quoted(relation.name)} AS {body}")
        namespace, _, table = relation.table.rpartition(".")
        if namespace:
            self._duckdb.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(namespace)}")
            self._duckdb.execute(
                f"CREATE VIEW {quoted(namespace)}.{quoted(table)} AS FROM main.{quoted(relation.name)}"
            )

    def _cold(self, relation: Relation) -> Iterator[str]:
        location = relation.metadata_location
        if location is None:
            return
        path = local_path(location)
        if path is not None:
            self._load_extensions()
            yield f"iceberg_scan({literal(path)})"
            return
        from pyiceberg.table import StaticTable

        table = StaticTable.from_metadata(location, dict(relation.properties))
        yield self._register(table.scan().to_arrow())

    def _hot(self, relation: Relation) -> Iterator[str]:
        by_schema: dict[Any, list[pa.Table]] = {}
        for table in relation.hot:
            by_schema.setdefault(table.schema, []).append(table)
        for tables in by_schema.values():
            yield self._register(pa.concat_tables(tables))

    def _register(self, table: pa.Table) -> str:
        self._registered += 1
        name = f"__part_{self._registered}"
        self._duckdb.register(name, table)
        return name

    def _load_extensions(self) -> None:
        if not self._loaded:
            for name in EXTENSIONS:
                self._duckdb.load_extension(extension_path(name))
            self._loaded = True

    def query(self, sql: str, batch_rows: int = 10_000) -> tuple[list[str], Iterator[list[tuple[Any, ...]]]]:
        """The names of the columns, and the rows in batches. Raises duckdb.Error, also while rows are taken."""
        result = self._duckdb.execute(sql)
        names = [column[0] for column in result.description or ()]
        reader = result.to_arrow_reader(batch_rows)
        return names, (_tuples(batch) for batch in reader)


def _tuples(batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
    return list(zip(*(_values(column) for column in batch.columns), strict=True))


def _values(column: pa.Array) -> list[Any]:
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):  # nanoseconds, infinity, years that Python's date-times do not have
        return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> Any:
    """`as_py`, with text for what Python's types do not hold."""
    if not scalar.is_valid:
        return None
    if isinstance(scalar, pa.StructScalar):
        return {name: _value(one) for name, one in scalar.items()}
    if isinstance(scalar, pa.MapScalar):  # as_py gives pairs, too
        return [tuple(_value(entry).values()) for entry in scalar.values]
    if isinstance(scalar, (pa.ListScalar, pa.LargeListScalar, pa.FixedSizeListScalar)):
        return [_value(one) for one in scalar.values]
    try:
        return scalar.as_py()
    except OverflowError:
        return f"{scalar.value} ({scalar.type} since 1970)"
    except ValueError:
        return scalar.cast(pa.string()).as_py()


def quoted(identifier: str) -> str:
    """An SQL identifier, whatever is in it."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """An SQL string."""
    return "'" + text.replace("'", "''") + "'"


def local_path(location: str) -> str | None:
    """The path of a location on this machine's file system, None for any other."""
    parts = urlsplit(location)
    if parts.scheme == "file":
        return unquote(parts.path)
    return None if parts.scheme else location


def extension_path(name: str) -> str:
    """The file of a DuckDB extension in its package. Raises MissingExtension."""
    package = f"duckdb_extension_{name}"
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtension(f"the package duckdb-extension-{name} is not installed")
    folder = Path(next(iter(spec.submodule_search_locations)))
    found = sorted(folder.glob(f"extensions/v{duckdb.__version__}/{name}.duckdb_extension"))
    if not found:
        raise MissingExtension(
            f"the package duckdb-extension-{name} is for another DuckDB than {duckdb.__version__}"
        )
    return str(found[0])
