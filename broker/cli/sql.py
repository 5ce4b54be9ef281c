"""`floe sql`: a question to topics, answered from their tables and from what is not in them yet."""

import re
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from broker.cli import admin
from broker.cli.client import Address, Client
from broker.cli.consumer import Consumer
from broker.cli.errors import CommandFailed
from broker.cli.floe_admin import call
from broker.cli.options import bootstrap_option, key_value
from broker.cli.output import Progress
from broker.cli.sql_output import print_csv, print_json_lines, print_rows
from broker.cli.tables_snippets import HIDDEN

if TYPE_CHECKING:
    from broker.tiering.hot_rows import HotRows
    from broker.tiering.query import Database, Schema

DEAD_LETTERS_SUFFIX = "__dlq"
SHOWN_ROWS = 200
"""Rows of a table on a terminal; JSON and CSV are whole."""

LOST_AT_THE_END: Final = frozenset({"CREATE", "INSERT", "UPDATE", "DELETE", "DROP", "ALTER"})
"""Statements that would be for nothing as the last one: the database is this command's, in its memory."""

FETCH_BYTES: Final = 8 << 20
"""Of one answer: each is in memory a few times over while it is converted."""

_SHOW_TABLES: Final = re.compile(r"\s*show\s+(?:all\s+)?tables\b", re.IGNORECASE)
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_]\w*")
_MISSING_TABLE: Final = re.compile(r'Table with name "?([^" ]+)"? does not exist')

_ICEBERG_FUNCTION: Final = re.compile(r"\biceberg_(?:scan|metadata|snapshots)\b", re.IGNORECASE)
_S3_LOCATION: Final = re.compile(r"'(s3a?://[^']+)'")
_SYNTAX_ERROR: Final = re.compile(r'syntax error at or near "([^"]+)"')
_FILES_HINT: Final = (
    "If the table has just been committed, ask again. If the warehouse is not on this machine, say how it is "
    "reached: --property s3.access-key-id=… (the catalog's properties that are not secret are known)."
)
_KEPT_HINT: Final = (
    "A deleted topic's table is read by its metadata file, which the catalog names: iceberg_scan('….json')."
)
_ROOM_HINT: Final = (
    "Name a folder with more room in TMPDIR, let the tables catch up (floe tables lag), "
    "or ask them alone: --tables-only."
)
_INTERRUPTED: Final = "Query interrupted"
"""What DuckDB makes of the KeyboardInterrupt that a Ctrl-C raises while it works."""

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
    help="For a warehouse that is not on this machine: PyIceberg's properties that the broker keeps to itself "
    "(s3.access-key-id=…). May be repeated.",
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
    "<topic>__dlq". Of several statements the last one's rows are shown.

    \b
        floe sql "select event_type, count(*) from clicks group by all order by 2 desc"
    """
    text = sys.stdin.read() if query is None else query
    try:
        import duckdb

        from broker.tiering.query import Database, MissingExtension
        from broker.tiering.spilled_rows import NoRoom
    except ImportError as error:
        raise CommandFailed(f"floe sql needs the package {error.name}.", INSTALL_HINT) from error
    with Database() as database, Client(bootstrap, timeout_s=timeout_s) as client:
        try:
            _check_statements([statement.type.name for statement in duckdb.extract_statements(text)])
            _load_what_is_named(database, text, dict(properties))
            add_relations(client, database, text, tables_only=tables_only, properties=dict(properties))
            names, batches = database.query(text)
            _PRINTERS[output](names, batches, max_rows)
        except MissingExtension as error:
            raise CommandFailed(f"{error}.", INSTALL_HINT) from error
        except NoRoom as error:
            raise CommandFailed(_sentence(error), _ROOM_HINT) from error
        except duckdb.Error as error:
            if isinstance(error, duckdb.IOException) and "://" in str(error):
                raise CommandFailed(f"The files of a table cannot be read: {error}", _FILES_HINT) from error
            raise CommandFailed(_without_guess(str(error)), _hint(client, text, str(error))) from error
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            raise CommandFailed(f"The files of a table cannot be read: {error}", _FILES_HINT) from error
        except RuntimeError as error:
            if str(error) != _INTERRUPTED:
                raise
            raise click.Abort from error


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


def _check_statements(kinds: list[str]) -> None:
    if not kinds:
        raise click.UsageError("there is no query; give it as an argument or on stdin.")
    if kinds[-1] in LOST_AT_THE_END:
        raise CommandFailed(
            f"floe sql answers questions: what {kinds[-1]} does would be lost with the end of this command.",
            "Records are written with floe produce or any Kafka client; COPY … TO writes a file.",
        )


def _load_what_is_named(database: "Database", query: str, properties: dict[str, str]) -> None:
    """Other tables than those of topics, a deleted one's among them, are asked for by their metadata file."""
    if _ICEBERG_FUNCTION.search(query):
        from broker.tiering.query import EXTENSIONS

        database.load(*EXTENSIONS)
        for location in _S3_LOCATION.findall(query):
            database.reaches(location, properties)


