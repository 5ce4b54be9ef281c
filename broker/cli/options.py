"""Options that several commands share, and the parsing of their values."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_BOOTSTRAP = "127.0.0.1:9092"
DEFAULT_PORT = 9092
DEFAULT_TIMEOUT_S = 30.0
MAX_PATIENCE_S = 2_000_000
MAX_PARTITIONS = (1 << 31) - 1
"""As many as the protocol's numbers hold; what a broker allows it says itself."""
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
"""`protocol.compression.Codec` by the names that users write; that module is not needed by most commands."""

_LARGEST_TIMESTAMP_MS = (1 << 63) - 1
_SIZE = re.compile(r"(\d+)\s*([kmg]i?)?b?", re.IGNORECASE)
_SIZE_FACTORS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}


def bootstrap_servers(text: str) -> list[tuple[str, int]]:
    """`host[:port][,host[:port]]…` -> a list of (host, port). IPv6 addresses in brackets."""
    try:
        addresses = [parse_address(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if not addresses:
        raise click.BadParameter("names no address; expected host:port")
    return addresses


def parse_address(text: str) -> tuple[str, int]:
    """`host`, `host:port` or `[v6]:port` -> (host, port). Raises ValueError."""
    text = text.strip()
    text = text.split("://", 1)[-1]  # people paste listeners: PLAINTEXT://host:port
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, port = text.split(":")
    if not host:
        raise ValueError(f"{text!r} has no host; expected host:port")
    if port and not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError(f"{text!r}: {port!r} is not a port; expected host:port")
    return host, int(port) if port else DEFAULT_PORT


def key_value(text: str) -> tuple[str, str]:
    """`key=value` -> (key, value). The value may hold more "=" and may be empty."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise click.BadParameter(f"{text!r} is not key=value")
    return key.strip(), value


def size_bytes(text: str | int) -> int:
    """1048576, 1MiB, 64k -> a number of bytes."""
    match = _SIZE.fullmatch(str(text).strip())
    if match is None:
        raise click.BadParameter(f"{text!r} is not a size; write 65536, 64KiB or 64kB")
    return int(match[1]) * _SIZE_FACTORS[(match[2] or "").lower()]


def parse_moment(text: str) -> int:
    """An ISO date or date-time -> milliseconds since 1970. Without a zone it is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def patience(text: str | float) -> float:
    """An option's seconds to wait: at least a millisecond, and no more than requests have bits for in milliseconds."""
    try:
        seconds = float(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a number of seconds") from error
    if not 0.001 <= seconds <= MAX_PATIENCE_S:  # NaN is neither
        raise click.BadParameter(f"{text!r} is not between 0.001 and {MAX_PATIENCE_S:,} seconds")
    return seconds


def separator(text: str) -> bytes:
    """An option's text between two parts of a line, with escapes understood."""
    if not text:
        raise click.BadParameter("a separator is at least one character")
    return escaped(text)


def bootstrap_option(command: Command) -> Command:
    """Add --bootstrap-server and --timeout: every command that talks to a broker has them."""
    command = click.option(
        "--timeout",
        "timeout_s",
        type=patience,
        metavar="SECONDS",
        default=DEFAULT_TIMEOUT_S,
        show_default=True,
        help="How long to wait for a connection or an answer.",
    )(command)
    return click.option(
        "-b",
        "--bootstrap-server",
        "bootstrap",
        type=bootstrap_servers,
        metavar="HOST:PORT[,…]",
        default=DEFAULT_BOOTSTRAP,
        show_default=True,
        envvar="FLOE_BOOTSTRAP_SERVER",
        show_envvar=True,
        help="Address of any broker, or several with commas.",
    )(command)


def output_option(command: Command) -> Command:
    """Add --output table|json."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="Output format.",
    )(command)


def compression_option(default: str) -> Callable[[Command], Command]:
    """Add --compression, which gives `codec`, the id."""
    return click.option(
        "-z",
        "--compression",
        "codec",
        type=click.Choice(list(CODECS)),
        callback=lambda _context, _option, name: CODECS[name],
        default=default,
        show_default=True,
        help="Codec of the batches.",
    )


def moment(text: str) -> int:
    """An option's milliseconds since 1970, or an ISO date or date-time."""
    try:
        moment_ms = int(text) if text.lstrip("-").isdigit() else parse_moment(text)
    except (ValueError, OverflowError) as error:  # the second where a zone leads out of the years 1 to 9999
        raise click.BadParameter(f"{text!r} is neither milliseconds nor an ISO date-time") from error
    if abs(moment_ms) > _LARGEST_TIMESTAMP_MS:
        raise click.BadParameter(f"{text!r} is more than a timestamp holds")
    return moment_ms


def escaped(text: str) -> bytes:
    r"""An option's text with `\t`, `\n`, `\x00` … understood, as the bytes it stands for."""
    try:
        # latin-1 with backslashreplace carries every character through unicode_escape unharmed.
        plain = text.encode("latin-1", "backslashreplace").decode("unicode_escape")
    except UnicodeDecodeError as error:
        raise click.BadParameter(f"{text!r} has an unfinished escape") from error
    return plain.encode()
