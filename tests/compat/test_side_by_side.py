"""The comparison with Apache Kafka judges as it says, without a Kafka."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from broker.handlers import HANDLERS
from protocol.api import ApiKey

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "compat" / "apache-kafka"))

from side_by_side import __main__ as command  # noqa: E402
from side_by_side import batches, compare, scenario, symbols, values  # noqa: E402

METADATA, PRODUCE = 3, 0


@pytest.fixture
def rules(tmp_path: Path) -> compare.Rules:
    table = tmp_path / "differences.toml"
    table.write_text(
        """
        [[unordered]]
        path = "*/rows"
        key = "name|id"
        reason = "a hash map"

        [[difference]]
        shape = "metadata/*"
        path = "*/error_code"
        kafka = -1
        reason = "accident"

        [[difference]]
        shape = "metadata/*"
        path = "*/text"
        kafka = "<null>"
        reason = "Floe says more"

        [[difference]]
        shape = "*"
        path = "*/clock"
        chance = true
        reason = "time"
        """
    )
    return compare.Rules(table)


def compared(rules: compare.Rules, kafka: Any, floe: Any) -> list[str]:
    found = compare.differences([("metadata v1", kafka)], [("metadata v1", floe)], rules)
    return [one.text() for one in found]


def test_equal_answers_do_not_differ(rules: compare.Rules) -> None:
    answer = {"rows": [{"name": "a", "n": 1}], "list": [1, 2], "none": None}
    assert compared(rules, answer, dict(answer)) == []


@pytest.mark.parametrize(
    ("kafka", "floe", "text"),
    [
        ({"a": {"b": [1]}}, {"a": {"b": [2]}}, "1 metadata v1/a/b/0: 1 ≠ 2"),
        ({"a": 1}, {}, "1 metadata v1/a: 1 ≠ '<absent>'"),
        ({}, {"a": 1}, "1 metadata v1/a: '<absent>' ≠ 1"),
        ({"a": 0}, {"a": False}, "1 metadata v1/a: 0 ≠ False"),
        ({"a": None}, {"a": ""}, "1 metadata v1/a: None ≠ ''"),
        ({"a": [1]}, {"a": [1, 2]}, "1 metadata v1/a/1: '<absent>' ≠ 2"),
        ({"a": [1, 2]}, {"a": [2, 1]}, "1 metadata v1/a/0: 1 ≠ 2"),
    ],
)
def test_every_difference_is_found(rules: compare.Rules, kafka: Any, floe: Any, text: str) -> None:
    assert text in compared(rules, kafka, floe)


def test_lists_without_an_order_are_compared_by_name(rules: compare.Rules) -> None:
    kafka = {"rows": [{"name": "a", "n": 1}, {"name": None, "id": 7}]}
    assert compared(rules, kafka, {"rows": list(reversed(kafka["rows"]))}) == []
    assert compared(rules, kafka, {"rows": [{"name": "a", "n": 2}, {"name": None, "id": 7}]}) == [
        "1 metadata v1/rows/a/n: 1 ≠ 2"
    ]


def test_one_answer_more_is_a_difference(rules: compare.Rules) -> None:
    assert compare.differences([("a", 1), ("b", 1)], [("a", 1)], rules)


@pytest.mark.parametrize(
    ("shape", "path", "kafka", "floe", "left"),
    [
        ("metadata/v1/x", "1 metadata v1/error_code", -1, 0, 0),
        ("metadata/v1/x", "1 metadata v1/error_code", 3, 0, 1),
        ("fetch/v1/x", "1 fetch v1/error_code", -1, 0, 1),
        ("metadata/v1/x", "1 metadata v1/text", None, "what is wrong", 0),
        ("metadata/v1/x", "1 metadata v1/text", "what", "what is wrong", 1),
    ],
)
def test_a_reason_explains_what_it_names_and_no_more(
    rules: compare.Rules, shape: str, path: str, kafka: Any, floe: Any, left: int
) -> None:
    unexplained, explained = rules.split(shape, [compare.Difference(path, kafka, floe)])
    assert (len(unexplained), explained) == (left, 1 - left)


def test_a_reason_that_nothing_needs_is_stale(rules: compare.Rules) -> None:
    rules.split("metadata/v1/x", [compare.Difference("1 metadata v1/error_code", -1, 0)])
    assert [row.path for row in rules.stale()] == ["*/text"], "chance may not need its row this time"


@pytest.mark.parametrize(
    ("stale", "rows"),
    [
        (None, []),
        ([], [("every reason is needed", "pass", "")]),
        (["*/a", "*/b"], [("every reason is needed", "fail", "*/a; */b")]),
    ],
)
def test_a_stale_reason_is_told_as_a_failed_feature(
    stale: list[str] | None, rows: list[tuple[str, str, str]]
) -> None:
    """None is the short form, which cannot tell."""
    report = {"failures": [], "apis": {"fetch": {}}, "stale_reasons": stale}
    told = [tuple(json.loads(line).values()) for line in command._features(report).splitlines()]
    assert told == [("fetch", "pass", ""), *rows]
    allowed = (ROOT / "compat" / "apache-kafka" / "tests.allow").read_text().splitlines()
    assert f"4.3.1 {command.ALL_NEEDED}" in allowed


def test_made_up_ids_must_agree() -> None:
    one = symbols.Symbols()
    first = one.replace({"member_id": "consumer-abcdefgh", "leader": "", "n": 5})
    again = one.replace({"leader": "consumer-abcdefgh", "text": "Member consumer-abcdefgh is gone", "n": 5})
    assert first == {"member_id": "<member 1>", "leader": "", "n": 5}
    assert again == {"leader": "<member 1>", "text": "Member <member 1> is gone", "n": 5}
    assert one.replace({"member_id": "another-abcdefgh"}) == {"member_id": "<member 2>"}


def test_requests_are_made_of_what_a_version_has() -> None:
    fields = {"topics": [{"name": "a"}], "allow_auto_topic_creation": False}
    assert not hasattr(values.to_request(METADATA, 1, fields), "allow_auto_topic_creation")
    assert values.to_request(METADATA, 4, fields).allow_auto_topic_creation is False
    with pytest.raises(KeyError, match="no version of metadata has a field topic"):
        values.to_request(METADATA, 4, {"topic": []})


def test_batches_are_read_as_they_were_written() -> None:
    first, second = batches.read(batches.batch(count=2) + batches.batch(crc=1))
    assert (first["record_count"], first["is_crc_right"]) == (2, True)
    assert second["is_crc_right"] is False
    whole = batches.batch()
    assert batches.read(whole + whole[:30])[-1] == {"bytes_of_an_unfinished_batch": 30}


def test_every_difference_has_a_reason() -> None:
    for row in compare.Rules().reasons:
        assert len(row.reason) > 10, row.text()


def test_every_api_is_asked_in_more_than_400_shapes() -> None:
    served = {int(spec.api): spec.versions for spec in HANDLERS}
    scenarios = scenario.load()
    shapes = [
        scenario.Shape(known, version)
        for known in scenarios
        if known.api in served
        for version in values.versions_of(known.api)
        if max(known.first, served[known.api][0]) <= version <= min(known.last, served[known.api][1])
    ]
    assert len({shape.name for shape in shapes}) == len(shapes) > 400
    asked = {known.api for known in scenarios}
    assert {spec.api.name for spec in HANDLERS} <= {ApiKey(api).name for api in asked} | {"FLOE_ADMIN"}
    allowed = (ROOT / "compat" / "apache-kafka" / "tests.allow").read_text()
    assert {line.split()[1] for line in allowed.splitlines() if line.startswith("*")} <= {
        shape.name.split("/")[0] for shape in shapes
    }
