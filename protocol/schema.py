"""The language in which messages are written down: one slotted class for all versions of a message.

    @request(ApiKey.HEARTBEAT, versions="0-4", flexible="4+")
    class HeartbeatRequest:
        group_id: str = string()
        generation_id: int = int32()
        member_id: str = string()
        group_instance_id: str | None = string("3+", nullable="3+")  # KIP-345

A field names the versions it is in ("1-4", "2"; unsaid, all); where it is absent, decoding gives its default
and encoding refuses any other value unless the field is `ignorable`. Tagged fields (KIP-482) carry `tag` and
the versions in which they are `tagged`, which need no repeating. Defaults are Kafka's (zero, "", b"", empty
list, ZERO_UUID), except that a field which may be null in all its versions is None when nothing else is
said. A tagged struct that is absent, which on the wire means "everything default", is None too: making one
for every partition would be waste.

Python's types: string is str, bytes and uuid are bytes (16 of them), records is any bytes-like object or a
slice of a file when encoded and a memoryview into the given buffer when decoded, arrays are lists.

Nothing is compiled or parsed at import, and classes are cheap to make (some twenty microseconds): the
decorators only collect. `compiler.py` turns a class and a version into functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final, NamedTuple, TypeAlias, TypeVar, dataclass_transform

from protocol.api import ApiKey

T = TypeVar("T")

ZERO_UUID: Final = bytes(16)
_UNSAID: Final = object()


class Versions(NamedTuple):
    """An inclusive range of versions; empty when last < first."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> Versions:
        """ "3+", "0-4", "2" or "none"."""
        if text == "none" or not text:
            return cls(0, -1)
        if text.endswith("+"):
            return cls(int(text[:-1]), 32767)
        first, _, last = text.partition("-")
        return cls(int(first), int(last or first))

    def __contains__(self, version: object) -> bool:
        return isinstance(version, int) and self.first <= version <= self.last


class Field:
    """One field as written down. `kind` is the name of the function that made it; `element` is the class of a
    nested struct, or the field or class an array is made of."""

    __slots__ = (
        "default",
        "element",
        "flexible",
        "ignorable",
        "kind",
        "name",
        "nullable",
        "tag",
        "tagged",
        "versions",
    )

    def __init__(
        self,
        kind: str,
        versions: str,
        default: Any,
        *,
        ignorable: bool = False,
        nullable: str = "",
        tag: int | None = None,
        tagged: str = "",
        element: Any = None,
        flexible: bool = True,
    ) -> None:
        self.name = ""
        self.kind = kind
        self.versions = versions or tagged or "0+"
        self.default = default
        self.ignorable = ignorable
        self.nullable = nullable
        self.tag = tag
        self.tagged = tagged
        self.element = element
        self.flexible = flexible


def _number(kind: str) -> Callable[..., Any]:
    def field(
        versions: str = "",
        *,
        default: int = 0,
        ignorable: bool = False,
        tag: int | None = None,
        tagged: str = "",
    ) -> Any:
        return Field(kind, versions, default, ignorable=ignorable, tag=tag, tagged=tagged)

    field.__name__ = field.__qualname__ = kind
    field.__doc__ = f"A field of type {kind}, big-endian."
    return field


int8 = _number("int8")
int16 = _number("int16")
int32 = _number("int32")
int64 = _number("int64")
uint16 = _number("uint16")
uint32 = _number("uint32")


def float64(
    versions: str = "",
    *,
    default: float = 0.0,
    ignorable: bool = False,
    tag: int | None = None,
    tagged: str = "",
) -> Any:
    """An IEEE 754 double."""
    return Field("float64", versions, default, ignorable=ignorable, tag=tag, tagged=tagged)


def bool_(
    versions: str = "",
    *,
    default: bool = False,
    ignorable: bool = False,
    tag: int | None = None,
    tagged: str = "",
) -> Any:
    """One byte; anything but zero is true."""
    return Field("bool", versions, default, ignorable=ignorable, tag=tag, tagged=tagged)


def uuid(versions: str = "", *, ignorable: bool = False, tag: int | None = None, tagged: str = "") -> Any:
    """Sixteen bytes. Kafka has no null id; ZERO_UUID stands for it."""
    return Field("uuid", versions, ZERO_UUID, ignorable=ignorable, tag=tag, tagged=tagged)


def _blob(kind: str, empty: object) -> Callable[..., Any]:
    def field(
        versions: str = "",
        *,
        nullable: str = "",
        default: Any = _UNSAID,
        ignorable: bool = False,
        tag: int | None = None,
        tagged: str = "",
        flexible: bool = True,
    ) -> Any:
        if default is _UNSAID:
            default = None if nullable and nullable == (versions or tagged or "0+") else empty
        return Field(
            kind,
            versions,
            default,
            ignorable=ignorable,
            nullable=nullable,
            tag=tag,
            tagged=tagged,
            flexible=flexible,
        )

    field.__name__ = field.__qualname__ = kind
    field.__doc__ = (
        f"A field of type {kind} with its length before it; `nullable` says in which versions it may be None."
    )
    return field


string = _blob("string", "")
bytes_ = _blob("bytes", b"")
records_ = _blob("records", None)

