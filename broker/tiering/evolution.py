"""The columns of JSON documents, and how they grow. Pure.

A `Shape` starts as the table's columns. `fit` takes one document: either the document fits, after new columns were
added for it where needed, and comes back in the form the columns want, or it raises Misfit and has changed nothing.
The rules:

    new field                   a new column, of the type of its first value that is not null: boolean, long, double,
                                string, struct, list. Integers are long, never int. Text stays text, dates too.
    only null, [] or {} so far  no column yet, for there is no type; such values are null once there is one. So are what
                                consists of them (`[[]]`, `{"x": [{}]}`) where the column is of another type: they say
                                nothing, and whether they or the column came first does not matter.
    1.0, 1e2 in a long column   the integer they are
    1.5 in a long column        goes to the column `<name>__double` beside it, and the column itself is null there:
                                Iceberg has no promotion from long to double. While the column is not in the table yet
                                (same piece of records), it becomes double.
    integer in a double column  the nearest double
    int and float columns       that somebody else made are promoted to long and double
    anything else               a Misfit: text where the column is long, an integer beyond 64 bits, …

Names that are empty, reserved (`kafka_…`), longer than MAX_NAME_LENGTH or have control characters are misfits too.
A name that equals another but for case, or for what Avro and Parquet make of it (`a-b`, `a_x2Db`), gets a number, for
Spark and DuckDB would take the two for one: `id` and `Id` become `id` and `Id__2`; whichever came first keeps its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import pyarrow as pa
from pyiceberg.schema import make_compatible_name

MAX_COLUMNS: Final = 1000
"""Columns and struct fields of one table: each costs bytes and time in every file and in every query's planning."""

MAX_DEPTH: Final = 24
"""Structs and lists in one another: readers walk types recursively, and nobody's query does."""

MAX_NAME_LENGTH: Final = 255
"""Characters of a field's name: PostgreSQL holds 63, Hive 128, Glue 255."""

MAX_SAME_NAMES: Final = 9
"""Names that are the same to some readers: `id`, `Id`, `ID`, …"""

RESERVED_PREFIX: Final = "kafka_"
DOUBLE_SUFFIX: Final = "__double"

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1

UNKNOWN: Final = "unknown"
FOREIGN: Final = "foreign"
BOOLEAN: Final = "boolean"
LONG: Final = "long"
DOUBLE: Final = "double"
STRING: Final = "string"
LIST: Final = "list"
STRUCT: Final = "struct"

NOTHING: Final = pa.int8()
"""What Arrow's JSON reader is told of a list's elements where no value can stand: lists of the null type that hold
nulls come out of it broken (their offsets go beyond their elements, pyarrow 26). No column is of this type."""

_ARROW: Final = {
    UNKNOWN: pa.null(),
    FOREIGN: pa.null(),
    BOOLEAN: pa.bool_(),
    LONG: pa.int64(),
    DOUBLE: pa.float64(),
    STRING: pa.string(),
}
_KINDS: Final = {bool: BOOLEAN, int: LONG, float: DOUBLE, str: STRING, list: LIST, dict: STRUCT}


class Misfit(Exception):
    """Why a document is no row; `str()` is the reason in the dead-letter table."""


class _FractionInLong(Exception):
    """Caught by the struct that has the field."""


