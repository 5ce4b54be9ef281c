"""What `floe sql` prints: rows as columns that line up, as CSV, as one JSON object a line.

Values are Python's, as `broker.tiering.query` gives them. Decimals, which DuckDB also makes of sums of integers, keep
their digits; what lies in one another is JSON wherever it is printed.
"""

import csv
import json
import math
import sys
from base64 import b64encode
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

import click

from broker.cli.output import Quantity, print_table

SHOWN_CHARACTERS: Final = 100
"""Of one cell of a table on a terminal."""

_EXPLAIN: Final = ["explain_key", "explain_value"]

Batches = Iterator[list[tuple[Any, ...]]]


def print_rows(names: Sequence[str], batches: Batches, max_rows: int) -> None:
    """As a table of at most `max_rows` rows (0: all); a plan (EXPLAIN) as the drawing that it is."""
    rows: list[tuple[Any, ...]] = []
    left_out = 0
    for batch in batches:
        room = len(batch) if not max_rows else max_rows - len(rows)
        rows += batch[:room]
        left_out += max(0, len(batch) - room)
    if list(names) == _EXPLAIN:
        click.echo("\n".join(text.rstrip("\n") for _, text in rows))
        return
    print_table(names, (tuple(_cell(value) for value in row) for row in rows))
    if left_out:
        click.echo(f"… {left_out:,} more rows (--max-rows 0 for all)", err=True)


def print_json_lines(names: Sequence[str], batches: Batches, _max_rows: int) -> None:
    """One object a line. Names that occur twice, as in a join of two topics, are numbered as DuckDB does it."""
    keys = distinct_names(names)
    for batch in batches:
        for row in batch:
            values = {key: _json_value(value) for key, value in zip(keys, row, strict=True)}
            click.echo(_json_text(values))


def print_csv(names: Sequence[str], batches: Batches, _max_rows: int) -> None:
    """With a line of names; null is nothing."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    for batch in batches:
        writer.writerows([_csv_value(value) for value in row] for row in batch)


def distinct_names(names: Sequence[str]) -> list[str]:
    """[id, id, ID_1] -> [id, id_1, ID_1_1]: no two alike, whatever their case."""
    taken: set[str] = set()
    distinct = []
    for name in names:
        candidate, number = name, 0
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{name}_{number}"
        taken.add(candidate.casefold())
        distinct.append(candidate)
    return distinct


def _cell(value: Any) -> Any:
    """Of a table: a number, or one line of text."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Decimal):
        return Quantity(_digits(value))
    text = "".join(character if character.isprintable() else "·" for character in _text(value))
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def _csv_value(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, (int, float)) else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, Decimal):
        return _digits(value)
    plain = _json_value(value)
    return plain if isinstance(plain, str) else _json_text(plain)


def _json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _digits(value: Decimal) -> str:
    return f"{value:f}"


def _json_value(value: Any) -> Any:
    """What JSON has: bytes as text where they are UTF-8, as base64 otherwise; date-times as ISO; maps as objects.

    A number that a double does not hold exactly becomes text, so that no digit is lost; so do NaN and the infinities.
    """
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return b64encode(value).decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else _NOT_FINITE.get(value, "NaN")
    if isinstance(value, Decimal):
        if value == value.to_integral_value():
            return int(value)
        return float(value) if Decimal(repr(float(value))) == value else _digits(value)
    if isinstance(value, dict):
        return {name: _json_value(one) for name, one in value.items()}
    if hasattr(value, "nanoseconds"):
        return _interval(value)
    if isinstance(value, list) and value and all(isinstance(one, tuple) for one in value):
        return {_text(key): _json_value(one) for key, one in value}  # a map
    if isinstance(value, (list, tuple)):
        return [_json_value(one) for one in value]
    return value.isoformat() if hasattr(value, "isoformat") else value


_NOT_FINITE: Final = {math.inf: "Infinity", -math.inf: "-Infinity"}


def _interval(value: Any) -> str:
    """As DuckDB shows it: "1 year 2 months 3 days 04:05:06.5"."""
    years, months = divmod(abs(value.months), 12)
    sign = -1 if value.months < 0 else 1
    parts = [
        f"{count} {unit}{'' if abs(count) == 1 else 's'}"
        for count, unit in ((sign * years, "year"), (sign * months, "month"), (value.days, "day"))
        if count
    ]
    if value.nanoseconds or not parts:
        seconds, nanoseconds = divmod(abs(value.nanoseconds), 1_000_000_000)
        fraction = f".{nanoseconds:09d}".rstrip("0") if nanoseconds else ""
        minutes, seconds = divmod(seconds, 60)
        clock = f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}{fraction}"
        parts.append(f"-{clock}" if value.nanoseconds < 0 else clock)
    return " ".join(parts)