RecordData: TypeAlias = Any
"""What a `records_` field holds: a memoryview (or None) once decoded; anything bytes-like, a slice of a file
or None to be encoded."""


def array(
    element: Any,
    versions: str = "",
    *,
    nullable: str = "",
    default: Any = _UNSAID,
    ignorable: bool = False,
    tag: int | None = None,
    tagged: str = "",
) -> Any:
    """A list of structs (`array(FetchTopic)`) or of simple values (`array(int32)`)."""
    return Field(
        "array",
        versions,
        [] if default is _UNSAID else default,
        ignorable=ignorable,
        nullable=nullable,
        tag=tag,
        tagged=tagged,
        element=element if isinstance(element, type) else element(),
    )


def nested(
    cls: type,
    versions: str = "",
    *,
    nullable: str = "",
    ignorable: bool = False,
    tag: int | None = None,
    tagged: str = "",
) -> Any:
    """One struct. None is its default when it is tagged or may be null (KIP-893); else an empty one is
    made."""
    default = None if nullable or tagged else cls
    return Field(
        "struct",
        versions,
        default,
        ignorable=ignorable,
        nullable=nullable,
        tag=tag,
        tagged=tagged,
        element=cls,
    )


class Schema(NamedTuple):
    """What a message class knows of itself. `key` is the API key of a request or response, or the record
    type of something persisted; structs have neither key nor versions of their own."""

    name: str
    kind: str
    key: int
    versions: Versions
    flexible: Versions
    fields: tuple[Field, ...]


class Message:
    """Base of every message and struct: keyword constructor, equality by fields, repr."""

    __slots__ = ()
    __schema__: ClassVar[Schema]

    def __init__(self, **values: Any) -> None:
        # Written on the first construction of each class: most are never built by hand in one process.
        cls = type(self)
        cls.__init__ = _write_init(cls.__schema__.fields)  # type: ignore[method-assign]
        cls.__init__(self, **values)

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(
            getattr(self, field.name) == getattr(other, field.name) for field in self.__schema__.fields
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        values = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in self.__schema__.fields)
        return f"{type(self).__name__}({values})"


def _write_init(fields: tuple[Field, ...]) -> Callable[..., None]:
    parameters, body, scope = [], [], {"UNSAID": _UNSAID}
    for field in fields:
        fresh = field.kind in ("array", "struct") and field.default is not None
        scope[f"default_{field.name}"] = _UNSAID if fresh else field.default
        parameters.append(f"{field.name}=default_{field.name}")
        if fresh:
            scope[f"make_{field.name}"] = list if field.kind == "array" else field.default
            body.append(
                f"    self.{field.name} = make_{field.name}() if {field.name} is UNSAID else {field.name}"
            )
        else:
            body.append(f"    self.{field.name} = {field.name}")
    head = f"def __init__(self, *, {', '.join(parameters)}):" if parameters else "def __init__(self):"
    exec("\n".join([head, *body, "    return None"]), scope)
    return scope["__init__"]  # type: ignore[return-value]


MESSAGES: Final[dict[tuple[str, int], type]] = {}
"""The classes imported so far by ("request" | "response" | "record kind", key)."""


def _collect(cls: type, kind: str, key: int, versions: str, flexible: str) -> type:
    """The slotted twin of `cls` with its fields gathered into a schema."""
    fields: list[Field] = []
    namespace: dict[str, Any] = {}
    for name, value in cls.__dict__.items():
        if isinstance(value, Field):
            value.name = name
            fields.append(value)
        elif name not in ("__dict__", "__weakref__"):
            namespace[name] = value
    namespace["__slots__"] = tuple(field.name for field in fields)
    namespace["__schema__"] = Schema(
        cls.__name__, kind, key, Versions.parse(versions), Versions.parse(flexible), tuple(fields)
    )
    made = type(cls.__name__, (Message,), namespace)
    if key >= 0:
        MESSAGES[kind, key] = made
    return made


@dataclass_transform(kw_only_default=True)
def struct(cls: type[T]) -> type[T]:
    """A part of a message. Its fields' versions are those of the message it is used in."""
    return _collect(cls, "struct", -1, "0+", "none")


@dataclass_transform(kw_only_default=True)
def request(api_key: ApiKey, *, versions: str, flexible: str = "none") -> Callable[[type[T]], type[T]]:
    """The request of an API, in all versions that ever were."""
    return lambda cls: _collect(cls, "request", api_key, versions, flexible)


@dataclass_transform(kw_only_default=True)
def response(api_key: ApiKey, *, versions: str, flexible: str = "none") -> Callable[[type[T]], type[T]]:
    """The response of an API."""
    return lambda cls: _collect(cls, "response", api_key, versions, flexible)


@dataclass_transform(kw_only_default=True)
def persisted(
    kind: str, key: int = -1, *, versions: str, flexible: str = "none"
) -> Callable[[type[T]], type[T]]:
    """Something written to an internal topic or sent inside another message's bytes. `kind` is
    "coordinator-key", "coordinator-value", "metadata" or "data"; `key` the record type where the kind has
    one."""
    return lambda cls: _collect(cls, kind, key, versions, flexible)


def schema_of(cls: type) -> Schema:
    """The schema of a message class."""
    schema: Schema = cls.__schema__  # type: ignore[attr-defined]
    return schema
