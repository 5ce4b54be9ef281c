"""Records of `__consumer_offsets` as bytes, and which partition a group's are in: both exactly as Kafka has them, so
that its tools read ours.

A key is an int16, the record's type, and the key message; a value is an int16, its version, and the value message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from struct import Struct
from typing import Any, Final

from broker.coordinator.outcome import Record
from protocol.compiler import decoder, encoder
from protocol.errors import Malformed
from protocol.keyed_batch import KeyedRecord
from protocol.messages.internal import consumer_group_records, offset_records
from protocol.messages.internal.offset_records import (
    GroupMetadataValue,
    LegacyOffsetCommitKey,
    OffsetCommitKey,
    OffsetCommitValue,
)
from protocol.primitives import Output
from protocol.schema import schema_of

_INT16: Final = Struct(">h")
_INT32: Final = Struct(">i")
_TYPE_AND_SIZE: Final = Struct(">hh")
_PLAIN_OFFSET: Final = Struct(">hqihq")
"""Version, offset, leader epoch, length of the metadata (here none), time of the commit."""

OFFSET_COMMIT_VERSION: Final = 3
"""The last version without tagged fields: what Kafka itself writes, so that older tools read it too."""
OFFSET_COMMIT_WITH_EXPIRY_VERSION: Final = 1
"""The one version that has room for an expiry of its own (OffsetCommit v2 to v4)."""
GROUP_METADATA_VERSION: Final = 3


def _types(kind: str) -> dict[int, type]:
    found = {}
    for module in (offset_records, consumer_group_records):
        for value in vars(module).values():
            schema = getattr(value, "__schema__", None)
            if schema is not None and schema.kind == kind:
                found[schema.key] = value
    return found


_KEYS: Final = _types("group-key")
_VALUES: Final = _types("group-value")
_TYPE_OF_KEY: Final = {cls: number for number, cls in _KEYS.items()}
_OFFSET_COMMIT_TYPE: Final = _TYPE_OF_KEY[OffsetCommitKey]


HASHED_IDS: Final = 1024
"""Ids whose partition is remembered: a transaction asks for it seven times, and a long id takes 10 µs."""


class UnknownRecord(Exception):
    """A record of a type or version that is not known here."""


@lru_cache(HASHED_IDS)
def partition_for(group_id: str, partition_count: int) -> int:
    """Kafka's choice: Java's `String.hashCode`, its absolute value, modulo."""
    assert partition_count > 0
    value = 0
    data = group_id.encode("utf-16-be", "surrogatepass")
    for index in range(0, len(data), 2):
        value = (31 * value + (data[index] << 8 | data[index + 1])) & 0xFFFFFFFF
    if value & 0x80000000:
        value -= 1 << 32
    # Java: abs(Integer.MIN_VALUE) is itself, which Kafka maps to 0.
    return (0 if value == -(1 << 31) else abs(value)) % partition_count


def _value_version(value: Any) -> int:
    if value.__class__ is OffsetCommitValue:
        return OFFSET_COMMIT_VERSION if value.expire_timestamp < 0 else OFFSET_COMMIT_WITH_EXPIRY_VERSION
    if value.__class__ is GroupMetadataValue:
        return GROUP_METADATA_VERSION
    return schema_of(type(value)).versions.last


def encode_key(key: Any) -> bytes:
    out = Output(_INT16.pack(_TYPE_OF_KEY[key.__class__]))
    encoder(key.__class__, 0)(key, out)
    return bytes(out)


def encode_value(value: Any) -> bytes | None:
    if value is None:
        return None
    version = _value_version(value)
    out = Output(_INT16.pack(version))
    encoder(value.__class__, version)(value, out)
    return bytes(out)


def encode(record: Record) -> KeyedRecord:
    """The record as it goes into the log."""
    key, value = record
    if key.__class__ is not OffsetCommitKey:
        return encode_key(key), encode_value(value)
    # Almost all records are these: written out, they take a quarter of the time.
    group, topic = key.group.encode(), key.topic.encode()
    encoded = b"".join(
        (
            _TYPE_AND_SIZE.pack(_OFFSET_COMMIT_TYPE, len(group)),
            group,
            _INT16.pack(len(topic)),
            topic,
            _INT32.pack(key.partition),
        )
    )
    if value is None or value.metadata or value.expire_timestamp >= 0:
        return encoded, encode_value(value)
    return encoded, _PLAIN_OFFSET.pack(
        OFFSET_COMMIT_VERSION, value.offset, value.leader_epoch, 0, value.commit_timestamp
    )


def decode(key: bytes | None, value: bytes | None) -> Record:
    """The record in the log's key and value; raises UnknownRecord and Malformed."""
    if key is None or len(key) < 2:
        raise UnknownRecord("a record without a key")
    (number,) = _INT16.unpack_from(key)
    cls = _KEYS.get(number)
    if cls is None:
        raise UnknownRecord(f"record type {number}")
    key_message = decoder(cls, 0)(memoryview(key), 2)[0]
    if key_message.__class__ is LegacyOffsetCommitKey:
        key_message = OffsetCommitKey(
            group=key_message.group, topic=key_message.topic, partition=key_message.partition
        )
        number = _TYPE_OF_KEY[OffsetCommitKey]
    if value is None:
        return Record(key_message, None)
    if len(value) < 2:
        raise Malformed("a value without a version", message=cls.__name__)
    (version,) = _INT16.unpack_from(value)
    value_cls = _VALUES[number]
    if version not in schema_of(value_cls).versions:
        raise UnknownRecord(f"version {version} of {value_cls.__name__}")
    return Record(key_message, decoder(value_cls, version)(memoryview(value), 2)[0])


def decode_all(records: Iterable[tuple[bytes | None, bytes | None]]) -> Iterator[Record]:
    """Every record that is known here, of key and value; Kafka, too, passes over the others."""
    for key, value in records:
        try:
            yield decode(key, value)
        except UnknownRecord:
            continue
