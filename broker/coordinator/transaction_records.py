"""Records of `__transaction_state` as bytes, framed as those of `__consumer_offsets` (see `group_records.py`)."""

from __future__ import annotations

from struct import Struct
from typing import Final

from broker.coordinator.group_records import UnknownRecord
from broker.coordinator.outcome import Record
from protocol.compiler import decoder, encoder
from protocol.errors import Malformed
from protocol.messages.internal.transaction_records import TransactionLogKey, TransactionLogValue
from protocol.primitives import Output
from protocol.records import Record as LogRecord
from protocol.schema import schema_of

_INT16: Final = Struct(">h")
_KEY_TYPE: Final = 0
VALUE_VERSION: Final = 1
"""With tagged fields: what Kafka writes from transaction version 1 on."""


def encode(record: Record, now_ms: int) -> LogRecord:
    """The record as it goes into the log."""
    key = Output(_INT16.pack(_KEY_TYPE))
    encoder(TransactionLogKey, 0)(record.key, key)
    value = None
    if record.value is not None:
        value = Output(_INT16.pack(VALUE_VERSION))
        encoder(TransactionLogValue, VALUE_VERSION)(record.value, value)
    return LogRecord(timestamp=now_ms, key=bytes(key), value=None if value is None else bytes(value))


def decode(key: bytes | None, value: bytes | None) -> Record:
    """The record in the log's key and value; raises UnknownRecord and Malformed."""
    if key is None or len(key) < 2 or _INT16.unpack_from(key)[0] != _KEY_TYPE:
        raise UnknownRecord(f"key {key!r}")
    key_message = decoder(TransactionLogKey, 0)(memoryview(key), 2)[0]
    if value is None:
        return Record(key_message, None)
    if len(value) < 2:
        raise Malformed("a value without a version", message="TransactionLogValue")
    (version,) = _INT16.unpack_from(value)
    if version not in schema_of(TransactionLogValue).versions:
        raise UnknownRecord(f"version {version} of TransactionLogValue")
    return Record(key_message, decoder(TransactionLogValue, version)(memoryview(value), 2)[0])
