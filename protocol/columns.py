"""Records of many batches as numpy columns: where everything is, nothing copied, nothing looked at one by one.

Batches are decoded together, as many as make numpy's cost per call vanish: `record_layout.py` finds the parts of their
records, and what batches say of all of theirs (offsets, timestamps) is added here.

Keys, values and headers stay where they are, as ranges of `data`: whoever wants them elsewhere copies them
with the tool of their own trade.

Where a check fails, the batches are read again by `protocol.records`, which says what is wrong: damaged bytes
raise the same error here and there. Only worker processes import this module, for numpy's sake.
"""

from array import array
from collections.abc import Iterator
from struct import Struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocol.compression import decompress
from protocol.legacy import up_convert
from protocol.record_layout import (
    PIECE_RECORDS,
    Bytes,
    Damaged,
    Int64s,
    RecordLayout,
    header_ranges,
    lay_out,
    record_starts,
)
from protocol.records import (
    BATCH_OVERHEAD,
    CODEC_MASK,
    CONTROL_BIT,
    LOG_APPEND_TIME_BIT,
    LOG_OVERHEAD,
    Buffer,
    iterate,
    parse_batches,
    peek_magic,
)

PIECE_BYTES: Final = 1 << 24
"""Decompressed bytes of the batches that are decoded together; one batch may have more."""

_LENGTH: Final = Struct(">i")
_HEADER: Final = np.dtype(
    [
        ("base_offset", ">i8"),
        ("length", ">i4"),
        ("leader_epoch", ">i4"),
        ("magic", "i1"),
        ("crc", ">u4"),
        ("attributes", ">i2"),
        ("last_offset_delta", ">i4"),
        ("base_timestamp", ">i8"),
        ("max_timestamp", ">i8"),
        ("producer", "V14"),
        ("record_count", ">i4"),
    ]
)
"""As `protocol.batch` lays a batch's header out."""

_HEADER_BYTES: Final = np.arange(BATCH_OVERHEAD)


class BytesColumn:
    """Byte strings as ranges of `data`, in ascending order; a length of -1 is null (the start is valid then)."""

    __slots__ = ("data", "lengths", "starts")

    def __init__(self, data: Bytes, starts: Int64s, lengths: Int64s) -> None:
        self.data = data
        self.starts = starts
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> bytes | None:
        start, length = int(self.starts[index]), int(self.lengths[index])
        return None if length < 0 else self.data[start : start + length].tobytes()

    def part(self, first: int, end: int) -> "BytesColumn":
        return BytesColumn(self.data, self.starts[first:end], self.lengths[first:end])


class HeaderColumns:
    """Headers of all records in one row: those of record i are `list_offsets[i]` to `list_offsets[i + 1]`."""

    __slots__ = ("keys", "list_offsets", "values")

    def __init__(self, list_offsets: Int64s, keys: BytesColumn, values: BytesColumn) -> None:
        self.list_offsets = list_offsets
        self.keys = keys
        self.values = values


class RecordColumns:
    """Records of one partition: absolute offsets, timestamps in ms (-1: none), types 0 CreateTime, 1 LogAppendTime."""

    __slots__ = ("headers", "keys", "offsets", "timestamp_types", "timestamps", "values")

    def __init__(
        self,
        offsets: Int64s,
        timestamps: Int64s,
        timestamp_types: NDArray[np.int8],
        keys: BytesColumn,
        values: BytesColumn,
        headers: HeaderColumns,
    ) -> None:
        self.offsets = offsets
        self.timestamps = timestamps
        self.timestamp_types = timestamp_types
        self.keys = keys
        self.values = values
        self.headers = headers

    def __len__(self) -> int:
        return len(self.offsets)

    def part(self, first: int, end: int) -> "RecordColumns":
        """The records from `first` to before `end`, or the last; nothing is copied."""
        lists = self.headers.list_offsets[first : end + 1]
        span = int(lists[0]), int(lists[-1])
        return RecordColumns(
            self.offsets[first:end],
            self.timestamps[first:end],
            self.timestamp_types[first:end],
            self.keys.part(first, end),
            self.values.part(first, end),
            HeaderColumns(lists - lists[0], self.headers.keys.part(*span), self.headers.values.part(*span)),
        )


def decode(data: Buffer, max_decompressed_bytes: int) -> Iterator[RecordColumns]:
    """The records of the whole batches in `data`, in order, at most PIECE_RECORDS at a time.

    Control batches are left out; a message set of format 0 or 1 is converted first. `max_decompressed_bytes` is
    for one batch. Where nothing is compressed the columns are views of `data`. Raises CorruptBatch, TooLarge.
    """
    if len(data) > BATCH_OVERHEAD and peek_magic(data, 0) < 2:
        data = up_convert(data, max_decompressed_bytes)
    batches = _Batches.of(data)
    batches = batches.part(batches.attributes & CONTROL_BIT == 0)
    find = _compressed_groups if (batches.attributes & CODEC_MASK).any() else _plain_groups
    for group in find(data, batches, max_decompressed_bytes):
        try:
            yield from _decode_group(group)
        except Damaged:
            for batch in parse_batches(data):
                if not batch.is_control:
                    for _ in iterate(data, batch, max_decompressed_bytes):
                        pass
            raise AssertionError("the two decoders of record batches disagree") from None


