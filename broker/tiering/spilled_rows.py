"""Rows in bounded memory: the last ones as Arrow tables, those before them in Parquet files that only DuckDB reads.

The files are of this process alone, in a folder that goes with it, so they have what is cheap to write (LZ4) and no
statistics beyond those that come for nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

MEMORY_BYTES: Final = 64 << 20
"""Of the rows of all relations of a query, as Arrow has them."""

ROW_GROUP_ROWS: Final = 122_880
"""DuckDB reads a group of this size in one thread."""

Parts = dict[Any, list[pa.Table]]


class NoRoom(Exception):
    """Rows cannot be put aside; `str()` says where and why."""


class RowStore:
    """Where the `Rows` of one query share their memory, and the folder of what does not fit into it."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self._memory_bytes = memory_bytes
        self._in_memory = 0
        self._rows: list[Rows] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._files = 0

    def close(self) -> None:
        """Forget everything, files too."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def rows(self) -> Rows:
        """An empty collection of rows."""
        made = Rows(self)
        self._rows.append(made)
        return made

    def folder(self) -> Path:
        """In the system's place for temporary files (TMPDIR); made when it is needed. Raises NoRoom."""
        if self._folder is None:
            try:
                self._folder = tempfile.TemporaryDirectory(prefix="floe-sql-", ignore_cleanup_errors=True)
            except OSError as error:
                raise NoRoom(f"there is no folder for temporary files: {error}") from error
        return Path(self._folder.name)

    def took(self, count: int) -> None:
        """So many bytes more are in memory: where these are too many, all go to files. Raises NoRoom."""
        self._in_memory += count
        if self._in_memory > self._memory_bytes:
            for rows in self._rows:
                rows.put_aside()
            self._in_memory = 0

    def new_file(self) -> Path:
        self._files += 1
        return self.folder() / f"{self._files}.parquet"


class Rows:
    """Rows whose columns may differ from piece to piece."""

    def __init__(self, store: RowStore) -> None:
        self._store = store
        self._parts: Parts = {}
        self._files: dict[Any, list[Path]] = {}

    def add(self, table: pa.Table) -> None:
        """Keep a piece. Raises NoRoom."""
        self._parts.setdefault(table.schema, []).append(table)
        self._store.took(table.get_total_buffer_size())

    def in_memory(self) -> Iterator[pa.Table]:
        """What is not in `files`, one table for each schema. Now it is the taker's: these rows take no more."""
        parts, self._parts = self._parts, {}
        return (pa.concat_tables(tables) for tables in parts.values())

    def files(self) -> Iterator[tuple[pa.Schema, list[Path]]]:
        """Parquet files, all of one schema together."""
        return iter(self._files.items())

    def put_aside(self) -> None:
        """Write what is in memory to files. Raises NoRoom."""
        for schema, tables in self._parts.items():
            path = self._store.new_file()
            _write(path, pa.concat_tables(tables))
            self._files.setdefault(schema, []).append(path)
        self._parts = {}


def _write(path: Path, table: pa.Table) -> None:
    import pyarrow.parquet as pq

    try:
        pq.write_table(table, path, row_group_size=ROW_GROUP_ROWS, compression="lz4", store_schema=False)
    except OSError as error:
        raise NoRoom(f"rows that are not in memory cannot be put aside in {path.parent}: {error}") from error
