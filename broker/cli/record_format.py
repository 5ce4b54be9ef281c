r"""kcat's format strings: `%p %o %k %v\n` for each record, compiled once.

%t topic, %p partition, %o offset, %T timestamp (ms), %k key, %v or %s value, %h headers (k=v,k=v), %K and
%S length of key and value in bytes (-1: null), %% a percent sign; \n \t \r \\ \xNN as in C.
"""

from collections.abc import Callable
from typing import Any, Final

from broker.cli.output import bytes_to_json
from protocol.records import Record

Part = Callable[[str, int, Record], bytes]


def _headers(record: Record) -> bytes:
    pairs = [
        name.encode() if value is None else name.encode() + b"=" + value for name, value in record.headers
    ]
    return b",".join(pairs)


def _length(value: bytes | None) -> bytes:
    return b"-1" if value is None else b"%d" % len(value)


def _parts(null: bytes) -> dict[str, Part]:
    def value(_topic: str, _partition: int, record: Record) -> bytes:
        return null if record.value is None else record.value

    return {
        "t": lambda topic, partition, record: topic.encode(),
        "p": lambda topic, partition, record: b"%d" % partition,
        "o": lambda topic, partition, record: b"%d" % record.offset,
        "T": lambda topic, partition, record: b"%d" % record.timestamp,
        "k": lambda topic, partition, record: null if record.key is None else record.key,
        "v": value,
        "s": value,
        "h": lambda topic, partition, record: _headers(record),
        "K": lambda topic, partition, record: _length(record.key),
        "S": lambda topic, partition, record: _length(record.value),
    }


PLACEHOLDERS: Final = "".join(_parts(b""))


def compile_format(layout: bytes, null: bytes = b"") -> Part:
    """Return a function (topic, partition, record) -> bytes. Raises ValueError for an unknown placeholder."""
    known = _parts(null)
    parts: list[bytes | Part] = []
    pieces = layout.split(b"%")
    parts.append(pieces[0])
    index = 1
    while index < len(pieces):
        piece = pieces[index]
        if not piece and index + 1 < len(pieces):  # %%
            index += 1
            parts.append(b"%" + pieces[index])
        else:
            letter = chr(piece[0]) if piece else ""
            if letter not in known:
                raise ValueError(f"%{letter} is not known; there are %{', %'.join(PLACEHOLDERS)} and %%")
            parts += [known[letter], piece[1:]]
        index += 1

    def render(topic: str, partition: int, record: Record) -> bytes:
        return b"".join(part if isinstance(part, bytes) else part(topic, partition, record) for part in parts)

    return render


def record_json(topic: str, partition: int, record: Record) -> dict[str, Any]:
    """Return a record as a JSON object; bytes that are not UTF-8 come as `…_base64`."""
    return {
        "topic": topic,
        "partition": partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        **bytes_to_json("key", record.key),
        **bytes_to_json("value", record.value),
        "headers": [{"key": name, **bytes_to_json("value", value)} for name, value in record.headers],
    }
