"""The record bytes that Apache Kafka's own classes wrote (tests/golden/records)."""

from pathlib import Path

from protocol.records import Record

_FILE = Path(__file__).parent.parent / "golden" / "records" / "java.txt"

GOLDEN: dict[str, bytes] = {
    name: bytes.fromhex(digits) for name, digits in (line.split() for line in _FILE.read_text().splitlines())
}

BASE_OFFSET = 5
APPEND_TIME = 1_600_000_000_000
HEADERS: list[tuple[str, bytes | None]] = [("trace", b"abc"), ("none", None)]


def golden_records(magic: int, append_time: bool = False, base_offset: int = BASE_OFFSET) -> list[Record]:
    """The four records in every golden set, as that format can hold them."""
    big = bytes(ord("a") + i % 7 for i in range(1000))
    plain: list[tuple[int, bytes | None, bytes | None]] = [
        (0, b"key-0", b"value-0"),
        (500, None, b"no key"),
        (250, b"no value", None),
        (1000, b"", big),
    ]
    found = []
    for index, (delay, key, value) in enumerate(plain):
        timestamp = APPEND_TIME if append_time else 1_500_000_000_000 + delay
        headers = HEADERS if magic == 2 and index == 0 else []
        found.append(Record(base_offset + index, -1 if magic == 0 else timestamp, key, value, headers))
    return found
