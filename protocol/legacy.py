"""Message formats 0 and 1, which clients before Kafka 0.11 speak: converted up on write and down on read.

A message set is a sequence of messages, big-endian:

    position  size  field
           0     8  offset
           8     4  size         bytes after this field
          12     4  crc          CRC-32 over everything from `magic` on
          16     1  magic        0 or 1
          17     1  attributes   bits 0-2 codec; bit 3 (magic 1) log append time
          18     8  timestamp    magic 1 only (KIP-32)
                 4  key length, or -1 for null; the key; the same for the value

A compressed message wraps a message set in its value. Its offset is that of the last message inside. Inside,
offsets are absolute with magic 0 and relative to the first with magic 1 (KIP-31). With log append time the
wrapper's timestamp is that of all messages inside. Headers, producers and control records do not exist.
"""

import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from struct import Struct
from typing import Final, NamedTuple

from protocol import compression
from protocol.compression import Codec
from protocol.errors import ApiError, ErrorCode
from protocol.records import (
    CODEC_MASK,
    CONTROL_BIT,
    LOG_APPEND_TIME_BIT,
    LOG_OVERHEAD,
    NO_TIMESTAMP,
    Buffer,
    CorruptBatch,
    Record,
    RecordBatch,
    TooLarge,
    build,
    iterate,
)

_HEADER: Final = Struct(">qiIbb")  # offset, size, crc, magic, attributes
_INT64: Final = Struct(">q")
_INT32: Final = Struct(">i")
_UINT32: Final = Struct(">I")
_CRC_POSITION: Final = 12
_MAGIC_POSITION: Final = 16
_MIN_SIZE: Final = {0: 14, 1: 22}  # crc, magic, attributes, timestamp, two lengths
assert _HEADER.size == 18


class Message(NamedTuple):
    """One message, or the wrapper of a compressed set. `value` is a view of the buffer or bytes."""

    offset: int
    magic: int
    attributes: int
    timestamp: int
    key: bytes | None
    value: memoryview | None

    @property
    def codec(self) -> int:
        return self.attributes & CODEC_MASK


def parse_messages(buffer: Buffer) -> Iterator[Message]:
    """The outer messages of a message set; lengths and CRCs are checked. Raises CorruptBatch."""
    view = memoryview(buffer)
    position, end = 0, len(view)
    while position < end:
        if end - position < _HEADER.size:
            raise CorruptBatch(f"the message at {position} is cut short: {end - position} bytes are left")
        offset, size, crc, magic, attributes = _HEADER.unpack_from(view, position)
        next_position = position + LOG_OVERHEAD + size
        if magic not in _MIN_SIZE:
            raise CorruptBatch(f"the message at {position} has magic {magic}, not 0 or 1")
        if size < _MIN_SIZE[magic] or next_position > end:
            raise CorruptBatch(f"the message at {position} says it has {size} bytes")
        if zlib.crc32(view[position + _MAGIC_POSITION : next_position]) != crc:
            raise CorruptBatch(f"the message at {position} fails its CRC")
        body = position + _HEADER.size
        timestamp = NO_TIMESTAMP
        if magic == 1:
            (timestamp,) = _INT64.unpack_from(view, body)
            body += _INT64.size
        key, body = _sized(view, body, next_position)
        value, body = _sized(view, body, next_position)
        if body != next_position:
            raise CorruptBatch(f"the message at {position} should end at {next_position}, not {body}")
        yield Message(offset, magic, attributes, timestamp, None if key is None else bytes(key), value)
        position = next_position


def _sized(view: memoryview, position: int, end: int) -> tuple[memoryview | None, int]:
    if end - position < _INT32.size:
        raise CorruptBatch(f"a length at {position} reaches past its message's end {end}")
    (length,) = _INT32.unpack_from(view, position)
    position += _INT32.size
    if length < 0:
        return None, position
    if length > end - position:
        raise CorruptBatch(f"{length} bytes at {position} reach past their message's end {end}")
    return view[position : position + length], position + length