class _Batches:
    """Headers of batches, and where these lie in the data: without an object for each, as there may be many."""

    __slots__ = (
        "attributes",
        "base_offsets",
        "base_timestamps",
        "counts",
        "max_timestamps",
        "positions",
        "sizes",
    )

    def __init__(self, positions: Int64s, sizes: Int64s, headers: NDArray[np.void]) -> None:
        self.positions = positions
        self.sizes = sizes
        self.attributes: Int64s = headers["attributes"].astype(np.int64)
        self.base_offsets: Int64s = headers["base_offset"].astype(np.int64)
        self.base_timestamps: Int64s = headers["base_timestamp"].astype(np.int64)
        self.max_timestamps: Int64s = headers["max_timestamp"].astype(np.int64)
        self.counts: Int64s = headers["record_count"].astype(np.int64)

    @classmethod
    def of(cls, data: Buffer) -> "_Batches":
        """Those that fill the data. Raises CorruptBatch, as `parse_batches` does."""
        found = array("q")
        append, length_at = found.append, _LENGTH.unpack_from
        position, last = 0, len(data) - BATCH_OVERHEAD
        while position <= last:
            append(position)
            size = length_at(data, position + 8)[0] + LOG_OVERHEAD
            if size < BATCH_OVERHEAD:
                break
            position += size
        positions = np.frombuffer(found, np.int64) if found else np.empty(0, np.int64)
        everything = np.frombuffer(data, np.uint8)
        headers = everything[positions[:, None] + _HEADER_BYTES].view(_HEADER)[:, 0]
        if position != len(data) or (headers["magic"] != 2).any():
            parse_batches(data)
            raise AssertionError("the two decoders of batch headers disagree")
        return cls(positions, np.diff(positions, append=position), headers)

    def part(self, chosen: NDArray[np.bool_] | slice) -> "_Batches":
        found = object.__new__(_Batches)
        for name in self.__slots__:
            setattr(found, name, getattr(self, name)[chosen])
        return found

    def __len__(self) -> int:
        return len(self.positions)


class _Group:
    """Batches whose records are decoded together; `spans` of (start, end, record_count) of each in `data`."""

    __slots__ = ("batches", "data", "spans")

    def __init__(self, data: Buffer, batches: _Batches, starts: Int64s, ends: Int64s) -> None:
        self.data = data
        self.batches = batches
        self.spans = np.column_stack((starts, ends, batches.counts))


def _plain_groups(data: Buffer, batches: _Batches, _: int) -> Iterator[_Group]:
    sizes, counts = np.cumsum(batches.sizes), np.cumsum(batches.counts)
    first = size = count = 0
    while first < len(batches):
        end = min(
            int(np.searchsorted(sizes, size + PIECE_BYTES, side="right")),
            int(np.searchsorted(counts, count + PIECE_RECORDS, side="right")),
        )
        end = max(end, first + 1)
        group = batches.part(slice(first, end))
        yield _Group(data, group, group.positions + BATCH_OVERHEAD, group.positions + group.sizes)
        first, size, count = end, int(sizes[end - 1]), int(counts[end - 1])


def _compressed_groups(data: Buffer, batches: _Batches, max_decompressed_bytes: int) -> Iterator[_Group]:
    view = memoryview(data)
    blocks: list[Buffer] = []
    first = size = count = 0
    ends = (batches.positions + batches.sizes).tolist()
    starts = (batches.positions + BATCH_OVERHEAD).tolist()
    codecs = (batches.attributes & CODEC_MASK).tolist()
    counts = batches.counts.tolist()
    for index in range(len(batches)):
        block: Buffer = view[starts[index] : ends[index]]
        if codecs[index]:
            block = decompress(codecs[index], block, max_decompressed_bytes)
        if blocks and (size + len(block) > PIECE_BYTES or count + counts[index] > PIECE_RECORDS):
            yield _joined(batches.part(slice(first, index)), blocks)
            blocks, first, size, count = [], index, 0, 0
        blocks.append(block)
        size += len(block)
        count += counts[index]
    if blocks:
        yield _joined(batches.part(slice(first, len(batches))), blocks)


def _joined(batches: _Batches, blocks: list[Buffer]) -> _Group:
    """Empties `blocks`: their memory is not needed twice."""
    ends = np.cumsum(np.array([len(block) for block in blocks], np.int64))
    starts = np.concatenate((np.zeros(1, np.int64), ends[:-1]))
    data = blocks[0] if len(blocks) == 1 else b"".join(blocks)
    blocks.clear()
    return _Group(data, batches, starts, ends)


def _decode_group(group: _Group) -> Iterator[RecordColumns]:
    starts = record_starts(group.data, group.spans)
    ends = np.cumsum(group.batches.counts)
    joined = np.frombuffer(group.data, np.uint8)
    for first in range(0, len(starts), PIECE_RECORDS):
        piece = starts[first : first + PIECE_RECORDS]
        owners = np.searchsorted(ends, np.arange(first, first + len(piece)), side="right")
        yield _columns(joined, lay_out(joined, piece), group.batches, owners)


def _columns(data: Bytes, layout: RecordLayout, batches: _Batches, owners: NDArray[np.intp]) -> RecordColumns:
    timestamps = batches.base_timestamps[owners] + layout.timestamp_deltas
    types = (batches.attributes & LOG_APPEND_TIME_BIT != 0).astype(np.int8)
    timestamp_types = types[owners]
    if types.any():  # LogAppendTime: the header's timestamp is every record's
        timestamps = np.where(timestamp_types == 1, batches.max_timestamps[owners], timestamps)
    return RecordColumns(
        batches.base_offsets[owners] + layout.offset_deltas,
        timestamps,
        timestamp_types,
        BytesColumn(data, layout.key_starts, layout.key_lengths),
        BytesColumn(data, layout.value_starts, layout.value_lengths),
        _headers(data, layout),
    )


def _headers(data: Bytes, layout: RecordLayout) -> HeaderColumns:
    list_offsets, found = header_ranges(data, layout)
    keys = BytesColumn(data, found[0], found[1])
    return HeaderColumns(list_offsets, keys, BytesColumn(data, found[2], found[3]))
