"""Hypothesis strategies that fill a message at one version, from the same layout the codecs are made of."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from hypothesis import strategies as st

import protocol.messages.internal
from protocol.api import ApiKey
from protocol.compiler import message_class
from protocol.layout import Layout, Part, layout
from protocol.schema import Schema, schema_of

INTEGERS = {"int8": 7, "int16": 15, "int32": 31, "int64": 63}

# Lengths about 127 are where a varint takes its second byte.
TEXT = st.text(max_size=9) | st.sampled_from(["", "x" * 126, "y" * 127, "z" * 300, "é" * 70])
BYTES = st.binary(max_size=9) | st.sampled_from([b"", b"x" * 126, b"y" * 127, b"z" * 20_000])


def api_classes() -> list[type]:
    """Every request and response."""
    return [message_class(key, response) for key in ApiKey for response in (False, True)]


def persisted_classes() -> list[type]:
    """Every message in protocol/messages/internal."""
    found = []
    for module in iter_modules(protocol.messages.internal.__path__):
        imported = import_module(f"protocol.messages.internal.{module.name}")
        schemas = [getattr(value, "__schema__", None) for value in vars(imported).values()]
        found += [
            value
            for value, schema in zip(vars(imported).values(), schemas, strict=True)
            if isinstance(schema, Schema) and schema.kind != "struct"
        ]
    return found


def every_version(classes: list[type]) -> list[tuple[type, int]]:
    """All (class, version) pairs of some messages."""
    pairs = []
    for cls in classes:
        versions = schema_of(cls).versions
        pairs += [(cls, version) for version in range(versions.first, versions.last + 1)]
    return pairs


def case_name(value: object) -> str:
    """How a class or version appears in a test's name."""
    return value.__name__ if isinstance(value, type) else f"v{value}"


def simple(kind: str) -> st.SearchStrategy[Any]:
    """Values of one kind."""
    if kind in INTEGERS:
        bits = INTEGERS[kind]
        return st.integers(-(1 << bits), (1 << bits) - 1)
    return {
        "uint16": st.integers(0, 0xFFFF),
        "uint32": st.integers(0, 0xFFFFFFFF),
        "bool": st.booleans(),
        "float64": st.floats(allow_nan=False),
        "uuid": st.binary(min_size=16, max_size=16),
        "string": TEXT,
        "bytes": BYTES,
        "records": BYTES,
    }[kind]


class Filler:
    """Builds strategies. Subclasses narrow what a foreign oracle can hold: `hint` is whatever it says of a
    field."""

    def message(self, cls: type, version: int, hint: Any = None) -> st.SearchStrategy[Any]:
        return self.struct(layout(cls, version), hint)

    def struct(self, shape: Layout, hint: Any) -> st.SearchStrategy[Any]:
        parts = [*shape.parts, *(part for _, part in shape.tagged)]
        fields = {part.name: self.part(part, self.field_hint(hint, part)) for part in parts}
        for _, part in shape.tagged:
            if part.struct is not None:
                # A tagged struct full of defaults may be left out, and then comes back as None.
                empty = part.struct.cls()
                fields[part.name] = st.none() | fields[part.name].filter(
                    lambda value, empty=empty: value != empty
                )
        return st.fixed_dictionaries(fields).map(lambda values: shape.cls(**values))

    def part(self, part: Part, hint: Any) -> st.SearchStrategy[Any]:
        if part.struct is not None:
            made = self.struct(part.struct, hint)
        elif part.element is not None:
            made = self.array(part.element, hint)
        else:
            made = self.value(part, hint)
        return st.none() | made if part.nullable else made

    def array(self, element: Part, hint: Any) -> st.SearchStrategy[Any]:
        few = st.lists(self.part(element, hint), max_size=2)
        if element.struct is not None:
            return few
        return few | self.part(element, hint).map(lambda value: [value] * 150)

    def value(self, part: Part, hint: Any) -> st.SearchStrategy[Any]:
        return simple(part.kind)

    def field_hint(self, hint: Any, part: Part) -> Any:
        return None
