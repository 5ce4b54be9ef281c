"""Headers of record batches (magic 2, KIP-98) over bytes: parsed, checked, patched in place, put before records.

A batch on the wire and in a segment file, big-endian:

    position  size  field
           0     8  base_offset               assigned by the broker, outside the CRC
           8     4  batch_length              bytes after this field
          12     4  partition_leader_epoch    assigned by the broker, outside the CRC
          16     1  magic                     the same place in magic 0, 1 and 2
          17     4  crc                       CRC-32C over everything from `attributes` on
           21     2  attributes                bits 0-2 codec, 3 log append time, 4 transactional,
                                               5 control, 6 delete horizon
          23     4  last_offset_delta
          27     8  base_timestamp
          35     8  max_timestamp
          43     8  producer_id
          51     2  producer_epoch
          53     4  base_sequence
          57     4  record_count
          61        records, compressed as one block

Produce and fetch need nothing but this; what is inside a batch is `records.py`.
"""

from struct import Struct
from typing import Final

from protocol.checksum import crc32c

Buffer = bytes | bytearray | memoryview

_HEADER: Final = Struct(">qiibIhiqqqhii")
_PLACE: Final = Struct(">qii")
_UINT32: Final = Struct(">I")
_INT64: Final = Struct(">q")
_ATTRIBUTES: Final = Struct(">h")

BATCH_OVERHEAD: Final = 61
assert _HEADER.size == BATCH_OVERHEAD
LOG_OVERHEAD: Final = 12  # base_offset and batch_length, which batch_length does not count

MAGIC_POSITION: Final = 16
CRC_POSITION: Final = 17
ATTRIBUTES_POSITION: Final = 21
MAX_TIMESTAMP_POSITION: Final = 35

CODEC_MASK: Final = 0x07
LOG_APPEND_TIME_BIT: Final = 0x08
TRANSACTIONAL_BIT: Final = 0x10
CONTROL_BIT: Final = 0x20
DELETE_HORIZON_BIT: Final = 0x40  # KIP-534: base_timestamp is the delete horizon

CREATE_TIME: Final = 0
LOG_APPEND_TIME: Final = 1

NO_PRODUCER_ID: Final = -1
NO_PRODUCER_EPOCH: Final = -1
NO_SEQUENCE: Final = -1
NO_TIMESTAMP: Final = -1
NO_LEADER_EPOCH: Final = -1
MAX_SEQUENCE: Final = 0x7FFF_FFFF


class CorruptBatch(ValueError):
    """The bytes are not what the format says; the message names what and where."""


class TooLarge(CorruptBatch):
    """The decompressed records would exceed the limit the caller gave."""


class RecordBatch:
    """One batch's header and where the batch lies in the buffer it was parsed from. Holds no view of it."""

    __slots__ = (
        "attributes",
        "base_offset",
        "base_sequence",
        "base_timestamp",
        "crc",
        "last_offset_delta",
        "magic",
        "max_timestamp",
        "partition_leader_epoch",
        "position",
        "producer_epoch",
        "producer_id",
        "record_count",
        "size",
    )

    position: int
    size: int  # of the whole batch: 12 + batch_length
    base_offset: int
    partition_leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def last_offset(self) -> int:
        return self.base_offset + self.last_offset_delta

    @property
    def next_offset(self) -> int:
        return self.base_offset + self.last_offset_delta + 1

    @property
    def last_sequence(self) -> int:
        """Sequence of the last record, which wraps at int32; -1 without a producer."""
        if self.base_sequence == NO_SEQUENCE:
            return NO_SEQUENCE
        return (self.base_sequence + self.last_offset_delta) & MAX_SEQUENCE

    @property
    def compression(self) -> int:
        """The codec's id (protocol.compression.Codec)."""
        return self.attributes & CODEC_MASK

    @property
    def timestamp_type(self) -> int:
        return LOG_APPEND_TIME if self.attributes & LOG_APPEND_TIME_BIT else CREATE_TIME

    @property
    def is_transactional(self) -> bool:
        return self.attributes & TRANSACTIONAL_BIT != 0

    @property
    def is_control(self) -> bool:
        return self.attributes & CONTROL_BIT != 0

    @property
    def has_producer_id(self) -> bool:
        return self.producer_id >= 0

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)}" for name in self.__slots__)
        return f"RecordBatch({fields})"


def peek_magic(buffer: Buffer, position: int) -> int:
    """The magic of the batch or message at `position`: byte 16 in every format."""
    if position < 0 or position + MAGIC_POSITION >= len(buffer):
        raise CorruptBatch(f"{len(buffer) - position} bytes at {position} do not reach the magic byte")
    return buffer[position + MAGIC_POSITION]


