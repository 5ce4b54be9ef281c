"""Compaction beside Apache Kafka's own cleaner: the same log, the same times, batch for batch the same result.

Needs Java and Kafka's jars, as test_kafka_tools.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from protocol.records import DELETE_HORIZON_BIT, Record, RecordBatch
from tests.bench.brokers import find_kafka_jars
from tests.wal.compacting import DAY_MS, Writer, append, batches_of, compact
from tests.wal.conftest import NOW_MS
from tests.wal.test_kafka_tools import dump
from wal.errors import StorageFailed
from wal.flusher import Flusher
from wal.log import Log, LogConfig
from wal.storage import FileStorage

SEGMENT_BYTES = 20_000
# At first, when the horizons are set, just before and when they pass.
ROUNDS_MS = [NOW_MS, NOW_MS + 1, NOW_MS + DAY_MS, NOW_MS + DAY_MS + 1]
SEEDS = range(10) if os.environ.get("FLOE_SOAK") == "1" else range(1)


def _fail(failure: StorageFailed) -> None:
    raise failure


def opened(folder: Path, recovery_point: int | None = None) -> Log:
    storage = FileStorage(str(folder.parent))
    flusher = Flusher(storage, lambda durables: [durable.apply() for durable in durables] and None, _fail)
    config = LogConfig(
        segment_bytes=SEGMENT_BYTES, index_interval_bytes=500, compact_is_enabled=True, preallocate_bytes=0
    )
    if recovery_point is None:
        return Log(storage, flusher, str(folder), config)
    return Log(storage, flusher, str(folder), config, is_clean=False, recovery_point=recovery_point)


def written(folder: Path, seed: int) -> None:
    log = opened(folder)
    writer = Writer(log, seed, NOW_MS)
    writer.write(500, NOW_MS)
    writer.end_all(NOW_MS)
    log.roll(NOW_MS)
    append(log, [Record(timestamp=NOW_MS, key=b"active", value=b"")], NOW_MS)
    log.flusher.run_round()
    log.close()


def content(log: Log) -> list[tuple[object, ...]]:
    return [
        _signature(batch, records)
        for batch, records in batches_of(log)
        if batch.record_count or batch.producer_id >= 0  # what only keeps our segments' ends, Kafka has not
    ]


def _signature(batch: RecordBatch, records: list[Record]) -> tuple[object, ...]:
    header = tuple(
        getattr(batch, name)
        for name in (
            "base_offset",
            "last_offset",
            "attributes",
            "max_timestamp",
            "producer_id",
            "producer_epoch",
            "base_sequence",
            "partition_leader_epoch",
            "record_count",
        )
    )
    horizon = batch.base_timestamp if batch.attributes & DELETE_HORIZON_BIT else None
    return (*header, horizon, [repr(record) for record in records])


def kafka_cleans(folder: Path, end_offset: int) -> None:
    jars = find_kafka_jars()
    if isinstance(jars, str):
        pytest.skip(f"did not run: {jars}")
    program = Path(__file__).with_name("KafkaCleaner.java")
    arguments = [folder, SEGMENT_BYTES, DAY_MS, end_offset, *ROUNDS_MS]
    command = ["java", "-Xmx512M", "-cp", f"{jars}/*", str(program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("cleaned") == len(ROUNDS_MS), done.stdout


@pytest.mark.parametrize("seed", SEEDS)
def test_the_result_is_kafkas(tmp_path: Path, seed: int) -> None:
    written(tmp_path / "ours-0", seed)
    shutil.copytree(tmp_path / "ours-0", tmp_path / "kafkas-0")
    ours = opened(tmp_path / "ours-0")
    before = content(ours)
    kafka_cleans(tmp_path / "kafkas-0", ours.bases[-1])
    first_dirty = 0
    for now_ms in ROUNDS_MS:
        first_dirty = compact(ours, now_ms, first_dirty_offset=first_dirty).end_offset - 1
    kafkas = opened(tmp_path / "kafkas-0", ours.log_end_offset)
    assert not kafkas.damage
    assert content(ours) == content(kafkas)
    assert len(content(ours)) < len(before) / 5
    everything = (0, ours.high_watermark)
    assert ours.aborted_transactions(*everything) == kafkas.aborted_transactions(*everything)
    assert ours.bases == kafkas.bases


def test_kafkas_tools_read_what_is_left(tmp_path: Path) -> None:
    written(tmp_path / "ours-0", 3)
    log = opened(tmp_path / "ours-0")
    compact(log, NOW_MS)
    files = sorted(
        path
        for path in (tmp_path / "ours-0").iterdir()
        if path.suffix in (".log", ".index", ".timeindex", ".txnindex")
    )
    output = dump("--deep-iteration", "--index-sanity-check", "--files", ",".join(map(str, files)))
    offsets = [int(line.split()[2]) for line in output.splitlines() if line.startswith("| offset:")]
    assert offsets == [record.offset for _, records in batches_of(log) for record in records]
    assert "isvalid: false" not in output.lower() and "mismatch" not in output.lower()
    assert "deleteHorizonMs: OptionalLong[" in output
