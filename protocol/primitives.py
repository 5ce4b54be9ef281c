"""The encodings that generated codecs call instead of writing them out: multi-byte varints, tagged fields
nobody knows, record data; and Kafka's way of printing an id.

An unsigned varint (KIP-482) is little-endian groups of seven bits, the high bit set on all but the last; at
most five bytes hold 32 bits. Compact lengths are stored plus one, so that zero can mean null.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from struct import Struct, error
from typing import Any, Final, Protocol

StructError: Final = error

ELEMENT_LIMIT: Final = 1_000_000
"""Structs and strings in all arrays of one message. Far above what a client sends; a frame full of the smallest
elements would otherwise become many times its size in objects. (Numbers in arrays are bounded by their bytes.)"""

TAG_LIMIT: Final = 1_000
"""Tagged fields in one struct. Kafka has at most nine anywhere."""


class BadLength(ValueError):
    """A length or count that is negative, null where null is not allowed, or past the end of the bytes."""

    def __init__(self) -> None:
        super().__init__("a length is negative, null where null is not allowed, or more than what is left")


class BadTags(ValueError):
    """Tagged fields that contradict themselves."""


class Slice(Protocol):
    """Bytes that lie in a file: what a `records` field may hold besides bytes when it is encoded."""

    @property
    def length(self) -> int: ...


class Output(bytearray):
    """What encoders append to: bytes, and the places where slices of files belong between them.

    `slices` holds (position in these bytes before which the slice belongs, slice) in ascending order. It is
    an empty tuple until the first slice comes, so that the many messages without one cost nothing.
    """

    slices: Sequence[tuple[int, Any]] = ()

    def total_length(self) -> int:
        """Bytes on the wire: those here and those of the slices."""
        return len(self) + sum(int(piece.length) for _, piece in self.slices)


def uvarint_tail(buffer: memoryview, pos: int, low: int) -> tuple[int, int]:
    """Finish an unsigned varint whose first byte `low` (> 127) has been read: (value, next position)."""
    byte = buffer[pos]
    if byte < 128:
        return (low & 0x7F) | byte << 7, pos + 1
    value = (low & 0x7F) | (byte & 0x7F) << 7
    for shift in (14, 21, 28):
        pos += 1
        byte = buffer[pos]
        value |= (byte & 0x7F) << shift
        if byte < 128:
            if value > 0xFFFFFFFF:
                break
            return value, pos + 1
    raise ValueError("a varint is longer than 32 bits")


def read_uvarint(buffer: memoryview, pos: int) -> tuple[int, int]:
    """An unsigned varint at `pos`: (value, next position). IndexError past the end, ValueError over 32
    bits."""
    low = buffer[pos]
    return (low, pos + 1) if low < 128 else uvarint_tail(buffer, pos + 1, low)


def _two_bytes(value: int) -> bytes:
    return bytes((value & 0x7F | 0x80, value >> 7))


def uvarint(value: int) -> bytes:
    """An unsigned varint of up to 32 bits."""
    if value < 128:
        return value.to_bytes(1, "big")
    if value < 16384:
        return _two_bytes(value)
    if value > 0xFFFFFFFF:
        raise OverflowError("a varint is longer than 32 bits")
    groups = bytearray()
    while value > 127:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def skip_tags(buffer: memoryview, pos: int, count: int, size: int) -> int:
    """Step over `count` tagged fields none of which is known; `count` is the first byte of that number."""
    if count > 127:
        count, pos = uvarint_tail(buffer, pos, count)
        if count > TAG_LIMIT:
            raise BadTags(f"{count} tagged fields in one struct")
    seen: set[int] = set()
    for _ in range(count):
        _, pos, end = next_tag(buffer, pos, size, seen)
        pos = end
    return pos


def next_tag(buffer: memoryview, pos: int, size: int, seen: set[int]) -> tuple[int, int, int]:
    """The next tagged field: (tag, where its value starts, where it ends)."""
    tag, pos = read_uvarint(buffer, pos)
    length, pos = read_uvarint(buffer, pos)
    if tag in seen:
        raise BadTags(f"tag {tag} comes twice")
    seen.add(tag)
    if pos + length > size:
        raise BadLength
    return tag, pos, pos + length


_INT32: Final = Struct(">i").pack
_BUFFERS: Final = frozenset((bytes, bytearray, memoryview))


def put_records(out: Output, value: Any, compact: bool) -> None:
    """Append a `records` field: null, bytes or a slice of a file, its length before it."""
    if value is None:
        out += b"\0" if compact else b"\xff\xff\xff\xff"
        return
    plain = value.__class__ in _BUFFERS
    length = (value.nbytes if value.__class__ is memoryview else len(value)) if plain else value.length
    out += uvarint(length + 1) if compact else _INT32(length)
    if plain:
        out += value
    elif out.slices:
        out.slices.append((len(out), value))  # type: ignore[attr-defined]
    else:
        out.slices = [(len(out), value)]


def format_uuid(value: bytes) -> str:
    """An id as Kafka prints it: 22 characters of URL-safe base64 without padding."""
    assert len(value) == 16, value
    return b2a_base64(value, newline=False)[:22].decode("ascii").replace("+", "-").replace("/", "_")


def parse_uuid(text: str) -> bytes:
    """The 16 bytes of an id as Kafka prints it; ValueError if it is not one."""
    value = a2b_base64(text.replace("-", "+").replace("_", "/") + "==")
    if len(text) != 22 or len(value) != 16:
        raise ValueError(f"not a Kafka id: {text!r}")
    return value
