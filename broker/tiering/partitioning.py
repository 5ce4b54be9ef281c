"""`floe.table.partition.by`: how a table is split into files, as text.

    hour(kafka_timestamp), bucket(16, kafka_key), truncate(3, country), identity(region), region

Transforms are Iceberg's (spec, "Partition Transforms"); a bare column is `identity`. Empty: one partition. A column
that the table does not have yet (a JSON field nobody sent so far) takes part from the day it appears.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    Transform,
    TruncateTransform,
    YearTransform,
)

if TYPE_CHECKING:
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.table.update.spec import UpdateSpec

_PART: Final = re.compile(r"\s*(?:(\w+)\s*\(\s*(?:(\d+)\s*,\s*)?([^(),]+?)\s*\)|([^(),]+?))\s*(?:,|$)")
_PLAIN: Final[dict[str, Any]] = {
    "identity": IdentityTransform,
    "year": YearTransform,
    "month": MonthTransform,
    "day": DayTransform,
    "hour": HourTransform,
}
_WITH_WIDTH: Final[dict[str, Any]] = {"bucket": BucketTransform, "truncate": TruncateTransform}


class InvalidPartitioning(ValueError):
    """A floe.table.partition.by that is not understood, or does not suit its column."""


@dataclass(frozen=True, slots=True)
class PartitionBy:
    column: str
    transform: Transform[Any, Any]

    @property
    def name(self) -> str:
        """As Iceberg's own tools name partition fields: `kafka_timestamp_hour`, `kafka_key_bucket`."""
        base = self.column.replace(".", "_")
        kind = re.sub(r"\[.*", "", str(self.transform))
        return base if kind == "identity" else f"{base}_{'trunc' if kind == 'truncate' else kind}"


def parse(text: str) -> list[PartitionBy]:
    """Raises InvalidPartitioning."""
    found: list[PartitionBy] = []
    position = 0
    text = text.strip()
    while position < len(text):
        match = _PART.match(text, position)
        if match is None or match.end() == position:
            raise InvalidPartitioning(f"{text!r}: not understood at {text[position:]!r}")
        position = match.end()
        name, width, column, bare = match.groups()
        found.append(
            PartitionBy(bare, IdentityTransform()) if bare else _call(text, name.lower(), width, column)
        )
    if len({item.name for item in found}) != len(found):
        raise InvalidPartitioning(f"{text!r}: the same twice")
    return found


def _call(text: str, name: str, width: str | None, column: str) -> PartitionBy:
    if name in _PLAIN and width is None:
        return PartitionBy(column, _PLAIN[name]())
    if name in _WITH_WIDTH and width is not None and 0 < int(width) < 2**31:
        return PartitionBy(column, _WITH_WIDTH[name](int(width)))
    if name in _WITH_WIDTH:
        raise InvalidPartitioning(f"{text!r}: write {name}(16, {column})")
    known = ", ".join([*_PLAIN, *_WITH_WIDTH])
    raise InvalidPartitioning(f"{text!r}: no transform {name}; there are {known}")


def applicable(wanted: list[PartitionBy], schema: Schema) -> list[PartitionBy]:
    """Those whose column is there. Raises InvalidPartitioning where column and transform do not go together."""
    names = schema._name_to_id
    here = [item for item in wanted if item.column in names]
    for item in here:
        kind = schema.find_type(item.column)
        if not kind.is_primitive or not item.transform.can_transform(kind):
            raise InvalidPartitioning(f"{item.transform}({item.column}) does not go with its type, {kind}")
    return here


def differs(spec: PartitionSpec, wanted: list[PartitionBy], schema: Schema) -> bool:
    there = [
        (field.source_id, str(field.transform)) for field in spec.fields if str(field.transform) != "void"
    ]
    return there != [(schema.find_field(item.column).field_id, str(item.transform)) for item in wanted]


def update(spec: PartitionSpec, wanted: list[PartitionBy], change: UpdateSpec) -> None:
    """Stages the way from `spec` to what is wanted; data that is there keeps the spec it was written with."""
    for field in spec.fields:
        change.remove_field(field.name)
    for item in wanted:
        change.add_field(item.column, item.transform, item.name)
