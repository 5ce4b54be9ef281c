"""What a setting is: its type, what values it takes, and how text becomes a value.

The rules and the wording of the errors are those of Kafka's `ConfigDef`, because clients show them to people.
Pure; the settings themselves are in `config_table.py`, where their values come from in `config.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

Value = bool | int | float | str | list[str] | None

READ_ONLY: Final = "read-only"
"""Changed by restarting the broker only."""
DYNAMIC: Final = "cluster-wide"
"""May be changed while the broker runs, for one broker or for all (KIP-226)."""

_INT: Final = (-(2**31), 2**31 - 1)
_LONG: Final = (-(2**63), 2**63 - 1)
_RANGES: Final = {"short": (-(2**15), 2**15 - 1), "int": _INT, "long": _LONG}
LONG_MAX: Final = _LONG[1]
INT_MAX: Final = _INT[1]

# ConfigDef.Type as DescribeConfigs (v3+) numbers it.
TYPE_CODES: Final = {
    "boolean": 1,
    "string": 2,
    "int": 3,
    "short": 4,
    "long": 5,
    "double": 6,
    "list": 7,
    "class": 8,
    "password": 9,
}

_UNBOUNDED: Final = {
    "boolean": "true or false",
    "int": "a whole number of 32 bits",
    "long": "a whole number of 64 bits",
    "short": "a whole number of 16 bits",
    "double": "a number",
    "string": "text",
    "password": "text",
    "list": "a comma-separated list",
    "class": "a class name",
}


class InvalidValue(ValueError):
    """A value a setting does not take. `str()` is Kafka's sentence."""

    def __init__(self, name: str, value: object, reason: str) -> None:
        super().__init__(f"Invalid value {value} for configuration {name}: {reason}")
        self.name = name
        self.value = value
        self.reason = reason


Check = Callable[["Setting", Value], None]
"""Raises InvalidValue for a parsed value that is out of bounds."""


class Setting:
    """One row of the table.

    `default` is a parsed value, `allowed` says in words what the value may be. A topic setting names the
    broker settings it falls back to in `synonyms`, each with the factor that turns its unit into this one's.
    """

    __slots__ = ("allowed", "check", "default", "doc", "kind", "name", "synonyms", "update")

    def __init__(
        self,
        kind: str,
        name: str,
        default: Value,
        doc: str,
        *,
        check: tuple[Check, str] | None = None,
        update: str = READ_ONLY,
        synonyms: tuple[tuple[str, int], ...] = (),
    ) -> None:
        self.kind = kind
        self.name = name
        self.default = default
        self.doc = doc
        self.check = check[0] if check else None
        self.allowed = check[1] if check else _UNBOUNDED[kind]
        self.update = update
        self.synonyms = synonyms

    @property
    def is_sensitive(self) -> bool:
        """Its value never leaves the broker."""
        return self.kind == "password"

    @property
    def type_code(self) -> int:
        return TYPE_CODES[self.kind]

    def parse(self, text: str) -> Value:
        """The value `text` stands for. Raises InvalidValue."""
        value = _PARSERS[self.kind](self, text)
        if self.check is not None:
            self.check(self, value)
        return value


def render(value: Value) -> str | None:
    """The text of a value, as Kafka writes it."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(value)
    if isinstance(value, float):
        return str(value).replace("e+", "E").replace("e", "E")
    return str(value)


def split_list(text: str) -> list[str]:
    """Comma-separated; white space around commas and empty entries are ignored, a repeated entry counts once."""
    entries = dict.fromkeys(entry.strip() for entry in text.split(","))
    return [entry for entry in entries if entry]


def _parse_number(setting: Setting, text: str) -> int:
    low, high = _RANGES[setting.kind]
    stripped = text.strip()
    digits = stripped[1:] if stripped[:1] in ("+", "-") else stripped
    if digits.isascii() and digits.isdigit() and len(digits) <= 19 and low <= int(stripped) <= high:
        return int(stripped)
    raise InvalidValue(setting.name, text, f"Not a number of type {setting.kind.upper()}")


def _parse_double(setting: Setting, text: str) -> float:
    try:
        value = float(text.strip())
    except ValueError:
        raise InvalidValue(setting.name, text, "Not a number of type DOUBLE") from None
    if value != value or value in (float("inf"), float("-inf")):
        raise InvalidValue(setting.name, text, "Not a finite number")
    return value


def _parse_boolean(setting: Setting, text: str) -> bool:
    lowered = text.strip().lower()
    if lowered not in ("true", "false"):
        raise InvalidValue(setting.name, text, "Expected value to be either true or false")
    return lowered == "true"


_PARSERS: Final[dict[str, Callable[[Setting, str], Value]]] = {
    "boolean": _parse_boolean,
    "short": _parse_number,
    "int": _parse_number,
    "long": _parse_number,
    "double": _parse_double,
    "string": lambda setting, text: text.strip(),
    "class": lambda setting, text: text.strip(),
    "password": lambda setting, text: text,
    "list": lambda setting, text: split_list(text),
}


def between(low: float, high: float | None = None) -> tuple[Check, str]:
    """low <= value <= high; without `high` that side is open."""

    def check(setting: Setting, value: Value) -> None:
        assert isinstance(value, int | float)
        if value < low:
            raise InvalidValue(setting.name, value, f"Value must be at least {low}")
        if high is not None and value > high:
            raise InvalidValue(setting.name, value, f"Value must be no more than {high}")

    return check, f"at least {low}" if high is None else f"{low} to {high}"


def one_of(*words: str) -> tuple[Check, str]:
    """A string, or every entry of a list, out of `words`."""

    def check(setting: Setting, value: Value) -> None:
        for word in value if isinstance(value, list) else [value]:
            if word not in words:
                raise InvalidValue(setting.name, word, f"String must be one of: {', '.join(words)}")

    return check, ", ".join(words)


def gzip_level() -> tuple[Check, str]:
    """1 to 9, or -1 for the library's own default."""

    def check(setting: Setting, value: Value) -> None:
        if value != -1 and not (isinstance(value, int) and 1 <= value <= 9):
            raise InvalidValue(setting.name, value, "Value must be between 1 and 9 or equal to -1")

    return check, "1 to 9, or -1"


def throttled_replicas() -> tuple[Check, str]:
    """Kafka's ThrottledReplicaListValidator: "*", or partition:broker pairs (KIP-73)."""
    form = "[partitionId]:[brokerId],[partitionId]:[brokerId],..."

    def check(setting: Setting, value: Value) -> None:
        assert isinstance(value, list)
        if value in ([], ["*"]):
            return
        for entry in value:
            partition, colon, broker = entry.partition(":")
            if not (colon and partition.isdigit() and broker.isdigit()):
                shown = f"[{', '.join(value)}]"
                must = f"must be the literal '*' or a list of replicas in the following format: {form}"
                raise InvalidValue(setting.name, shown, f"{setting.name} {must}")

    return check, f"* or {form}"


def only(value: Value, reason: str) -> tuple[Check, str]:
    """A setting that exists in Kafka but has one possible value here."""

    def check(setting: Setting, given: Value) -> None:
        if given != value:
            raise InvalidValue(setting.name, render(given), reason)

    return check, f"{render(value)} ({reason})"
