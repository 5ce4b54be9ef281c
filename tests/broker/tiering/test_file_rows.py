"""Rows that are merged or kept when others are taken back: as they were written, nulls where there were nulls."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.manifest import DataFile
from pyiceberg.types import DoubleType, LongType, StringType

from broker.tiering import data_files, rows
from broker.tiering.file_rows import FileRows, NotExact
from broker.tiering.maintenance import Maintenance, MaintenanceSettings
from broker.tiering.tables import TopicTable
from tests.broker.tiering.sample_records import TableTarget, make_table, of_values
from tests.broker.tiering.tables_of_tests import START_US, catalog, open_table

names = st.sampled_from(["a", "b", "a-b", "a.b", "é"])
kinds = st.recursive(
    st.sampled_from([pa.bool_(), pa.int64(), pa.float64(), pa.string()]),
    lambda inner: (
        inner.map(pa.list_)
        | st.dictionaries(names, inner, min_size=1, max_size=3).map(lambda d: pa.struct([*d.items()]))
    ),
    max_leaves=6,
)


def value_of(kind: pa.DataType) -> st.SearchStrategy[Any]:
    if pa.types.is_struct(kind):
        parts = {kind.field(index).name: value_of(kind.field(index).type) for index in range(kind.num_fields)}
        return st.none() | st.fixed_dictionaries({}, optional=parts)
    if pa.types.is_list(kind):
        return st.none() | st.lists(value_of(kind.value_type), max_size=3)
    scalars: dict[pa.DataType, st.SearchStrategy[Any]] = {
        pa.bool_(): st.booleans(),
        pa.int64(): st.integers(-(2**63), 2**63 - 1),
        pa.float64(): st.floats(-1e9, 1e9),
        pa.string(): st.text(st.characters(codec="utf-8"), max_size=3),
    }
    return st.none() | scalars[kind]


documents = st.dictionaries(names, kinds, min_size=1, max_size=4).flatmap(
    lambda fields: st.lists(
        st.fixed_dictionaries({}, optional={name: value_of(kind) for name, kind in fields.items()}),
        max_size=4,
    )
)


def in_files(made: Any) -> list[dict[str, Any]]:
    """What the table's files hold, read as files: columns that a file does not have are left out, as are nulls."""
    found: list[dict[str, Any]] = []
    for task in made.load_table("floe.orders").scan().plan_files():
        found += pq.read_table(task.file.file_path.removeprefix("file://"), partitioning=None).to_pylist()
    return [stripped(row) for row in sorted(found, key=lambda row: row["kafka_offset"])]


def stripped(value: Any) -> Any:
    """Without fields that are null: a file from before a field came does not have it."""
    if isinstance(value, dict):
        return {name: stripped(part) for name, part in value.items() if part is not None}
    return [stripped(part) for part in value] if isinstance(value, list) else value


def commit(table: TopicTable, builder: rows.RowBuilder, values: list[dict[str, Any]], offset: int) -> None:
    texts: list[bytes | None] = [json.dumps(value).encode() for value in values]
    converted = builder.convert(of_values(texts, offset), 0, table.arrow_schema())
    table.evolve(converted.schema)
    table.commit(data_files.write(table.target(), converted.rows), {0: offset + len(values)})