class Node:
    """The type of a column, a struct's field or a list's element.

    `is_new`: not in the table yet. `in_list`: there may be several of it in a document. `has_fractions`: of a long
    that is not in a list, numbers with a point or an exponent were seen. `is_named`: a field whose name is a column's;
    the others are there for Arrow to read what says nothing, and become whatever comes with a type first.
    """

    __slots__ = ("arrow", "element", "fields", "has_fractions", "in_list", "is_named", "is_new", "kind")

    def __init__(self, kind: str = UNKNOWN, is_new: bool = True, in_list: bool = False) -> None:
        self.kind = kind
        self.is_new = is_new
        self.in_list = in_list
        self.has_fractions = False
        self.is_named = not is_new
        self.fields: dict[str, Node] = {}
        self.element: Node | None = None
        self.arrow: pa.DataType | None = None

    def parsed_as(self, fractions: bool) -> pa.DataType:
        """The type that Arrow's JSON reader is told: null where no value can stand, in lists NOTHING.

        With `fractions` double for longs that have some (`split_numbers`).
        """
        if self.kind == STRUCT:
            parts = [pa.field(name, field.parsed_as(fractions)) for name, field in self.fields.items()]
            return pa.struct(parts)
        if self.kind == LIST:
            assert self.element is not None
            element = self.element.parsed_as(fractions)
            return pa.list_(NOTHING if pa.types.is_null(element) else element)
        return _ARROW[DOUBLE if fractions and self.kind == LONG and self.has_fractions else self.kind]

    def is_typed(self) -> bool:
        """Whether `column_type` is not None, or the table has the column."""
        if not self.is_new:
            return True
        if self.kind == STRUCT:
            return any(field.is_typed() for field in self.fields.values())
        if self.kind == LIST:
            assert self.element is not None
            return self.element.is_typed()
        return self.kind != UNKNOWN

    def column_type(self) -> pa.DataType | None:
        """The type in the table; None while it is not known."""
        if self.kind == STRUCT:
            fields = [(name, field.column_type()) for name, field in self.fields.items()]
            known = [pa.field(name, kind) for name, kind in fields if kind is not None]
            return pa.struct(known) if known else None
        if self.kind == LIST:
            assert self.element is not None
            element = self.element.column_type()
            return None if element is None else pa.list_(pa.field("element", element))
        if self.kind == FOREIGN:
            return self.arrow
        return None if self.kind == UNKNOWN else _ARROW[self.kind]


def says_nothing(value: Any) -> bool:
    """Whether there is only null, [] and {} in a value: no type follows from it."""
    if isinstance(value, dict):
        return all(map(says_nothing, value.values()))
    if isinstance(value, list):
        return all(map(says_nothing, value))
    return value is None


def _node_of(kind: pa.DataType, in_list: bool = False) -> Node:
    node = Node(_kind_of(kind), is_new=False, in_list=in_list)
    if node.kind == STRUCT:
        node.fields = {field.name: _node_of(field.type, in_list) for field in kind}
    elif node.kind == LIST:
        node.element = _node_of(kind.value_type, in_list=True)
    elif node.kind == FOREIGN:
        node.arrow = kind
    return node


def _kind_of(kind: pa.DataType) -> str:
    types = pa.types
    if types.is_struct(kind):
        return STRUCT
    if types.is_list(kind) or types.is_large_list(kind):
        return LIST
    if types.is_boolean(kind):
        return BOOLEAN
    if types.is_int32(kind) or types.is_int64(kind):
        return LONG
    if types.is_float32(kind) or types.is_float64(kind):
        return DOUBLE
    return STRING if types.is_string(kind) or types.is_large_string(kind) else FOREIGN


def same_column(before: pa.DataType, now: pa.DataType) -> bool:
    """Whether a column did not change, whatever Arrow's width of offsets is."""
    return bool(before == now or _exact(before) == now)


