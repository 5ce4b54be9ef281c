"""Lines of a file or of stdin to records: keys, headers and nulls by separators, batches by size and by
pause.
"""

import os
import select
from collections.abc import Iterator
from dataclasses import dataclass

from broker.cli.errors import CommandFailed
from protocol.records import Record

_READ_BYTES = 1 << 18

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class LineFormat:
    """How a line is taken apart: `[headers SEPARATOR][key SEPARATOR]value`."""

    key_separator: bytes | None = None
    headers_separator: bytes | None = None
    null_marker: bytes | None = None
    headers: Headers = ()

    def parse(self, line: bytes, number: int, timestamp: int) -> Record:
        """Turn a line without its newline into a record. Raises CommandFailed, naming the line, if a
        separator is missing.
        """
        headers = list(self.headers)
        if self.headers_separator is not None:
            head, line = _split(line, self.headers_separator, number, "headers")
            headers += [_parse_header(part, number) for part in head.split(b",") if part]
        key: bytes | None = None
        if self.key_separator is not None:
            key, line = _split(line, self.key_separator, number, "key")
            key = None if key == self.null_marker else key
        value = None if line == self.null_marker else line
        return Record(-1, timestamp, key, value, headers)


def _split(line: bytes, separator: bytes, number: int, what: str) -> tuple[bytes, bytes]:
    head, found, rest = line.partition(separator)
    if not found:
        name = separator.decode("utf-8", "replace")
        raise CommandFailed(
            f"Line {number} has no {what} separator {name!r}: {line[:60].decode('utf-8', 'replace')!r}",
            f"Fix the line, or leave --{what}-separator out.",
        )
    return head, rest


def _parse_header(part: bytes, number: int) -> tuple[str, bytes | None]:
    name, equals, value = part.partition(b"=")
    try:
        return name.decode(), value if equals else None
    except UnicodeDecodeError as error:
        raise CommandFailed(f"Line {number}: the header name {name!r} is not UTF-8.") from error


def read_lines(descriptor: int, linger_s: float) -> Iterator[list[bytes]]:
    """Yield the lines that are there, and an empty list whenever nothing came for `linger_s`.

    A last line without a newline counts. A line is without its newline, and without a carriage return
    before it.
    """
    rest = b""
    while True:
        ready, _, _ = select.select([descriptor], [], [], linger_s)
        if not ready:
            yield []
            # Nothing to send any more: wait as long as it takes.
            select.select([descriptor], [], [])
        chunk = os.read(descriptor, _READ_BYTES)
        if not chunk:
            break
        *lines, rest = (rest + chunk).split(b"\n")
        yield [line.removesuffix(b"\r") for line in lines]
    if rest:
        yield [rest]
