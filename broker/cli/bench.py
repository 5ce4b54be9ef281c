"""`floe bench produce|consume|latency`: prebuilt requests against one broker, and what came of them."""

import contextlib
from collections.abc import Callable
from typing import Any

import click

from broker.cli import admin
from broker.cli.client import Address, BrokerError, Client
from broker.cli.errors import CommandFailed
from broker.cli.load.measurement import PERCENTILES, Measurement
from broker.cli.options import Command, bootstrap_option, compression_option, output_option, size_bytes
from broker.cli.output import Quantity, format_count, format_size, print_json, print_table
from protocol.errors import ErrorCode

_ACKS = {"all": -1, "-1": -1, "1": 1, "0": 0}
DEFAULT_TOPIC = "floe-bench"


def _common(command: Command) -> Command:
    for decorate in (
        output_option,
        bootstrap_option,
        click.option(
            "--duration",
            "duration_s",
            type=float,
            default=5.0,
            metavar="SECONDS",
            show_default=True,
            help="How long to measure.",
        ),
        click.option(
            "--warm-up",
            "warm_up_s",
            type=float,
            default=1.0,
            show_default=True,
            help="Seconds before, not counted.",
        ),
        click.option(
            "--topic", default=DEFAULT_TOPIC, show_default=True, help="The topic, made if it does not exist."
        ),
    ):
        command = decorate(command)
    return command


@click.group()
def bench() -> None:
    """Load a broker with prebuilt requests and measure it.

    The records go to a topic of their own; delete it afterwards with: floe topics delete floe-bench
    """


# Options that several commands share.
_record_size = click.option(
    "--record-size",
    "record_bytes",
    type=size_bytes,
    default="100",
    show_default=True,
    metavar="SIZE",
    help="Bytes of a value.",
)
_batch = click.option(
    "--batch",
    "records_per_batch",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Records a request.",
)
_connections = click.option(
    "--connections",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Connections.",
)


@bench.command()
@_common
@click.option(
    "--partitions",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Of the topic, if it is made.",
)
@_record_size
@_batch
@_connections
@click.option(
    "--in-flight",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    metavar="N",
    help="Requests in flight on each connection.",
)
@click.option("--acks", type=click.Choice(list(_ACKS)), default="all", show_default=True)
@compression_option("none")
@click.option("--json-payload", is_flag=True, help="JSON events instead of random letters.")
def produce(
    topic: str,
    duration_s: float,
    warm_up_s: float,
    partitions: int,
    record_bytes: int,
    records_per_batch: int,
    connections: int,
    in_flight: int,
    acks: str,
    codec: int,
    json_payload: bool,
    bootstrap: list[Address],
    timeout_s: float,
    output: str,
) -> None:
    """Send the same batches as fast as the broker takes them."""
    from broker.cli.load.produce import ProduceLoad, run_produce

    def load(seconds: float) -> ProduceLoad:
        return ProduceLoad(
            topic,
            record_bytes,
            records_per_batch,
            _ACKS[acks],
            codec,
            json_payload,
            connections,
            in_flight,
            seconds,
        )

    with Client(bootstrap, timeout_s=timeout_s) as client:
        ensure_topic(client, topic, partitions)
        _warm_up(warm_up_s, lambda seconds: run_produce(client, load(seconds)))
        measurement = run_produce(client, load(duration_s))
    _print({"produce": measurement}, output)
    _fail_on_errors(measurement)


@bench.command()
@_common
@click.option(
    "--max-bytes",
    type=size_bytes,
    default="1MiB",
    show_default=True,
    metavar="SIZE",
    help="Asked for in one request.",
)
@_connections
def consume(
    topic: str,
    duration_s: float,
    warm_up_s: float,
    max_bytes: int,
    connections: int,
    bootstrap: list[Address],
    timeout_s: float,
    output: str,
) -> None:
    """Read the topic from its beginning to its end, again and again."""
    from broker.cli.load.fetch import FetchLoad, run_fetch

    with Client(bootstrap, timeout_s=timeout_s) as client:
        _warm_up(
            warm_up_s, lambda seconds: run_fetch(client, FetchLoad(topic, max_bytes, connections, seconds))
        )
        measurement = run_fetch(client, FetchLoad(topic, max_bytes, connections, duration_s))
    _print({"consume": measurement}, output)


@bench.command()
@_common
@click.option(
    "--rate",
    type=click.FloatRange(min=0.1),
    default=1000.0,
    show_default=True,
    metavar="N",
    help="Requests a second.",
)
@_record_size
@_batch
@click.option(
    "--in-flight",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    metavar="N",
    help="Requests in flight at most.",
)
@click.option("--acks", type=click.Choice(["all", "1"]), default="all", show_default=True)
def latency(
    topic: str,
    duration_s: float,
    warm_up_s: float,
    rate: float,
    record_bytes: int,
    records_per_batch: int,
    in_flight: int,
    acks: str,
    bootstrap: list[Address],
    timeout_s: float,
    output: str,
) -> None:
    """Send at a fixed rate and read along: time to the acknowledgement and to a consumer."""
    from broker.cli.load.latency import LatencyLoad, run_latency

    def load(seconds: float) -> LatencyLoad:
        return LatencyLoad(topic, rate, record_bytes, records_per_batch, _ACKS[acks], in_flight, seconds)

    with Client(bootstrap, timeout_s=timeout_s) as client:
        ensure_topic(client, topic, 1)
        _warm_up(warm_up_s, lambda seconds: run_latency(client, load(seconds)))
        result = run_latency(client, load(duration_s))
    _print({"acknowledged": result.acknowledged, "delivered": result.delivered}, output)


def ensure_topic(client: Client, topic: str, partitions: int) -> None:
    """Create the topic if it does not exist and wait until it has leaders."""
    client.refresh_metadata([topic])
    if client.topics[topic].error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
        admin.create_topic(client, topic, partitions=partitions)
    client.topic(topic, allow_auto_topic_creation=True, refresh=True)


def _warm_up(seconds: float, run: Callable[[float], Any]) -> None:
    if seconds > 0:
        with contextlib.suppress(BrokerError):  # the run proper reports it
            run(seconds)


def _print(measurements: dict[str, Measurement], output: str) -> None:
    if output == "json":
        print_json({name: measurement.to_json() for name, measurement in measurements.items()})
        return
    names = [name for name, _ in PERCENTILES]
    rows = []
    for name, measurement in measurements.items():
        latency_ms = measurement.to_json()["latency_ms"]
        rows.append(
            (
                name,
                format_count(measurement.records_per_s),
                Quantity(f"{measurement.megabytes_per_s:,.1f}"),
                format_count(measurement.requests_per_s),
                *(Quantity(f"{latency_ms[p]:.3f}") if p in latency_ms else None for p in names),
                sum(measurement.errors.values()),
            )
        )
    columns = ("", "RECORDS/S", "MB/S", "REQUESTS/S", *(f"{name.upper()} MS" for name in names), "ERRORS")
    print_table(columns, rows)
    total = next(iter(measurements.values()))
    click.echo(
        f"{format_count(total.records)} records, {format_size(total.bytes)} in {total.seconds:.2f} s",
        err=True,
    )


def _fail_on_errors(measurement: Measurement) -> None:
    if measurement.errors:
        errors = ", ".join(f"{count} {name}" for name, count in measurement.errors.items())
        raise CommandFailed(f"The broker refused requests: {errors}.", "Those are not counted as records.")