def _exact(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_int32(kind) or pa.types.is_float32(kind):
        return kind
    return _node_of(kind).column_type()


class Shape:
    """The columns as they are and as documents made them.

    `root` is a struct of all columns, `column_count` how many it has in all depths, `fractions` how many of them have
    `has_fractions`, `turned` how often a field that was empty so far turned out to be of another type: documents that
    fitted before may not fit any more.
    """

    def __init__(self, fields: list[pa.Field], reserved_prefix: str | None = RESERVED_PREFIX) -> None:
        self.root = _node_of(pa.struct(fields))
        self.fractions = 0
        self.turned = 0
        self._put_count = 0
        self._reserved_prefix = reserved_prefix
        self._undo: list[Callable[[], object]] = []
        self.column_count = 0
        self._paths: set[str] = set()
        for path in _paths("", self.root):
            self._claim(path)

    def parse_schema(self, fractions: bool = False) -> pa.Schema:
        return pa.schema(list(self.root.parsed_as(fractions)))

    def columns(self) -> list[pa.Field]:
        """What the table has to have, in order."""
        kind = self.root.column_type()
        return [] if kind is None else list(kind)

    def fit(self, document: dict[str, Any]) -> dict[str, Any]:
        """The document as the columns take it. Raises Misfit, and has changed nothing then."""
        self._undo.clear()
        turned = self.turned
        try:
            fitted = self._struct(self.root, document, "", 0)
            return fitted if self.turned == turned else self._struct(self.root, document, "", 0)
        except Misfit:
            for undo in reversed(self._undo):
                undo()
            raise

    def _struct(self, node: Node, value: dict[str, Any], path: str, depth: int) -> dict[str, Any]:
        fitted: dict[str, Any] = {}
        for given, part in value.items():
            name, child = self._field(node, given, part, path)
            if child is None or (name in fitted and says_nothing(part)):
                continue  # or a fraction of the column beside is there
            if not says_nothing(fitted.get(name)):
                raise Misfit(f"{_short(path + name)}: two fields for one column")
            try:
                fitted[name] = self._value(child, part, f"{path}{name}", depth)
            except _FractionInLong:
                beside = name + DOUBLE_SUFFIX
                if not says_nothing(value.get(beside)):
                    raise Misfit(f"{path}{name}: a fraction, and {beside} has a value of its own") from None
                sibling = node.fields.get(beside)
                if sibling is None or not sibling.is_named:
                    sibling = self._add(node, beside, path)
                fitted[name] = None
                fitted[beside] = self._beside(sibling, part, f"{path}{beside}", depth)
        return fitted

    def _field(self, node: Node, name: str, part: Any, path: str) -> tuple[str, Node | None]:
        """The column that a field goes to. What says nothing makes none: Arrow is told of the field at most."""
        child = node.fields.get(name)
        if child is not None and (child.is_named or part is None):
            return name, child
        column = self._column_name(node, name, path)
        found = node.fields.get(column)
        if found is not None and found.is_named:
            return column, found
        if not says_nothing(part):
            if child is not None and column != name:
                self._become(child, UNKNOWN)  # what is empty goes to that column from now on
            return column, self._add(node, column, path)
        if child is None:
            self._check_name(name, path)
            child = self._put(node, name) if self._put_count < MAX_COLUMNS else None
        return name, child

    def _beside(self, node: Node, value: Any, path: str, depth: int) -> Any:
        try:
            return self._value(node, value, path, depth)
        except _FractionInLong:
            raise Misfit(f"{_short(path)}: a fraction where the column is long") from None

    def _value(self, node: Node, value: Any, path: str, depth: int) -> Any:
        if value is None:
            return None
        kind = _KINDS[type(value)]
        if depth > MAX_DEPTH:
            if says_nothing(value):
                return None
            raise Misfit(f"{_short(path)}: more than {MAX_DEPTH} objects and lists in one another")
        if kind in (LONG, DOUBLE) and node.kind in (LONG, DOUBLE):
            return self._number(node, value, path)
        if kind != node.kind and not self._turn(node, kind, value, path):
            return None
        if kind == STRING:
            _require_unicode(value, path)
        elif kind in (LONG, DOUBLE):
            return self._number(node, value, path)
        elif kind == STRUCT:
            return self._struct(node, value, f"{path}.", depth + 1)
        elif kind == LIST:
            assert node.element is not None
            return [self._value(node.element, part, f"{path}.element", depth + 1) for part in value]
        return value

    def _turn(self, node: Node, kind: str, value: Any, path: str) -> bool:
        """Have a column without a type become of the value's; False where the value is to be null."""
        is_typed = node.is_typed()
        if (is_typed or node.kind != UNKNOWN) and says_nothing(value):
            return False
        if is_typed:
            there = f"of a type JSON has not, {node.arrow}" if node.kind == FOREIGN else node.kind
            raise Misfit(f"{_short(path)}: {kind} where the column is {there}")
        self._become(node, kind)
        return True

    def _number(self, node: Node, value: int | float, path: str) -> int | float:
        if isinstance(value, float):
            if value - value != 0:
                raise Misfit(f"{_short(path)}: a number beyond what a double holds")
            if node.kind == DOUBLE:
                return value
            if not (node.in_list or node.has_fractions):
                node.has_fractions = True
                self.fractions += 1
            if value.is_integer() and INT64_MIN <= value <= INT64_MAX - 1024:
                return int(value)
            if not node.is_new:
                raise _FractionInLong
            self._become(node, DOUBLE)
            return value
        if node.kind == LONG and not INT64_MIN <= value <= INT64_MAX:
            raise Misfit(f"{_short(path)}: an integer beyond 64 bits")
        if node.kind == DOUBLE:
            try:
                float(value)
            except OverflowError:
                raise Misfit(f"{_short(path)}: a number beyond what a double holds") from None
        return value

    def _become(self, node: Node, kind: str) -> None:
        before, fields, element = node.kind, node.fields, node.element
        turned = self.turned
        if before in (STRUCT, LIST):
            self.turned += 1
        node.kind = kind
        node.fields = {}
        node.element = Node(in_list=True) if kind == LIST else None

        def undo() -> None:
            node.kind, node.fields, node.element = before, fields, element
            self.turned = turned

        self._undo.append(undo)

    def _put(self, node: Node, name: str) -> Node:
        """A field whose name is not a column's yet."""
        fields = node.fields
        child = fields[name] = Node(in_list=node.in_list)
        self._put_count += 1

        def undo() -> None:
            del fields[name]
            self._put_count -= 1

        self._undo.append(undo)
        return child

    def _add(self, node: Node, name: str, path: str) -> Node:
        """A field whose name becomes a column's."""
        self._check_name(name, path)
        full = f"{path}{name}"
        claimed = self._claim(full)
        if claimed is None:
            raise Misfit(
                f"{_short(full)}: the name differs from another column's only in case or in what files allow"
            )
        child = node.fields.get(name) or self._put(node, name)
        child.is_named = True

        def undo() -> None:
            child.is_named = False
            self._paths.difference_update(claimed)
            self.column_count -= 1

        self._undo.append(undo)
        if self.column_count > MAX_COLUMNS:
            raise Misfit(f"{_short(full)}: the table would have more than {MAX_COLUMNS} columns")
        return child

    def _column_name(self, node: Node, name: str, path: str) -> str:
        """The name itself, or with a number where it is another's but for case or for what files allow."""
        for candidate in (name, *(f"{name}__{number}" for number in range(2, MAX_SAME_NAMES + 1))):
            there = node.fields.get(candidate)
            if (there is not None and there.is_named) or not _forms(f"{path}{candidate}") & self._paths:
                return candidate
        return name

    def _claim(self, path: str) -> set[str] | None:
        """The forms of a path that no other may have; None where another has one of them."""
        forms = _forms(path)
        if forms & self._paths:
            return None
        self._paths |= forms
        self.column_count += 1
        return forms

    def _check_name(self, name: str, path: str) -> None:
        if not name:
            raise Misfit(f"{_short(path)}: a field without a name")
        _require_unicode(name, path)
        if len(name) > MAX_NAME_LENGTH:
            raise Misfit(f"{_short(path)}: a field's name of {len(name)} characters, above {MAX_NAME_LENGTH}")
        if not name.isprintable():
            raise Misfit(f"{_short(path)}: control characters in a field's name")
        if not path and self._reserved_prefix is not None and name.lower().startswith(self._reserved_prefix):
            raise Misfit(f"{_short(name)}: names that begin with {self._reserved_prefix} are the table's own")


def _forms(path: str) -> set[str]:
    """What readers that do not tell case apart, and files, make of a path."""
    in_files = ".".join(make_compatible_name(part) if part else part for part in path.split("."))
    return {path.lower(), in_files.lower()}


def _require_unicode(text: str, path: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Misfit(f"{_short(path)}: half of a surrogate pair") from None


def _short(path: str) -> str:
    """A path as a reason shows it: documents can make it long, or unencodable."""
    text = path.rstrip(".").encode("ascii", "backslashreplace").decode()
    return text if len(text) <= 200 else f"{text[:200]}…"


def _paths(prefix: str, node: Node) -> Iterator[str]:
    for name, field in node.fields.items():
        yield f"{prefix}{name}"
        yield from _paths(f"{prefix}{name}.", field)
    if node.element is not None:
        yield from _paths(f"{prefix}element.", node.element)