MAX_MESSAGES: Final = 250_000
"""Messages of one set that are converted, at five microseconds and 300 bytes each. A kilobyte of gzip holds ten
thousand empty ones; a producer's megabyte of real ones fewer than forty thousand."""


def iterate_message_set(buffer: Buffer, max_decompressed_bytes: int) -> Iterator[Record]:
    """The records of a message set with absolute offsets, wrappers opened. Raises CorruptBatch, TooLarge.

    `max_decompressed_bytes` is the limit for all wrappers together, MAX_MESSAGES that for all messages.
    """
    left = max_decompressed_bytes
    messages_left = MAX_MESSAGES
    for message in parse_messages(buffer):
        messages_left -= 1
        if messages_left < 0:
            raise _too_many()
        if message.codec == Codec.NONE:
            yield _record(message, message.offset)
            continue
        if message.codec == Codec.ZSTD:
            raise CorruptBatch(f"zstd does not exist in message format {message.magic}")
        if message.value is None:
            raise CorruptBatch(f"the compressed message at offset {message.offset} has no value")
        try:
            block = compression.decompress(message.codec, message.value, left, message.magic == 0)
        except TooLarge:
            raise TooLarge(f"the messages decompress to more than {max_decompressed_bytes} bytes") from None
        left -= len(block)
        inner = list(islice(parse_messages(block), messages_left + 1))
        messages_left -= len(inner)
        if messages_left < 0:
            raise _too_many()
        yield from _inner_records(message, inner)


def _too_many() -> TooLarge:
    return TooLarge(f"a message set of more than {MAX_MESSAGES} messages")


def _inner_records(wrapper: Message, inner: list[Message]) -> Iterator[Record]:
    if not inner:
        raise CorruptBatch(f"the compressed message at offset {wrapper.offset} has nothing in it")
    base_offset = 0
    # A wrapper's offset of 0 with relative offsets inside comes from some versions of librdkafka's producer.
    if wrapper.magic == 1 and wrapper.offset != 0:
        base_offset = wrapper.offset - inner[-1].offset
        if base_offset < 0:
            raise CorruptBatch(f"wrapper offset {wrapper.offset} is below the last inner {inner[-1].offset}")
    for message in inner:
        if message.codec != Codec.NONE:
            raise CorruptBatch("a compressed message lies inside another")
        record = _record(message, base_offset + message.offset)
        if wrapper.attributes & LOG_APPEND_TIME_BIT and message.magic == 1:
            record.timestamp = wrapper.timestamp
        yield record


def _record(message: Message, offset: int) -> Record:
    value = None if message.value is None else bytes(message.value)
    return Record(offset, message.timestamp, message.key, value)


def up_convert(buffer: Buffer, max_decompressed_bytes: int, codec: int | None = None) -> bytearray:
    """A produced message set as one batch of format 2 with offsets from 0, as the broker's caller places it.

    Compressed as the set was (its first wrapper's codec) unless `codec` says otherwise. Timestamps are the
    messages' own, -1 with magic 0. Raises CorruptBatch, TooLarge.
    """
    found = list(iterate_message_set(buffer, max_decompressed_bytes))
    if not found:
        raise CorruptBatch("a message set without messages")
    if codec is None:
        codec = next((message.codec for message in parse_messages(buffer) if message.codec), Codec.NONE)
    return build(found, compression=codec)


