"""How each kind of workload is run against one broker: a function from a session and arguments to figures by name."""

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from broker.cli import admin
from broker.cli.client import BrokerError, Client
from broker.cli.errors import CommandFailed
from broker.cli.load.fetch import FetchLoad, run_fetch
from broker.cli.load.latency import LatencyLoad, run_latency
from broker.cli.load.measurement import Measurement
from broker.cli.load.produce import ProduceLoad, run_produce
from tests.bench import groups, rdkafka, transactions
from tests.bench.brokers import BrokerProcess
from tests.bench.page_cache import PageCacheFiller
from tests.bench.workloads import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

Figures = dict[str, float]

CATCH_UP_BYTES = 1 << 30
_CATCH_UP_RECORDS = CATCH_UP_BYTES // 115
_RDKAFKA_RECORDS = 3_000_000
_FIRST_WRITES_S = 0.02


@dataclass(slots=True)
class Session:
    """A running broker, how long a measurement takes, and a counter for topic names."""

    broker: BrokerProcess
    duration_s: float
    warm_up_s: float
    page_cache: PageCacheFiller | None = None
    topics_made: int = 0
    startup_seconds: list[float] = field(default_factory=list)
    idle_mebibytes: float = 0.0
    group_runs: int = 0

    @contextmanager
    def topic(self, partitions: int) -> "Iterator[tuple[Client, str]]":
        """A fresh topic, gone afterwards with its files."""
        if self.page_cache is not None:
            self.page_cache.fill()
        self.topics_made += 1
        name = f"bench-{self.topics_made}"
        with self.broker.client() as client:
            admin.create_topic(client, name, partitions=partitions, replication_factor=1)
            client.topic(name, allow_auto_topic_creation=True, refresh=True)
            # Metadata names leaders before they know of it: asked for offsets, each partition is waited for.
            admin.list_offsets(client, name, range(partitions), admin.LATEST)
            try:
                yield client, name
            finally:
                admin.delete_topic(client, name)
        self.broker.wait_until_gone(name)


def _figures(measurement: Measurement, prefix: str = "") -> Figures:
    if measurement.errors:
        raise CommandFailed(f"errors under load: {dict(measurement.errors)}")
    numbers = measurement.to_json()
    figures = {
        f"{prefix}{key}": numbers[key] for key in ("records_per_s", "requests_per_s", "megabytes_per_s")
    }
    for name, value in numbers["latency_ms"].items():
        figures[f"{prefix}{name}_ms"] = value
    return figures


def run_produce_workload(session: Session, workload: Workload) -> Figures:
    """Replayed Produce requests."""
    with session.topic(workload.partitions) as (client, topic):
        # A partition's first write is dear (its folder, its epoch file): each gets several before the clock starts.
        warm_up_s = max(session.warm_up_s, workload.partitions * _FIRST_WRITES_S)
        run_produce(client, ProduceLoad(topic, **workload.load, duration_s=warm_up_s))
        return _figures(
            run_produce(client, ProduceLoad(topic, **workload.load, duration_s=session.duration_s))
        )


def _fill(client: Client, topic: str) -> None:
    load = ProduceLoad(topic, record_bytes=100, records_per_batch=9000, duration_s=0.5)
    while admin.list_offsets(client, topic, [0], admin.LATEST)[0] < _CATCH_UP_RECORDS:
        run_produce(client, load)


def run_fetch_workload(session: Session, workload: Workload) -> Figures:
    """Reading a gibibyte again and again."""
    with session.topic(1) as (client, topic):
        _fill(client, topic)
        run_fetch(client, FetchLoad(topic, **workload.load, duration_s=session.warm_up_s))
        return _figures(run_fetch(client, FetchLoad(topic, **workload.load, duration_s=session.duration_s)))


def run_latency_workload(session: Session, workload: Workload) -> Figures:
    """Fixed rate, end to end, with prebuilt frames."""
    with session.topic(1) as (client, topic):
        run_latency(client, LatencyLoad(topic, **workload.load, duration_s=session.warm_up_s))
        result = run_latency(client, LatencyLoad(topic, **workload.load, duration_s=session.duration_s))
        return _figures(result.acknowledged, "acknowledged_") | _figures(result.delivered, "delivered_")


