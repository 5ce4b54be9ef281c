"""Arrow arrays under another type of the same values: other names and ids, more fields, wider numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import pyarrow as pa

from broker.tiering.evolution import NOTHING

FIELD_ID: Final = b"PARQUET:field_id"

Counterpart = Callable[[pa.StructType, int, pa.Field], int]
"""Of the struct there is and a field (with its place) of the struct there shall be: which it was, -1 for none."""


def by_position(there: pa.StructType, place: int, field: pa.Field) -> int:
    return place


def by_name(there: pa.StructType, place: int, field: pa.Field) -> int:
    return int(there.get_field_index(field.name))


def field_id(field: pa.Field) -> int | None:
    """The Iceberg id that Parquet's reader and writer know a field by."""
    number = (field.metadata or {}).get(FIELD_ID)
    return None if number is None else int(number)


def retyped(array: pa.Array, kind: pa.DataType, counterpart: Counterpart) -> pa.Array:
    """The values as `kind`; a struct's field without a counterpart is null. Where all are null, they are of any type.

    Structs stay structs, lists lists, maps maps; what is in them is paired by `counterpart`, or cast. A large list
    becomes a list. Structs and lists that are empty to their depths are null where `kind` is another. Raises
    pa.ArrowException for values that do not fit.
    """
    if array.type == kind and not pa.types.is_nested(kind):
        return array
    if array.null_count == len(array):
        return pa.nulls(len(array), kind)
    if _nesting(array.type) != _nesting(kind) and _is_empty(array.type):
        return pa.nulls(len(array), kind)
    if not pa.types.is_nested(kind):
        return array.cast(kind, safe=not pa.types.is_float64(kind))  # an integer as the nearest double
    mask = array.is_null() if array.null_count else None
    if pa.types.is_struct(kind):
        parts = [_part(array, place, kind.field(place), counterpart) for place in range(kind.num_fields)]
        return pa.StructArray.from_arrays(parts, fields=list(kind), mask=mask)
    if mask is not None and array.offset:  # Arrow takes no mask for a slice
        array = array.take(pa.array(np.arange(len(array))))
    offsets = array.offsets.cast(pa.int32())
    if pa.types.is_map(kind):
        keys = retyped(array.keys, kind.key_type, counterpart)
        items = retyped(array.items, kind.item_type, counterpart)
        return pa.MapArray.from_arrays(offsets, keys, items, type=kind, mask=mask)
    elements = retyped(array.values, kind.value_type, counterpart)
    return pa.ListArray.from_arrays(offsets, elements, type=kind, mask=mask)


def _part(array: pa.StructArray, place: int, field: pa.Field, counterpart: Counterpart) -> pa.Array:
    there = counterpart(array.type, place, field)
    if there < 0:
        return pa.nulls(len(array), field.type)
    return retyped(array.field(there), field.type, counterpart)


def _nesting(kind: pa.DataType) -> str:
    if pa.types.is_struct(kind):
        return "struct"
    return "list" if pa.types.is_list(kind) or pa.types.is_large_list(kind) else ""


def _is_empty(kind: pa.DataType) -> bool:
    """Whether no value that says anything is of this type: one that a JSON field had while it was empty."""
    if pa.types.is_struct(kind):
        return all(_is_empty(field.type) for field in kind)
    if pa.types.is_list(kind):
        return _is_empty(kind.value_type)
    return bool(pa.types.is_null(kind) or kind == NOTHING)
