"""What `floe sql` makes of values: no digit lost, nothing that is Python's own, no traceback."""

import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import pytest

from broker.cli.sql_output import Batches, distinct_names, print_csv, print_json_lines, print_rows
from broker.tiering.query import Database


def printed(show: Callable[[list[str], Batches, int], None], select: str) -> str:
    out = io.StringIO()
    with Database() as database, redirect_stdout(out):
        show(*database.query(f"select {select}"), 10)
    return out.getvalue()


@pytest.mark.parametrize(
    ("expression", "in_json", "in_csv"),
    [
        ("1.10::decimal(10, 2)", 1.1, "1.10"),
        ("12345678901234567890.12::decimal(38, 2)", "12345678901234567890.12", "12345678901234567890.12"),
        ("sum(9007199254740993)", 9007199254740993, "9007199254740993"),
        ("'nan'::double", "NaN", "nan"),
        ("['-inf'::float]", ["-Infinity"], '"[""-Infinity""]"'),
        ("true", True, "true"),
        ("{'a': [1, null], 'b': true}", {"a": [1, None], "b": True}, '"{""a"": [1, null], ""b"": true}"'),
        ("map {'k': 1.5::double}", {"k": 1.5}, '"{""k"": 1.5}"'),
        ("interval '13 months -1 day 1.5 seconds'", "1 year 1 month -1 day 00:00:01.5", None),
        ("interval '-90 minutes'", "-01:30:00", None),
        ("interval '0 days'", "00:00:00", None),
        ("timestamp_ns '2020-01-01 00:00:00.123456789'", "2020-01-01 00:00:00.123456789", None),
        (
            "{'m': map {'k': timestamp_ns '2020-01-01 00:00:00.000000001'}}",
            {"m": {"k": "2020-01-01 00:00:00.000000001"}},
            '"{""m"": {""k"": ""2020-01-01 00:00:00.000000001""}}"',
        ),
        (
            "['infinity'::timestamp, null]",
            ["9223372036854775807 (timestamp[us] since 1970)", None],
            '"[""9223372036854775807 (timestamp[us] since 1970)"", null]"',
        ),
        ("date '2020-02-03'", "2020-02-03", None),
    ],
)
def test_values(expression: str, in_json: Any, in_csv: str | None) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    assert json.loads(printed(print_json_lines, f"{expression} v"), parse_constant=refuse) == {"v": in_json}
    assert printed(print_csv, f"{expression} v") == f"v\n{in_json if in_csv is None else in_csv}\n"


def test_names_that_occur_twice_are_numbered() -> None:
    assert distinct_names(["id", "id", "ID_1", "x"]) == ["id", "id_1", "ID_1_1", "x"]
    assert json.loads(printed(print_json_lines, "1 id, 2 id")) == {"id": 1, "id_1": 2}
    assert printed(print_csv, "1 id, 2 id") == "id,id\n1,2\n"


def test_a_plan_is_drawn_on_lines_of_its_own() -> None:
    with Database() as database:
        out = io.StringIO()
        with redirect_stdout(out):
            print_rows(*database.query("explain select 42"), 10)
    assert "┌" in out.getvalue() and "·" not in out.getvalue()


def test_nested_values_in_a_table_are_json_on_one_line() -> None:
    assert printed(print_rows, "{'a': null, 'b': 'x\ny'} v").splitlines() == [
        "v",
        '{"a": null, "b": "x\\ny"}',
    ]
