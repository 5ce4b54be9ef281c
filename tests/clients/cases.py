"""What every client must bring through unchanged: the records, and the compression settings."""

from __future__ import annotations

from typing import Final, NamedTuple

COMPRESSIONS: Final = ("none", "gzip", "snappy", "lz4", "zstd")
FIRST_TIMESTAMP_MS: Final = 1_700_000_000_000


class Case(NamedTuple):
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_ms: int = FIRST_TIMESTAMP_MS


NOTHING: Final = Case(None, None)
"""Neither key nor value: Kafka's own client and librdkafka send it, the Python clients refuse to."""


def cases() -> list[Case]:
    """Keys, nulls, empties, headers, timestamps, and enough alike for compression to matter."""
    odd = [
        Case(b"key", b"value"),
        Case(None, b"no key"),
        Case(b"tombstone", None),
        Case(b"", b""),
        Case("schlüssel".encode(), "wert ✓".encode(), (("kopf", "✓".encode()), ("empty", b""))),
        Case(b"twice", b"the same header", (("h", b"1"), ("h", b"2"))),
        Case(b"large", b"0123456789abcdef" * 4096),
    ]
    many = [Case(b"user-%d" % (n % 7), b'{"n": %d, "event": "click"}' % n) for n in range(200)]
    return [case._replace(timestamp_ms=FIRST_TIMESTAMP_MS + n) for n, case in enumerate(odd + many)]
