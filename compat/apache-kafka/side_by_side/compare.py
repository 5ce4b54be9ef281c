"""What differs between two transcripts, and which of it has a reason (`differences.toml`)."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

TABLE = Path(__file__).parents[1] / "differences.toml"
ABSENT = "<absent>"
NULL = "<null>"  # how the table writes what TOML has no word for
_ANYTHING = object()


class Difference(NamedTuple):
    """One place where the answers differ: `step/field/index/field`, and both values."""

    path: str
    kafka: Any
    floe: Any

    def text(self) -> str:
        return f"{self.path}: {_short(self.kafka)} ≠ {_short(self.floe)}"


class Reason:
    """A row of `differences.toml`: where Floe may differ, in what, and why. `uses` counts what it explained.

    `by_chance` (chance = true): whether it differs depends on the moment, so that it may go unused.
    """

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.shapes: Sequence[str] = [row["shape"]] if isinstance(row["shape"], str) else row["shape"]
        self.path: str = row["path"]
        self.kafka = _wanted(row, "kafka")
        self.floe = _wanted(row, "floe")
        self.reason: str = row["reason"]
        self.by_chance: bool = row.get("chance", False)
        self.uses = 0

    def explains(self, shape: str, difference: Difference) -> bool:
        return (
            any(fnmatchcase(shape, pattern) for pattern in self.shapes)
            and fnmatchcase(difference.path, self.path)
            and self.kafka in (_ANYTHING, difference.kafka)
            and self.floe in (_ANYTHING, difference.floe)
        )

    def text(self) -> str:
        return f"{', '.join(self.shapes)}  {self.path}: {self.reason}"


def _wanted(row: Mapping[str, Any], name: str) -> Any:
    value = row.get(name, _ANYTHING)
    return None if value == NULL else value


class Rules:
    """What may differ, and which lists have no order."""

    def __init__(self, path: Path = TABLE) -> None:
        table = tomllib.loads(path.read_text())
        self.reasons = [Reason(row) for row in table.get("difference", [])]
        self._unordered: list[Mapping[str, Any]] = table.get("unordered", [])

    def split(self, shape: str, found: Sequence[Difference]) -> tuple[list[Difference], int]:
        """(the differences without a reason, how many have one)."""
        left = []
        for difference in found:
            reason = next((row for row in self.reasons if row.explains(shape, difference)), None)
            if reason is None:
                left.append(difference)
            else:
                reason.uses += 1
        return left, len(found) - len(left)

    def stale(self) -> list[Reason]:
        """Rows that nothing needed, except those that depend on the moment."""
        return [row for row in self.reasons if not row.uses and not row.by_chance]

    def key_of(self, path: str) -> str | None:
        """The field (or the first that is set of `a|b`) that names an element, where order means nothing."""
        return next((row["key"] for row in self._unordered if fnmatchcase(path, row["path"])), None)


def differences(
    kafka: Sequence[tuple[str, Any]], floe: Sequence[tuple[str, Any]], rules: Rules
) -> list[Difference]:
    """Every place where two transcripts differ."""
    found: list[Difference] = []
    for number in range(max(len(kafka), len(floe))):
        theirs = kafka[number] if number < len(kafka) else ("nothing", ABSENT)
        ours = floe[number] if number < len(floe) else ("nothing", ABSENT)
        step = f"{number + 1} {theirs[0]}"
        if theirs[0] != ours[0]:
            found.append(Difference(step, theirs[0], ours[0]))
        else:
            found += _differences(step, theirs[1], ours[1], rules)
    return found


def _differences(path: str, kafka: Any, floe: Any, rules: Rules) -> Iterator[Difference]:
    if isinstance(kafka, Mapping) and isinstance(floe, Mapping):
        for name in [*kafka, *(name for name in floe if name not in kafka)]:
            yield from _differences(f"{path}/{name}", kafka.get(name, ABSENT), floe.get(name, ABSENT), rules)
    elif isinstance(kafka, list) and isinstance(floe, list):
        key = rules.key_of(path)
        yield from _differences(path, _by_key(kafka, key), _by_key(floe, key), rules)
    elif kafka != floe or type(kafka) is not type(floe):
        yield Difference(path, kafka, floe)


def _by_key(items: list[Any], key: str | None) -> dict[str, Any]:
    if key is None:
        return {str(number): item for number, item in enumerate(items)}
    named: dict[str, Any] = {}
    for item in items:
        name = str(next((item[field] for field in key.split("|") if item.get(field) is not None), None))
        while name in named:
            name += "'"
        named[name] = item
    return dict(sorted(named.items()))


def _short(value: Any, limit: int = 160) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[:limit] + "…"