def down_convert(
    buffer: Buffer,
    batches: Sequence[RecordBatch],
    magic: int,
    *,
    first_offset: int,
    max_decompressed_bytes: int,
    max_bytes: int,
) -> bytearray:
    """Batches of format 2 as a message set of `magic` 0 or 1 for a fetch from `first_offset`.

    Compressed batches become one wrapper with the same codec, with all their records, as clients expect to
    skip those below the offset they asked for; uncompressed ones lose those records here. Headers and control
    batches are left out, so the result may be empty. It stops at the first batch that exceeds `max_bytes`,
    which nevertheless comes whole if it is the first (KIP-74).

    `max_decompressed_bytes` holds for one batch. Raises CorruptBatch, TooLarge, and ApiError
    UNSUPPORTED_COMPRESSION_TYPE for zstd (KIP-110), unless messages before the batch can be returned.
    """
    assert magic in (0, 1)
    out = bytearray()
    for batch in batches:
        if batch.attributes & CONTROL_BIT:
            continue
        codec = batch.attributes & CODEC_MASK
        if codec == Codec.ZSTD:
            if out:
                break
            raise ApiError(
                ErrorCode.UNSUPPORTED_COMPRESSION_TYPE,
                f"The batch at offset {batch.base_offset} is zstd, which format {magic} has not",
            )
        try:
            converted = _down_convert_batch(buffer, batch, magic, first_offset, max_decompressed_bytes)
        except CorruptBatch:
            if out:
                break
            raise
        if out and len(out) + len(converted) > max_bytes:
            break
        out += converted
    return out


def _down_convert_batch(
    buffer: Buffer, batch: RecordBatch, magic: int, first_offset: int, max_decompressed_bytes: int
) -> bytearray:
    if batch.record_count > MAX_MESSAGES:
        raise _too_many()
    codec = batch.attributes & CODEC_MASK
    time_bit = batch.attributes & LOG_APPEND_TIME_BIT if magic == 1 else 0
    found = list(iterate(buffer, batch, max_decompressed_bytes))
    if codec == Codec.NONE:
        found = [record for record in found if record.offset >= first_offset]
    if not found:
        return bytearray()
    base_offset = found[0].offset if codec != Codec.NONE and magic == 1 else 0
    out = bytearray()
    for record in found:
        _append_message(
            out, record.offset - base_offset, magic, time_bit, record.timestamp, record.key, record.value
        )
    if codec == Codec.NONE:
        return out
    wrapper = bytearray()
    block = compression.compress(codec, out, broken_lz4_checksum=magic == 0)
    timestamp = max(record.timestamp for record in found)
    _append_message(wrapper, found[-1].offset, magic, codec | time_bit, timestamp, None, block)
    return wrapper


def build_message_set(found: Sequence[Record], magic: int, codec: int = 0) -> bytearray:
    """A message set as an old producer sends it, for clients and tests; headers are left out."""
    assert magic in (0, 1) and codec in (Codec.NONE, Codec.GZIP, Codec.SNAPPY, Codec.LZ4)
    out = bytearray()
    for index, record in enumerate(found):
        _append_message(out, index, magic, 0, record.timestamp, record.key, record.value)
    if codec == Codec.NONE:
        return out
    wrapper = bytearray()
    block = compression.compress(codec, out, broken_lz4_checksum=magic == 0)
    timestamp = max((record.timestamp for record in found), default=NO_TIMESTAMP)
    _append_message(wrapper, max(len(found) - 1, 0), magic, codec, timestamp, None, block)
    return wrapper


def _append_message(
    out: bytearray,
    offset: int,
    magic: int,
    attributes: int,
    timestamp: int,
    key: bytes | None,
    value: bytes | None,
) -> None:
    start = len(out)
    out += _HEADER.pack(offset, 0, 0, magic, attributes)
    if magic == 1:
        out += _INT64.pack(timestamp)
    for part in (key, value):
        if part is None:
            out += _INT32.pack(-1)
        else:
            out += _INT32.pack(len(part))
            out += part
    _INT32.pack_into(out, start + 8, len(out) - start - LOG_OVERHEAD)
    with memoryview(out) as view:
        crc = zlib.crc32(view[start + _MAGIC_POSITION :])
    _UINT32.pack_into(out, start + _CRC_POSITION, crc)
