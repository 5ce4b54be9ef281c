"""`floe sql`: a question to topics, answered from their tables and from what is not in them yet."""

import csv
import json
import sys
import time
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from broker.cli import admin
from broker.cli.client import Address, Client
from broker.cli.consumer import Consumer
from broker.cli.errors import CommandFailed
from broker.cli.floe_admin import call
from broker.cli.options import bootstrap_option, key_value
from broker.cli.output import Progress, print_table

if TYPE_CHECKING:
    from broker.tiering.query import Database, HotRows

DEAD_LETTERS_SUFFIX = "__dlq"
SHOWN_ROWS = 200
"""Rows of a table on a terminal; JSON and CSV are whole."""

SHOWN_CHARACTERS = 100
"""Of one cell of that table."""

INSTALL_HINT = "Install what it needs with: pip install 'floe[sql]'"


@click.command()
@click.argument("query", required=False)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="json: one object a line.",
)
@click.option(
    "--max-rows",
    type=click.IntRange(min=0),
    default=SHOWN_ROWS,
    show_default=True,
    metavar="N",
    help="Rows that --output table shows; 0 for all.",
)
@click.option(
    "--tables-only",
    is_flag=True,
    help="Answer from the tables as they are, without the records that are not in them yet.",
)
@click.option(
    "--property",
    "properties",
    type=key_value,
    multiple=True,
    metavar="KEY=VALUE",
    help="For a warehouse that is not on this machine: PyIceberg's properties (s3.access-key-id=…). May be repeated.",
)
@bootstrap_option
def sql(
    query: str | None,
    output: str,
    max_rows: int,
    tables_only: bool,
    properties: tuple[tuple[str, str], ...],
    bootstrap: list[Address],
    timeout_s: float,
) -> None:
    """Answer QUERY (DuckDB's SQL; from stdin if left out) over topics.

    A topic is a name in it: orders, or in quotes "orders.v1". Its rows are those of its Iceberg table and,
    behind them, every acknowledged record that is not in the table yet. What did not fit the columns is in
    "<topic>__dlq".

        floe sql "select event_type, count(*) from clicks group by all order by 2 desc"
    """
    text = sys.stdin.read() if query is None else query
    if not text.strip():
        raise click.UsageError("there is no query; give it as an argument or on stdin.")
    try:
        import duckdb

        from broker.tiering.query import Database, MissingExtension
    except ImportError as error:
        raise CommandFailed(f"floe sql needs the package {error.name}.", INSTALL_HINT) from error
    with Database() as database, Client(bootstrap, timeout_s=timeout_s) as client:
        try:
            add_relations(client, database, text, tables_only=tables_only, properties=dict(properties))
            names, batches = database.query(text)
            _PRINTERS[output](names, batches, max_rows)
        except MissingExtension as error:
            raise CommandFailed(f"{error}.", INSTALL_HINT) from error
        except duckdb.Error as error:
            raise CommandFailed(str(error), _hint(client, str(error))) from error


def add_relations(
    client: Client, database: "Database", query: str, *, tables_only: bool, properties: dict[str, str]
) -> None:
    """Make views of the topics that `query` names.

    Which they are is read off the text: a view too many costs its time, and a parser that knows every dialect
    of names would not pay.
    """
    known = call(client, "tables.list")["tables"]
    folded = query.casefold()
    named = [
        entry["topic"]
        for entry in known
        if entry["topic"].casefold() in folded or (entry["table"] or entry["topic"]).casefold() in folded
    ]
    if not named:
        return
    progress = Progress(time.monotonic())
    taken: dict[str, str] = {}
    for described in call(client, "tables.describe", {"topics": named})["tables"]:
        topic = described["topic"]
        # DuckDB's names do not differ by case alone; Kafka's do.
        other = taken.setdefault(topic.casefold(), topic)
        if other != topic:
            raise CommandFailed(
                f"The query could mean the topic {other} or the topic {topic}.",
                "Ask by the name of the table.",
            )
        _add(client, database, described, query, tables_only, properties, progress)
    progress.clear()


