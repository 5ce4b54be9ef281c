"""Record batches to send: plain text of a fixed size, or JSON events that compress as real ones do."""

import json
from random import Random

from protocol import records
from protocol.records import Record

_EVENTS = ("page_view", "add_to_cart", "checkout", "search", "login", "logout")
_COUNTRIES = ("DE", "FR", "GB", "US", "BR", "IN", "JP", "ZA")
_TEXT = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 "


def build_batch(
    *, record_bytes: int, record_count: int, now_ms: int, compression: int = 0, as_json: bool = False
) -> bytes:
    """Return one batch of `record_count` records with values of `record_bytes`; the same arguments give
    the same bytes.
    """
    assert record_bytes > 0 and record_count > 0
    random = Random(record_bytes * 1_000_003 + record_count)
    make = json_value if as_json else text_value
    # Values repeat after a while: a batch of 9,000 distinct ones would take longer to make than to measure.
    values = [make(random, record_bytes) for _ in range(min(record_count, 2000))]
    batch = [Record(timestamp=now_ms, value=values[index % len(values)]) for index in range(record_count)]
    return bytes(records.build(batch, compression=compression))


def text_value(random: Random, size: int) -> bytes:
    """Return `size` random letters."""
    return "".join(random.choices(_TEXT, k=size)).encode()


def json_value(random: Random, size: int) -> bytes:
    """Return an event of `size` bytes, cut or padded inside its last field."""
    event = {
        "event": random.choice(_EVENTS),
        "user_id": random.randrange(1_000_000),
        "country": random.choice(_COUNTRIES),
        "ts": 1_700_000_000_000 + random.randrange(86_400_000),
        "amount": round(random.random() * 500, 2),
        "session": f"{random.getrandbits(48):012x}",
        "note": "",
    }
    text = json.dumps(event, separators=(",", ":"))
    if len(text) > size:
        return text[: size - 1].encode() + b"}"
    padding = " ".join(random.choices(_EVENTS, k=size // 5 + 1))[: size - len(text)]
    return text.replace('"note":""', f'"note":"{padding}"').encode()