def run_rdkafka_workload(session: Session, workload: Workload) -> Figures:
    """librdkafka through confluent-kafka."""
    with session.topic(1) as (client, topic):
        bootstrap = session.broker.bootstrap
        if workload.kind == "rdkafka-consume":
            _fill(client, topic)
            return {"records_per_s": rdkafka.consume(bootstrap, topic, _RDKAFKA_RECORDS)}
        if workload.kind == "rdkafka-produce":
            rdkafka.produce(bootstrap, topic, session.warm_up_s)
            return {"records_per_s": rdkafka.produce(bootstrap, topic, session.duration_s)}
        measure = rdkafka.rate if workload.kind == "rdkafka-rate" else rdkafka.tail
        measure(bootstrap, topic, workload.load["rate"], session.warm_up_s)
        return measure(bootstrap, topic, workload.load["rate"], session.duration_s)


def run_startup(session: Session, _: Workload) -> Figures:
    """Stop it and start it again."""
    session.broker.stop()
    return {"seconds": session.broker.start()}


def run_memory_idle(session: Session, _: Workload) -> Figures:
    """Resident memory of a broker that was just started and has served nobody but a start-up probe."""
    session.broker.stop()
    session.broker.start()
    time.sleep(3)
    return {"mebibytes": session.broker.resident_mebibytes()}


def run_memory_after(session: Session, _: Workload) -> Figures:
    """Resident memory now."""
    return {"mebibytes": session.broker.resident_mebibytes()}


def run_groups_workload(session: Session, workload: Workload) -> Figures:
    """Members of consumer groups, played by requests; every run has groups of its own."""
    if not session.group_runs:
        groups.prepare(session.broker)
    session.group_runs += 1
    prefix = f"{session.group_runs}-"
    try:
        if workload.kind == "groups-commits":
            return groups.measure_commits(session.broker, prefix, session.duration_s)
        measure = groups.measure_joins if workload.kind == "groups-joins" else groups.measure_idle
        return measure(session.broker, prefix)
    except AssertionError as error:
        raise CommandFailed(f"a member was refused: {error}") from error


def run_transactions_workload(session: Session, workload: Workload) -> Figures:
    """Producers, played by requests, with transactions and without."""
    try:
        with session.topic(transactions.PARTITIONS) as (_, topic):
            return transactions.measure(
                session.broker,
                topic,
                **workload.load,
                warm_up_s=session.warm_up_s,
                duration_s=session.duration_s,
            )
    except AssertionError as error:
        raise CommandFailed(f"a producer was refused: {error}") from error


RUNNERS: dict[str, Callable[[Session, Workload], Figures]] = {
    "startup": run_startup,
    "memory-idle": run_memory_idle,
    "memory-after": run_memory_after,
    "produce": run_produce_workload,
    "fetch": run_fetch_workload,
    "latency": run_latency_workload,
    "rdkafka-produce": run_rdkafka_workload,
    "rdkafka-consume": run_rdkafka_workload,
    "rdkafka-rate": run_rdkafka_workload,
    "rdkafka-tail": run_rdkafka_workload,
    "transactions": run_transactions_workload,
    "groups-joins": run_groups_workload,
    "groups-commits": run_groups_workload,
    "groups-idle": run_groups_workload,
}


def measure(session: Session, workload: Workload) -> Figures:
    """Run a workload once. A broker that cannot do it gives {"failed": 1.0} and one line on stderr, not a
    stopped run.
    """
    try:
        return RUNNERS[workload.kind](session, workload)
    except (CommandFailed, BrokerError) as error:
        print(f"  {session.broker.name}: {workload.name}: {error}", flush=True)
        return {"failed": 1.0}


def summary(value: Any) -> str:
    """One figure for the progress line."""
    return f"{value:,.0f}" if isinstance(value, float) and value >= 100 else f"{value:.3g}"
