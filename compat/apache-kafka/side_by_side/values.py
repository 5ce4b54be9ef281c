"""Plain values (dicts, lists, numbers, text) to kio's messages and back.

kio's classes are generated from Apache Kafka's own schema files, so that neither request nor answer passes through a
codec of ours. Names are Kafka's in snake case; durations lose their unit, as kio has it (`timeout_ms` is `timeout`).
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from types import NoneType
from typing import Any, get_args, get_origin

from kio.index import load_request_schema
from kio.schema.errors import ErrorCode
from kio.schema.index import api_key_map, schema_name_map

EPOCH = datetime.fromtimestamp(0, UTC)
_ZERO = {"string": "", "bool": False, "float64": 0.0, "bytes": b"", "records": None, "uuid": None}


def versions_of(api: int) -> range:
    """The versions kio knows of an API."""
    known = schema_name_map[api_key_map[api]]
    return range(min(known), max(known) + 1)


def to_request(api: int, version: int, fields: Mapping[str, Any]) -> Any:
    """The request with these fields; those that a version does not have are left out.

    Raises KeyError for a field that no version has.
    """
    _check_names(fields, _names(api), api_key_map[api])
    return _to_struct(load_request_schema(api, version), fields)


def to_plain(value: Any) -> Any:
    """What is in a message: dicts, lists, numbers, text; times in ms, ids as text, null ids and times as kio's None."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, timedelta):
        return round(value.total_seconds() * 1000)
    if isinstance(value, datetime):
        return round((value - EPOCH).total_seconds() * 1000)
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, ErrorCode):
        return int(value)
    return value


@cache
def _names(api: int) -> frozenset[str]:
    names: set[str] = set()
    for version in versions_of(api):
        _collect(load_request_schema(api, version), names)
    return frozenset(names)


def _collect(cls: type, names: set[str]) -> None:
    for field in dataclasses.fields(cls):
        names.add(field.name)
        element = _element(field.type)
        if dataclasses.is_dataclass(element):
            _collect(element, names)


def _check_names(fields: Any, names: frozenset[str], api: str) -> None:
    if isinstance(fields, Mapping):
        for name, value in fields.items():
            if name not in names:
                raise KeyError(f"no version of {api} has a field {name}; it has {sorted(names)}")
            _check_names(value, names, api)
    elif isinstance(fields, list):
        for item in fields:
            _check_names(item, names, api)


def _element(annotation: Any) -> Any:
    """The class inside `X | None` and `tuple[X, ...]`."""
    if get_origin(annotation) is None:
        return annotation
    return _element(next(part for part in get_args(annotation) if part not in (NoneType, Ellipsis)))


def _to_struct(cls: Any, fields: Mapping[str, Any]) -> Any:
    values = {}
    for field in dataclasses.fields(cls):
        if field.name in fields:
            values[field.name] = _to_value(fields[field.name], field)
        elif field.default is dataclasses.MISSING:
            values[field.name] = _absent(field)
    return cls(**values)


def _absent(field: dataclasses.Field[Any]) -> Any:
    if NoneType in get_args(field.type):
        return None
    if get_origin(field.type) is tuple:
        return ()
    kind = field.metadata.get("kafka_type")
    if kind is None:
        return _to_struct(_element(field.type), {})
    return _to_value(_ZERO.get(kind, 0), field)


def _to_value(value: Any, field: dataclasses.Field[Any]) -> Any:
    if isinstance(value, list):
        return tuple(_to_value(item, field) for item in value)
    kind = field.metadata.get("kafka_type")
    if value is None:
        return None
    if kind is None:
        return _to_struct(_element(field.type), value)
    if kind in ("timedelta_i32", "timedelta_i64"):
        return timedelta(milliseconds=value)
    if kind == "datetime_i64":
        return None if value == -1 else EPOCH + timedelta(milliseconds=value)
    if kind == "uuid":
        return uuid.UUID(value)
    if kind == "error_code":
        return ErrorCode(value)
    return value
