"""`floe generate`: made-up events for trying things out."""

import time

import click

from broker.cli.clickstream import Event, events
from broker.cli.client import Address, Client
from broker.cli.options import bootstrap_option, compression_option, moment, output_option
from broker.cli.output import Progress
from broker.cli.partitioner import Partitioner
from broker.cli.produce import print_summary
from broker.cli.producer import Options, Producer
from protocol.records import Record

EVENTS_PER_SECOND = 1_000
"""Of the events' own time where they are sent as fast as possible: a million are 17 minutes of a shop's life."""

YEAR_10000_MS = 253_402_300_800_000


@click.group()
def generate() -> None:
    """Send made-up events to a topic."""


@generate.command()
@click.argument("topic")
@click.option(
    "-n",
    "--count",
    type=click.IntRange(min=1),
    metavar="N",
    help="Stop after so many events. [default: until Ctrl-C]",
)
@click.option(
    "--rate",
    type=click.IntRange(min=1),
    metavar="PER_SECOND",
    help="Send so many a second, with the time of day as their timestamps. [default: as fast as possible]",
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes the same events.")
@click.option(
    "--start",
    type=moment,
    metavar="MS|ISO",
    help="Timestamp of the first event. [default: now with --rate, else so that the last one is now]",
)
@compression_option("lz4")
@bootstrap_option
@output_option
def clickstream(
    topic: str,
    count: int | None,
    rate: int | None,
    seed: int,
    start: int | None,
    codec: int,
    bootstrap: list[Address],
    timeout_s: float,
    output: str,
) -> None:
    """A web shop's clickstream as JSON: views, searches, carts, orders; keyed by session."""
    started = time.monotonic()
    if start is None:
        span_ms = (count or 0) * 1000 // EVENTS_PER_SECOND if rate is None else 0
        start = max(0, time.time_ns() // 1_000_000 - span_ms)
    elif not 0 <= start < YEAR_10000_MS:
        raise click.BadParameter("not within the years 1970 to 9999", param_hint="--start")
    source = events(seed, start, rate or EVENTS_PER_SECOND)
    with Client(bootstrap, timeout_s=timeout_s) as client:
        metadata = client.topic(topic, allow_auto_topic_creation=True)
        producer = Producer(client, topic, Options(compression=codec, idempotent=True))
        producer.open()
        partitioner = Partitioner(len(metadata.partitions), None)
        progress = Progress(started)
        try:
            for number, event in enumerate(source):
                if number == count:
                    break
                if rate is not None:
                    _wait_until(started + number / rate, producer)
                _send(producer, partitioner, event)
                if number % 1000 == 0:
                    now = time.monotonic()
                    progress.update(
                        now, f"{producer.records_sent:,} events sent, {number / (now - started):,.0f}/s"
                    )
        except KeyboardInterrupt:
            if count is not None:
                raise
        finally:
            progress.clear()
            producer.flush()
    print_summary(producer, time.monotonic() - started, output)


def _send(producer: Producer, partitioner: Partitioner, event: Event) -> None:
    record = Record(-1, event.timestamp, event.key, event.value, [])
    if producer.add(partitioner.partition_for(event.key), record):
        partitioner.next_batch()


def _wait_until(due_s: float, producer: Producer) -> None:
    """Let the clock reach `due_s`; what is queued goes out meanwhile."""
    pause_s = due_s - time.monotonic()
    if pause_s > 0:
        producer.flush()
        time.sleep(pause_s)
