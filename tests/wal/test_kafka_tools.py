"""Apache Kafka's own DumpLogSegments reads what we write, and we read what Kafka wrote.

The first half needs Java and FLOE_KAFKA_JARS, a folder with the jars of org.apache.kafka:kafka_2.13 and kafka-tools.
"""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from protocol.records import end_transaction_marker, parse_batches
from tests.bench.brokers import find_kafka_jars
from tests.wal.conftest import NOW_MS, append, read_all
from wal.errors import StorageFailed
from wal.flusher import Flusher
from wal.log import Log, LogConfig
from wal.storage import FileStorage


def dump(*arguments: str) -> str:
    """Kafka's DumpLogSegments' output."""
    jars = find_kafka_jars()
    if isinstance(jars, str):
        pytest.skip(f"did not run: {jars}")
    command = ["java", "-Xmx256M", "-cp", f"{jars}/*", "org.apache.kafka.tools.DumpLogSegments", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _fail(failure: StorageFailed) -> None:
    raise failure


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A partition's folder with several segments, all codecs, an idempotent producer and transactions."""
    storage = FileStorage(str(tmp_path))
    flusher = Flusher(storage, lambda durables: [durable.apply() for durable in durables] and None, _fail)
    config = LogConfig(segment_bytes=20_000, index_interval_bytes=1000)
    log = Log(storage, flusher, f"{tmp_path}/orders-0", config, topic_id=bytes(range(16)))
    chance = random.Random(1)
    for number in range(300):
        values = [b"%d" % number + bytes(chance.randrange(300)) for _ in range(chance.choice((1, 3, 20)))]
        append(log, *values, timestamp=NOW_MS + number * 50, compression=number % 5)
        fields = {"producer_id": 7, "producer_epoch": 0, "base_sequence": number}
        append(log, *values[:1], compression=number % 5, **fields)
        if number % 50 == 0:
            begin = {"producer_id": 9, "producer_epoch": 0, "base_sequence": number // 50}
            append(log, b"transactional", is_transactional=True, **begin)
            marker = memoryview(
                end_transaction_marker(
                    number % 100 == 0, producer_id=9, producer_epoch=0, coordinator_epoch=0, timestamp=NOW_MS
                )
            )
            log.append(marker, parse_batches(marker), NOW_MS, check_producers=False)
    assert len(log.segments) > 3
    log.close()
    return tmp_path / "orders-0"


def test_kafka_reads_every_segment(written: Path) -> None:
    logs = sorted(str(path) for path in written.glob("*.log"))
    output = dump("--deep-iteration", "--print-data-log", "--files", ",".join(logs))
    offsets = [int(line.split()[2]) for line in output.splitlines() if line.startswith("| offset:")]
    storage = FileStorage(str(written))
    flusher = Flusher(storage, lambda durables: None, _fail)
    log = Log(storage, flusher, str(written), LogConfig())
    assert log.recovered is None
    assert offsets == list(range(log.log_end_offset))
    assert "isvalid: false" not in output.lower()


def test_kafka_finds_indexes_snapshots_and_transactions_in_order(written: Path) -> None:
    files = sorted(
        str(path)
        for path in written.iterdir()
        if path.suffix in (".index", ".timeindex", ".txnindex", ".snapshot")
    )
    assert any(path.endswith(".txnindex") for path in files)
    output = dump("--files", ",".join(files))
    for complaint in ("Mismatches", "mismatch", "out of order", "Found timestamp", "not found"):
        assert complaint not in output
    assert "producerId: 7 producerEpoch: 0" in output
    assert "version: 0 producerId: 9" in output


def test_kafka_finds_the_indexes_sane(written: Path) -> None:
    files = sorted(str(path) for path in written.iterdir() if path.suffix in (".index", ".timeindex"))
    output = dump("--index-sanity-check", "--files", ",".join(files))
    assert output.count("passed sanity check.") == len(files)


@pytest.mark.parametrize("is_clean", [True, False])
def test_a_folder_that_kafka_wrote_opens(tmp_path: Path, is_clean: bool) -> None:
    """The folder was written by Apache Kafka 4.3.1: lz4 from an idempotent producer, then four transactions."""
    shutil.copytree(Path(__file__).parent / "kafka-4.3.1" / "t1-0", tmp_path / "t1-0")
    storage = FileStorage(str(tmp_path))
    flusher = Flusher(storage, lambda durables: None, _fail)
    log = Log(storage, flusher, f"{tmp_path}/t1-0", LogConfig(), is_clean=is_clean, now_ms=NOW_MS)
    assert (log.recovered is None) == is_clean
    assert log.damage == []
    records = read_all(log)
    assert len(records) == log.log_end_offset == END_OFFSET
    assert log.segments[-1].offset_index.last().position > 0
    assert len(log.aborted_transactions(0, log.log_end_offset)) == 2
    assert append(log, b"ours") == END_OFFSET


END_OFFSET = 3044
