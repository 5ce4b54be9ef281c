"""`make bench`: the workloads against Floe and, where Java is, against Apache Kafka in the same run, alternating."""

import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from tests.bench.brokers import KAFKA_VERSION, BrokerProcess, Floe, Kafka, find_kafka_jars, sync_microseconds
from tests.bench.page_cache import PageCacheFiller
from tests.bench.report import Line, make_lines, table, write_json
from tests.bench.runners import Figures, Session, measure, summary
from tests.bench.workloads import WORKLOADS, Workload

RESULTS = Path("bench-results")


@click.command()
@click.option("--quick", is_flag=True, help="Shorter runs: a few minutes in all, noisier.")
@click.option(
    "--only", multiple=True, metavar="NAME", help="Only workloads whose name contains this. May be repeated."
)
@click.option("--fill-page-cache/--no-fill-page-cache", default=True, help="See tests/bench/page_cache.py.")
@click.option("--floe-only", is_flag=True, help="Do not start Apache Kafka.")
@click.option(
    "--runs", type=click.IntRange(min=1), default=3, show_default=True, help="The median of so many counts."
)
@click.option("--duration", type=float, help="Seconds a measurement takes. [default: 5, quick 1.5]")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Where the JSON goes.")
@click.option("--list", "list_only", is_flag=True, help="List the workloads.")
def main(
    quick: bool,
    only: tuple[str, ...],
    fill_page_cache: bool,
    floe_only: bool,
    runs: int,
    duration: float | None,
    output: Path | None,
    list_only: bool,
) -> None:
    """Measure Floe beside Apache Kafka and print the ratios."""
    workloads = [w for w in WORKLOADS if not only or any(part in w.name for part in only)]
    if list_only or not workloads:
        click.echo("\n".join(workload.name for workload in WORKLOADS))
        return
    duration = duration or (1.5 if quick else 5.0)
    warm_up = min(duration, 1.0 if quick else 3.0)
    RESULTS.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=RESULTS)).resolve()
    page_cache = PageCacheFiller(folder) if fill_page_cache and Path("/proc/meminfo").exists() else None
    sessions = [Session(broker, duration, warm_up, page_cache) for broker in _brokers(folder, floe_only)]
    started = time.monotonic()
    sync_us = [round(sync_microseconds(folder))]
    try:
        for session in sessions:
            session.broker.start()
        results, lines = _run_all(workloads, sessions, runs)
        sync_us.append(round(sync_microseconds(folder)))
    finally:
        for session in sessions:
            session.broker.stop()
        shutil.rmtree(folder, ignore_errors=True)
    setup: dict[str, object] = {
        "runs": runs,
        "duration_s": duration,
        "warm_up_s": warm_up,
        "kafka": KAFKA_VERSION,
        "page_cache": "full" if page_cache else "as found",
    }
    setup |= {"sync_us": sync_us}
    output = output or RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    write_json(output, results, lines, setup)
    click.echo("\n" + table(lines))
    click.echo(f"\nAn fdatasync took {sync_us[0]} us before and {sync_us[1]} us after the run (median).")
    click.echo(f"{time.monotonic() - started:.0f} s; every run: {output}")


def _brokers(folder: Path, floe_only: bool) -> list[BrokerProcess]:
    brokers: list[BrokerProcess] = [Floe(folder / "floe")]
    if floe_only:
        return brokers
    jars = find_kafka_jars()
    if isinstance(jars, str):
        click.echo(f"Without Apache Kafka, so without ratios: {jars}.")
        return brokers
    return [*brokers, Kafka(folder / "kafka", jars)]


def _run_all(
    workloads: list[Workload], sessions: list[Session], runs: int
) -> tuple[dict[str, dict[str, list[Figures]]], list[Line]]:
    _warm_up(sessions)
    results: dict[str, dict[str, list[Figures]]] = {}
    lines: list[Line] = []
    for workload in workloads:
        by_broker: dict[str, list[Figures]] = {session.broker.name: [] for session in sessions}
        for run in range(workload.runs or runs):
            # Who goes first changes, so that neither always finds the disk as the other left it.
            for session in sessions if run % 2 == 0 else reversed(sessions):
                by_broker[session.broker.name].append(measure(session, workload))
        results[workload.name] = by_broker
        made = make_lines(workload, by_broker["floe"], by_broker.get("kafka", []))
        lines += made
        for line in made:
            figures = [
                f"{name} {summary(v)}" for name, v in (("floe", line.floe), ("kafka", line.kafka)) if v
            ]
            click.echo(f"{workload.name}: {line.goal.metric}: {', '.join(figures)} {line.verdict}")
    return results, lines


def _warm_up(sessions: list[Session]) -> None:
    # A JVM's first seconds are a third slower than what follows.
    for session in sessions:
        for name in ("100 B x 9000", "100 B x 1, 8 connections"):
            measure(session, next(workload for workload in WORKLOADS if workload.name == name))


if __name__ == "__main__":
    main()
