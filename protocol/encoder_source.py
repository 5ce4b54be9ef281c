"""Writes the encoder of one message version, the mirror image of `decoder_source.py`.

Fixed fields, and the length before the next variable one, are packed by one `struct` call where the length
fits a byte. The empty tag section that ends almost every flexible struct is a pad byte of the same call. A
tagged field with its default is left out, as Kafka does; a field that the version does not have must hold
its default, or be ignorable.
"""

from __future__ import annotations

from struct import Struct, pack
from typing import Any

from protocol.decoder_source import LENGTH_LETTER
from protocol.layout import FIXED, Layout, Part, Source, constant, struct_name
from protocol.primitives import Output, StructError, put_records, uvarint
from protocol.schema import ZERO_UUID, Field

ENCODE_ERRORS = (StructError, AttributeError, TypeError, ValueError, OverflowError)


class AbsentField(ValueError):
    """A value where the version has no field for it."""

    def __init__(self) -> None:
        super().__init__("holds a value, but this version has no such field")


class EncoderSource:
    """Source text and scope of `encode(message, out)`."""

    def __init__(self, layout: Layout) -> None:
        self.source = Source()
        self.scope: dict[str, Any] = {
            "AbsentField": AbsentField,
            "ENCODE_ERRORS": ENCODE_ERRORS,
            "Output": Output,
            "ZERO_UUID": ZERO_UUID,
            "pack": pack,
            "put_records": put_records,
            "uvarint": uvarint,
        }
        self.out = "out"
        self.run: list[tuple[str, str, str]] = []  # struct letter, expression ("" for a pad byte), label
        self._function(layout)

    def _function(self, layout: Layout) -> None:
        emit = self.source.emit
        emit("def encode(m, out):")
        self.source.depth = 1
        emit("try:")
        self.source.depth = 2
        self._struct(layout, "m", "", 0)
        self._flush()
        if len(self.source.lines) == 2:
            emit("pass")
        self.source.depth = 1
        emit("except ENCODE_ERRORS as error:")
        emit("    raise unencodable(error) from error")

    # Runs of fixed size

    def _packed(self, run: list[tuple[str, str, str]]) -> str:
        values = ", ".join(value for _, value, _ in run if value)
        letters = "".join(letter for letter, _, _ in run)
        if not values:
            return repr(bytes(len(run)))
        name = struct_name("pack", letters)
        self.scope[name] = Struct(">" + letters).pack
        return f"{name}({values})"

    def _flush(self) -> None:
        if self.run:
            run, self.run = self.run, []
            self.source.emit(f"{self.out} += {self._packed(run)}", _labels(run))

    def _flush_with_length(self, part: Part, label: str) -> None:
        """Write out the run and, after it, the length in `n`."""
        if not part.compact:
            self.run.append((LENGTH_LETTER[part.kind], "n", label))
            self._flush()
            return
        run, self.run = self.run, []
        where = _labels([*run, ("", "", label)])
        if run:
            self.source.emit(f"if n < 128: {self.out} += {self._packed([*run, ('B', 'n', '')])}", where)
            self.source.emit(f"else: {self.out} += {self._packed(run)} + uvarint(n)", where)
        else:
            self.source.emit(f"if n < 128: {self.out}.append(n)", where)
            self.source.emit(f"else: {self.out} += uvarint(n)", where)

    # Structs

    def _struct(self, layout: Layout, value: str, label: str, depth: int) -> None:
        for field in layout.absent:
            if not field.ignorable:
                where = _join(label, field.name)
                self.source.emit(f"if {self._differs(field, value)}: raise AbsentField", where)
        for part in layout.parts:
            self._part(part, f"{value}.{part.name}", _join(label, part.name), depth)
        if not layout.flexible:
            return
        if layout.tagged:
            self._tags(layout, value, label, depth)
        else:
            self.run.append(("x", "", ""))

    def _differs(self, field: Field | Part, value: str) -> str:
        """The condition under which a field does not hold its default."""
        name, default = f"{value}.{field.name}", field.default
        if isinstance(default, type):
            self.scope[default.__name__] = default
            return f"{name} != {default.__name__}()"
        if default is None:
            return f"{name} is not None"
        return (
            name
            if default in ([], "", b"", False, 0) and not field.nullable
            else f"{name} != {constant(default)}"
        )

    def _tags(self, layout: Layout, value: str, label: str, depth: int) -> None:
        emit, out = self.source.emit, self.out
        self._flush()
        conditions = [self._differs(part, value) for _, part in layout.tagged]
        emit(f"if not ({' or '.join(conditions)}):")
        emit(f"    {out} += b'\\x00'")
        emit("else:")
        self.source.depth += 1
        counts = [f"({condition} and 1 or 0)" for condition in conditions]
        emit(f"{out} += uvarint({' + '.join(counts)})", _join(label, "tagged fields"))
        for condition, (tag, part) in zip(conditions, layout.tagged, strict=True):
            emit(f"if {condition}:")
            self.source.depth += 1
            self.out = f"tagged{depth}"
            emit(f"{self.out} = Output()")
            self._part(part, f"{value}.{part.name}", _join(label, part.name), depth + 1)
            self._flush()
            emit(f"{out} += uvarint({tag}) + uvarint(len({self.out})) + {self.out}", _join(label, part.name))
            self.out = out
            self.source.depth -= 1
        self.source.depth -= 1

    # Fields

    def _part(self, part: Part, value: str, label: str, depth: int) -> None:
        if part.kind in FIXED:
            self.run.append((FIXED[part.kind][0], value, label))
        elif part.kind == "struct":
            self._nested(part, value, label, depth)
        elif part.kind == "array":
            self._array(part, value, label, depth)
        elif part.kind == "records":
            assert self.out == "out", "slices cannot lie in a tagged field"
            self._flush()
            self.source.emit(f"put_records(out, {value}, {part.compact})", label)
        else:
            self._blob(part, value, label)

    def _nested(self, part: Part, value: str, label: str, depth: int) -> None:
        assert part.struct is not None
        name = f"o{depth + 1}"
        self.source.emit(f"{name} = {value}", label)
        if not part.nullable:
            self._struct(part.struct, name, label, depth + 1)
            self._flush()
            return
        self._flush()
        self.source.emit(f"if {name} is None: {self.out} += b'\\xff'", label)
        self.source.emit("else:")
        self.source.depth += 1
        self.source.emit(f"{self.out} += b'\\x01'")
        self._struct(part.struct, name, label, depth + 1)
        self._flush()
        self.source.depth -= 1

    def _blob(self, part: Part, value: str, label: str) -> None:
        emit = self.source.emit
        encoded = f"{value}.encode()" if part.kind == "string" else value
        length = "len(s) + 1" if part.compact else "len(s)"
        if part.nullable:
            emit(f"if {value} is None:", label)
            emit(f"    s, n = b'', {0 if part.compact else -1}")
            emit("else:")
            emit(f"    s = {encoded}", label)
            emit(f"    n = {length}", label)
        else:
            emit(f"s = {encoded}", label)
            emit(f"n = {length}", label)
        self._flush_with_length(part, label)
        emit(f"{self.out} += s", label)

    def _array(self, part: Part, value: str, label: str, depth: int) -> None:
        assert part.element is not None
        emit, name, element = self.source.emit, f"a{depth + 1}", part.element
        emit(f"{name} = {value}", label)
        length = f"len({name}) + 1" if part.compact else f"len({name})"
        null = 0 if part.compact else -1
        emit(f"n = {null} if {name} is None else {length}" if part.nullable else f"n = {length}", label)
        self._flush_with_length(part, label)
        if element.kind == "uuid":
            emit(f"for u in {name}{' or ()' * part.nullable}: {self.out} += pack('>16s', u)", label)
        elif element.kind in FIXED:
            letter = FIXED[element.kind][0]
            emit(f"if {name}: {self.out} += pack(f'>{{len({name})}}{letter}', *{name})", label)
        else:
            self._loop(element, f"{name}{' or ()' * part.nullable}", label, depth)

    def _loop(self, element: Part, items: str, label: str, depth: int) -> None:
        inner = depth + 1
        self.source.emit(f"for o{inner} in {items}:", label)
        self.source.depth += 1
        before = len(self.source.lines)
        if element.struct is not None:
            self._struct(element.struct, f"o{inner}", label, inner)
        else:
            self._part(element, f"o{inner}", label, inner)
        self._flush()
        assert len(self.source.lines) > before, label
        self.source.depth -= 1


def _labels(run: list[tuple[str, str, str]]) -> str:
    return ", ".join(label for _, _, label in run if label)


def _join(label: str, name: str) -> str:
    return f"{label}.{name}" if label else name
