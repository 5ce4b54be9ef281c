"""Our messages as kio's and back: kio's classes are generated from Apache Kafka's own schema files.

kio gives some numbers a richer type (a timedelta, a datetime, an enum of errors), which holds fewer values
than the wire does; the strategies here stay within them. It names durations without their unit.
"""

from __future__ import annotations

import dataclasses
import uuid
from datetime import UTC, datetime, timedelta
from io import BytesIO
from types import NoneType
from typing import Any, get_args, get_origin

from hypothesis import strategies as st
from kio.index import resolve_name
from kio.schema.errors import ErrorCode
from kio.schema.index import api_key_map, schema_name_map
from kio.serial import entity_reader, entity_writer
from kio.static.constants import EntityType

from protocol.layout import Part
from protocol.schema import ZERO_UUID, schema_of
from tests.protocol.samples import Filler

KINDS = {"request": EntityType.request, "response": EntityType.response, "data": EntityType.data}
RENAMED = {
    "type": "type_",
    "kraft_version": "k_raft_version",
    "kraft_version_feature": "k_raft_version_feature",
}
DATA_NAMES = {"KRaftVersionRecord": "k_raft_version_record"}


def kio_class(cls: type, version: int) -> type | None:
    """kio's class for one of our messages at a version; None where kio has none."""
    schema = schema_of(cls)
    if schema.kind == "data":
        name = DATA_NAMES.get(schema.name) or "".join(
            f"_{letter.lower()}" if letter.isupper() else letter for letter in schema.name
        ).lstrip("_")
    elif schema.key in api_key_map:
        name = api_key_map[schema.key]
    else:
        return None
    path = schema_name_map.get(name, {}).get(version, {}).get(KINDS.get(schema.kind))
    return None if path is None else resolve_name(path)


def kio_field(cls: type, name: str) -> dataclasses.Field[Any]:
    """The field of kio's class that is our field `name`."""
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for candidate in (name, RENAMED.get(name), name.removesuffix("_ms")):
        if candidate in fields:
            return fields[candidate]
    raise KeyError(f"{cls.__module__}.{cls.__name__} has no {name}: {sorted(fields)}")


def inner_type(annotation: Any) -> Any:
    """The class inside `X | None` and `tuple[X, ...]`."""
    origin = get_origin(annotation)
    if origin is None:
        return annotation
    arguments = [argument for argument in get_args(annotation) if argument not in (NoneType, Ellipsis)]
    return inner_type(arguments[0])


def may_be_none(field: dataclasses.Field[Any]) -> bool:
    return NoneType in get_args(field.type)


class KioFiller(Filler):
    """Fills our messages with what kio can hold. The hint is kio's class, or its field."""

    def field_hint(self, hint: Any, part: Part) -> Any:
        cls = hint if dataclasses.is_dataclass(hint) else inner_type(hint.type)
        return kio_field(cls, part.name)

    def value(self, part: Part, hint: Any) -> st.SearchStrategy[Any]:
        kind = hint.metadata.get("kafka_type")
        if kind == "error_code":
            return st.sampled_from([int(code) for code in ErrorCode])
        if kind == "datetime_i64":
            some = st.integers(0, 4_000_000_000_000)
            return some | st.just(-1) if may_be_none(hint) else some
        if kind == "timedelta_i64":
            return st.integers(-(10**12), 10**12)
        return super().value(part, hint)


def to_kio(message: Any, cls: type) -> Any:
    """The same message in kio's classes."""
    values = {}
    ours = {field.name: field for field in schema_of(type(message)).fields}
    known = {kio_field(cls, name).name: name for name in ours if _has(cls, name)}
    for field in dataclasses.fields(cls):
        name = known[field.name]
        value = getattr(message, name)
        if value is None and ours[name].kind == "struct" and not may_be_none(field):
            value = ours[name].element()
        values[field.name] = _convert(value, field)
    return cls(**values)


def _has(cls: type, name: str) -> bool:
    try:
        kio_field(cls, name)
    except KeyError:
        return False
    return True


def _convert(value: Any, field: dataclasses.Field[Any]) -> Any:
    if value is None:
        return None
    kind = field.metadata.get("kafka_type")
    if isinstance(value, list):
        return tuple(_convert(item, field) for item in value)
    if kind == "error_code":
        return ErrorCode(value)
    if kind == "datetime_i64":
        return None if value == -1 else datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=value)
    if kind in ("timedelta_i32", "timedelta_i64"):
        return timedelta(milliseconds=value)
    if kind == "uuid":
        return None if value == ZERO_UUID else uuid.UUID(bytes=value)
    if kind == "records":
        return bytes(value)
    return to_kio(value, inner_type(field.type)) if kind is None else value


def kio_bytes(entity: Any) -> bytes:
    """What kio writes."""
    buffer = BytesIO()
    entity_writer(type(entity))(buffer, entity)
    return buffer.getvalue()


def kio_parse(cls: type, data: bytes) -> Any:
    """What kio reads; all of `data` must belong to it."""
    entity, size = entity_reader(cls)(data, 0)
    assert size == len(data)
    return entity
