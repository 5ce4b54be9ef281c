"""`floe tables`: the Iceberg tables of topics."""

import time
from typing import Any

import click

from broker.cli import tables_snippets
from broker.cli.client import Address, Client
from broker.cli.errors import CommandFailed
from broker.cli.floe_admin import call
from broker.cli.options import bootstrap_option, key_value, output_option
from broker.cli.output import format_count, format_timestamp, print_json, print_table

MAINTENANCE_PATIENCE_S = 3600.0
"""How long merging a table's files may take before the command gives up on the answer."""


@click.group()
def tables() -> None:
    """See and keep the Iceberg tables that topics are.

    Tables are on by default (floe.table.enable, per topic or for the broker). The broker commits, merges small
    files, expires snapshots and removes orphans by itself.
    """


def _topics(topics: tuple[str, ...]) -> dict[str, Any]:
    return {"topics": list(topics)} if topics else {}


@tables.command("list")
@bootstrap_option
@output_option
def list_tables(bootstrap: list[Address], timeout_s: float, output: str) -> None:
    """List topics and their tables."""
    with Client(bootstrap, timeout_s=timeout_s) as client:
        found = call(client, "tables.list")["tables"]
    if output == "json":
        print_json(found)
        return
    rows = ((one["topic"], one["table"], one["metadata_location"] or "(no commit yet)") for one in found)
    print_table(("TOPIC", "TABLE", "METADATA"), rows)


@tables.command()
@click.argument("topics", nargs=-1)
@bootstrap_option
@output_option
def lag(topics: tuple[str, ...], bootstrap: list[Address], timeout_s: float, output: str) -> None:
    """Show how far tables are behind their topics (all, or TOPICS), and what holds them back."""
    with Client(bootstrap, timeout_s=timeout_s) as client:
        found = call(client, "tables.describe", _topics(topics))["tables"]
    if output == "json":
        fields = ("topic", "table", "lag_records", "lag_seconds", "error", "partitions")
        print_json([{name: one[name] for name in fields} for one in found])
        return
    rows = (
        (one["topic"], format_count(one["lag_records"]), f"{one['lag_seconds']:.1f}", _held_back(one))
        for one in found
    )
    print_table(("TOPIC", "LAG RECORDS", "LAG SECONDS", "HELD BACK BY"), rows)


def _held_back(described: dict[str, Any]) -> str | None:
    if described["error"]:
        return str(described["error"])
    held = [
        f"partition {partition['partition']}: {partition['held_back_by']}"
        for partition in described["partitions"]
        if partition["held_back_by"]
    ]
    return "; ".join(held) or None


@tables.command()
@click.argument("topics", nargs=-1)
@bootstrap_option
@output_option
def describe(topics: tuple[str, ...], bootstrap: list[Address], timeout_s: float, output: str) -> None:
    """Show tables (of all topics, or of TOPICS): where they are, how far, and how to read them elsewhere."""
    with Client(bootstrap, timeout_s=timeout_s) as client:
        found = call(client, "tables.describe", _topics(topics))["tables"]
    if output == "json":
        print_json(found)
        return
    for number, one in enumerate(found):
        if number:
            click.echo()
        _print_description(one)


def _print_description(described: dict[str, Any]) -> None:
    settings = described["settings"]
    committed_ms = described["committed_ms"]
    facts = {
        "topic": described["topic"],
        "table": described["table"],
        "metadata": described["metadata_location"] or "(no commit yet)",
        "snapshot": described["snapshot_id"],
        "last commit": format_timestamp(committed_ms) if committed_ms else None,
        "value, key": f"{settings['value']}, {settings['key']}",
        "partitioned by": settings["partition_by"] or "(not)",
        "behind": f"{format_count(described['lag_records'])} records, {described['lag_seconds']:.1f} s",
        "dead letters": described["dead_letters_metadata_location"],
        "problem": described["error"],
        "maintenance": _maintenance_problem(described),
    }
    width = max(map(len, facts))
    for name, value in facts.items():
        if value is not None:
            click.echo(f"{name.ljust(width)}  {value}")
    if described["partitions"]:
        click.echo()
        columns = ("partition", "tabled_offset", "last_stable_offset", "high_watermark", "held_back_by")
        head = [column.replace("_", " ").upper() for column in columns]
        print_table(
            head, ([partition[column] for column in columns] for partition in described["partitions"])
        )
    if described["metadata_location"] is not None:
        _print_snippets(described)


