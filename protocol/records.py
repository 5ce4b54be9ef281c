"""What is inside record batches (magic 2, KIP-98): records read one by one, scanned, and built into batches.

A record is `length, attributes, timestamp_delta, offset_delta, key, value, headers` with zig-zag varints, in a block
that is compressed as a whole. Whatever looks inside goes through `iterate` or the scans, which check every length
against what is there. Headers are `batch.py`; its names are importable from here as well.
"""

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Final, cast

from protocol.batch import (
    ATTRIBUTES_POSITION,
    BATCH_OVERHEAD,
    CODEC_MASK,
    CONTROL_BIT,
    CRC_POSITION,
    CREATE_TIME,
    DELETE_HORIZON_BIT,
    LOG_APPEND_TIME,
    LOG_APPEND_TIME_BIT,
    LOG_OVERHEAD,
    MAGIC_POSITION,
    MAX_SEQUENCE,
    MAX_TIMESTAMP_POSITION,
    NO_LEADER_EPOCH,
    NO_PRODUCER_EPOCH,
    NO_PRODUCER_ID,
    NO_SEQUENCE,
    NO_TIMESTAMP,
    TRANSACTIONAL_BIT,
    Buffer,
    CorruptBatch,
    RecordBatch,
    TooLarge,
    assemble,
    crc_is_valid,
    parse_batches,
    parse_header,
    peek_magic,
    place,
    stamp_append_time,
)

__all__ = [
    "ABORT_MARKER",
    "ATTRIBUTES_POSITION",
    "BATCH_OVERHEAD",
    "CODEC_MASK",
    "COMMIT_MARKER",
    "CONTROL_BIT",
    "CRC_POSITION",
    "CREATE_TIME",
    "DELETE_HORIZON_BIT",
    "LOG_APPEND_TIME",
    "LOG_APPEND_TIME_BIT",
    "LOG_OVERHEAD",
    "MAGIC_POSITION",
    "MAX_SCANNED_RECORDS",
    "MAX_SEQUENCE",
    "MAX_TIMESTAMP_POSITION",
    "NO_LEADER_EPOCH",
    "NO_PRODUCER_EPOCH",
    "NO_PRODUCER_ID",
    "NO_SEQUENCE",
    "NO_TIMESTAMP",
    "TRANSACTIONAL_BIT",
    "Buffer",
    "CorruptBatch",
    "Record",
    "RecordBatch",
    "TooLarge",
    "append_record",
    "assemble",
    "build",
    "crc_is_valid",
    "end_transaction_marker",
    "find_by_timestamp",
    "iterate",
    "parse_batches",
    "parse_control_key",
    "parse_end_transaction_value",
    "parse_header",
    "peek_magic",
    "place",
    "records_bytes",
    "scan",
    "stamp_append_time",
]

_CONTROL_KEY: Final = Struct(">hh")
_END_TXN_VALUE: Final = Struct(">hi")

# Control record types (ControlRecordType): the second int16 of a control record's key.
ABORT_MARKER: Final = 0
COMMIT_MARKER: Final = 1

MAX_SCANNED_RECORDS: Final = 1_000_000  # of one batch: 6 kB can hold ten million, at a microsecond each


class Record:
    """One record of a batch: absolute offset and timestamp, owned bytes."""

    __slots__ = ("headers", "key", "offset", "timestamp", "value")

    def __init__(
        self,
        offset: int = -1,
        timestamp: int = NO_TIMESTAMP,
        key: bytes | None = None,
        value: bytes | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
    ) -> None:
        self.offset = offset
        self.timestamp = timestamp
        self.key = key
        self.value = value
        self.headers: list[tuple[str, bytes | None]] = list(headers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"Record(offset={self.offset}, timestamp={self.timestamp}, key={self.key!r}, "
            f"value={self.value!r}, headers={self.headers!r})"
        )


# --- reading ---


def records_bytes(buffer: Buffer, batch: RecordBatch, max_decompressed_bytes: int) -> bytes:
    """The batch's records, decompressed. Raises CorruptBatch, TooLarge."""
    start, end = batch.position + BATCH_OVERHEAD, batch.position + batch.size
    if end > len(buffer):
        raise CorruptBatch(f"the batch at {batch.position} reaches {end - len(buffer)} bytes past the buffer")
    block = memoryview(buffer)[start:end]
    codec = batch.attributes & CODEC_MASK
    if codec == 0:
        return bytes(block)
    from protocol import compression  # late: most batches stay compressed

    return compression.decompress(codec, block, max_decompressed_bytes)


def _varint(data: bytes, position: int, last_shift: int = 28) -> tuple[int, int]:
    # Zig-zag, at most five bytes (ten for a varlong). Running off the end is the caller's IndexError.
    value = data[position]
    position += 1
    if value < 0x80:
        return (value >> 1) ^ -(value & 1), position
    value &= 0x7F
    shift = 7
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        if shift >= last_shift:
            raise CorruptBatch(f"the varint that ends at {position} is too long")
        shift += 7
    if value >> (32 if last_shift == 28 else 64):
        raise CorruptBatch(f"the varint that ends at {position} is out of range")
    return (value >> 1) ^ -(value & 1), position


