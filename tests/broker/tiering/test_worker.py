"""Jobs on real files and a real catalog, without a process around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog import load_catalog

from broker.config import BrokerConfig
from broker.tiering.data_files import OPEN_FILES
from broker.tiering.settings import TableSettings
from broker.tiering.worker import MAX_FILES, TieringWorker
from protocol.records import BATCH_OVERHEAD, Record, RecordBatch, assemble, build, parse_batches
from tests import tables
from wal.errors import StorageFailed
from wal.flusher import Flusher
from wal.log import Log, LogConfig
from wal.storage import FileStorage

NOW_MS = 1_700_000_000_000


class Bench:
    """Logs of one topic's partitions, and a worker that is given jobs as the broker would."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.worker = TieringWorker()
        self.logs: dict[int, Log] = {}
        self._storage = FileStorage(str(root))

        def fail(failure: StorageFailed) -> None:
            raise failure

        self._flusher = Flusher(
            self._storage, lambda durables: [durable.apply() for durable in durables] and None, fail
        )

    def log(self, index: int = 0) -> Log:
        if index not in self.logs:
            config = LogConfig(segment_bytes=1 << 20)
            self.logs[index] = Log(self._storage, self._flusher, f"{self.root}/t-{index}", config)
        return self.logs[index]

    def append(self, *values: bytes, index: int = 0) -> None:
        self.append_bytes(build([Record(timestamp=NOW_MS, value=value) for value in values]), index)

    def append_bytes(self, data: bytearray, index: int = 0) -> None:
        view = memoryview(data)
        self.log(index).append(view, parse_batches(view), NOW_MS)

    def commit(self, max_bytes: int = 1 << 30, **settings: str) -> dict[str, Any]:
        while self._flusher.is_dirty:
            self._flusher.run_round()
        return self.worker.handle(self.job("commit", max_bytes, **settings), lambda progress: None)

    def job(self, kind: str, max_bytes: int = 1 << 30, **settings: str) -> dict[str, Any]:
        named = {f"floe.table.{name}": text for name, text in settings.items()}
        return {
            "kind": kind,
            "topic": "t",
            "topic_id": "AAAAAAAAAAAAAAAAAAAAAQ",
            "cluster_id": "cluster",
            "writer_epoch": 1,
            "settings": TableSettings.of(BrokerConfig().topic_config(named).values).to_json(),
            "catalog": {
                "name": "floe",
                "namespace": "floe",
                "properties": {
                    "type": "sql",
                    "uri": f"sqlite:///{self.root}/catalog.db",
                    "warehouse": f"file://{self.root}/warehouse",
                },
            },
            "max_bytes": max_bytes,
            "partitions": [
                {
                    "index": index,
                    "folder": log.directory,
                    "log_start_offset": log.log_start_offset,
                    "start_offset": -1,
                    "end_offset": log.last_stable_offset,
                    "aborted": [],
                }
                for index, log in sorted(self.logs.items())
            ],
        }

    def values(self, table: str = "floe.t") -> list[Any]:
        found: list[Any] = tables.rows(self.root, table)["value"].to_pylist()
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_each_commit_goes_on_where_the_marks_are(bench: Bench) -> None:
    bench.append(b"0", b"1")
    first = bench.commit()
    assert first["committed"] == first["marks"] == {"0": 2} and first["records"] == 2 and not first["more"]
    bench.append(b"2")
    bench.append(b"3", index=5)
    second = bench.commit()
    assert second["marks"] == {"0": 3, "5": 1} and second["records"] == 2
    assert bench.values() == [b"0", b"1", b"2", b"3"]
    nothing = bench.commit()
    assert nothing["snapshot_id"] == second["snapshot_id"] and nothing["records"] == 0


def test_another_worker_goes_on_where_the_marks_are(bench: Bench) -> None:
    bench.append(b"0")
    bench.commit()
    bench.worker = TieringWorker()
    bench.append(b"1")
    assert bench.commit()["records"] == 1
    assert bench.values() == [b"0", b"1"]


def test_a_limit_is_shared_among_partitions(bench: Bench) -> None:
    for _ in range(40):
        bench.append(b"x" * 100_000)
    bench.append(b"y", index=1)
    first = bench.commit(max_bytes=1 << 20)
    assert first["more"] and 4 <= first["marks"]["0"] < 40 and first["marks"]["1"] == 1
    jobs = 1
    while bench.commit(max_bytes=1 << 20)["more"]:
        jobs += 1
    assert jobs < 12
    assert len(bench.values()) == 41


def test_what_was_deleted_before_it_was_committed_is_passed(bench: Bench) -> None:
    bench.append(b"0", b"1", b"2")
    bench.append(b"3")
    bench._flusher.drain()
    bench.log().delete_records_before(2)
    assert bench.commit()["records"] == 2
    assert bench.values() == [b"2", b"3"], "from within a batch on"


