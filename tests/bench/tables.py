"""Tables: what it costs to get a topic's records into its table: `python -m tests.bench.tables [--quick] [--connect]`.

Every figure stands beside its limit. Processor times are the worker's, its start left out. *backlog*: a table that is
switched on when its topic is full. *sustained*: a fixed rate of JSON events; the lag is how long ago the first record
that is not in the table was acknowledged, seen from outside. *p99*: the same load on a topic with a table and on one
without, by turns; each waits until the other's table is complete. `--connect`: the *sustained* load into Apache Kafka,
and from there into a table by Kafka Connect with the Iceberg sink (`connect.py`), after ours; needs Java and Maven.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

import click

from broker.cli import admin
from broker.cli.client import Address, Client
from broker.cli.errors import CommandFailed
from broker.cli.output import Quantity, format_table
from protocol import columns
from tests import tables
from tests.bench import connect, table_load
from tests.bench.brokers import find_kafka_jars
from tests.bench.table_load import Rate
from tests.bench.table_rows import batches, cpu_seconds, exhaust
from tests.floe_process import FloeProcess

COMMITTED = re.compile(r"table floe\.(\w+): (\d+) records, read in (\d+) ms, committed in (\d+) ms")
CORES: Final = 2
PARTITIONS: Final = 4
DECODED: Final = 300_000
RECORDS_PER_S: Final = 200_000
AS_FAST_AS_IT_GOES: Final = 5_000_000
SAMPLE_S: Final = 0.25
LIMIT_S: Final = 900.0
CONNECT_WARM_UP: Final = 1_000_000
INTERVAL: Final = {"floe__table__commit__interval__ms": "10000"}  # the default, which is what people have


@dataclass(frozen=True, slots=True)
class Length:
    """How long everything takes."""

    backlog_records: int
    sustained_s: float
    p99_s: float
    p99_rounds: int
    modes: tuple[str, ...]


FULL: Final = Length(4_000_000, 60, 25, 3, ("raw", "text", "json"))
QUICK: Final = Length(1_000_000, 20, 8, 3, ("json",))


@dataclass(frozen=True, slots=True)
class Figure:
    name: str
    value: float
    unit: str
    limit: float | None = None
    at_least: bool = False

    @property
    def verdict(self) -> str:
        if self.limit is None:
            return ""
        return (
            "met" if (self.value >= self.limit if self.at_least else self.value <= self.limit) else "MISSED"
        )


# --- a broker and its worker ----------------------------------------------------------------------------------


@contextmanager
def broker_with_tables(mode: str, **settings: str) -> Iterator[FloeProcess]:
    """A broker whose worker runs and has done a commit, so that its start counts for nothing."""
    folder = Path(tempfile.mkdtemp(prefix="floe-tables-"))
    broker = tables.floe(
        folder / "data", floe__table__value=mode, floe__log__level="debug", **{**INTERVAL, **settings}
    )
    try:
        broker.start()
        with Client([address(broker)]) as client:
            admin.create_topic(client, "warm_up")
        warm_up(broker)
        yield broker
    finally:
        if broker.is_running:
            broker.stop()
        broker.end()
        shutil.rmtree(folder, ignore_errors=True)


def warm_up(broker: FloeProcess) -> None:
    """A commit: there is a worker after it, with everything imported."""
    tables.produce(broker, "warm_up", table_load.events(10, 110))
    tables.ask(broker, "tables.commit", topics=["warm_up"])


def address(broker: FloeProcess) -> Address:
    return ("127.0.0.1", broker.port)


class Worker:
    """The child that was running when this was made: processor time since then, and its largest size."""

    def __init__(self, broker: FloeProcess) -> None:
        command = b"broker.worker\0tiering"
        [self._pid] = [
            pid for pid in tables.workers(broker) if command in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        self._before_s = self._cpu_s()

    def _cpu_s(self) -> float:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def cpu_s(self) -> float:
        return self._cpu_s() - self._before_s

    def peak_mb(self) -> float:
        status = Path(f"/proc/{self._pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024


def commit_times_ms(broker: FloeProcess, topic: str) -> list[int]:
    found = COMMITTED.findall(broker.log())
    return [int(commit_ms) for name, records, _, commit_ms in found if name == topic and int(records)]


class Lag:
    """Samples of how far log and table are; how long the first record that is not in the table has been waiting."""

    def __init__(self, broker: FloeProcess, topic: str) -> None:
        self._broker = broker
        self._topic = topic
        self._ends: list[tuple[float, int]] = []
        self.seconds: list[float] = []
        self.is_tabled = False

    def sample(self) -> None:
        there = tables.described(self._broker, self._topic)["partitions"]
        now_s = time.monotonic()
        end = sum(one["high_watermark"] for one in there)
        tabled = sum(one["tabled_offset"] for one in there)
        self._ends.append((now_s, end))
        waiting = next((at_s for at_s, there in self._ends if there > tabled), now_s)
        while len(self._ends) > 1 and self._ends[1][1] <= tabled:
            self._ends.pop(0)
        self.seconds.append(now_s - waiting)
        self.is_tabled = tabled == end

    def until_tabled(self) -> float:
        """Sample on until the table is complete; how many seconds that took."""
        started_s = time.monotonic()
        self.is_tabled = False
        while not self.is_tabled:
            if time.monotonic() - started_s > LIMIT_S:
                raise TimeoutError(f"the table of {self._topic} was not complete after {LIMIT_S:.0f} s")
            time.sleep(SAMPLE_S)
            self.sample()
        return time.monotonic() - started_s


# --- what is measured -----------------------------------------------------------------------------------------


def decoding() -> list[Figure]:
    """Columns out of batches, on one core."""
    value = Random(1).randbytes(100)
    log = batches([value] * DECODED, 500, 0)
    seconds = cpu_seconds(exhaust(lambda: columns.decode(log, 1 << 26)), 3)
    return [Figure("decoding, 100 B, records/s a core", DECODED / seconds, "", 1_000_000, at_least=True)]


def backlog(mode: str, count: int) -> list[Figure]:
    """A table that is switched on when its topic is full."""
    with broker_with_tables(mode, floe__table__commit__interval__ms="1000") as broker:
        with Client([address(broker)]) as client:
            configs = {"floe.table.enable": "false"}
            admin.create_topic(client, "backlog", partitions=PARTITIONS, configs=configs)
            table_load.produce(
                address(broker), "backlog", Rate(AS_FAST_AS_IT_GOES, count / AS_FAST_AS_IT_GOES)
            )
            warm_up(broker)  # the worker of before may have ended meanwhile, with nothing to do
            worker = Worker(broker)
            admin.alter_configs(client, admin.TOPIC, "backlog", values={"floe.table.enable": "true"})
        lag = Lag(broker, "backlog")
        took_s = lag.until_tabled()
        limit = 2.2 if mode == "json" else None
        what = f"{mode} backlog of {count / 1e6:g} M"
        return [
            Figure(f"{what}, CPU per million", worker.cpu_s() / count * 1e6, "s", limit),
            Figure(f"{what}, in the table after", took_s, "s"),
            Figure(f"{what}, worker's peak", worker.peak_mb(), "MB", 400),
            *_commit_figures(what, commit_times_ms(broker, "backlog")),
        ]


def sustained(broker: FloeProcess, length: Length) -> list[Figure]:
    """A fixed rate beside everything else."""
    with Client([address(broker)]) as client:
        admin.create_topic(client, "sustained", partitions=PARTITIONS)
    lag = Lag(broker, "sustained")
    worker = Worker(broker)
    sent = table_load.beside(
        address(broker), "sustained", Rate(RECORDS_PER_S, length.sustained_s), lag.sample, SAMPLE_S
    )
    behind_s = lag.until_tabled()
    what = f"sustained, {length.sustained_s:g} s"
    return [
        # Of the schedule: the last requests are answered a moment after it.
        Figure(
            f"{what}, records/s", sent["records"] / sent["seconds"], "", RECORDS_PER_S * 0.99, at_least=True
        ),
        Figure(f"{what}, largest lag", max(lag.seconds), "s", 15),
        Figure(f"{what}, last record in the table after", behind_s, "s", 15),
        Figure(f"{what}, CPU per million", worker.cpu_s() / sent["records"] * 1e6, "s", 2.2),
        Figure(f"{what}, worker's peak", worker.peak_mb(), "MB", 400),
        *_commit_figures(what, commit_times_ms(broker, "sustained")),
    ]


def _commit_figures(what: str, times_ms: list[int]) -> list[Figure]:
    if not times_ms:
        return [Figure(f"{what}, commits", 0, "", 1, at_least=True)]
    return [
        Figure(f"{what}, commits", len(times_ms), ""),
        Figure(f"{what}, commit, median", median(times_ms), "ms", 500),
        Figure(f"{what}, commit, longest", max(times_ms), "ms", 500),
    ]


def p99(broker: FloeProcess, length: Length) -> list[Figure]:
    """With tables and without, by turns."""
    with Client([address(broker)]) as client:
        admin.create_topic(client, "with_table", partitions=PARTITIONS)
        admin.create_topic(client, "without", partitions=PARTITIONS, configs={"floe.table.enable": "false"})
    lag = Lag(broker, "with_table")
    found: dict[str, list[dict[str, float]]] = {"without": [], "with_table": []}
    for topic in found:
        table_load.produce(address(broker), topic, Rate(RECORDS_PER_S, 1))
    for number in range(length.p99_rounds):
        for topic in list(found) if number % 2 else list(reversed(found)):
            lag.until_tabled()
            sent = table_load.beside(
                address(broker), topic, Rate(RECORDS_PER_S, length.p99_s), lag.sample, SAMPLE_S
            )
            found[topic].append(sent["latency_ms"])
    without, with_table = (
        {one: median(run[one] for run in runs) for one in ("p50", "p99", "p99.9")} for runs in found.values()
    )
    return [
        Figure("produce p50 without tables", without["p50"], "ms"),
        Figure("produce p50 with tables", with_table["p50"], "ms"),
        Figure("produce p99 without tables", without["p99"], "ms"),
        Figure("produce p99 with tables", with_table["p99"], "ms"),
        Figure("produce p99.9 without tables", without["p99.9"], "ms"),
        Figure("produce p99.9 with tables", with_table["p99.9"], "ms"),
        Figure("produce p99, with : without", with_table["p99"] / without["p99"], "", 1.5),
    ]


def beside_connect(length: Length, ours_cpu_s: float | None) -> list[Figure]:
    """The sustained load by way of Kafka Connect. Raises CommandFailed where its jars cannot be had."""
    kafka_jars, jars = find_kafka_jars(), connect.find_connect_jars()
    for found in (kafka_jars, jars):
        if isinstance(found, str):
            raise CommandFailed(found)
    assert isinstance(kafka_jars, Path) and isinstance(jars, Path)
    folder = Path(tempfile.mkdtemp(prefix="floe-connect-"))
    try:
        with connect.beside_kafka(folder, kafka_jars, jars, PARTITIONS) as (kafka, sink):
            warm_up_s = CONNECT_WARM_UP / RECORDS_PER_S
            there = table_load.produce(kafka.address, connect.TOPIC, Rate(RECORDS_PER_S, warm_up_s))[
                "records"
            ]
            sink.until_rows(there)
            before_s = sink.cpu_s()
            sent = table_load.produce(kafka.address, connect.TOPIC, Rate(RECORDS_PER_S, length.sustained_s))
            behind_s = sink.until_rows(there + sent["records"])
            cpu_s = (sink.cpu_s() - before_s) / sent["records"] * 1e6
            figures = [
                Figure("Kafka Connect, last record in the table after", behind_s, "s"),
                Figure("Kafka Connect, CPU per million, warm", cpu_s, "s"),
                Figure("Kafka Connect, peak (Kafka's own not in it)", sink.peak_mb(), "MB"),
            ]
            if ours_cpu_s is not None:
                figures.append(Figure("Kafka Connect's CPU : Floe's worker's", cpu_s / ours_cpu_s, ""))
            return figures
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# --- and told -------------------------------------------------------------------------------------------------


def measure(length: Length, with_connect: bool) -> Iterator[Figure]:
    """Every figure; a part that fails says so and does not keep the others from being measured."""
    ours: dict[str, float] = {}
    parts: list[tuple[str, Callable[[], list[Figure]]]] = [("decoding", decoding)]
    parts += [(f"{mode} backlog", partial(backlog, mode, length.backlog_records)) for mode in length.modes]
    parts += [
        ("sustained", partial(with_broker, sustained, length)),
        ("p99", partial(with_broker, p99, length)),
    ]
    if with_connect:
        what = f"sustained, {length.sustained_s:g} s, CPU per million"
        parts.append(("Kafka Connect", lambda: beside_connect(length, ours.get(what))))
    for name, part in parts:
        try:
            for figure in part():
                ours[figure.name] = figure.value
                yield figure
        except (CommandFailed, AssertionError, OSError, ValueError) as error:
            click.echo(f"{name} failed: {error}", err=True)
            yield Figure(f"{name} FAILED", 1, "", 0)


def with_broker(part: Callable[[FloeProcess, Length], list[Figure]], length: Length) -> list[Figure]:
    with broker_with_tables("json") as broker:
        return part(broker, length)


def _row(figure: Figure) -> tuple[Any, ...]:
    sign = ">=" if figure.at_least else "<="
    limit = "" if figure.limit is None else f"{sign} {figure.limit:,g}"
    value = f"{figure.value:,.0f}" if abs(figure.value) >= 1000 else f"{figure.value:.3g}"
    return figure.name, Quantity(value), figure.unit, Quantity(limit), figure.verdict


@click.command()
@click.option("--quick", is_flag=True, help="Less than three minutes in all, and JSON only.")
@click.option("--connect", "with_connect", is_flag=True, help="Kafka Connect with the Iceberg sink as well.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
def main(quick: bool, with_connect: bool, output: str) -> None:
    """Measure tables, each figure beside its limit."""
    if hasattr(
        os, "sched_setaffinity"
    ):  # inherited by broker, worker and load: two cores, however many there are
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:CORES]))
    started_s = time.monotonic()
    found = []
    for figure in measure(QUICK if quick else FULL, with_connect):
        found.append(figure)
        name, value, unit, limit, verdict = _row(figure)
        click.echo(f"{name}: {value} {unit} {limit} {verdict}".rstrip(), err=True)
    if output == "json":
        click.echo(json.dumps([asdict(one) | {"verdict": one.verdict} for one in found], indent=1))
    else:
        click.echo(format_table(("TABLES", "FIGURE", "", "LIMIT", ""), [_row(one) for one in found]))
    click.echo(f"{time.monotonic() - started_s:.0f} s on {len(os.sched_getaffinity(0))} cores", err=True)


if __name__ == "__main__":
    main()