def _nullable_bytes(data: bytes, position: int, end: int) -> tuple[bytes | None, int]:
    length, position = _varint(data, position)
    if length < 0:
        return None, position
    if length > end - position:
        raise CorruptBatch(f"{length} bytes at {position} reach past the record's end {end}")
    return data[position : position + length], position + length


def _headers(data: bytes, position: int, end: int) -> tuple[list[tuple[str, bytes | None]], int]:
    count, position = _varint(data, position)
    if count < 0 or count > end - position:
        raise CorruptBatch(f"a record that ends at {end} says it has {count} headers")
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        key, position = _nullable_bytes(data, position, end)
        if key is None:
            raise CorruptBatch(f"null header key before {position}")
        value, position = _nullable_bytes(data, position, end)
        # Kafka decodes header keys with replacement characters as well: they are never refused.
        headers.append((key.decode("utf-8", "replace"), value))
    return headers, position


def _record(data: bytes, position: int, base_offset: int, base_timestamp: int) -> tuple[Record, int]:
    length, position = _varint(data, position)
    end = position + length
    if length < 0 or end > len(data):
        raise CorruptBatch(f"a record of {length} bytes at {position} reaches past the batch's {len(data)}")
    timestamp_delta, position = _varint(data, position + 1, 63)
    offset_delta, position = _varint(data, position)
    key, position = _nullable_bytes(data, position, end)
    value, position = _nullable_bytes(data, position, end)
    if position < end and data[position] == 0:  # no headers: the usual case
        headers: list[tuple[str, bytes | None]] = []
        position += 1
    else:
        headers, position = _headers(data, position, end)
    if position != end:
        raise CorruptBatch(f"a record that should end at {end} ends at {position}")
    return Record(base_offset + offset_delta, base_timestamp + timestamp_delta, key, value, headers), end


def iterate(buffer: Buffer, batch: RecordBatch, max_decompressed_bytes: int) -> Iterator[Record]:
    """The batch's records, one by one; everything is checked, and trailing bytes are corrupt as well.

    Raises CorruptBatch, TooLarge. Control records come out like any other (see `parse_control_key`).
    """
    data = records_bytes(buffer, batch, max_decompressed_bytes)
    base_offset, base_timestamp = batch.base_offset, batch.base_timestamp
    append_time = batch.max_timestamp if batch.attributes & LOG_APPEND_TIME_BIT else None
    position = 0
    if batch.record_count < 0:
        raise CorruptBatch(f"the batch at {batch.position} says it has {batch.record_count} records")
    try:
        for _ in range(batch.record_count):
            record, position = _record(data, position, base_offset, base_timestamp)
            if append_time is not None:
                record.timestamp = append_time
            yield record
    except IndexError:
        raise CorruptBatch(f"the batch at {batch.position} ends inside a record") from None
    if position != len(data):
        raise CorruptBatch(f"{len(data) - position} bytes follow the last record of the batch")


def scan(data: bytes, record_count: int) -> Iterator[tuple[int, int, bool]]:
    """(offset_delta, timestamp_delta, has_key) of each decompressed record; the rest is skipped unchecked."""
    position, end = 0, len(data)
    if record_count > MAX_SCANNED_RECORDS:
        raise TooLarge(f"of {record_count} records no more than {MAX_SCANNED_RECORDS} are looked at")
    try:
        for _ in range(record_count):
            length, position = _varint(data, position)
            next_position = position + length
            if length < 1 or next_position > end:
                raise CorruptBatch(f"a record of {length} bytes at {position} reaches past the batch's {end}")
            timestamp_delta, position = _varint(data, position + 1, 63)
            offset_delta, position = _varint(data, position)
            key_length, position = _varint(data, position)
            if position + max(key_length, 0) > next_position:
                raise CorruptBatch(f"a key of {key_length} bytes at {position} reaches past its record")
            yield offset_delta, timestamp_delta, key_length >= 0
            position = next_position
    except IndexError:
        raise CorruptBatch("the batch ends inside a record") from None
    if position != end:
        raise CorruptBatch(f"{end - position} bytes follow the last record of the batch")


def find_by_timestamp(
    buffer: Buffer, batch: RecordBatch, timestamp: int, max_decompressed_bytes: int, min_offset: int = 0
) -> tuple[int, int] | None:
    """(offset, timestamp) of the first record with timestamp >= `timestamp` and offset >= `min_offset`."""
    if batch.max_timestamp < timestamp or batch.last_offset < min_offset:
        return None
    append_time = bool(batch.attributes & LOG_APPEND_TIME_BIT)
    if append_time and batch.base_offset >= min_offset and batch.last_offset_delta + 1 == batch.record_count:
        return batch.base_offset, batch.max_timestamp
    data = records_bytes(buffer, batch, max_decompressed_bytes)
    for offset_delta, timestamp_delta, _ in scan(data, batch.record_count):
        found = batch.max_timestamp if append_time else batch.base_timestamp + timestamp_delta
        offset = batch.base_offset + offset_delta
        if found >= timestamp and offset >= min_offset:
            return offset, found
    return None


