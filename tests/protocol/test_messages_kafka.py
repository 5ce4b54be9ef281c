"""The versions kio lacks, against bytes that Apache Kafka itself wrote (tests/golden/README.md says how).

They are the versions Kafka 4 dropped, and the records of internal topics. Together with test_messages_kio.py
every version of every message has a foreign oracle.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from protocol.api import PRIVATE_APIS
from protocol.compiler import decoder, encode
from protocol.layout import Layout, Part, layout
from protocol.schema import schema_of
from tests.protocol.kio_oracle import kio_class
from tests.protocol.samples import api_classes, case_name, every_version, persisted_classes

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = ("messages-kafka-3.9.1.jsonl", "messages-kafka-4.3.1.jsonl")
CASES = [
    pair
    for pair in every_version(api_classes() + persisted_classes())
    if not kio_class(*pair) and schema_of(pair[0]).key not in PRIVATE_APIS  # no Kafka ever wrote those
]


@cache
def golden() -> dict[tuple[str, int], list[dict[str, Any]]]:
    """The lines of both files by message and version."""
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for name in FILES:
        for line in (GOLDEN / name).read_text().splitlines():
            case = json.loads(line)
            found.setdefault((case["message"], case["version"]), []).append(case)
    return found


def build(shape: Layout, fields: dict[str, Any]) -> Any:
    """A message from the JSON of a golden line: bytes stand there in hex, defaults are left out."""
    parts = {part.name: part for part in [*shape.parts, *(part for _, part in shape.tagged)]}
    return shape.cls(**{name: value_of(parts[name], value) for name, value in fields.items()})


def value_of(part: Part, value: Any) -> Any:
    if value is None:
        return None
    if part.struct is not None:
        return build(part.struct, value)
    if part.element is not None:
        return [value_of(part.element, item) for item in value]
    return bytes.fromhex(value) if part.kind in ("bytes", "records", "uuid") else value


@pytest.mark.parametrize(("cls", "version"), CASES, ids=case_name)
def test_codec_agrees_with_kafka(cls: type, version: int) -> None:
    cases = golden()[cls.__name__, version]
    for case in cases:
        message = build(layout(cls, version), case["fields"])
        wire = bytes.fromhex(case["bytes"])
        assert bytes(encode(message, version)) == wire
        assert decoder(cls, version)(memoryview(wire), 0) == (message, len(wire))


def test_every_golden_line_is_used() -> None:
    assert set(golden()) == {(cls.__name__, version) for cls, version in CASES}
