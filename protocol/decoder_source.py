"""Writes the decoder of one message version: a single function without calls for what is common.

Adjacent fields of fixed size form a run, read by one `struct` call, and the length in front of the next
field of variable size is read with them: as one byte where it is a varint, which it mostly fits; the rest is
fetched when its high bit says so. Nested structs and loops are written out in place. Objects are made
without their constructor, every slot is filled.

Nothing is trusted: struct and index access fail past the end by themselves; slices never do, so each length
is compared with what is left first. `room` counts down how many more array elements the message may have. An
error's line number leads to the field's name (see `layout.Source`).
"""

from __future__ import annotations

from struct import Struct, unpack_from
from typing import Any

from protocol.layout import FIXED, Layout, Part, Source, constant, smallest, struct_name
from protocol.primitives import (
    ELEMENT_LIMIT,
    TAG_LIMIT,
    BadLength,
    BadTags,
    StructError,
    next_tag,
    skip_tags,
    uvarint_tail,
)
from protocol.schema import ZERO_UUID, Field

LENGTH_LETTER = {"string": "h", "bytes": "i", "records": "i", "array": "i"}
DECODE_ERRORS = (StructError, IndexError, ValueError)


class DecoderSource:
    """Source text and scope of `decode(buffer, pos) -> (message, next pos)`."""

    def __init__(self, layout: Layout) -> None:
        self.source = Source()
        self.scope: dict[str, Any] = {
            "BadLength": BadLength,
            "BadTags": BadTags,
            "DECODE_ERRORS": DECODE_ERRORS,
            "ZERO_UUID": ZERO_UUID,
            "new": object.__new__,
            "next_tag": next_tag,
            "skip_tags": skip_tags,
            "unpack_from": unpack_from,
            "uvarint_tail": uvarint_tail,
        }
        self.run: list[tuple[str, str, str]] = []  # struct letter, target, label
        self._function(layout)

    def _function(self, layout: Layout) -> None:
        emit = self.source.emit
        emit("def decode(buffer, pos):")
        self.source.depth = 1
        emit("size = len(buffer)")
        emit(f"room = {ELEMENT_LIMIT}")
        emit("try:")
        self.source.depth = 2
        self._struct(layout, "m", "", 0)
        self._flush()
        emit("return m, pos")
        self.source.depth = 1
        emit("except DECODE_ERRORS as error:")
        emit("    raise malformed(error) from error")

    # Runs of fixed size

    def _flush(self) -> None:
        if not self.run:
            return
        run, self.run = self.run, []
        label = ", ".join(text for _, _, text in run if text)
        letters = "".join(letter for letter, _, _ in run)
        if letters == "B":
            self.source.emit(f"{run[0][1]} = buffer[pos]", label)
            self.source.emit("pos += 1")
            return
        packed = Struct(">" + letters)
        name = struct_name("unpack", letters)
        self.scope[name] = packed.unpack_from
        targets = ", ".join(target for _, target, _ in run)
        comma = "," if len(run) == 1 else ""
        self.source.emit(f"{targets}{comma} = {name}(buffer, pos)", label)
        self.source.emit(f"pos += {packed.size}")

    def _length(self, part: Part, label: str) -> None:
        """Emit code that leaves the stored length of a field in `n`."""
        self.run.append(("B" if part.compact else LENGTH_LETTER[part.kind], "n", label))
        self._flush()
        if part.compact:
            self._finish_varint(label)

    def _finish_varint(self, label: str) -> None:
        self.source.emit("if n > 127:", label)
        self.source.emit("    n, pos = uvarint_tail(buffer, pos, n)", label)

    # Structs

    def _struct(self, layout: Layout, target: str, label: str, depth: int) -> None:
        """Emit code that makes `target` and fills all its slots."""
        self.scope[layout.cls.__name__] = layout.cls
        self.source.emit(f"{target} = new({layout.cls.__name__})")
        fixed: dict[str, list[str]] = {}
        unset: list[Field | Part] = [*layout.absent, *(part for _, part in layout.tagged)]
        for field in unset:
            default = field.default
            if isinstance(default, type):
                self._default_struct(default, f"{target}.{field.name}")
            elif isinstance(default, list):
                self.source.emit(f"{target}.{field.name} = []")
            else:
                fixed.setdefault(constant(default), []).append(f"{target}.{field.name}")
        for text, targets in fixed.items():
            self.source.emit(" = ".join([*targets, text]))
        for part in layout.parts:
            self._part(part, f"{target}.{part.name} = ", _join(label, part.name), depth)
        if layout.flexible:
            self._tags(layout, target, label, depth)

    def _default_struct(self, cls: type, target: str) -> None:
        self.scope[cls.__name__] = cls
        self.source.emit(f"{target} = {cls.__name__}()")

    def _tags(self, layout: Layout, target: str, label: str, depth: int) -> None:
        emit, where = self.source.emit, _join(label, "tagged fields")
        self.run.append(("B", "n", where))
        self._flush()
        if not layout.tagged:
            emit("if n:", where)
            emit("    pos = skip_tags(buffer, pos, n, size)", where)
            return
        seen, stop = f"seen{depth}", f"stop{depth}"
        emit("if n:", where)
        self.source.depth += 1
        self._finish_varint(where)
        emit(f"if n > {TAG_LIMIT}: raise BadTags('too many')", where)
        emit(f"{seen} = set()")
        emit("for _ in range(n):")
        self.source.depth += 1
        emit(f"tag, pos, {stop} = next_tag(buffer, pos, size, {seen})", where)
        for number, (tag, part) in enumerate(layout.tagged):
            emit(f"{'elif' if number else 'if'} tag == {tag}:")
            self.source.depth += 1
            self._part(part, f"{target}.{part.name} = ", _join(label, part.name), depth + 1)
            self._flush()
            emit(f"if pos != {stop}: raise BadLength", _join(label, part.name))
            self.source.depth -= 1
        emit(f"else: pos = {stop}")
        self.source.depth -= 2

    # Fields. `store` is what stands before the value: "m.name = " or "a1.append(".

    def _part(self, part: Part, store: str, label: str, depth: int) -> None:
        if part.kind in FIXED:
            if store.endswith(" = "):
                self.run.append((FIXED[part.kind][0], store[:-3], label))
                return
            raise AssertionError(label)  # arrays of fixed-size values are read whole
        if part.kind == "struct":
            self._nested(part, store, label, depth)
        elif part.kind == "array":
            self._array(part, store, label, depth)
        else:
            self._blob(part, store, label)

    def _nested(self, part: Part, store: str, label: str, depth: int) -> None:
        assert part.struct is not None
        target = f"o{depth + 1}"
        if part.nullable:
            self.run.append(("b", "n", label))
            self._flush()
            self.source.emit(f"if n < 0: {_put(store, 'None')}", label)
            self.source.emit("else:")
            self.source.depth += 1
        self._struct(part.struct, target, label, depth + 1)
        self._flush()
        self.source.emit(_put(store, target))
        if part.nullable:
            self.source.depth -= 1

    def _blob(self, part: Part, store: str, label: str) -> None:
        emit = self.source.emit
        self._length(part, label)
        end = "pos + n - 1" if part.compact else "pos + n"
        value = {
            "string": "buffer[pos:end].tobytes().decode()",
            "bytes": "buffer[pos:end].tobytes()",
            "records": "buffer[pos:end]",
        }[part.kind]
        if part.nullable:
            emit("if n == 0:" if part.compact else "if n == -1:")
            emit(f"    {_put(store, 'None')}")
            emit("else:")
            self.source.depth += 1
        emit(f"end = {end}")
        emit("if not pos <= end <= size: raise BadLength", label)
        emit(_put(store, value), label)
        emit("pos = end")
        if part.nullable:
            self.source.depth -= 1

    def _array(self, part: Part, store: str, label: str, depth: int) -> None:
        assert part.element is not None
        emit, element = self.source.emit, part.element
        self._length(part, label)
        if part.compact:
            emit("n -= 1")
        if part.nullable:
            emit("if n == -1:")
            emit(f"    {_put(store, 'None')}")
            emit("else:")
            self.source.depth += 1
        least = smallest(element)
        total = f"n * {least}" if least > 1 else "n"
        if element.kind in FIXED:
            emit(f"if not 0 <= {total} <= size - pos: raise BadLength", label)
            self._fixed_array(element, store, label)
        else:
            emit(f"if not 0 <= {total} <= size - pos or n > room: raise BadLength", label)
            emit("room -= n")
            self._loop(element, store, label, depth)
        if part.nullable:
            self.source.depth -= 1

    def _fixed_array(self, element: Part, store: str, label: str) -> None:
        letter, size = FIXED[element.kind]
        if element.kind == "uuid":
            self.source.emit(f"end = pos + n * {size}")
            self.source.emit(_put(store, "[buffer[i:i + 16].tobytes() for i in range(pos, end, 16)]"), label)
            self.source.emit("pos = end")
            return
        values = f"list(unpack_from(f'>{{n}}{letter}', buffer, pos)) if n else []"
        self.source.emit(_put(store, values), label)
        self.source.emit(f"pos += n * {size}" if size > 1 else "pos += n")

    def _loop(self, element: Part, store: str, label: str, depth: int) -> None:
        inner = depth + 1
        self.source.emit(f"a{inner} = []")
        self.source.emit(_put(store, f"a{inner}"))
        self.source.emit("for _ in range(n):")
        self.source.depth += 1
        if element.struct is not None:
            self._struct(element.struct, f"o{inner}", label, inner)
            self._flush()
            self.source.emit(f"a{inner}.append(o{inner})")
        else:
            self._part(element, f"a{inner}.append(", label, inner)
        self.source.depth -= 1


def _put(store: str, value: str) -> str:
    return f"{store}{value})" if store.endswith("(") else f"{store}{value}"


def _join(label: str, name: str) -> str:
    return f"{label}.{name}" if label else name