def test_a_batch_that_lies_is_one_dead_letter(bench: Bench) -> None:
    bench.append(b"0")
    header: RecordBatch = parse_batches(build([Record(timestamp=NOW_MS, value=b"x")] * 3))[0]
    lie = assemble(header, b"\xff" * 40)
    bench.append_bytes(lie)
    bench.append(b"4")
    result = bench.commit()
    assert result["marks"] == {"0": 5} and (result["records"], result["dead_letters"]) == (2, 1)
    assert bench.values() == [b"0", b"4"]
    [letter] = tables.rows(bench.root, "floe.t__dlq").to_pylist()
    assert letter["kafka_offset"] == 1 and "offsets 1 to 3 cannot be read" in letter["reason"]
    assert len(letter["value"]) == BATCH_OVERHEAD + 40


def test_a_damaged_partition_is_held_and_the_others_go_on(bench: Bench) -> None:
    for number in range(4):
        bench.append(b"%d" % number)
        bench.append(b"other %d" % number, index=1)
    bench._flusher.drain()
    position = bench.log().segments[0].locate(2)
    assert position is not None
    with open(f"{bench.root}/t-0/{0:020d}.log", "r+b") as file:
        file.seek(position + BATCH_OVERHEAD)
        file.write(b"\xff")
    result = bench.commit()
    assert result["marks"] == {"0": 2, "1": 4} and not result["more"]
    assert "offset 2" in result["held"]["0"]
    assert bench.commit()["records"] == 0


def test_json_grows_columns_and_what_does_not_fit_is_a_dead_letter(bench: Bench) -> None:
    bench.append(b'{"user": "ann", "amount": 1}')
    bench.commit(value="json")
    bench.append(b'{"user": "bob", "amount": 2.5, "tags": ["x"]}', b"no JSON")
    result = bench.commit(value="json")
    assert (result["records"], result["dead_letters"]) == (1, 1)
    found = tables.rows(bench.root, "floe.t").to_pylist()
    assert [row["user"] for row in found] == ["ann", "bob"]
    assert found[0].get("tags") is None and found[1]["tags"] == ["x"]
    assert tables.rows(bench.root, "floe.t__dlq")["value"].to_pylist() == [b"no JSON"]


def test_dropping_takes_table_and_files(bench: Bench) -> None:
    bench.append(b"0")
    bench.commit()
    bench.worker.handle(bench.job("drop"), lambda progress: None)
    assert not list((bench.root / "warehouse").rglob("*.parquet"))
    bench.worker.handle(bench.job("drop"), lambda progress: None)
    assert bench.commit()["records"] == 1


def test_maintenance_on_demand_merges_files(bench: Bench) -> None:
    for number in range(4):
        bench.append(b"%d" % number)
        bench.commit()
    job = bench.job("maintain") | {"force": True}
    result = bench.worker.handle(job, lambda progress: None)
    assert (result["files_before"], result["files_after"]) == (4, 1)
    assert result["marks"] == {"0": 4}
    assert bench.values() == [b"0", b"1", b"2", b"3"]


def test_producers_with_wild_timestamps_make_more_commits_not_more_files(bench: Bench) -> None:
    count, hour_ms = MAX_FILES + 200, 3_600_000
    for index in (0, 1):
        source = [
            Record(timestamp=at * hour_ms, value=b"{" if at % 50 == 7 else b'{"a":%d}' % at)
            for at in range(count)
        ]
        bench.append_bytes(build(source), index)
    records = letters = commits = 0
    more = True
    while more:
        done = bench.commit(value="json")
        assert 0 < done["records"] + done["dead_letters"] <= MAX_FILES + OPEN_FILES + count // 50
        records, letters, more = records + done["records"], letters + done["dead_letters"], done["more"]
        commits += 1
    assert commits > 1 and records + letters == 2 * count
    assert letters == 2 * len(range(7, count, 50))
    read = tables.rows(bench.root, "floe.t")
    pairs = zip(read["kafka_partition"].to_pylist(), read["kafka_offset"].to_pylist(), strict=True)
    assert len(set(pairs)) == len(read) == records


def test_maintenance_on_demand_notices_a_rollback_of_an_idle_topic(bench: Bench) -> None:
    for number in range(2):
        bench.append(b"%d" % number)
        bench.commit()
    table = load_catalog("floe", type="sql", uri=f"sqlite:///{bench.root}/catalog.db").load_table("floe.t")
    table.manage_snapshots().rollback_to_snapshot(table.snapshots()[0].snapshot_id).commit()
    job = bench.job("maintain") | {"force": True, "parts": ["compact"]}
    assert bench.worker.handle(job, lambda progress: None)["marks"] == {"0": 1}, "what the broker goes by"
    assert bench.commit()["records"] == 1
    assert tables.offsets(bench.root, "floe.t") == {0: [0, 1]}