def parse_batches(buffer: Buffer, allow_partial_tail: bool = False) -> list[RecordBatch]:
    """The headers of the magic 2 batches that fill `buffer`.

    Every length is checked; the CRC and the records are not. With `allow_partial_tail` a last batch that is
    cut short is left out, as consumers do with what a fetch returned; otherwise it raises CorruptBatch.
    """
    batches: list[RecordBatch] = []
    position, end = 0, len(buffer)
    while end - position >= BATCH_OVERHEAD:
        batch = _header_at(buffer, position)
        size = batch.size
        if size > end - position:
            break
        batches.append(batch)
        position += size
    if position != end and not allow_partial_tail:
        raise CorruptBatch(f"the batch at {position} is cut short: {end - position} bytes are left")
    return batches


def parse_header(buffer: Buffer, position: int) -> RecordBatch:
    """The header at `position`; only the header has to be there, so `size` may reach past the buffer."""
    if position < 0 or len(buffer) - position < BATCH_OVERHEAD:
        raise CorruptBatch(f"{len(buffer) - position} bytes at {position} are fewer than a batch header")
    return _header_at(buffer, position)


def _header_at(buffer: Buffer, position: int) -> RecordBatch:
    batch = RecordBatch()
    (
        batch.base_offset,
        length,
        batch.partition_leader_epoch,
        batch.magic,
        batch.crc,
        batch.attributes,
        batch.last_offset_delta,
        batch.base_timestamp,
        batch.max_timestamp,
        batch.producer_id,
        batch.producer_epoch,
        batch.base_sequence,
        batch.record_count,
    ) = _HEADER.unpack_from(buffer, position)
    batch.position = position
    batch.size = length + LOG_OVERHEAD
    if batch.magic != 2:
        raise CorruptBatch(f"the batch at {position} has magic {batch.magic}, not 2")
    if batch.size < BATCH_OVERHEAD:
        raise CorruptBatch(f"the batch at {position} says it has {batch.size} bytes, fewer than a header")
    return batch


def crc_is_valid(buffer: memoryview, batch: RecordBatch) -> bool:
    """Whether the batch's CRC-32C is that of its bytes."""
    start = batch.position
    return crc32c(buffer[start + ATTRIBUTES_POSITION : start + batch.size]) == batch.crc


def place(buffer: memoryview | bytearray, batch: RecordBatch, base_offset: int, leader_epoch: int) -> None:
    """Patch base offset and leader epoch into the bytes and the header; both lie outside the CRC."""
    _PLACE.pack_into(buffer, batch.position, base_offset, batch.size - LOG_OVERHEAD, leader_epoch)
    batch.base_offset = base_offset
    batch.partition_leader_epoch = leader_epoch


def stamp_append_time(buffer: memoryview, batch: RecordBatch, now_ms: int) -> None:
    """LogAppendTime: set the attribute bit and max_timestamp, then the CRC, which covers both."""
    start = batch.position
    batch.attributes |= LOG_APPEND_TIME_BIT
    batch.max_timestamp = now_ms
    _ATTRIBUTES.pack_into(buffer, start + ATTRIBUTES_POSITION, batch.attributes)
    _INT64.pack_into(buffer, start + MAX_TIMESTAMP_POSITION, now_ms)
    batch.crc = crc32c(buffer[start + ATTRIBUTES_POSITION : start + batch.size])
    _UINT32.pack_into(buffer, start + CRC_POSITION, batch.crc)


def assemble(header: RecordBatch, block: Buffer, compression_level: int | None = None) -> bytearray:
    """A batch of `header`'s fields and uncompressed records, compressed by the codec in its attributes.

    `position`, `size`, `magic` and `crc` of the header are not looked at, but set.
    """
    if header.attributes & CODEC_MASK:
        from protocol import compression

        block = compression.compress(header.attributes & CODEC_MASK, block, compression_level)
    out = bytearray(BATCH_OVERHEAD)
    out += block
    _HEADER.pack_into(
        out,
        0,
        header.base_offset,
        len(out) - LOG_OVERHEAD,
        header.partition_leader_epoch,
        2,
        0,
        header.attributes,
        header.last_offset_delta,
        header.base_timestamp,
        header.max_timestamp,
        header.producer_id,
        header.producer_epoch,
        header.base_sequence,
        header.record_count,
    )
    with memoryview(out) as view:
        header.crc = crc32c(view[ATTRIBUTES_POSITION:])
    header.position, header.size, header.magic = 0, len(out), 2
    _UINT32.pack_into(out, CRC_POSITION, header.crc)
    return out
