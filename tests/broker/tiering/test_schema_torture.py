"""Documents that change all the time, into a real table: nothing stops, nothing is missing, nothing is changed."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

from pyiceberg.table import StaticTable

from broker.tiering import dead_letters, rows
from broker.tiering.data_files import DataFiles
from broker.tiering.marked_table import Layout
from broker.tiering.tables import TopicTable
from tests.broker.tiering.sample_records import of_values
from tests.broker.tiering.tables_of_tests import IDENTIFIER, WRITER, catalog

EVOLUTIONS = 500 if os.environ.get("FLOE_SOAK") else 40
DOCUMENTS = 60

ODD = [
    b"",
    b"{",
    b"[]",
    b"{}{}",
    b'{"a":NaN}',
    b"\xff",
    b'{"a":1,"a":"x"}',
    b"null",
    b'{"":1}',
    b'{"kafka_x":1}',
]


def value_of(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.randrange(10 if depth < 3 else 7)
    if kind == 9:
        return {name_of(chance): value_of(chance, depth + 1) for _ in range(chance.randrange(4))}
    if kind >= 7:
        return [value_of(chance, depth + 1)] * chance.randrange(4)
    return chance.choice([None, True, 7, chance.randrange(-(2**66), 2**66), chance.random(), "text", "é\n"])


def name_of(chance: random.Random) -> str:
    return chance.choice(
        ["id", "price", "Price", "user", "tags", "a-b", "a.b", "ü", f"f{chance.randrange(25)}"]
    )


class Producer:
    """Documents of which, at each evolution, half have one field more, or one of another type."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._changes: list[dict[str, Any]] = [{"id": 1, "price": 1}]

    def evolve(self) -> None:
        self._changes = [*self._changes[-3:], {name_of(self._chance): value_of(self._chance)}]

    def documents(self, count: int) -> list[bytes | None]:
        return [self._document() for _ in range(count)]

    def _document(self) -> bytes | None:
        if self._chance.random() < 0.03:
            return self._chance.choice([*ODD, None])
        fields: dict[str, Any] = {"id": self._chance.randrange(2**40)}
        for change in self._changes:
            if self._chance.random() < 0.4:
                fields |= change
        return json.dumps(fields, indent=self._chance.choice([None, None, 1])).encode()


def test_random_evolutions(tmp_path: Path) -> None:
    chance = random.Random(20261121)
    producer = Producer(chance)
    builder = rows.RowBuilder(rows.JSON)
    table = TopicTable.open(
        catalog(tmp_path), IDENTIFIER, WRITER, rows.initial_schema(rows.JSON, rows.RAW), Layout()
    )
    sent: list[bytes | None] = []
    expected: dict[int, dict[str, Any]] = {}
    for _ in range(EVOLUTIONS):
        producer.evolve()
        values = producer.documents(DOCUMENTS)
        converted = builder.convert(of_values(values, len(sent)), 0, table.arrow_schema())
        sent += values
        table.evolve(converted.schema)
        expected |= {row["kafka_offset"]: row for row in converted.rows.to_pylist()}
        files, letter_files = DataFiles(), DataFiles()
        files.append(table.target(), converted.rows)
        letter_target = table.dead_letters(dead_letters.initial_schema()).target()
        letter_files.append(letter_target, converted.dead_letters)
        table.commit(files.finish(), {0: len(sent)}, letter_files.finish())

    in_table = {row["kafka_offset"]: row for row in read(table.metadata_location)}
    letters_location = table.dead_letters(dead_letters.initial_schema()).iceberg.metadata_location
    letters = {row["kafka_offset"]: row for row in read(letters_location)}
    assert len(in_table) > 10 * EVOLUTIONS and len(letters) > EVOLUTIONS
    assert sorted([*in_table, *letters]) == list(range(len(sent)))
    for offset, row in expected.items():
        got = in_table[offset]
        assert all(is_same(value, got[name]) for name, value in row.items()), (row, got)
    for offset, letter in letters.items():
        assert letter["value"] == sent[offset] and letter["reason"]


def read(metadata_location: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = StaticTable.from_metadata(metadata_location).scan().to_arrow().to_pylist()
    return found


def is_same(written: Any, got: Any) -> bool:
    """Equal where the row that was written has something: fields that came later are null in it."""
    if isinstance(written, dict):
        return got is not None and all(is_same(value, got[name]) for name, value in written.items())
    if isinstance(written, list):
        return len(written) == len(got) and all(map(is_same, written, got))
    if written is None:
        return got in (None, []) or isinstance(got, dict)  # PyIceberg shows null lists in structs as empty
    return bool(written == got)
