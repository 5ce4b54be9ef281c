"""The columns of a table, out of its metadata file's JSON (Iceberg spec, "Schemas" and appendix C).

What `schemas.arrow_schema` says of the same table; pyiceberg, which that needs, takes half a second of CPU to import.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import pyarrow as pa

_PRIMITIVES: Final[dict[str, Callable[[], pa.DataType]]] = {
    "boolean": pa.bool_,
    "int": pa.int32,
    "long": pa.int64,
    "float": pa.float32,
    "double": pa.float64,
    "date": pa.date32,
    "time": lambda: pa.time64("us"),
    "timestamp": lambda: pa.timestamp("us"),
    "timestamptz": lambda: pa.timestamp("us", tz="UTC"),
    "timestamp_ns": lambda: pa.timestamp("ns"),
    "timestamptz_ns": lambda: pa.timestamp("ns", tz="UTC"),
    "string": pa.large_string,
    "uuid": lambda: pa.uuid(),  # younger than the oldest pyarrow allowed
    "binary": pa.large_binary,
    "unknown": pa.null,
}
_FIXED: Final = re.compile(r"fixed\[(\d+)\]")
_DECIMAL: Final = re.compile(r"decimal\((\d+),\s*(\d+)\)")


class UnknownColumns(Exception):
    """Metadata that this does not read; `str()` says what of it."""


def columns_of(metadata: Mapping[str, Any]) -> pa.Schema:
    """The current schema. Raises UnknownColumns."""
    current = metadata.get("current-schema-id")
    for schema in metadata.get("schemas", ()):
        if schema.get("schema-id") == current:
            return pa.schema(_fields(schema))
    raise UnknownColumns(f"there is no schema {current} in it")


def _fields(struct: Mapping[str, Any]) -> list[pa.Field]:
    return [
        pa.field(field["name"], _type(field["type"]), nullable=not field["required"])
        for field in struct["fields"]
    ]


def _type(kind: Any) -> pa.DataType:
    if isinstance(kind, str):
        return _primitive(kind)
    what = kind["type"]
    if what == "struct":
        return pa.struct(_fields(kind))
    if what == "list":
        nullable = not kind["element-required"]
        return pa.large_list(pa.field("element", _type(kind["element"]), nullable=nullable))
    if what == "map":
        key = pa.field("key", _type(kind["key"]), nullable=False)
        return pa.map_(key, pa.field("value", _type(kind["value"]), nullable=not kind["value-required"]))
    raise UnknownColumns(f"a column's type is {what}")


def _primitive(name: str) -> pa.DataType:
    if name in _PRIMITIVES:
        return _PRIMITIVES[name]()
    if fixed := _FIXED.fullmatch(name):
        return pa.binary(int(fixed[1]))
    if decimal := _DECIMAL.fullmatch(name):
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    raise UnknownColumns(f"a column's type is {name}")
