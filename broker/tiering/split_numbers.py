"""Longs that were read as doubles: whole numbers back to their column, fractions to `<name>__double` beside it. Pure.

What `evolution.Shape.fit` does with one document, for all rows at once. Rows where a double does not tell what the
document said are left to it: numbers from 2**53 on, fractions without a column for them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from broker.tiering.evolution import DOUBLE, DOUBLE_SUFFIX, LONG, STRUCT, Node

EXACT: Final = 2.0**53
"""Below it every integer is a double of its own."""


def split(table: pa.Table, root: Node) -> tuple[pa.Table, NDArray[np.bool_]]:
    """A table read under `root.parsed_as(fractions=True)` under the types without, and the rows that are not right."""
    unclear = np.zeros(len(table), bool)
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    return pa.table(_split(columns, root, unclear)), unclear


def _split(columns: dict[str, pa.Array], node: Node, unclear: NDArray[np.bool_]) -> dict[str, pa.Array]:
    found = dict(columns)
    for name, child in node.fields.items():
        if child.kind == STRUCT and child.fields:
            found[name] = _split_struct(found[name], child, unclear)
        elif child.kind == LONG and child.has_fractions:
            _split_column(found, name, node, unclear)
    return found


def _split_struct(array: pa.StructArray, node: Node, unclear: NDArray[np.bool_]) -> pa.StructArray:
    names = [field.name for field in array.type]
    parts = _split({name: array.field(name) for name in names}, node, unclear)
    mask = array.is_null() if array.null_count else None
    return pa.StructArray.from_arrays(list(parts.values()), names=names, mask=mask)


def _split_column(columns: dict[str, pa.Array], name: str, node: Node, unclear: NDArray[np.bool_]) -> None:
    array = columns[name]
    values = array.fill_null(0.0).to_numpy(zero_copy_only=False)
    nulls = array.is_null().to_numpy(zero_copy_only=False)
    large = np.abs(values) >= EXACT
    fractions = values != np.rint(values)
    unclear |= large
    if fractions.any():
        beside = name + DOUBLE_SUFFIX
        sibling = node.fields.get(beside)
        if node.fields[name].is_new or sibling is None or sibling.kind != DOUBLE:
            unclear |= fractions
        else:
            own = columns[beside]
            unclear |= fractions & own.is_valid().to_numpy(zero_copy_only=False)
            columns[beside] = pc.if_else(pa.array(fractions), array, own)
    elsewhere = large | fractions
    columns[name] = pa.array(np.where(elsewhere, 0, values).astype(np.int64), mask=nulls | elsewhere)