def _add(
    client: Client,
    database: "Database",
    described: dict[str, Any],
    query: str,
    tables_only: bool,
    properties: dict[str, str],
    progress: Progress,
) -> None:
    from broker.tiering import dead_letters
    from broker.tiering.query import HotRows, Relation
    from broker.tiering.rows import RowBuilder, initial_schema

    topic, table = described["topic"], described["table"] or described["topic"]
    value_mode, key_mode = described["settings"]["value"], described["settings"]["key"]
    cold, cold_letters = described["metadata_location"], described["dead_letters_metadata_location"]
    schema = database.columns(cold, properties) or initial_schema(value_mode, key_mode)
    hot = HotRows(RowBuilder(value_mode, key_mode), schema)
    if not tables_only:
        tabled = {int(index): offset for index, offset in described["tabled"].items()}
        _fetch(client, topic, tabled, hot, progress)
    database.add(Relation(topic, table, cold, hot.rows, hot.schema, properties))
    letters = topic + DEAD_LETTERS_SUFFIX
    if letters.casefold() in query.casefold():
        empty = dead_letters.initial_schema()
        letters_table = table + DEAD_LETTERS_SUFFIX
        database.add(Relation(letters, letters_table, cold_letters, hot.dead_letters, empty, properties))


def _fetch(client: Client, topic: str, tabled: dict[int, int], hot: "HotRows", progress: Progress) -> None:
    """What lies between the table and the last stable offsets of now."""
    partitions = [partition.partition_index for partition in client.topic(topic).partitions]
    first = admin.list_offsets(client, topic, partitions, admin.EARLIEST)
    ends = admin.list_offsets(client, topic, partitions, admin.LATEST, admin.READ_COMMITTED)
    starts = {index: max(tabled.get(index, 0), first[index]) for index in partitions}
    behind = {index: start for index, start in starts.items() if start < ends[index]}
    total = sum(ends[index] - start for index, start in behind.items())
    consumer = Consumer(
        client,
        topic,
        dict(behind),
        ends,
        admin.READ_COMMITTED,
        max_bytes=64 << 20,
        max_partition_bytes=16 << 20,
    )
    for item in consumer.batches():
        if item is not None:
            index, data = item
            hot.add(index, data, behind[index], ends[index])
            progress.update(
                time.monotonic(), f"{topic}: {hot.count:,} of {total:,} records not in the table yet"
            )


def _hint(client: Client, message: str) -> str:
    if "does not exist" not in message:
        return ""
    with suppress(CommandFailed):
        topics = [entry["topic"] for entry in call(client, "tables.list")["tables"]]
        if topics:
            return f"Topics with tables: {', '.join(topics[:20])}{', …' if len(topics) > 20 else ''}."
        return "No topic has a table yet (floe.table.enable)."
    return ""


Batches = Iterator[list[tuple[Any, ...]]]


def _print_table(names: Sequence[str], batches: Batches, max_rows: int) -> None:
    rows: list[tuple[Any, ...]] = []
    left_out = 0
    for batch in batches:
        room = len(batch) if not max_rows else max_rows - len(rows)
        rows += batch[:room]
        left_out += max(0, len(batch) - room)
    print_table(names, (tuple(_cell(value) for value in row) for row in rows))
    if left_out:
        click.echo(f"… {left_out:,} more rows (--max-rows 0 for all)", err=True)


def _cell(value: Any) -> Any:
    value = _plain(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = str(value)
    text = "".join(character if character.isprintable() else "·" for character in text)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def _plain(value: Any) -> Any:
    """Bytes as text where they are UTF-8, as base64 otherwise; date-times as ISO; decimals as numbers."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return b64encode(value).decode()
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, Decimal):  # also what DuckDB makes of the sum of integers
        return int(value) if value == value.to_integral_value() else float(value)
    return value.isoformat() if hasattr(value, "isoformat") else value


def _print_json(names: Sequence[str], batches: Batches, _max_rows: int) -> None:
    for row in _rows(batches):
        values = {name: _plain(value) for name, value in zip(names, row, strict=True)}
        click.echo(json.dumps(values, ensure_ascii=False, default=str))


def _print_csv(names: Sequence[str], batches: Batches, _max_rows: int) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    for row in _rows(batches):
        writer.writerow("" if value is None else _plain(value) for value in row)


def _rows(batches: Batches) -> Iterable[tuple[Any, ...]]:
    for batch in batches:
        yield from batch


_PRINTERS = {"table": _print_table, "json": _print_json, "csv": _print_csv}