def add_relations(
    client: Client, database: "Database", query: str, *, tables_only: bool, properties: dict[str, str]
) -> None:
    """Make views of the topics that `query` names.

    Which they are is read off the text: a view too many costs its time, and a parser that knows every dialect
    of names would not pay.
    """
    known = call(client, "tables.list")["tables"]
    if _SHOW_TABLES.match(query):
        _add_names(database, known)
        return
    named = [entry["topic"] for entry in known if any(_is_named(name, query) for name in _names(entry))]
    named = _one_of_each_name(named, query)
    if not named:
        return
    progress = Progress(time.monotonic())
    for described in call(client, "tables.describe", {"topics": named})["tables"]:
        _add(client, database, described, query, tables_only, properties, progress)
    progress.clear()


def _names(entry: dict[str, Any]) -> tuple[str, str]:
    """What a topic is called in a query: its own name, and its table's without the namespace."""
    topic: str = entry["topic"]
    return topic, (entry["table"] or topic).rpartition(".")[2]


def _is_named(name: str, query: str, *, as_written: bool = False) -> bool:
    """Whether the name, or that of its dead letters, stands in the query as a word."""
    word = rf"(?<!\w){re.escape(name)}(?:{DEAD_LETTERS_SUFFIX})?(?!\w)"
    return re.search(word, query, 0 if as_written else re.IGNORECASE) is not None


def _one_of_each_name(topics: list[str], query: str) -> list[str]:
    """Of topics whose names differ by case alone the one that is written in the query.

    DuckDB's names do not differ by case; Kafka's do.
    """
    alike: dict[str, list[str]] = {}
    for topic in topics:
        alike.setdefault(topic.casefold(), []).append(topic)
    chosen = []
    for names in alike.values():
        written = [name for name in names if len(names) == 1 or _is_named(name, query, as_written=True)]
        if len(written) != 1:
            raise CommandFailed(
                f"The query could mean any of the topics {', '.join(names)}.",
                "Write the name of one of them as it is; two of them in one query are not possible.",
            )
        chosen += written
    return chosen


def _add_names(database: "Database", known: list[dict[str, Any]]) -> None:
    """For SHOW TABLES: a view without rows for each topic that has a table."""
    for topic in {entry["topic"].casefold(): entry["topic"] for entry in known}.values():
        database.add_name(topic)


def _add(
    client: Client,
    database: "Database",
    described: dict[str, Any],
    query: str,
    tables_only: bool,
    properties: dict[str, str],
    progress: Progress,
) -> None:
    from broker.tiering.query import Relation

    topic, table = described["topic"], described["table"] or described["topic"]
    properties = _known_properties(described) | properties
    cold, cold_letters = described["metadata_location"], described["dead_letters_metadata_location"]
    letters = topic + DEAD_LETTERS_SUFFIX
    is_asked_for_letters = letters.casefold() in query.casefold()
    behind = None if tables_only else _behind(client, topic, described["tabled"])
    hot = _hot(client, database, described, behind, properties, progress) if behind else None
    # The imports below cost more than most questions: they are for topics of which there is nothing else.
    schema = hot.schema if hot else None if cold else _initial_schema(described)
    database.add(Relation(topic, table, cold, hot.rows if hot else None, schema, properties))
    if is_asked_for_letters:
        rows = hot.dead_letters if hot else None
        empty = None if cold_letters else _initial_letters()
        database.add(Relation(letters, table + DEAD_LETTERS_SUFFIX, cold_letters, rows, empty, properties))


