"""Values with nothing in them but null, [] and {}: they make no column, and no dead letters, in whatever order."""

from __future__ import annotations

import json
import os
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.tiering import json_values, rows
from broker.tiering.evolution import says_nothing
from protocol.records import Record
from tests.broker.tiering.sample_records import as_columns, of_values

EMPTIES: list[Any] = [
    None,
    {},
    [],
    [None],
    [[]],
    [{}],
    {"x": None},
    {"x": []},
    {"x": {}},
    [{"x": {}}],
    [[], {}],
]
TYPED: list[Any] = [
    1,
    0.5,
    "t",
    True,
    [1],
    [[1]],
    [{"x": 1}],
    {"x": 1},
    {"x": [1]},
    {"x": {"x": "t"}},
    {"y": [{"x": 1}]},
]

empties = st.recursive(
    st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyX"), inner, max_size=2),
    max_leaves=5,
)


@st.composite
def holed(draw: st.DrawFn, value: Any) -> Any:
    """The value with empties in the place of some of its parts, and more elements that are empty."""
    if draw(st.booleans()):
        return draw(empties)
    if isinstance(value, dict):
        return {name: draw(holed(part)) for name, part in value.items()}
    if isinstance(value, list):
        return [draw(holed(part)) for part in value * draw(st.integers(1, 3))]
    return value


cases = st.sampled_from(TYPED).flatmap(
    lambda value: st.tuples(st.just(value), st.lists(holed(value) | empties, min_size=1, max_size=8))
)


def tabled(values: list[Any], cuts: set[int]) -> tuple[list[Any], pa.Schema]:
    """The column `e` of all rows, null while there is none, after commits that end at the cuts."""
    schema = rows.initial_schema(rows.JSON, rows.RAW)
    found: list[Any] = []
    pieces: list[list[Any]] = [[]]
    for at, value in enumerate(values):
        if at in cuts:
            pieces.append([])
        pieces[-1].append(value)
    for piece in filter(None, pieces):
        source: list[bytes | None] = [json.dumps({"e": value}).encode() for value in piece]
        converted = rows.RowBuilder(rows.JSON).convert(of_values(source), 0, schema)
        assert converted.dead_letters.to_pylist() == []
        converted.rows.validate(full=True)
        schema = converted.schema
        found += [row.get("e") for row in converted.rows.to_pylist()]
    return found, schema


def said(value: Any) -> Any:
    """What is left of a value without what says nothing; places in lists stay."""
    if says_nothing(value):
        return None
    if isinstance(value, dict):
        return {name: said(part) for name, part in value.items() if not says_nothing(part)}
    return [said(part) for part in value] if isinstance(value, list) else value


@settings(max_examples=3000 if os.environ.get("FLOE_SOAK") else 200, deadline=None)
@given(cases, st.sets(st.integers(1, 7)), st.randoms(use_true_random=False))
def test_order_and_commits_do_not_matter(case: tuple[Any, list[Any]], cuts: set[int], chance: Any) -> None:
    _, values = case
    shuffled = list(range(len(values)))
    chance.shuffle(shuffled)
    found, schema = tabled(values, cuts)
    assert [said(value) for value in found] == [said(value) for value in values]
    again, other = tabled([values[at] for at in shuffled], set())
    assert [said(value) for value in again] == [said(values[at]) for at in shuffled]
    assert ("e" in schema.names) == ("e" in other.names) == (not says_nothing(values))


@pytest.mark.parametrize("typed", TYPED)
@pytest.mark.parametrize("empty", EMPTIES)
def test_in_one_piece_in_any_order(empty: Any, typed: Any) -> None:
    for values in ([empty, typed], [typed, empty], [*EMPTIES, typed, empty], [empty, *EMPTIES, empty]):
        found, _ = tabled(values, set())
        assert [said(value) for value in found] == [said(value) for value in values]


@pytest.mark.parametrize("typed", TYPED)
def test_what_was_empty_for_blocks_has_its_column_later(typed: Any) -> None:
    for empty in EMPTIES:
        values = [empty] * json_values.BLOCK_RECORDS + [typed]
        found, _ = tabled(values, set())
        assert says_nothing(found[0]) and said(found[-1]) == said(typed)


def test_json_keys_that_are_empty() -> None:
    for key in EMPTIES:
        schema = rows.initial_schema(rows.RAW, rows.JSON)
        for typed in TYPED:
            keys = [json.dumps(one).encode() for one in (key, typed, key)]
            columns = as_columns([Record(timestamp=1, key=one, value=b"v") for one in keys])
            converted = rows.RowBuilder(rows.RAW, rows.JSON).convert(columns, 0, schema)
            assert len(converted.dead_letters) == 0
            assert said(converted.rows["kafka_key"].to_pylist()[1]) == said(typed)