@settings(max_examples=400 if os.environ.get("FLOE_SOAK") else 12, deadline=None)
@given(st.lists(documents.filter(bool), min_size=2, max_size=4), st.integers(0, 12))
def test_merged_and_kept_rows_are_what_was_written(pieces: list[list[dict[str, Any]]], cut: int) -> None:
    """Documents that evolve from commit to commit; then a rewind in the middle of a file, then a merge."""
    with tempfile.TemporaryDirectory() as folder:
        made = catalog(Path(folder))
        table = open_table(made, initial=rows.initial_schema(rows.JSON, rows.RAW))
        builder = rows.RowBuilder(rows.JSON)
        for piece in pieces:
            commit(table, builder, piece, table.marks().get(0, 0))
        written = in_files(made)
        table.rewind({0: cut})
        written = [row for row in written if row["kafka_offset"] < cut]
        assert in_files(made) == written
        keep = MaintenanceSettings(expire=False, orphans=False)
        Maintenance(table, keep).run(START_US // 1000, force=True)
        assert in_files(made) == written


def test_a_null_list_in_a_struct_stays_null(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    table = open_table(made, initial=rows.initial_schema(rows.JSON, rows.RAW))
    documents = [
        {"o": {"l": [1], "s": {"m": [{"x": "y"}]}}},
        {"o": {"l": None, "s": {"m": None}}},
        {"o": {"l": []}},
    ]
    for offset, document in enumerate([*documents, {"o": {"new": 1}}]):
        commit(table, rows.RowBuilder(rows.JSON), [document], offset)
    done = Maintenance(table, MaintenanceSettings()).run(START_US // 1000, force=True)
    assert (done.files_before, done.files_after) == (4, 1)
    [path] = [task.file.file_path for task in made.load_table("floe.orders").scan().plan_files()]
    assert pq.read_table(path.removeprefix("file://"), partitioning=None)["o"].to_pylist() == [
        {"l": [1], "s": {"m": [{"x": "y"}]}, "new": None},
        {"l": None, "s": {"m": None}, "new": None},
        {"l": [], "s": None, "new": None},
        {"l": None, "s": None, "new": 1},
    ]


def _written(folder: Path, written: pa.Table) -> tuple[Any, DataFile]:
    table = make_table(folder, written.schema, hourly=False)
    [file] = data_files.write(TableTarget(table), written)
    return table, file


def test_columns_are_found_by_id_whatever_became_of_them(tmp_path: Path) -> None:
    """Renamed, moved, dropped, widened, new, also in structs, lists and maps."""
    kind = pa.struct([("x", pa.int32()), ("gone", pa.string()), ("m", pa.map_(pa.string(), pa.float32()))])
    values = [{"x": 1, "gone": "g", "m": [("k", 0.5)]}, None, {"x": None, "gone": None, "m": None}]
    table, file = _written(
        tmp_path,
        pa.table(
            {
                "i": pa.array([1, None, 3], pa.int32()),
                "l": pa.array([values, None, []], pa.list_(kind)),
                "z": [1, 2, 3],
            }
        ),
    )
    with table.update_schema(allow_incompatible_changes=True) as update:
        update.rename_column("i", "number").update_column("i", LongType())
        update.rename_column("l.x", "y")
        update.delete_column("l.element.gone")
        update.add_column(("l", "fresh"), StringType())
        update.move_first("z")
    with table.update_schema() as update:
        update.update_column("l.m.value", DoubleType())
    assert FileRows(table).read(file).to_pylist() == [
        {
            "z": 1,
            "number": 1,
            "l": [{"y": 1, "m": [("k", 0.5)], "fresh": None}, None, {"y": None, "m": None, "fresh": None}],
        },
        {"z": 2, "number": None, "l": None},
        {"z": 3, "number": 3, "l": []},
    ]
    [piece] = FileRows(table).pieces(file, ["number"])
    assert piece.to_pylist() == [{"number": 1}, {"number": None}, {"number": 3}]


def test_files_without_field_ids_are_refused(tmp_path: Path) -> None:
    written = pa.table({"a": [1]})
    table, file = _written(tmp_path, written)
    pq.write_table(written, file.file_path.removeprefix("file://"))
    with pytest.raises(NotExact, match="field ids"):
        FileRows(table).read(file)


def test_columns_that_are_constants_of_the_partition_are_refused(tmp_path: Path) -> None:
    table, file = _written(tmp_path, pa.table({"a": [1]}))
    with table.update_schema() as update:
        update.add_column("region", StringType())
    with table.update_spec() as spec:
        spec.add_identity("region")
    with pytest.raises(NotExact, match="region"):
        FileRows(table).read(file)
