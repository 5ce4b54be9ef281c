"""A message class seen at one version: which fields are on the wire, in what order and encoding.

`schema.py` says what a field is in all versions; both code generators work from what this file makes of it.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from protocol.schema import Field, Versions, schema_of

FIXED: Final[dict[str, tuple[str, int]]] = {
    "bool": ("?", 1),
    "int8": ("b", 1),
    "int16": ("h", 2),
    "int32": ("i", 4),
    "int64": ("q", 8),
    "uint16": ("H", 2),
    "uint32": ("I", 4),
    "float64": ("d", 8),
    "uuid": ("16s", 16),
}
"""Kinds of fixed size: the letter `struct` has for them, and bytes."""


class Part(NamedTuple):
    """A field at one version. `compact` chooses varint lengths; `element` is what an array holds; `struct`
    the layout of a nested struct."""

    name: str
    kind: str
    nullable: bool
    compact: bool
    default: Any
    element: Part | None
    struct: Layout | None


class Layout(NamedTuple):
    """A struct at one version. `tagged` is in order of tags; `absent` are the fields of other versions."""

    cls: type
    flexible: bool
    parts: tuple[Part, ...]
    tagged: tuple[tuple[int, Part], ...]
    absent: tuple[Field, ...]


def layout(cls: type, version: int) -> Layout:
    """The layout of a top-level message; ValueError when it has no such version."""
    schema = schema_of(cls)
    if version not in schema.versions:
        raise ValueError(f"{schema.name} has no version {version}, only {schema.versions}")
    return _struct(cls, version, version in schema.flexible)


def _struct(cls: type, version: int, flexible: bool) -> Layout:
    parts, tagged, absent = [], [], []
    for field in schema_of(cls).fields:
        if field.tag is not None and flexible and version in Versions.parse(field.tagged):
            tagged.append((field.tag, _part(field, version, flexible)))
        elif version in Versions.parse(field.versions):
            parts.append(_part(field, version, flexible))
        else:
            absent.append(field)
    tagged.sort(key=lambda pair: pair[0])
    return Layout(cls, flexible, tuple(parts), tuple(tagged), tuple(absent))


def _part(field: Field, version: int, flexible: bool) -> Part:
    element, nested = None, None
    if field.kind == "array":
        element = _element(field.element, version, flexible)
    elif field.kind == "struct":
        nested = _struct(field.element, version, flexible)
    return Part(
        name=field.name,
        kind=field.kind,
        nullable=version in Versions.parse(field.nullable),
        compact=flexible and field.flexible,
        default=field.default,
        element=element,
        struct=nested,
    )


def _element(element: Any, version: int, flexible: bool) -> Part:
    if isinstance(element, Field):
        return _part(element, version, flexible)
    return Part("", "struct", False, flexible, None, None, _struct(element, version, flexible))


def smallest(part: Part) -> int:
    """The fewest bytes a value can take: what bounds the count of an array before anything is made."""
    if part.kind in FIXED:
        return FIXED[part.kind][1]
    if part.struct is not None:
        return 1 if part.nullable else smallest_struct(part.struct)
    if part.compact:
        return 1
    return 2 if part.kind == "string" else 4


def smallest_struct(struct: Layout) -> int:
    """The fewest bytes a struct can take."""
    return max(1, sum(map(smallest, struct.parts)) + struct.flexible)


class Source:
    """Generated lines, and for each line the field it is about, so that an error's line number names a
    field."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.labels: list[str] = []
        self.depth = 0

    def emit(self, text: str, label: str = "") -> None:
        self.lines.append("    " * self.depth + text)
        self.labels.append(label)

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


def struct_name(prefix: str, letters: str) -> str:
    """The generated code's name for a compiled struct format: ("unpack", "iqB") -> unpack_iqB."""
    return f"{prefix}_{letters.replace('16s', 'U').replace('?', 't')}"


def constant(value: Any) -> str:
    """A default value as it stands in generated code."""
    return "ZERO_UUID" if value == bytes(16) else repr(value)
