"""What is measured: one entry a workload, with the ratios to Apache Kafka that it must reach and those to aim for.

Floors and aims are ratios Floe : Kafka. For rates they are at least, for times and memory (`lower_is_better`) at most.
Every acknowledgement of acks=all is synced to disk by Floe; Kafka runs with its defaults and does not sync.
"""

from dataclasses import dataclass, field
from typing import Any

LZ4 = 3


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure of a workload, by its name in the results, and what it should be beside Kafka's."""

    metric: str
    floor: float | None = None
    aim: float | None = None
    lower_is_better: bool = False


RECORDS = "records_per_s"
REQUESTS = "requests_per_s"
P50 = "p50_ms"
P99 = "p99_ms"


@dataclass(frozen=True, slots=True)
class Workload:
    """`kind` chooses the runner in runners.py; `load` are its arguments."""

    name: str
    kind: str
    goals: tuple[Goal, ...]
    load: dict[str, Any] = field(default_factory=dict)
    partitions: int = 1
    runs: int | None = None
    """How often it is run; None for as often as asked."""


def _replay(name: str, *goals: Goal, partitions: int = 1, **load: Any) -> Workload:
    return Workload(name, "produce", goals, load, partitions)


def _transactions(name: str, *, is_transactional: bool = True, **load: Any) -> Workload:
    commits = (Goal("commit_p50_ms", lower_is_better=True), Goal("commit_p99_ms", lower_is_better=True))
    goals = (
        Goal("transactions_per_s"),
        *(commits if is_transactional else ()),
        Goal("broker_us_each", lower_is_better=True),
    )
    return Workload(name, "transactions", goals, {**load, "is_transactional": is_transactional})


WORKLOADS: tuple[Workload, ...] = (
    Workload("start-up", "startup", (Goal("seconds", 1 / 8, lower_is_better=True),)),
    Workload("memory idle", "memory-idle", (Goal("mebibytes", 1 / 6, lower_is_better=True),)),
    # Replayed load: one connection, five requests in flight, acks=all, one partition, unless it says otherwise.
    _replay("100 B x 9000", Goal(RECORDS, 2, 5), Goal(P99), record_bytes=100, records_per_batch=9000),
    _replay(
        "100 B x 9000 lz4 JSON",
        Goal(RECORDS, 3.5, 5),
        Goal(P99),
        record_bytes=100,
        records_per_batch=9000,
        compression=LZ4,
        as_json=True,
    ),
    _replay("1 KiB x 900", Goal(RECORDS, 1.5, 2.5), Goal(P99), record_bytes=1024, records_per_batch=900),
    _replay("64 KiB x 14", Goal(RECORDS), Goal(P99), record_bytes=65536, records_per_batch=14),
    _replay("100 B x 100", Goal(RECORDS, 0.6, 0.65), Goal(P99), record_bytes=100, records_per_batch=100),
    _replay("100 B x 1", Goal(REQUESTS, 0.8, 0.9), Goal(P99), record_bytes=100),
    _replay("100 B x 1, acks=1", Goal(REQUESTS, 2.5, 4.6), Goal(P99), record_bytes=100, acks=1),
    _replay("100 B x 1, acks=0", Goal(REQUESTS), record_bytes=100, acks=0),
    _replay("100 B x 100, acks=1", Goal(RECORDS), Goal(P99), record_bytes=100, records_per_batch=100, acks=1),
    _replay("100 B x 100, acks=0", Goal(RECORDS), record_bytes=100, records_per_batch=100, acks=0),
    _replay(
        "100 B x 100, 8 connections",
        Goal(RECORDS, 0.6, 0.8),
        Goal(P99, 1, lower_is_better=True),
        record_bytes=100,
        records_per_batch=100,
        connections=8,
    ),
    _replay(
        "100 B x 1, 8 connections",
        Goal(REQUESTS, 0.7, 1.1),
        Goal(P99, 1, lower_is_better=True),
        record_bytes=100,
        connections=8,
    ),
    _replay(
        "100 B x 1, 32 connections",
        Goal(REQUESTS),
        Goal(P99, lower_is_better=True),
        record_bytes=100,
        connections=32,
    ),
    _replay(
        "100 B x 100, 16 partitions",
        Goal(RECORDS),
        Goal(P99),
        partitions=16,
        record_bytes=100,
        records_per_batch=100,
        connections=8,
    ),
    _replay(
        "100 B x 100, 256 partitions",
        Goal(RECORDS),
        Goal(P99),
        partitions=256,
        record_bytes=100,
        records_per_batch=100,
        connections=8,
    ),
    Workload("catch-up 1 MiB", "fetch", (Goal(RECORDS, 1.2), Goal(P99)), {"max_bytes": 1 << 20}),
    Workload("catch-up 10 MiB", "fetch", (Goal(RECORDS, 1), Goal(P99)), {"max_bytes": 10 << 20}),
    Workload(
        "end to end 1000/s",
        "latency",
        (Goal("acknowledged_p99_ms", lower_is_better=True), Goal("delivered_p99_ms", lower_is_better=True)),
        {"rate": 1000.0},
    ),
    # librdkafka: where the client is the limit, "not behind" is as close as its own noise lets one see.
    Workload("librdkafka produce", "rdkafka-produce", (Goal(RECORDS, 0.95, 1),)),
    Workload("librdkafka catch-up", "rdkafka-consume", (Goal(RECORDS, 0.95, 1),)),
    Workload(
        "librdkafka 10000/s x 1",
        "rdkafka-rate",
        (Goal(P50, lower_is_better=True), Goal(P99, 1 / 10, lower_is_better=True)),
        {"rate": 10_000.0},
    ),
    Workload(
        "librdkafka tail 200/s",
        "rdkafka-tail",
        (Goal(P50, lower_is_better=True), Goal(P99, lower_is_better=True)),
        {"rate": 200.0},
    ),
    Workload("memory after", "memory-after", (Goal("mebibytes", 1 / 10, lower_is_better=True),)),
    # Transactions and consumer groups, after that: their coordinators would be in it.
    _transactions("no transactions, 16 producers", producers=16, width=1, is_transactional=False),
    _transactions("transactions, 1 producer", producers=1, width=1),
    _transactions("transactions, 16 producers", producers=16, width=1),
    _transactions("transactions of 3 partitions, 16 producers", producers=16, width=3),
    Workload(
        "joins",
        "groups-joins",
        (
            Goal("classic_many_groups_per_s"),
            Goal("classic_one_group_per_s"),
            Goal("consumer_many_groups_per_s"),
            Goal("consumer_one_group_per_s"),
        ),
    ),
    Workload(
        "offset commits",
        "groups-commits",
        (
            Goal("commits_1x5_per_s"),
            Goal("commits_1x5_p99_ms", lower_is_better=True),
            Goal("commits_8x5_per_s"),
            Goal("commits_8x5_p99_ms", lower_is_better=True),
        ),
    ),
    Workload(
        "10,000 idle members",
        "groups-idle",
        (
            Goal("classic_mebibytes", lower_is_better=True),
            Goal("classic_percent_of_a_core", lower_is_better=True),
            Goal("consumer_mebibytes", lower_is_better=True),
            Goal("consumer_percent_of_a_core", lower_is_better=True),
        ),
        runs=1,
    ),
)
