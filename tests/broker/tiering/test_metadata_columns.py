"""Columns out of metadata JSON are those that pyiceberg reads from it."""

import pytest
from pyiceberg.schema import Schema
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampNanoType,
    TimestampType,
    TimestamptzNanoType,
    TimestamptzType,
    TimeType,
    UnknownType,
    UUIDType,
)

from broker.tiering.metadata_columns import UnknownColumns, columns_of
from broker.tiering.schemas import arrow_schema

TYPES: list[IcebergType] = [
    BooleanType(),
    IntegerType(),
    LongType(),
    FloatType(),
    DoubleType(),
    DateType(),
    TimeType(),
    TimestampType(),
    TimestamptzType(),
    TimestampNanoType(),
    TimestamptzNanoType(),
    StringType(),
    UUIDType(),
    FixedType(7),
    BinaryType(),
    DecimalType(12, 3),
    UnknownType(),
    ListType(100, StringType(), element_required=False),
    ListType(
        101, StructType(NestedField(102, "in a list", LongType(), required=True)), element_required=True
    ),
    MapType(103, StringType(), 104, ListType(105, DoubleType(), element_required=False), value_required=True),
    MapType(106, LongType(), 107, DateType(), value_required=False),
]


def test_every_type_is_as_pyiceberg_has_it() -> None:
    fields = [NestedField(number, f"c{number}", kind, required=False) for number, kind in enumerate(TYPES, 1)]
    fields.append(NestedField(len(fields) + 1, "needed", LongType(), required=True))
    schema = Schema(*fields, schema_id=3)
    older = {"schema-id": 2, "fields": []}
    found = columns_of({"current-schema-id": 3, "schemas": [older, schema.model_dump()]})
    assert found.equals(arrow_schema(schema), check_metadata=True)


@pytest.mark.parametrize("kind", ["geography", {"type": "tensor"}])
def test_a_type_of_later_is_refused(kind: object) -> None:
    field = {"id": 1, "name": "later", "type": kind, "required": False}
    with pytest.raises(UnknownColumns, match=r"geography|tensor"):
        columns_of({"current-schema-id": 0, "schemas": [{"schema-id": 0, "fields": [field]}]})


def test_metadata_without_its_schema_is_refused() -> None:
    with pytest.raises(UnknownColumns, match="no schema 4"):
        columns_of({"current-schema-id": 4, "schemas": []})
