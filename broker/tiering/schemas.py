"""A table's columns: those every table has, and how others come and grow. Pure.

What Iceberg allows without rewriting a file (spec, "Schema Evolution"): new columns and struct fields, and the
promotions int → long, float → double and decimal(P, S) → decimal(P', S). Everything else is `IncompatibleSchema`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Final

import pyarrow as pa
from pyiceberg.exceptions import ResolveError
from pyiceberg.io.pyarrow import _pyarrow_to_schema_without_ids, schema_to_pyarrow
from pyiceberg.schema import Schema, assign_fresh_schema_ids, promote
from pyiceberg.types import IcebergType, ListType, MapType, NestedField, PrimitiveType, StructType

KAFKA_COLUMNS: Final = (
    pa.field("kafka_partition", pa.int32()),
    pa.field("kafka_offset", pa.int64()),
    pa.field("kafka_timestamp", pa.timestamp("us", tz="UTC")),
    pa.field("kafka_timestamp_type", pa.int32()),
)
"""First in every table; the key, the headers and what is in the value come from the topic's settings."""
SORTED_BY: Final = ("kafka_partition", "kafka_offset")


class IncompatibleSchema(Exception):
    """A column that cannot become what is asked. `str()` names it and both types."""


def with_kafka_columns(initial: pa.Schema) -> Schema:
    """The schema of a new table, with field ids. KAFKA_COLUMNS come first, whether `initial` has them or not."""
    names = {field.name for field in KAFKA_COLUMNS}
    others = [field for field in initial if field.name not in names]
    plain = _pyarrow_to_schema_without_ids(pa.schema([*KAFKA_COLUMNS, *others]))
    return assign_fresh_schema_ids(plain)


def arrow_schema(schema: Schema) -> pa.Schema:
    converted = schema_to_pyarrow(schema, include_field_ids=False)
    assert isinstance(converted, pa.Schema)
    return converted


def evolved(existing: Schema, wanted: pa.Schema, last_column_id: int, schema_id: int) -> Schema:
    """`existing` with what `wanted` has more of; the same object where that is nothing.

    A column that is already wider than wanted stays. New columns are optional: files that are there do not have them.
    Field ids follow `last_column_id`. Raises IncompatibleSchema.
    """
    try:
        plain = _pyarrow_to_schema_without_ids(wanted)
    except ValueError as error:  # a type without an Iceberg one, or names that are another's path
        raise IncompatibleSchema(str(error)) from error
    merged = _struct("", existing.as_struct(), plain.as_struct(), count(last_column_id + 1))
    if merged == existing.as_struct():
        return existing
    return Schema(*merged.fields, schema_id=schema_id, identifier_field_ids=existing.identifier_field_ids)


def _struct(path: str, existing: StructType, wanted: StructType, ids: Iterator[int]) -> StructType:
    asked = {field.name: field for field in wanted.fields}
    fields = [
        _field(f"{path}{field.name}", field, asked[field.name].field_type, ids)
        if field.name in asked
        else field
        for field in existing.fields
    ]
    there = {field.name for field in existing.fields}
    fields += [
        NestedField(next(ids), field.name, _fresh(field.field_type, ids), required=False)
        for field in wanted.fields
        if field.name not in there
    ]
    return StructType(*fields)


def _field(path: str, field: NestedField, wanted: IcebergType, ids: Iterator[int]) -> NestedField:
    merged = _type(path, field.field_type, wanted, ids)
    return field if merged == field.field_type else field.model_copy(update={"field_type": merged})


def _type(path: str, existing: IcebergType, wanted: IcebergType, ids: Iterator[int]) -> IcebergType:
    if isinstance(existing, StructType) and isinstance(wanted, StructType):
        return _struct(f"{path}.", existing, wanted, ids)
    if isinstance(existing, ListType) and isinstance(wanted, ListType):
        element = _type(f"{path}.element", existing.element_type, wanted.element_type, ids)
        return ListType(existing.element_id, element, element_required=existing.element_required)
    if isinstance(existing, MapType) and isinstance(wanted, MapType):
        value = _type(f"{path}.value", existing.value_type, wanted.value_type, ids)
        return MapType(
            existing.key_id,
            existing.key_type,
            existing.value_id,
            value,
            value_required=existing.value_required,
        )
    if isinstance(existing, PrimitiveType) and isinstance(wanted, PrimitiveType):
        return _primitive(path, existing, wanted)
    raise IncompatibleSchema(f"{path} is {existing} and cannot become {wanted}")


def _primitive(path: str, existing: PrimitiveType, wanted: PrimitiveType) -> PrimitiveType:
    if existing == wanted or _can_promote(wanted, existing):
        return existing
    if _can_promote(existing, wanted):
        return wanted
    raise IncompatibleSchema(f"{path} is {existing} and cannot become {wanted}")


def _can_promote(narrow: PrimitiveType, wide: PrimitiveType) -> bool:
    try:
        promoted = promote(narrow, wide)
    except ResolveError:
        return False
    # pyiceberg lets string and binary stand for each other when it reads; as a change of a column the spec has none.
    return promoted == wide and {str(narrow), str(wide)} != {"string", "binary"}


def _fresh(kind: IcebergType, ids: Iterator[int]) -> IcebergType:
    if isinstance(kind, StructType):
        numbered = [(next(ids), field) for field in kind.fields]
        return StructType(
            *(
                NestedField(number, one.name, _fresh(one.field_type, ids), required=False)
                for number, one in numbered
            )
        )
    if isinstance(kind, ListType):
        return ListType(next(ids), _fresh(kind.element_type, ids), element_required=False)
    if isinstance(kind, MapType):
        key_id, value_id = next(ids), next(ids)
        return MapType(
            key_id, _fresh(kind.key_type, ids), value_id, _fresh(kind.value_type, ids), value_required=False
        )
    return kind