def _initial_schema(described: dict[str, Any]) -> "Schema":
    from broker.tiering.rows import initial_schema

    return initial_schema(described["settings"]["value"], described["settings"]["key"])


def _initial_letters() -> "Schema":
    from broker.tiering import dead_letters

    return dead_letters.initial_schema()


def _known_properties(described: dict[str, Any]) -> dict[str, str]:
    """What the broker tells of its catalog, endpoint and region among it; all but what it hides."""
    told: dict[str, str] = described["catalog"]["properties"]
    return {name: value for name, value in told.items() if HIDDEN not in value}


@dataclass(frozen=True, slots=True)
class _Behind:
    """What of a topic is not in its table: offsets per partition, `ends` exclusive."""

    starts: dict[int, int]
    ends: dict[int, int]


def _behind(client: Client, topic: str, tabled: dict[str, int]) -> _Behind | None:
    """What lies between the table and the last stable offsets of now; None if nothing does."""
    partitions = [partition.partition_index for partition in client.topic(topic).partitions]
    first = admin.list_offsets(client, topic, partitions, admin.EARLIEST)
    ends = admin.list_offsets(client, topic, partitions, admin.LATEST, admin.READ_COMMITTED)
    starts = {index: max(tabled.get(str(index), 0), first[index]) for index in partitions}
    behind = {index: start for index, start in starts.items() if start < ends[index]}
    return _Behind(behind, ends) if behind else None


def _hot(
    client: Client,
    database: "Database",
    described: dict[str, Any],
    behind: _Behind,
    properties: dict[str, str],
    progress: Progress,
) -> "HotRows":
    from broker.tiering.hot_rows import HotRows
    from broker.tiering.rows import RowBuilder

    topic, settings = described["topic"], described["settings"]
    schema = database.columns(described["metadata_location"], properties) or _initial_schema(described)
    hot = HotRows(RowBuilder(settings["value"], settings["key"]), schema, database.store)
    total = sum(behind.ends[index] - start for index, start in behind.starts.items())
    consumer = Consumer(
        client,
        topic,
        dict(behind.starts),
        behind.ends,
        admin.READ_COMMITTED,
        max_bytes=FETCH_BYTES,
        max_partition_bytes=FETCH_BYTES,
    )
    for item in consumer.batches():
        if item is not None:
            index, data = item
            hot.add(index, data, behind.starts[index], behind.ends[index])
            progress.update(
                time.monotonic(), f"{topic}: {hot.count:,} of {total:,} records not in the table yet"
            )
    return hot


def _without_guess(message: str) -> str:
    """DuckDB's message without its guess at a name where it can only guess one of its own catalog."""
    return re.sub(r'\nDid you mean "(?:pg_|duckdb_|sqlite_|information_schema|pragma_)[^\n]*', "", message)


def _hint(client: Client, query: str, message: str) -> str:
    """What to do about a query that DuckDB refused; empty if nothing is known."""
    topics = [topic.name or "" for topic in client.refresh_metadata(None).topics if not topic.is_internal]
    for topic in sorted(topics):
        if not _PLAIN_NAME.fullmatch(topic) and _is_named(topic, query) and f'"{topic}"' not in query:
            return f'Names with dots or dashes stand in double quotes: "{topic}".'
    near = _SYNTAX_ERROR.search(message)
    if near and near[1].casefold() in map(str.casefold, topics):
        return f'Names that are words of SQL stand in double quotes: "{near[1]}".'
    missing = _MISSING_TABLE.search(message)
    if missing is None:
        return ""
    with_tables = [entry["topic"] for entry in call(client, "tables.list")["tables"]]
    if missing[1] in topics and missing[1] not in with_tables:
        return (
            f"The topic {missing[1]} has no table. Give it one with: "
            f"floe configs set topic {missing[1]} floe.table.enable=true"
        )
    there = "No topic has a table yet (floe.table.enable)."
    if with_tables:
        there = f"Topics with tables: {', '.join(with_tables[:20])}{', …' if len(with_tables) > 20 else ''}."
    return f"{there} {_KEPT_HINT}"


_PRINTERS: Final = {"table": print_rows, "json": print_json_lines, "csv": print_csv}
