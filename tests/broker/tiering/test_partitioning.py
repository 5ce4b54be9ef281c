"""Partition specs as text."""

from __future__ import annotations

import pytest
from pyiceberg.schema import Schema
from pyiceberg.types import BinaryType, NestedField, StringType, StructType, TimestamptzType

from broker.tiering.partitioning import InvalidPartitioning, applicable, parse

SCHEMA = Schema(
    NestedField(1, "kafka_timestamp", TimestamptzType()),
    NestedField(2, "kafka_key", BinaryType()),
    NestedField(3, "buyer", StructType(NestedField(4, "country", StringType()))),
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("hour(kafka_timestamp)", [("hour", "kafka_timestamp", "kafka_timestamp_hour")]),
        (
            " DAY( kafka_timestamp ),bucket(16,kafka_key)",
            [
                ("day", "kafka_timestamp", "kafka_timestamp_day"),
                ("bucket[16]", "kafka_key", "kafka_key_bucket"),
            ],
        ),
        ("identity(region), country", [("identity", "region", "region"), ("identity", "country", "country")]),
        ("truncate(3, buyer.country)", [("truncate[3]", "buyer.country", "buyer_country_trunc")]),
    ],
)
def test_what_is_understood(text: str, found: list[tuple[str, str, str]]) -> None:
    assert [(str(item.transform), item.column, item.name) for item in parse(text)] == found


@pytest.mark.parametrize(
    "text",
    [
        "hour",
        "hour(",
        "hour()",
        "minute(a)",
        "bucket(a)",
        "bucket(0, a)",
        "a, a",
        "hour(a, 3)",
        "a b(c)",
        ",",
        "a,,b",
    ],
)
def test_what_is_not(text: str) -> None:
    try:
        found = parse(text)
    except InvalidPartitioning as error:
        assert text[:4] in str(error)
    else:
        assert [item.column for item in found] == [text], "a bare column"


def test_columns_that_are_not_there_yet_are_left_out() -> None:
    wanted = parse("hour(kafka_timestamp), bucket(4, buyer.country), region")
    assert [item.column for item in applicable(wanted, SCHEMA)] == ["kafka_timestamp", "buyer.country"]


@pytest.mark.parametrize("text", ["hour(kafka_key)", "identity(buyer)"])
def test_transforms_that_do_not_suit_the_column(text: str) -> None:
    with pytest.raises(InvalidPartitioning, match="does not go with"):
        applicable(parse(text), SCHEMA)
