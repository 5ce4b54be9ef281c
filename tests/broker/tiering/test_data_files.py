"""Parquet files that Iceberg's readers understand: split, ordered, with bounds."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from broker.tiering import data_files, rows
from protocol.records import Record
from tests.broker.tiering.sample_records import TableTarget, append, as_columns, make_table

HOUR_MS = 3_600_000
START_MS = 472_222 * HOUR_MS


def some_rows(count: int, base_offset: int = 0, hours: int = 1) -> pa.Table:
    source = [
        Record(
            timestamp=START_MS + at % hours * HOUR_MS, key=b"k%d" % at, value=b"v" * 40, headers=[("h", b"x")]
        )
        for at in range(count)
    ]
    schema = rows.initial_schema(rows.RAW, rows.RAW)
    return rows.RowBuilder().convert(as_columns(source, base_offset), 3, schema).rows


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = some_rows(1000, hours=3)
    table = make_table(tmp_path, written.schema)
    files = data_files.write(TableTarget(table), written)
    append(table, files)
    assert sorted(file.partition[0] for file in files) == [472_222, 472_223, 472_224]
    assert sum(file.record_count for file in files) == 1000
    read = table.scan().to_arrow().sort_by("kafka_offset")
    assert read.to_pylist() == written.to_pylist()


def test_statistics_let_a_scan_skip_files(tmp_path: Path) -> None:
    table = make_table(tmp_path, some_rows(1).schema)
    for base_offset in (0, 100, 200):
        append(table, data_files.write(TableTarget(table), some_rows(100, base_offset)))
    assert len(list(table.scan().plan_files())) == 3
    assert len(list(table.scan(row_filter="kafka_offset >= 150 and kafka_offset < 160").plan_files())) == 1
    assert len(list(table.scan(row_filter="kafka_timestamp < '2000-01-01T00:00:00+00:00'").plan_files())) == 0
    [metrics] = {
        str(one["readable_metrics"]["value"]["upper_bound"]) for one in table.inspect.files().to_pylist()
    }
    assert len(metrics) < 40  # bounds of long values are truncated


def test_columns_carry_the_field_ids_of_the_table(tmp_path: Path) -> None:
    table = make_table(tmp_path, some_rows(1).schema)
    [file] = data_files.write(TableTarget(table), some_rows(10))
    with pq.ParquetFile(file.file_path.removeprefix("file://")) as parquet:
        ids = {field.name: int(field.metadata[b"PARQUET:field_id"]) for field in parquet.schema_arrow}
        assert parquet.metadata.row_group(0).column(0).compression == "ZSTD"
        assert parquet.metadata.row_group(0).num_columns == len(ids) + 1
    assert ids == {field.name: field.field_id for field in table.schema().fields}


def test_pieces_of_one_hour_share_a_file_and_stay_in_order(tmp_path: Path) -> None:
    table = make_table(tmp_path, some_rows(1).schema)
    writer = data_files.DataFiles()
    for base_offset in (0, 100, 200):
        writer.append(TableTarget(table), some_rows(100, base_offset, hours=2))
    files = writer.finish()
    assert len(files) == 2
    for file in files:
        offsets = pq.read_table(file.file_path.removeprefix("file://"))["kafka_offset"].to_pylist()
        assert offsets == sorted(offsets) and len(offsets) == 150


def test_many_hours_do_not_keep_many_files_open(tmp_path: Path) -> None:
    hours = data_files.OPEN_FILES + 9
    table = make_table(tmp_path, some_rows(1).schema)
    files = data_files.write(TableTarget(table), some_rows(3 * hours, hours=hours))
    assert len({file.file_path for file in files}) == hours
    append(table, files)
    assert sorted(table.scan().to_arrow()["kafka_offset"].to_pylist()) == list(range(3 * hours))


def test_a_table_without_partitions_gets_one_file(tmp_path: Path) -> None:
    table = make_table(tmp_path, some_rows(1).schema, hourly=False)
    [file] = data_files.write(TableTarget(table), some_rows(50, hours=5))
    assert file.record_count == 50


def test_nothing_is_written_for_no_rows(tmp_path: Path) -> None:
    table = make_table(tmp_path, some_rows(1).schema)
    assert data_files.write(TableTarget(table), some_rows(1).slice(0, 0)) == []


@pytest.mark.parametrize("missing", [True, False])
def test_rows_without_a_timestamp_have_their_own_partition(tmp_path: Path, missing: bool) -> None:
    schema = rows.initial_schema(rows.RAW, rows.RAW)
    source = [Record(timestamp=-1 if missing else 0, value=b"v")]
    table = make_table(tmp_path, schema)
    converted = rows.RowBuilder().convert(as_columns(source), 0, schema)
    [file] = data_files.write(TableTarget(table), converted.rows)
    assert file.partition[0] == (None if missing else 0)


def test_nested_columns_and_names_that_files_cannot_hold(tmp_path: Path) -> None:
    kind = pa.struct([pa.field("x-y", pa.large_list(pa.struct([pa.field("z z", pa.int64())])))])
    documents = [{"x-y": [{"z z": 1}, {"z z": None}]}, None, {"x-y": None}, {"x-y": []}, {"x-y": [None]}]
    pairs = [[("k", 1)], None, [], [("a", None), ("b", 2)], []]
    written = pa.table(
        {
            "kafka_timestamp": pa.array([0] * 5, pa.timestamp("us", tz="UTC")),
            "a.b": pa.array(documents, kind),
            "m": pa.array(pairs, pa.map_(pa.string(), pa.int64())),
        }
    )
    table = make_table(tmp_path, written.schema)
    [file] = data_files.write(TableTarget(table), written.slice(1))
    # Read as a file: PyIceberg's scan shows a null list inside a struct as an empty one.
    in_file = repr(pq.read_table(file.file_path.removeprefix("file://"), partitioning=None).to_pylist())
    assert in_file.replace("_x2E", ".").replace("_x2D", "-").replace("_x20", " ") == repr(
        written.slice(1).to_pylist()
    )
    append(table, [file])
    assert table.scan().to_arrow()["m"].to_pylist() == written["m"].to_pylist()[1:]


def test_files_are_taken_up_to_a_number_and_rows_up_to_the_first_that_needs_more(tmp_path: Path) -> None:
    written = some_rows(100, hours=10)
    table = make_table(tmp_path, written.schema)
    with closing(data_files.DataFiles()) as files:
        assert files.append(TableTarget(table), written, max_new_files=4) == 4
        assert files.append(TableTarget(table), written.slice(4), max_new_files=0) == 0
        assert files.append(TableTarget(table), written.slice(40, 5), max_new_files=0) == 4
        assert files.opened == 4
        assert sum(file.record_count for file in files.finish()) == 8


def test_a_file_is_closed_when_the_columns_have_changed(tmp_path: Path) -> None:
    """Rows do not lose columns again, and wide tables have large footers."""
    written = some_rows(10)
    table = make_table(tmp_path, written.schema)
    with closing(data_files.DataFiles()) as files:
        files.append(TableTarget(table), written.drop_columns(["value"]))
        files.append(TableTarget(table), written)
        files.append(TableTarget(table), written)
        assert [file.record_count for file in files.finish()] == [10, 20]


def test_columns_that_hardly_repeat_have_no_dictionary(tmp_path: Path) -> None:
    count = data_files.SAMPLE_ROWS * 2
    documents = [
        b'{"id":%d,"kind":"%d","at":{"unique":"%d","shop":%d}}' % (at, at % 9, at, at % 50)
        for at in range(count)
    ]
    source = as_columns([Record(timestamp=START_MS, value=value) for value in documents])
    converted = rows.RowBuilder(rows.JSON).convert(source, 0, rows.initial_schema(rows.JSON, rows.RAW))
    table = make_table(tmp_path, converted.schema)
    [file] = data_files.write(TableTarget(table), converted.rows)
    group = pq.read_metadata(file.file_path.removeprefix("file://")).row_group(0)
    columns = [group.column(index) for index in range(group.num_columns)]
    with_dictionary = {one.path_in_schema for one in columns if one.has_dictionary_page}
    assert {"kind", "at.shop", "kafka_partition"} <= with_dictionary
    assert not {"id", "at.unique", "kafka_offset"} & with_dictionary
    append(table, [file])
    assert table.scan().to_arrow().select(["id", "at"]).equals(converted.rows.select(["id", "at"]))
