"""`floe transactions list|describe|abort|find-hanging`: what `kafka-transactions.sh` shows and does (KIP-664)."""

import time
from typing import Any

import click

from broker.cli import transactions_requests as requests
from broker.cli.client import Address, Client
from broker.cli.errors import CommandFailed
from broker.cli.options import bootstrap_option, output_option
from broker.cli.output import format_timestamp, print_json, print_table

STATES = ("Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort")

_HANGING = (
    "TOPIC",
    "PARTITION",
    "PRODUCER-ID",
    "PRODUCER-EPOCH",
    "COORDINATOR-EPOCH",
    "START-OFFSET",
    "LAST-TIMESTAMP",
    "DURATION-MIN",
)


@click.group()
def transactions() -> None:
    """List, describe and abort transactions, and find hanging ones."""


@transactions.command("list")
@click.option(
    "--state",
    "states",
    type=click.Choice(STATES, case_sensitive=False),
    multiple=True,
    help="Only ids in this state; may be repeated.",
)
@click.option(
    "--producer-id",
    "producer_ids",
    type=int,
    multiple=True,
    help="Only of this producer id; may be repeated.",
)
@click.option("--longer-than-ms", type=int, default=-1, help="Only transactions under way for longer.")
@click.option("--pattern", help="Only ids that match this regular expression as a whole.")
@bootstrap_option
@output_option
def list_transactions(
    states: tuple[str, ...],
    producer_ids: tuple[int, ...],
    longer_than_ms: int,
    pattern: str | None,
    bootstrap: list[Address],
    timeout_s: float,
    output: str,
) -> None:
    """List transactional ids and the states they are in."""
    with Client(bootstrap, timeout_s=timeout_s) as client:
        found = requests.list_transactions(client, states, producer_ids, longer_than_ms, pattern)
    rows = [(each.transactional_id, each.coordinator, each.producer_id, each.state) for each in found]
    if output == "json":
        names = ("transactional_id", "coordinator", "producer_id", "state")
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    elif rows:
        print_table(("TRANSACTIONAL-ID", "COORDINATOR", "PRODUCER-ID", "STATE"), rows)
    else:
        click.echo("No such transactional ids.", err=True)


@transactions.command("describe")
@click.argument("transactional_id")
@bootstrap_option
@output_option
def describe(transactional_id: str, bootstrap: list[Address], timeout_s: float, output: str) -> None:
    """Show a transactional id: its producer, and the transaction under way."""
    with Client(bootstrap, timeout_s=timeout_s) as client:
        connection, state = requests.describe(client, transactional_id)
    start_ms = state.transaction_start_time_ms
    is_under_way = state.transaction_state in requests.ONGOING_STATES
    description: dict[str, Any] = {
        "transactional_id": state.transactional_id,
        "coordinator": connection.name,
        "producer_id": state.producer_id,
        "producer_epoch": state.producer_epoch,
        "state": state.transaction_state,
        "timeout_ms": state.transaction_timeout_ms,
        "start_time": format_timestamp(start_ms) if start_ms >= 0 else None,
        "duration_ms": round(time.time() * 1000) - start_ms if is_under_way else None,
        "partitions": [
            f"{topic.topic}-{partition}" for topic in state.topics for partition in sorted(topic.partitions)
        ],
    }
    if output == "json":
        print_json(description)
        return
    description["partitions"] = ", ".join(description["partitions"]) or None
    print_table(
        ("TRANSACTIONAL ID", transactional_id),
        [(name.replace("_", " "), value) for name, value in list(description.items())[1:]],
    )


@transactions.command("abort")
@click.argument("topic")
@click.option("--partition", type=int, required=True, help="The partition it hangs in.")
@click.option("--start-offset", type=int, required=True, help="The first offset of the transaction.")
@bootstrap_option
def abort(topic: str, partition: int, start_offset: int, bootstrap: list[Address], timeout_s: float) -> None:
    """End a transaction in one partition, which is for hanging ones.

    One that its coordinator knows of is ended by it, in all partitions: wait for its time-out.
    """
    with Client(bootstrap, timeout_s=timeout_s) as client:
        for found in requests.open_transactions(client, topic, partition):
            if found.start_offset == start_offset:
                requests.abort(client, found)
                click.echo(f"Aborted the transaction of producer {found.producer_id} in {topic}-{partition}.")
                return
    raise CommandFailed(
        f"No transaction in {topic}-{partition} starts at offset {start_offset}.",
        f"See what hangs with: floe transactions find-hanging --topic {topic}",
    )


@transactions.command("find-hanging")
@click.option("--topic", "topics", multiple=True, help="Only this topic; may be repeated. Default: all.")
@click.option("--partition", type=int, help="Only this partition; needs one --topic.")
@click.option(
    "--max-transaction-timeout",
    "timeout_minutes",
    type=float,
    default=15,
    show_default=True,
    help="Minutes since the last record; what is younger may end by itself.",
)
@bootstrap_option
@output_option
def find_hanging(
    topics: tuple[str, ...],
    partition: int | None,
    timeout_minutes: float,
    bootstrap: list[Address],
    timeout_s: float,
    output: str,
) -> None:
    """Find transactions that nobody will ever end: open in a partition, unknown to every coordinator."""
    if partition is not None and len(topics) != 1:
        raise click.UsageError("--partition needs one --topic.")
    with Client(bootstrap, timeout_s=timeout_s) as client:
        names = list(topics)
        if not names:
            names = sorted(topic.name for topic in client.refresh_metadata(None).topics if topic.name)
        now_ms = round(time.time() * 1000)
        old = [
            found
            for name in names
            for found in requests.open_transactions(client, name, partition)
            if now_ms - found.last_timestamp_ms >= timeout_minutes * 60_000
        ]
        hanging = requests.hanging(client, old)
    rows = [
        (
            found.topic,
            found.partition,
            found.producer_id,
            found.producer_epoch,
            found.coordinator_epoch,
            found.start_offset,
            format_timestamp(found.last_timestamp_ms),
            (now_ms - found.last_timestamp_ms) // 60_000,
        )
        for found in hanging
    ]
    if output == "json":
        columns = [name.lower().replace("-", "_") for name in _HANGING]
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif rows:
        print_table(_HANGING, rows)
    else:
        click.echo("No hanging transactions.", err=True)
