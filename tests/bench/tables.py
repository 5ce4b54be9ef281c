"""Tables: what it costs to get a topic's records into its table: `python -m tests.bench.tables`.

Processor time of the worker from log to committed table, its start left out, for a million records; its largest
resident size; the time of the commits; and how long after the last acknowledgement the last record is in the table.
Two ways: a *backlog* is tabled in one go after all was produced, *live* goes on beside the producer.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import click
from confluent_kafka import Producer

from broker.cli import admin
from broker.cli.client import Client
from broker.cli.output import format_table
from tests import tables
from tests.floe_process import FloeProcess

TOPIC = "events"
COMMITTED = re.compile(r"(\d+) records, read in (\d+) ms, committed in (\d+) ms")
DISTINCT = 10_000
INTERVAL_MS = 10_000  # the default, which is what people have
NEVER_MS = 86_400_000
LIMIT_S = 600.0


def events(value_bytes: int) -> list[bytes]:
    """Clicks as JSON of about so many bytes."""
    chance = Random(1)
    found = []
    for number in range(DISTINCT):
        event = {
            "user": chance.randrange(1_000_000),
            "event": chance.choice(["view", "click", "buy"]),
            "amount": round(chance.random() * 100, 2),
            "ok": chance.random() < 0.9,
            "page": "",
        }
        event["page"] = f"/{number:06d}" + "x" * max(0, value_bytes - len(json.dumps(event)) - 7)
        found.append(json.dumps(event).encode())
    return found


def produce(broker: FloeProcess, values: list[bytes], count: int) -> None:
    producer = Producer(
        {"bootstrap.servers": broker.bootstrap, "linger.ms": 20, "queue.buffering.max.messages": 1_000_000}
    )
    for number in range(count):
        while True:
            try:
                producer.produce(TOPIC, values[number % len(values)])
                break
            except BufferError:
                producer.poll(0.05)
    producer.flush(LIMIT_S)


def worker_cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def worker_peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def measure(mode: str, count: int, value_bytes: int, live: bool) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="floe-tables-"))
    settings = {"floe__table__value": mode, "floe__log__level": "debug"}
    broker = tables.floe(
        folder / "data", floe__table__commit__interval__ms=str(INTERVAL_MS if live else NEVER_MS), **settings
    )
    try:
        broker.start()
        values = events(value_bytes)
        with Client([("127.0.0.1", broker.port)]) as client:
            admin.create_topic(client, TOPIC)
        tables.produce(broker, TOPIC, values[:10])
        tables.ask(broker, "tables.commit", topics=[TOPIC])
        [pid] = tables.workers(broker)
        started_cpu_s = worker_cpu_s(pid)
        produce(broker, values, count)
        produced_s = time.monotonic()
        while not live and tables.ask(broker, "tables.commit", topics=[TOPIC])["tables"][0]["lag_records"]:
            pass
        tables.until_tabled(broker, TOPIC, count + 10)
        commits = [tuple(map(int, found)) for found in COMMITTED.findall(broker.log())][1:]
        return {
            "mode": mode,
            "live": live,
            "records": count,
            "value_bytes": value_bytes,
            "cpu_s_per_million": (worker_cpu_s(pid) - started_cpu_s) / count * 1e6,
            "peak_mb": worker_peak_mb(pid),
            "commits": len(commits),
            "commit_ms": median(commit_ms for _, _, commit_ms in commits),
            "behind_s": time.monotonic() - produced_s,
        }
    finally:
        broker.end()
        shutil.rmtree(folder, ignore_errors=True)


@click.command()
@click.option("--records", type=click.IntRange(min=1), default=1_000_000, show_default=True)
@click.option("--value-bytes", type=click.IntRange(min=1), default=110, show_default=True)
@click.option("--only", type=click.Choice(["raw", "text", "json"]), multiple=True)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
def main(records: int, value_bytes: int, only: tuple[str, ...], output: str) -> None:
    """Measure tables of each mode, as a backlog and live."""
    found = [
        measure(mode, records, value_bytes, live)
        for mode in only or ("raw", "text", "json")
        for live in (False, True)
    ]
    if output == "json":
        click.echo(json.dumps(found))
        return
    columns = ("MODE", "", "CPU-S/MILLION", "PEAK MB", "COMMITS", "COMMIT MS", "BEHIND S")
    click.echo(
        format_table(
            columns,
            [
                (
                    one["mode"],
                    "live" if one["live"] else "backlog",
                    round(one["cpu_s_per_million"], 2),
                    round(one["peak_mb"]),
                    one["commits"],
                    one["commit_ms"],
                    round(one["behind_s"], 1),
                )
                for one in found
            ],
        )
    )


if __name__ == "__main__":
    main()
