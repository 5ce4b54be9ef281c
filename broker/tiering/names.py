"""From a topic's name to a table's. Pure.

A topic may be called `orders.v1` or `Orders-EU`; a table's name should need no quotes in any engine and suit Glue and
Hive, which know letters, digits and the underscore. Other characters become underscores, so that two topics may
want one table: that is found before anything is created, and named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

DEFAULT_TEMPLATE: Final = "{namespace}.{topic}"
MAX_NAME_LENGTH: Final = 255
"""Characters of a namespace or a table's name: what SQL catalogs and Glue hold."""
DEAD_LETTERS_SUFFIX: Final = "__dlq"

_FIELD: Final = re.compile(r"\{([^{}]*)\}")
_UNSAFE: Final = re.compile(r"[^0-9A-Za-z_]")
_PART: Final = re.compile(r"[0-9A-Za-z_-]+")


class InvalidTemplate(ValueError):
    """A floe.table.name.template that names no table."""


def table_identifier(topic: str, namespace: str, template: str = DEFAULT_TEMPLATE) -> tuple[str, ...]:
    """The namespace's levels and the table's name.

    The template's fields are `{namespace}`, `{topic}` (with underscores for what needs quotes) and `{topic_lower}`.
    Raises InvalidTemplate.
    """
    safe = _UNSAFE.sub("_", topic)
    values = {"namespace": namespace, "topic": safe, "topic_lower": safe.lower()}
    if unknown := set(_FIELD.findall(template)) - set(values):
        raise InvalidTemplate(
            f"{template}: no such field: {', '.join(sorted(unknown))}; there are {', '.join(values)}"
        )
    parts = tuple(_FIELD.sub(lambda match: values[match[1]], template).split("."))
    if len(parts) < 2 or not all(_PART.fullmatch(part) for part in parts):
        raise InvalidTemplate(
            f"{template}: gives {'.'.join(parts)!r} for topic {topic}; wanted is namespace.table"
        )
    longest = max(len(".".join(parts[:-1])), len(parts[-1] + DEAD_LETTERS_SUFFIX))
    if longest > MAX_NAME_LENGTH:
        raise InvalidTemplate(
            f"{template}: the name for topic {topic} has more than {MAX_NAME_LENGTH} characters"
        )
    return parts


def dead_letters_identifier(identifier: tuple[str, ...]) -> tuple[str, ...]:
    return (*identifier[:-1], identifier[-1] + DEAD_LETTERS_SUFFIX)


def retired_identifier(identifier: tuple[str, ...], topic_id: str) -> tuple[str, ...]:
    """Where the table of a deleted topic goes when a topic of its name is created again."""
    short = re.sub(r"[^0-9A-Za-z]", "", topic_id)[:8].lower() or "unknown"
    return (*identifier[:-1], f"{identifier[-1]}__{short}")


def collisions(
    topics: Iterable[str], namespace: str, template: str = DEFAULT_TEMPLATE
) -> dict[str, list[str]]:
    """The tables that several topics want, with those topics. Names that differ only in case collide: most
    catalogs and engines do not tell them apart. A topic's dead-letter table counts as wanted by it."""
    wanted: dict[str, list[str]] = {}
    for topic in sorted(topics):
        identifier = table_identifier(topic, namespace, template)
        for one in (identifier, dead_letters_identifier(identifier)):
            wanted.setdefault(".".join(one).lower(), []).append(topic)
    return {table: names for table, names in wanted.items() if len(names) > 1}