# --- building ---


def _append_varint(out: bytearray, value: int) -> None:
    value = (value << 1) ^ (value >> 63)
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _append_bytes(out: bytearray, value: bytes | None) -> None:
    if value is None:
        out.append(1)  # zig-zag of -1
    else:
        _append_varint(out, len(value))
        out += value


def append_record(out: bytearray, record: Record, offset_delta: int, base_timestamp: int) -> None:
    """Append one record in batch form to uncompressed `out`."""
    body = bytearray(1)  # attributes: no bit of them is in use
    _append_varint(body, record.timestamp - base_timestamp)
    _append_varint(body, offset_delta)
    _append_bytes(body, record.key)
    _append_bytes(body, record.value)
    _append_varint(body, len(record.headers))
    for key, value in record.headers:
        _append_bytes(body, key.encode())
        _append_bytes(body, value)
    _append_varint(out, len(body))
    out += body


def build(
    records: Sequence[Record],
    *,
    base_offset: int = 0,
    compression: int = 0,
    compression_level: int | None = None,
    timestamp_type: int = CREATE_TIME,
    append_time: int = NO_TIMESTAMP,
    producer_id: int = NO_PRODUCER_ID,
    producer_epoch: int = NO_PRODUCER_EPOCH,
    base_sequence: int = NO_SEQUENCE,
    is_transactional: bool = False,
    is_control: bool = False,
    leader_epoch: int = NO_LEADER_EPOCH,
    preserve_offsets: bool = False,
) -> bytearray:
    """One whole batch; offsets are consecutive from `base_offset`, or the records' own (`preserve_offsets`).

    With LOG_APPEND_TIME `append_time` is every record's timestamp.
    """
    assert timestamp_type == CREATE_TIME or append_time >= 0
    base_timestamp = records[0].timestamp if records else NO_TIMESTAMP
    max_timestamp = max((record.timestamp for record in records), default=NO_TIMESTAMP)
    block = bytearray()
    offset_delta = -1
    for index, record in enumerate(records):
        offset_delta = record.offset - base_offset if preserve_offsets else index
        append_record(block, record, offset_delta, base_timestamp)
    attributes = (
        compression | (TRANSACTIONAL_BIT if is_transactional else 0) | (CONTROL_BIT if is_control else 0)
    )
    if timestamp_type == LOG_APPEND_TIME:
        attributes |= LOG_APPEND_TIME_BIT
        max_timestamp = append_time
    header = RecordBatch()
    header.base_offset, header.partition_leader_epoch = base_offset, leader_epoch
    header.attributes, header.last_offset_delta = attributes, offset_delta
    header.base_timestamp, header.max_timestamp = base_timestamp, max_timestamp
    header.producer_id, header.producer_epoch = producer_id, producer_epoch
    header.base_sequence = base_sequence
    header.record_count = len(records)
    return assemble(header, block, compression_level)


# --- control records ---


def end_transaction_marker(
    commit: bool,
    *,
    producer_id: int,
    producer_epoch: int,
    coordinator_epoch: int,
    timestamp: int,
    base_offset: int = 0,
    leader_epoch: int = NO_LEADER_EPOCH,
) -> bytearray:
    """A control batch with one COMMIT or ABORT marker (KIP-98)."""
    key = _CONTROL_KEY.pack(0, COMMIT_MARKER if commit else ABORT_MARKER)
    value = _END_TXN_VALUE.pack(0, coordinator_epoch)
    return build(
        [Record(timestamp=timestamp, key=key, value=value)],
        base_offset=base_offset,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        is_transactional=True,
        is_control=True,
        leader_epoch=leader_epoch,
    )


def parse_control_key(key: bytes | None) -> int:
    """The control record's type from its key; unknown types and later versions pass, as in Kafka."""
    if key is None or len(key) < _CONTROL_KEY.size:
        raise CorruptBatch(f"a control record has the key {key!r}")
    version, control_type = cast(tuple[int, int], _CONTROL_KEY.unpack_from(key))
    if version < 0:
        raise CorruptBatch(f"a control record's key has version {version}")
    return control_type


def parse_end_transaction_value(value: bytes | None) -> int:
    """The coordinator epoch in a COMMIT or ABORT marker."""
    if value is None or len(value) < _END_TXN_VALUE.size:
        raise CorruptBatch(f"an end transaction marker has the value {value!r}")
    version, coordinator_epoch = cast(tuple[int, int], _END_TXN_VALUE.unpack_from(value))
    if version < 0:
        raise CorruptBatch(f"an end transaction marker has version {version}")
    return coordinator_epoch
