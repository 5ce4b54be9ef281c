"""SQL over tables together with what is not in them yet: DuckDB over Iceberg metadata and rows.

A relation is a topic: its table as of one metadata file (`cold`), and the records from that table's marks on (`hot`),
converted by the same code that will write them. The two together are what the topic holds at the moment of the
question, each record once. Runs in the command's process; nothing is downloaded, DuckDB's extensions are packages.
What only some questions need is imported when they do.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import duckdb
import pyarrow as pa

from broker.tiering import object_store
from broker.tiering.metadata_columns import UnknownColumns, columns_of
from broker.tiering.object_store import literal
from broker.tiering.spilled_rows import RowStore

if TYPE_CHECKING:
    from pyiceberg.table import StaticTable

    from broker.tiering.spilled_rows import Rows

Schema = pa.Schema
"""For annotations of those who do not import pyarrow."""

EXTENSIONS: Final = ("avro", "iceberg")  # in this order: iceberg needs avro


class MissingExtension(Exception):
    """A package that a query needs is not installed; `str()` says which."""


@dataclass(frozen=True, slots=True)
class Relation:
    """One name in a query. `metadata_location` is None where the table does not exist yet."""

    name: str
    """The topic's."""
    table: str
    """`namespace.table`, a second name for it."""
    metadata_location: str | None
    hot: Rows | None
    """Of this database's `store`."""
    schema: pa.Schema | None
    """The columns if there is neither a table nor a row."""
    properties: Mapping[str, str] = field(default_factory=dict)
    """For files that are not on this machine: PyIceberg's FileIO properties."""


class Database:
    """A DuckDB in memory with a view per relation. Close it, or use it in a `with`."""

    def __init__(self, store: RowStore | None = None) -> None:
        self.store = store or RowStore()
        self._duckdb = duckdb.connect(":memory:")
        self._duckdb.execute("SET TimeZone = 'UTC'")
        self._duckdb.execute("SET autoinstall_known_extensions = false")
        self._loaded: set[str] = set()
        self._secrets: set[str] = set()
        self._registered = 0

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget everything, temporary files too."""
        self._duckdb.close()
        self.store.close()

    def columns(self, metadata_location: str | None, properties: Mapping[str, str]) -> pa.Schema | None:
        """The columns of a table, as the worker sees them; None without one.

        Raises OSError and duckdb.Error for files that cannot be read.
        """
        if metadata_location is None:
            return None
        try:
            return columns_of(json.loads(self._metadata(metadata_location, properties)))
        except (UnknownColumns, ValueError, KeyError):
            from broker.tiering.schemas import arrow_schema

            return arrow_schema(_static_table(metadata_location, properties).schema())

    def _metadata(self, location: str, properties: Mapping[str, str]) -> bytes | str:
        """The text of a metadata file. Raises UnknownColumns where it is for pyiceberg to read."""
        path = local_path(location)
        if path is not None:
            data = Path(path).read_bytes()
            return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        if ".gz." in location or not self.reaches(location, properties):
            raise UnknownColumns(location)
        found = self._duckdb.execute(f"SELECT content FROM read_text({literal(location)})").fetchone()
        return str(found[0]) if found else ""

    def add(self, relation: Relation) -> None:
        """Make its views. Raises MissingExtension, NoRoom, and duckdb.Error for metadata that cannot be read."""
        parts = [*self._cold(relation), *self._rows(relation.hot)]
        if not parts:
            assert relation.schema is not None
            parts = [f"SELECT * FROM {self._register(relation.schema.empty_table())}"]
        self._duckdb.execute(f"CREATE VIEW {quoted(relation.name)} AS {' UNION ALL BY NAME '.join(parts)}")
        namespace, _, table = relation.table.rpartition(".")
        if namespace:
            self._duckdb.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(namespace)}")
            self._duckdb.execute(
                f"CREATE VIEW {quoted(namespace)}.{quoted(table)} AS FROM main.{quoted(relation.name)}"
            )

    def add_name(self, name: str) -> None:
        """A view for SHOW TABLES alone."""
        self._duckdb.execute(f"CREATE VIEW {quoted(name)} AS SELECT 0 AS kafka_offset WHERE false")

    def _cold(self, relation: Relation) -> Iterator[str]:
        location = relation.metadata_location
        if location is None:
            return
        path = local_path(location)
        if path is None and not self.reaches(location, relation.properties):
            yield from self._rows(self._all_of(location, relation.properties))
            return
        self.load(*EXTENSIONS)
        yield f"SELECT * FROM iceberg_scan({literal(path or location)})"

    def reaches(self, location: str, properties: Mapping[str, str]) -> bool:
        """Whether DuckDB reads from there by itself; tells it how."""
        secret = object_store.duckdb_secret(location, properties)
        if secret is None:
            return False
        try:
            self.load("httpfs")
        except MissingExtension:
            return False
        if secret not in self._secrets:
            self._duckdb.execute(secret)
            self._secrets.add(secret)
        return True

    def _all_of(self, location: str, properties: Mapping[str, str]) -> Rows:
        """A whole table, by way of pyiceberg, which knows more object stores than DuckDB."""
        rows = self.store.rows()
        for batch in _static_table(location, properties).scan().to_arrow_batch_reader():
            rows.add(pa.Table.from_batches([batch]))
        return rows

    def _rows(self, rows: Rows | None) -> Iterator[str]:
        if rows is None:
            return
        for table in rows.in_memory():
            yield f"SELECT * FROM {self._register(table)}"
        for schema, paths in rows.files():
            self._spill_to(paths[0].parent)
            files = f"read_parquet([{', '.join(literal(str(path)) for path in paths)}])"
            yield self._select_as(self._register(schema.empty_table()), files)

    def _select_as(self, wanted: str, there: str) -> str:
        """The rows of `there` with the types of `wanted`: what Arrow and Parquet say differs for times of the day."""
        types = [self._duckdb.execute(f"DESCRIBE SELECT * FROM {one}").fetchall() for one in (wanted, there)]
        columns = [
            quoted(now[0])
            if now[1] == then[1]
            else f"CAST({quoted(now[0])} AS {then[1]}) AS {quoted(now[0])}"
            for then, now in zip(*types, strict=True)
        ]
        return f"SELECT {', '.join(columns)} FROM {there}"

    def _spill_to(self, folder: Path) -> None:
        """What DuckDB itself does not keep in memory goes there, too, not to where the command was started."""
        self._duckdb.execute(f"SET temp_directory = {literal(str(folder / 'duckdb'))}")

    def _register(self, table: pa.Table) -> str:
        self._registered += 1
        name = f"__part_{self._registered}"
        self._duckdb.register(name, table)
        return name

    def load(self, *extensions: str) -> None:
        """Raises MissingExtension."""
        for name in extensions:
            if name not in self._loaded:
                self._duckdb.load_extension(extension_path(name))
                self._loaded.add(name)

    def query(self, sql: str, batch_rows: int = 10_000) -> tuple[list[str], Iterator[list[tuple[Any, ...]]]]:
        """The names of the columns, and the rows in batches. Raises duckdb.Error, also while rows are taken."""
        result = self._duckdb.execute(sql)
        names = [column[0] for column in result.description or ()]
        reader = result.to_arrow_reader(batch_rows)
        return names, (_tuples(batch) for batch in reader)


def _static_table(location: str, properties: Mapping[str, str]) -> StaticTable:
    from pyiceberg.table import StaticTable

    return StaticTable.from_metadata(location, dict(properties))


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
