"""What commands print: columns that line up, JSON, sizes and times that people can read.

Columns are plain text, two spaces apart, numbers to the right: they line up on a terminal and still go
through awk.
"""

import base64
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

_SIZE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def print_json(value: Any) -> None:
    """Print one JSON document, indented on a terminal and on one line for a pipe."""
    click.echo(json.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False, default=str))


def format_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return the rows under their columns, numbers aligned right, text left. None is shown as "-"."""
    body = [tuple(row) for row in rows]
    for row in body:
        assert len(row) == len(columns), f"a row of {len(row)} cells under {len(columns)} columns"
    cells = [[_cell(value) for value in row] for row in body]
    right = [_is_numeric(row[index] for row in body) for index in range(len(columns))]
    widths = [max([len(column), *(len(row[index]) for row in cells)]) for index, column in enumerate(columns)]
    lines = [_line(columns, widths, right), *(_line(row, widths, right) for row in cells)]
    return "\n".join(lines)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print `format_table`."""
    click.echo(format_table(columns, rows))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _is_numeric(values: Iterable[Any]) -> bool:
    present = [value for value in values if value is not None]
    return bool(present) and all(
        (isinstance(value, (int, float)) and not isinstance(value, bool)) or isinstance(value, Quantity)
        for value in present
    )


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    parts = [
        cell.rjust(width) if is_right else cell.ljust(width)
        for cell, width, is_right in zip(cells, widths, right, strict=True)
    ]
    return "  ".join(parts).rstrip()


class Quantity(str):
    """A formatted number: text to print, aligned as a number."""

    __slots__ = ()


def format_size(size_bytes: int) -> Quantity:
    """1536 -> "1.5 KiB"."""
    value = float(size_bytes)
    for unit in _SIZE_UNITS:
        if abs(value) < 1024 or unit == _SIZE_UNITS[-1]:
            return Quantity(f"{size_bytes} B" if unit == "B" else f"{value:.1f} {unit}")
        value /= 1024
    raise AssertionError("the last unit takes everything")


def format_count(value: float) -> Quantity:
    """1234567 -> "1,234,567": for people; JSON gets the number itself."""
    return Quantity(f"{value:,.0f}")


def format_timestamp(timestamp_ms: int) -> str | None:
    """Milliseconds since 1970 -> "2026-01-31T12:00:00.123Z", or None for -1 (no timestamp)."""
    if timestamp_ms < 0:
        return None
    try:
        moment = datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return str(timestamp_ms)  # beyond year 9999: producers do send nanoseconds by mistake
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{timestamp_ms % 1000:03d}Z"


def bytes_to_json(name: str, value: bytes | memoryview | None) -> dict[str, str | None]:
    """Return {name: text}, or {name_base64: ...} where the bytes are not UTF-8, so that nothing is lost."""
    if value is None:
        return {name: None}
    raw = bytes(value)
    try:
        return {name: raw.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(raw).decode()}


class Progress:
    """One line on stderr, rewritten in place. Silent unless stderr is a terminal; `now` is seconds of any
    clock.
    """

    INTERVAL_S = 0.5
    QUIET_S = 1.0  # short work prints nothing

    def __init__(self, now: float, *, enabled: bool | None = None) -> None:
        self.enabled = sys.stderr.isatty() if enabled is None else enabled
        self.started = now
        self.next_update = now + self.QUIET_S
        self.width = 0

    def update(self, now: float, text: str) -> None:
        """Show `text`, at most twice a second."""
        if not self.enabled or now < self.next_update:
            return
        self.next_update = now + self.INTERVAL_S
        click.echo("\r" + text.ljust(self.width), nl=False, err=True)
        self.width = len(text)

    def clear(self) -> None:
        """Remove the line, so that what follows starts on a clean one."""
        if self.width:
            click.echo("\r" + " " * self.width + "\r", nl=False, err=True)
            self.width = 0
