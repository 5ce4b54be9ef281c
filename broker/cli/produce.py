"""`floe produce`: lines of stdin or of a file to a topic."""

import os
import sys
import time
from pathlib import Path

import click

from broker.cli.client import Address, Client, find_partition
from broker.cli.lines import Headers, LineFormat, read_lines
from broker.cli.options import (
    bootstrap_option,
    compression_option,
    escaped,
    key_value,
    moment,
    output_option,
    separator,
    size_bytes,
)
from broker.cli.output import Progress, format_count, format_size, print_json
from broker.cli.partitioner import Partitioner
from broker.cli.producer import Options, Producer

_ACKS = {"all": -1, "-1": -1, "1": 1, "0": 0}


@click.command()
@click.argument("topic")
@click.option(
    "-f",
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read lines from this file instead of stdin.",
)
@click.option(
    "-k",
    "--key-separator",
    type=separator,
    metavar="TEXT",
    help="What ends the key of a line, for example ':'.",
)
@click.option(
    "--headers-separator",
    type=separator,
    metavar="TEXT",
    help="What ends the headers (k=v,k=v) that begin a line.",
)
@click.option(
    "-H",
    "--header",
    "headers",
    type=key_value,
    multiple=True,
    metavar="KEY=VALUE",
    help="A header for every record. May be repeated.",
)
@click.option(
    "--null",
    "null_marker",
    type=escaped,
    metavar="TEXT",
    help="The text of a key or value that stands for null.",
)
@click.option(
    "-p", "--partition", type=click.IntRange(min=0), metavar="N", help="Send everything to this partition."
)
@click.option(
    "--acks",
    type=click.Choice(list(_ACKS)),
    default="all",
    show_default=True,
    help="Who must have a batch before it counts as sent: all in-sync replicas, the leader, nobody.",
)
@compression_option("none")
@click.option(
    "-t", "--timestamp", type=moment, metavar="MS|ISO", help="The timestamp of every record. [default: now]"
)
@click.option("--idempotent", is_flag=True, help="A retry never doubles a record (needs acks=all).")
@click.option(
    "--batch-bytes",
    type=size_bytes,
    metavar="SIZE",
    default="900k",
    show_default=True,
    help="Send when so much has come together.",
)
@click.option(
    "--linger",
    "linger_ms",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    metavar="MS",
    help="Send a batch that is not full when the input pauses for this long.",
)
@bootstrap_option
@output_option
def produce(
    topic: str,
    path: Path | None,
    key_separator: bytes | None,
    headers_separator: bytes | None,
    headers: tuple[tuple[str, str], ...],
    null_marker: bytes | None,
    partition: int | None,
    acks: str,
    codec: int,
    timestamp: int | None,
    idempotent: bool,
    batch_bytes: int,
    linger_ms: int,
    bootstrap: list[Address],
    timeout_s: float,
    output: str,
) -> None:
    """Send each line of stdin (or of --file) to TOPIC as a record.

    A line is the value. With --key-separator it is KEY SEPARATOR VALUE, with --headers-separator headers
    come first.
    """
    if idempotent and _ACKS[acks] != -1:
        raise click.UsageError("--idempotent needs --acks all.")
    fixed_headers: Headers = tuple((name, value.encode()) for name, value in headers)
    layout = LineFormat(key_separator, headers_separator, null_marker, fixed_headers)
    options = Options(_ACKS[acks], codec, batch_bytes, idempotent)
    started = time.monotonic()
    with Client(bootstrap, timeout_s=timeout_s) as client:
        metadata = client.topic(topic, allow_auto_topic_creation=True)
        if partition is not None:
            find_partition(metadata, partition)
        producer = Producer(client, topic, options)
        producer.open()
        partitioner = Partitioner(len(metadata.partitions), partition)
        descriptor = sys.stdin.fileno() if path is None else os.open(path, os.O_RDONLY)
        try:
            _send_lines(producer, partitioner, layout, descriptor, timestamp, linger_ms / 1000)
        finally:
            if path is not None:
                os.close(descriptor)
    print_summary(producer, time.monotonic() - started, output)


def _send_lines(
    producer: Producer,
    partitioner: Partitioner,
    layout: LineFormat,
    descriptor: int,
    timestamp: int | None,
    linger_s: float,
) -> None:
    progress = Progress(time.monotonic())
    number = 0
    try:
        for lines in read_lines(descriptor, linger_s):
            if not lines:
                producer.flush()
                partitioner.next_batch()
            now_ms = time.time_ns() // 1_000_000 if timestamp is None else timestamp
            for line in lines:
                number += 1
                record = layout.parse(line, number, now_ms)
                if producer.add(partitioner.partition_for(record.key), record):
                    partitioner.next_batch()
            now = time.monotonic()
            rate = producer.records_sent / max(now - progress.started, 0.001)
            progress.update(now, f"{producer.records_sent:,} records sent, {rate:,.0f}/s")
    finally:
        progress.clear()
        producer.flush()  # what was read before Ctrl-C or a bad line is sent


def print_summary(producer: Producer, duration_s: float, output: str) -> None:
    """What was sent and how fast, as text on stderr or as JSON."""
    if output == "json":
        print_json(
            {
                "topic": producer.topic,
                "records": producer.records_sent,
                "bytes": producer.bytes_sent,
                "batches": producer.batches_sent,
                "seconds": round(duration_s, 3),
            }
        )
        return
    rate = producer.records_sent / max(duration_s, 0.001)
    click.echo(
        f"Sent {format_count(producer.records_sent)} records ({format_size(producer.bytes_sent)}) to "
        f"{producer.topic} in {duration_s:.2f} s, {format_count(rate)} records/s.",
        err=True,
    )
