"""What others read: DuckDB and PyIceberg, after commits, evolution, merging and expiry."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from pyiceberg.table import StaticTable

from broker.tiering import data_files, rows
from broker.tiering.maintenance import Maintenance, MaintenanceSettings
from tests.broker.tiering.sample_records import of_values
from tests.broker.tiering.tables_of_tests import START_US, catalog, open_table, put


def _duckdb() -> duckdb.DuckDBPyConnection:
    """With the extensions that are packages of their own: nothing is downloaded."""
    connection = duckdb.connect()
    for name in ("avro", "iceberg"):
        package = importlib.util.find_spec(f"duckdb_extension_{name}")
        assert package is not None
        assert package.submodule_search_locations is not None
        [path] = Path(package.submodule_search_locations[0]).rglob(f"{name}.duckdb_extension")
        connection.execute(f"LOAD '{path}'")
    return connection


def test_engines_agree(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    table = open_table(made)
    engine = _duckdb()

    def counted() -> tuple[Any, ...]:
        """By both engines: rows, sum of offsets, distinct pairs."""
        query = (
            "SELECT count(*), sum(kafka_offset)::BIGINT, count(DISTINCT (kafka_partition, kafka_offset)) "
            f"FROM iceberg_scan('{table.metadata_location}')"
        )
        [found] = engine.execute(query).fetchall()
        read = StaticTable.from_metadata(table.metadata_location).scan().to_arrow()
        assert (len(read), sum(read["kafka_offset"].to_pylist())) == tuple(found[:2])
        assert found[0] == found[2]
        return tuple(found[:2])

    for index in range(20):
        put(
            table,
            {0: range(index * 5, index * 5 + 5), 1: range(index, index + 1)},
            START_US + index * 600_000_000,
        )
    expected = (120, sum(range(100)) + sum(range(20)))
    assert counted() == expected
    table.evolve(
        pa.schema(
            [pa.field("amount", pa.int32()), pa.field("who", pa.struct([pa.field("name", pa.string())]))]
        )
    )
    put(table, {0: range(100, 101)})
    assert counted() == (121, expected[1] + 100)
    keep = MaintenanceSettings(snapshot_keep=1, snapshot_expire_ms=0)
    done = Maintenance(table, keep).run(START_US // 1000 + (1 << 41), force=True)
    assert done.files_before > done.files_after > 0
    assert done.snapshots_expired > 10
    assert counted() == (121, expected[1] + 100)
    table.rewind({0: 90})
    assert counted() == (110, sum(range(90)) + sum(range(20)))


DOCUMENTS: list[dict[str, Any]] = [
    {
        "b": True,
        "i": 2**62,
        "d": 0.1,
        "s": "é\n",
        "l": [1, None],
        "o": {"l": [{"x": "y", "n": [[1.5]]}]},
        "a-b": 1,
    },
    {"b": None, "i": 1.5, "o": {"l": None, "s": {}}, "l": [], "a.b": {"c d": -1}, "B": "numbered"},
    {"o": {"l": [None, {"x": None, "z": 7}], "s": {"deep": [[], None, [1]]}}, "l": None, "d": 3},
    {},
    {"o": None, "l": [2**62], "é": [{"k": False}], "o2": {"q": [[["a"], None]]}},
]


def test_engines_read_every_type_that_documents_make(tmp_path: Path) -> None:
    """Each document in a commit of its own, so that files have fewer columns than the table; then merged."""
    made = catalog(tmp_path)
    table = open_table(made, initial=rows.initial_schema(rows.JSON, rows.RAW))
    builder = rows.RowBuilder(rows.JSON)
    for offset, document in enumerate(DOCUMENTS):
        converted = builder.convert(
            of_values([json.dumps(document).encode()], offset), 0, table.arrow_schema()
        )
        table.evolve(converted.schema)
        table.commit(data_files.write(table.target(), converted.rows), {0: offset + 1})
    engine = _duckdb()
    for is_merged in (False, True):
        read = engine.execute(
            f"SELECT * FROM iceberg_scan('{table.metadata_location}') ORDER BY kafka_offset"
        ).to_arrow_table()
        found = [without_nulls(row) for row in read.to_pylist()]
        expected: list[dict[str, Any]] = [*DOCUMENTS]
        expected[1] = {**DOCUMENTS[1], "i__double": 1.5, "B__2": "numbered"}
        del expected[1]["i"], expected[1]["B"]
        assert found == [without_nulls(row) for row in expected], is_merged
        Maintenance(table, MaintenanceSettings(expire=False)).run(START_US // 1000, force=True)


def without_nulls(row: Any) -> Any:
    """Fields that are null or a struct of nulls are as good as absent; a list keeps its elements."""
    if isinstance(row, list):
        return [without_nulls(part) for part in row]
    if not isinstance(row, dict):
        return row
    parts = {name: without_nulls(part) for name, part in row.items() if not name.startswith("kafka_")}
    return {name: part for name, part in parts.items() if part is not None and part != {}}