def _maintenance_problem(described: dict[str, Any]) -> str | None:
    reason = described["maintenance_error"]
    if not reason:
        return None
    return f"failed at {format_timestamp(described['maintenance_failed_ms'])}: {reason}"


def _print_snippets(described: dict[str, Any]) -> None:
    # From the first column on: an interactive Python takes no other.
    for engine, snippet in (
        ("PyIceberg, in Python", tables_snippets.pyiceberg(described)),
        ("DuckDB, in Python", tables_snippets.duckdb(described)),
        ("Spark 4.1, in a shell", tables_snippets.spark(described)),
    ):
        if snippet is not None:
            click.echo(f"\n# {engine}\n{snippet}")


@tables.command()
@click.argument("topics", nargs=-1, required=True)
@bootstrap_option
@output_option
def commit(topics: tuple[str, ...], bootstrap: list[Address], timeout_s: float, output: str) -> None:
    """Commit now what TOPICS hold, without waiting for floe.table.commit.interval.ms."""
    started = time.monotonic()
    with Client(bootstrap, timeout_s=max(timeout_s, MAINTENANCE_PATIENCE_S)) as client:
        found = call(client, "tables.commit", _topics(topics))["tables"]
    if output == "json":
        print_json(found)
    for one in found:
        if one["error"]:
            raise CommandFailed(f"{one['topic']}: {one['error']}", "The broker tries again by itself.")
        if output != "json":
            what = f"{format_count(one['lag_records'])} records behind"
            click.echo(f"{one['topic']} is committed to {one['table']}, {what}.", err=True)
    if output != "json":
        click.echo(f"{time.monotonic() - started:.2f} s.", err=True)


def _maintenance_command(name: str, part: str, told: str, help_text: str) -> None:
    """Adds `floe tables NAME TOPIC`, which has one part of the table's maintenance done at once."""

    @tables.command(name, help=help_text)
    @click.argument("topic")
    @bootstrap_option
    @output_option
    def maintain(topic: str, bootstrap: list[Address], timeout_s: float, output: str) -> None:
        with Client(bootstrap, timeout_s=max(timeout_s, MAINTENANCE_PATIENCE_S)) as client:
            done = call(client, "tables.maintain", {"topic": topic, "parts": [part]})
        if output == "json":
            print_json(done)
        else:
            click.echo(f"{topic}: {told.format(**done)}", err=True)


_maintenance_command(
    "compact",
    "compact",
    "{files_before} files became {files_after}.",
    "Merge the small files of TOPIC's table now.",
)
_maintenance_command(
    "expire",
    "expire",
    "{snapshots_expired} snapshots expired, {files_deleted} files deleted.",
    "Expire the old snapshots of TOPIC's table now (floe.table.snapshot.*).",
)
_maintenance_command(
    "remove-orphans",
    "orphans",
    "{orphans_deleted} files that no snapshot needs were removed.",
    "Remove files below TOPIC's table that no snapshot knows, if they are old enough.",
)


@tables.command()
@click.argument("topic")
@click.option(
    "--to",
    "offsets",
    type=key_value,
    multiple=True,
    required=True,
    metavar="PARTITION=OFFSET",
    help="The first offset to be read again. May be repeated.",
)
@bootstrap_option
@output_option
def rewind(
    topic: str, offsets: tuple[tuple[str, str], ...], bootstrap: list[Address], timeout_s: float, output: str
) -> None:
    """Take rows out of TOPIC's table and have them made again from the log.

    For example after floe.table.value was changed. Only what the log still holds can be read again.
    """
    wanted: dict[str, int] = {}
    for partition, offset in offsets:
        if not (partition.isdecimal() and offset.isdecimal()):
            raise click.BadParameter(f"{partition}={offset} is not PARTITION=OFFSET", param_hint="--to")
        if wanted.setdefault(str(int(partition)), int(offset)) != int(offset):
            raise click.BadParameter(f"partition {partition} is named twice", param_hint="--to")
    with Client(bootstrap, timeout_s=max(timeout_s, MAINTENANCE_PATIENCE_S)) as client:
        described = call(client, "tables.rewind", {"topic": topic, "offsets": wanted})
    if output == "json":
        print_json(described)
        return
    behind = format_count(described["lag_records"])
    click.echo(f"{topic}: {behind} records will be read again from the log.", err=True)
