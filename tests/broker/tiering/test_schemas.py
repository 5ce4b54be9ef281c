"""Columns: what is new, what widens, what cannot be."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pyiceberg.schema import Schema

from broker.tiering.schemas import IncompatibleSchema, arrow_schema, evolved, with_kafka_columns

BASE = pa.schema(
    [
        pa.field("amount", pa.int32()),
        pa.field("price", pa.float32()),
        pa.field("tax", pa.decimal128(5, 2)),
        pa.field("buyer", pa.struct([pa.field("name", pa.string())])),
        pa.field("tags", pa.list_(pa.struct([pa.field("key", pa.string())]))),
        pa.field("raw", pa.binary()),
    ]
)


def _evolved(*fields: pa.Field) -> Schema:
    existing = with_kafka_columns(BASE)
    return evolved(existing, pa.schema(list(fields)), existing.highest_field_id, 7)


@pytest.mark.parametrize(
    ("field", "column", "kind"),
    [
        (pa.field("amount", pa.int64()), "amount", "long"),
        (pa.field("price", pa.float64()), "price", "double"),
        (pa.field("tax", pa.decimal128(9, 2)), "tax", "decimal(9, 2)"),
        (pa.field("new", pa.list_(pa.int32())), "new.element", "int"),
        (pa.field("buyer", pa.struct([pa.field("age", pa.int32())])), "buyer.age", "int"),
        (pa.field("tags", pa.list_(pa.struct([pa.field("n", pa.int64())]))), "tags.element.n", "long"),
        (pa.field("a.b", pa.string()), "a.b", "string"),
    ],
)
def test_what_a_table_may_become(field: pa.Field, column: str, kind: str) -> None:
    before, after = with_kafka_columns(BASE), _evolved(field)
    assert str(after.find_type(column)) == kind
    assert after.schema_id == 7
    for name, field_id in before._name_to_id.items():
        assert after.find_field(name).field_id == field_id, "files that are there are read by these ids"
    assert len(set(after._name_to_id.values())) == len(after.field_ids)
    assert all(not one.required for one in after.fields)


@pytest.mark.parametrize(
    ("field", "told"),
    [
        (pa.field("amount", pa.string()), "amount is int and cannot become string"),
        (pa.field("amount", pa.float64()), "amount is int and cannot become double"),
        (pa.field("raw", pa.string()), "raw is binary and cannot become string"),
        (pa.field("buyer", pa.string()), "buyer is struct"),
        (pa.field("buyer", pa.struct([pa.field("name", pa.int64())])), "buyer.name is string"),
        (pa.field("tags", pa.list_(pa.int32())), "tags.element is struct"),
        (pa.field("nothing", pa.null()), "[Nn]ull"),
    ],
)
def test_what_it_may_not(field: pa.Field, told: str) -> None:
    with pytest.raises(IncompatibleSchema, match=told):
        _evolved(field)


def test_nothing_new_is_the_same_object() -> None:
    existing = with_kafka_columns(BASE)
    assert evolved(existing, arrow_schema(existing), existing.highest_field_id, 1) is existing
    narrower = pa.schema([pa.field("tax", pa.decimal128(3, 2))])
    assert evolved(existing, narrower, existing.highest_field_id, 1) is existing


def test_kafka_columns_are_there_once_and_first() -> None:
    given = pa.schema([pa.field("value", pa.binary()), pa.field("kafka_offset", pa.int64())])
    names = [field.name for field in with_kafka_columns(given).fields]
    assert names == ["kafka_partition", "kafka_offset", "kafka_timestamp", "kafka_timestamp_type", "value"]
