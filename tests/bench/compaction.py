"""Compaction: a round's MB/s beside Apache Kafka's cleaner on a copy of the log: `python -m tests.bench.compaction`.

What counts is processor time, because a worker has one core at best and shares it. Every byte of a dirty log is read
twice: for the keys, and to be rewritten. Kafka's round runs in a fresh JVM, its compilation and collection included.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

import click

from broker.cli.output import format_table
from protocol.compression import Codec
from protocol.records import Record, build, parse_batches
from tests.bench.brokers import find_kafka_jars
from tests.wal.compacting import DAY_MS, order
from wal.compaction import Compaction
from wal.errors import StorageFailed
from wal.flusher import Flusher
from wal.log import Log, LogConfig
from wal.storage import FileStorage

SEGMENT_BYTES = 100 << 20
NOW_MS = 1_700_000_000_000
RECORDS_PER_BATCH = 100

# name, records, distinct keys, bytes of a value, codec
CASES = (
    ("100 B, a key ten times", 1_500_000, 150_000, 80, Codec.NONE),
    ("100 B, all keys new", 1_500_000, 1 << 40, 80, Codec.NONE),
    ("100 B, every tenth goes", 1_500_000, 7_000_000, 80, Codec.NONE),
    ("1 KiB, a key ten times", 300_000, 30_000, 1000, Codec.NONE),
    ("100 B, lz4, a key ten times", 1_500_000, 150_000, 80, Codec.LZ4),
    ("100 B, zstd, a key ten times", 1_500_000, 150_000, 80, Codec.ZSTD),
)


def _fail(failure: StorageFailed) -> None:
    raise failure


def write(folder: Path, records: int, keys: int, value_bytes: int, codec: int) -> Log:
    """A log with a new active segment behind what is to be compacted."""
    storage = FileStorage(str(folder.parent))
    flusher = Flusher(storage, lambda durables: [durable.apply() for durable in durables] and None, _fail)
    log = Log(storage, flusher, str(folder), LogConfig(segment_bytes=SEGMENT_BYTES, preallocate_bytes=0))
    chance = Random(1)
    value = chance.randbytes(1 << 16)
    for number in range(records // RECORDS_PER_BATCH):
        batch = []
        for _ in range(RECORDS_PER_BATCH):
            start = chance.randrange(len(value) - value_bytes)
            key = b"key-%013d" % chance.randrange(keys)
            batch.append(Record(timestamp=NOW_MS + number, key=key, value=value[start : start + value_bytes]))
        view = memoryview(build(batch, compression=codec))
        log.append(view, parse_batches(view), NOW_MS)
    log.roll(NOW_MS)
    flusher.drain()
    return log


def compact(log: Log) -> dict[str, Any]:
    """One round without the swap, in this process."""
    round_order = order(log, NOW_MS, dedupe_buffer_bytes=128 << 20, segment_bytes=1 << 30)
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    compaction = Compaction(log.storage, round_order)
    for _ in compaction.run():
        pass
    totals = compaction.totals
    return {
        "cpu_seconds": time.process_time() - started_cpu_s,
        "seconds": time.perf_counter() - started_s,
        "bytes": totals.bytes_before,
        "records": totals.records_before,
        "left": totals.records_after,
    }


def kafka_cpu_seconds(folder: Path, end_offset: int, jars: Path) -> float:
    """Kafka's processor time for the same round over a copy."""
    copy = folder.with_name("kafka-0")
    shutil.copytree(folder, copy)
    program = Path(__file__).parents[1] / "wal" / "KafkaCleaner.java"
    arguments = [copy, SEGMENT_BYTES, DAY_MS, end_offset, NOW_MS]
    command = ["java", "-Xmx1G", "-cp", f"{jars}/*", str(program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("cleaned"))
    return int(line.split()[2]) / 1000


@click.command()
@click.option("--scale", default=1.0, help="Share of the records of each case.")
@click.option("--floe-only", is_flag=True, help="Do not run Kafka's cleaner.")
@click.option("--json", "as_json", is_flag=True)
def main(scale: float, floe_only: bool, as_json: bool) -> None:
    """Measure rounds of compaction."""
    jars = "not asked for" if floe_only else find_kafka_jars()
    if isinstance(jars, str):
        click.echo(f"Kafka's cleaner is not measured: {jars}", err=True)
    results = []
    for name, records, keys, value_bytes, codec in CASES:
        with tempfile.TemporaryDirectory() as root:
            log = write(Path(root, "t-0"), int(records * scale), keys, value_bytes, codec)
            log.close()
            theirs = (
                None if isinstance(jars, str) else kafka_cpu_seconds(Path(root, "t-0"), log.bases[-1], jars)
            )
            ours = compact(log)
        results.append({"case": name, **ours, "kafka_cpu_seconds": theirs})
    if as_json:
        click.echo(json.dumps(results))
        return
    rows = []
    for result in results:
        cpu_s, megabytes = result["cpu_seconds"], result["bytes"] / 1e6
        kafka = result["kafka_cpu_seconds"]
        rows.append(
            (
                result["case"],
                f"{megabytes:.0f}",
                f"{result['left'] / result['records']:.0%}",
                f"{megabytes / cpu_s:.0f}",
                f"{result['records'] / cpu_s / 1e6:.2f}",
                f"{megabytes / kafka:.0f}" if kafka else None,
                f"{kafka / cpu_s:.2f}" if kafka else None,
            )
        )
    columns = ("CASE", "MB", "LEFT", "MB/S OF CPU", "M RECORDS/S", "KAFKA MB/S OF CPU", "RATIO")
    click.echo(format_table(columns, rows))


if __name__ == "__main__":
    main()
