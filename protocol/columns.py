"""Records of many batches as numpy columns: where everything is, nothing copied, nothing looked at one by one.

A record's length is a varint, so its successor is only known once it is read. That one step is done record by record,
or, where there are many batches, for the first record of each, the second of each, and so on. All other fields are
decoded for all records at once: the byte at every record's position is gathered, and the records whose varint goes on
are gathered again.

Keys, values and headers stay where they are, as ranges of `data`: whoever wants them elsewhere copies them
with the tool of their own trade. Every range is checked against its record, every record against its batch.

Where a check fails, the batches are read again by `protocol.records`, which says what is wrong: damaged bytes
raise the same error here and there. Only worker processes import this module, for numpy's sake.
"""

from array import array
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocol.compression import decompress
from protocol.legacy import up_convert
from protocol.records import (
    BATCH_OVERHEAD,
    CODEC_MASK,
    CONTROL_BIT,
    LOG_APPEND_TIME_BIT,
    LOG_OVERHEAD,
    Buffer,
    CorruptBatch,
    iterate,
    parse_batches,
    peek_magic,
)

Int64s = NDArray[np.int64]
Bytes = NDArray[np.uint8]

PIECE_RECORDS: Final = 1 << 17
"""Records decoded together: enough to make numpy's cost per call vanish, 100 bytes of columns each."""

PIECE_BYTES: Final = 1 << 24
"""Decompressed bytes of the batches that are decoded together; one batch may have more."""

ABREAST: Final = 36
"""How many batches make it worth while to walk through all of them abreast: a step costs as much as so many records."""

CACHED_RECORDS: Final = 1 << 12
"""Records laid out together: each field is read in a pass of its own, so their bytes should stay in the cache."""

HEADER_ROUNDS: Final = 16
"""Headers of a record that are decoded for all records at once; a record with more has the rest read singly."""

_OF_ONE_BYTE: Final = np.array([(byte >> 1) ^ -(byte & 1) for byte in range(256)], np.int64)  # zig-zag


def _record_sizes() -> NDArray[np.int16]:
    """By the first two bytes of a record, little endian: its size, length included; 0 where they do not tell."""
    first, second = np.arange(1 << 16) & 0xFF, np.arange(1 << 16) >> 8
    short, long = (first >> 1) + 1, ((first & 0x7F | second << 7) >> 1) + 2
    sizes = np.where(first < 0x80, short, np.where(second < 0x80, long, 0))
    return np.where(first & 1, 0, sizes).astype(np.int16)  # odd: negative


_RECORD_SIZES: Final = _record_sizes()

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
"""As `protocol.records` lays a batch's header out."""

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


class RecordLayout:
    """Where each record and its parts lie in a block of decompressed records; one int64 array per field.

    `starts` are the positions of the records' length fields, `ends` of their successors'. A key or value is
    null where its length is -1. `header_starts` is the position behind the header count.
    """

    __slots__ = (
        "ends",
        "header_counts",
        "header_starts",
        "key_lengths",
        "key_starts",
        "offset_deltas",
        "starts",
        "timestamp_deltas",
        "value_lengths",
        "value_starts",
    )

    starts: Int64s
    ends: Int64s
    timestamp_deltas: Int64s
    offset_deltas: Int64s
    key_starts: Int64s
    key_lengths: Int64s
    value_starts: Int64s
    value_lengths: Int64s
    header_counts: Int64s
    header_starts: Int64s

    def __len__(self) -> int:
        return len(self.starts)


_LAYOUT_FIELDS: Final = (
    "ends",
    "timestamp_deltas",
    "offset_deltas",
    "key_starts",
    "key_lengths",
    "value_starts",
    "value_lengths",
    "header_counts",
    "header_starts",
)


class _Damaged(Exception):
    """Something does not fit; `protocol.records` will say what."""


def record_layout(block: Buffer, record_count: int) -> RecordLayout:
    """The layout of one batch's decompressed records (`records_bytes`), of which the header says the count.

    Everything but the inside of headers is checked. Raises CorruptBatch.
    """
    try:
        return _layout(
            np.frombuffer(block, np.uint8),
            _starts(block, np.array([(0, len(block), record_count)], np.int64)),
        )
    except _Damaged:
        raise CorruptBatch(f"the {len(block)} bytes are not {record_count} records") from None


def span_layout(data: Buffer, spans: Sequence[tuple[int, int, int]]) -> RecordLayout:
    """The layout of the records of several batches in one buffer; a span is (start, end, record_count) of one.

    Raises CorruptBatch, as `record_layout` does.
    """
    try:
        return _layout(np.frombuffer(data, np.uint8), _starts(data, np.array(spans, np.int64).reshape(-1, 3)))
    except _Damaged:
        raise CorruptBatch(f"the records of {len(spans)} batches are not what their headers say") from None


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
        except _Damaged:
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
    starts = _starts(group.data, group.spans)
    ends = np.cumsum(group.batches.counts)
    joined = np.frombuffer(group.data, np.uint8)
    for first in range(0, len(starts), PIECE_RECORDS):
        piece = starts[first : first + PIECE_RECORDS]
        owners = np.searchsorted(ends, np.arange(first, first + len(piece)), side="right")
        yield _columns(joined, _layout(joined, piece), group.batches, owners)


def _starts(data: Buffer, spans: Int64s) -> Int64s:
    """The positions of all records; each span is filled by its records exactly, or it is damaged."""
    counts = spans[:, 2]
    if len(counts) == 0:
        return np.empty(0, np.int64)
    if counts.min() < 0:
        raise _Damaged
    total = int(counts.sum())
    if 0 < ABREAST * int(counts.max()) <= total <= PIECE_RECORDS and len(data) > 1:
        try:
            return _walk_abreast(np.frombuffer(data, np.uint8), spans)
        except IndexError:
            raise _Damaged from None
    return _walk(data, spans.tolist())


def _walk_abreast(data: Bytes, table: Int64s) -> Int64s:
    order = np.argsort(-table[:, 2], kind="stable")  # so that those that are not through yet are a prefix
    positions, ends, counts = table[order].T
    places = (np.cumsum(table[:, 2]) - table[:, 2])[order]  # of each span's next record in the result
    starts = np.empty(int(counts.sum()), np.int64)
    pairs = np.ndarray(len(data) - 1, "<u2", data, strides=(1,))  # every two bytes, each byte in two of them
    walking = len(table)
    for index in range(int(counts[0]) + 1):
        through = int(np.searchsorted(-counts[:walking], -index, side="left"))
        if through < walking:
            if (positions[through:] != ends[through:walking]).any():
                raise _Damaged
            walking, positions, places = through, positions[:through], places[:through]
        if walking:
            starts[places] = positions
            places = places + 1
            positions = positions + _sizes(data, pairs, positions)
    return starts


def _sizes(data: Bytes, pairs: NDArray[np.uint16], positions: Int64s) -> NDArray[np.int16] | Int64s:
    """Of the records at `positions`, their lengths included. Raises IndexError behind the last pair."""
    sizes = _RECORD_SIZES[pairs[positions]]
    if sizes.all():
        return sizes
    untold = np.flatnonzero(sizes == 0)
    lengths, behind = _varints(data, positions[untold])
    exact = sizes.astype(np.int64)
    exact[untold] = behind + np.maximum(lengths, 0) - positions[untold]  # `_layout` refuses negative lengths
    return exact


def _walk(data: Buffer, spans: Sequence[tuple[int, int, int]]) -> Int64s:
    starts = array("q")
    append = starts.append
    try:
        for position, end, count in spans:
            for _ in range(count):
                append(position)
                byte = data[position]
                if byte < 0x80:
                    position += (byte >> 1) + 1
                    continue
                second = data[position + 1]
                if second < 0x80:
                    position += (byte >> 1 & 0x3F | second << 6) + 2
                else:
                    length, behind = _varint(data, position)
                    position = behind + max(length, 0)  # `_layout` refuses negative lengths
            if position != end:
                raise _Damaged
    except IndexError:
        raise _Damaged from None
    return np.frombuffer(starts, np.int64) if starts else np.empty(0, np.int64)


def _varints(data: Bytes, positions: Int64s, longest: int = 5) -> tuple[Int64s, Int64s]:
    """The zig-zag varints at `positions`, and the positions behind them.

    Reading past the end of `data` gives its last byte again: callers compare positions with the record's end.
    """
    first = data.take(positions, mode="clip")
    values, behind = _OF_ONE_BYTE[first], positions + 1
    long = np.flatnonzero(first > 0x7F)
    if len(long):
        values[long], behind[long] = _long_varints(data, first[long], behind[long], longest)
    return values, behind


def _long_varints(data: Bytes, first: Bytes, positions: Int64s, longest: int) -> tuple[Int64s, Int64s]:
    """Varints of two bytes and more, whose `first` bytes are before `positions`."""
    values = (first & 0x7F).astype(np.uint64)
    part = data.take(positions, mode="clip")
    values |= (part & 0x7F).astype(np.uint64) << np.uint64(7)
    behind = positions + 1
    going_on = np.flatnonzero(part > 0x7F)
    shift = 14
    while len(going_on):
        if shift == 7 * longest:
            raise _Damaged
        part = data.take(behind[going_on], mode="clip")
        values[going_on] |= (part & 0x7F).astype(np.uint64) << np.uint64(shift)
        behind[going_on] += 1
        # What would be shifted out: bits above 32 of a varint, above 64 of a varlong.
        if shift == 7 * (longest - 1) and (part & (0x70 if longest == 5 else 0x7E)).any():
            raise _Damaged
        going_on = going_on[part > 0x7F]
        shift += 7
    signs = (values & np.uint64(1)).view(np.int64)
    return (values >> np.uint64(1)).view(np.int64) ^ -signs, behind


def _ranges(data: Bytes, positions: Int64s, ends: Int64s) -> tuple[Int64s, Int64s, Int64s]:
    """Nullable byte strings at `positions`: their starts, their lengths (-1 is null), the positions behind."""
    lengths, starts = _varints(data, positions)
    lengths = np.maximum(lengths, -1)
    behind = starts + np.maximum(lengths, 0)
    if (behind > ends).any():
        raise _Damaged
    return starts, lengths, behind


def _layout(data: Bytes, starts: Int64s) -> RecordLayout:
    layout = RecordLayout()
    table = np.empty((len(_LAYOUT_FIELDS), len(starts)), np.int64)
    for first in range(0, len(starts), CACHED_RECORDS):
        block = slice(first, first + CACHED_RECORDS)
        _layout_block(data, starts[block], table[:, block])
    layout.starts = starts
    for name, row in zip(_LAYOUT_FIELDS, table, strict=True):
        setattr(layout, name, row)
    return layout


def _layout_block(data: Bytes, starts: Int64s, out: Int64s) -> None:
    """Fills the rows of `out` in the order of _LAYOUT_FIELDS."""
    lengths, positions = _varints(data, starts)
    out[0] = ends = positions + lengths
    out[1], positions = _varints(data, positions + 1, 10)  # after the attributes
    out[2], positions = _varints(data, positions)
    out[3], out[4], positions = _ranges(data, positions, ends)
    out[5], out[6], positions = _ranges(data, positions, ends)
    counts, positions = _varints(data, positions)
    out[7], out[8] = counts, positions
    left = ends - positions
    # Without headers nothing follows; a header takes two bytes at least.
    if (lengths < 0).any() or (counts < 0).any() or (counts > left).any() or (left[counts == 0] != 0).any():
        raise _Damaged


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
    counts = layout.header_counts
    list_offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=list_offsets[1:])
    total = int(list_offsets[-1])
    # Rows: key starts, key lengths, value starts, value lengths.
    found = np.zeros((4, total), np.int64)
    records = np.flatnonzero(counts)
    positions = layout.header_starts[records]
    for index in range(HEADER_ROUNDS):
        if not len(records):
            break
        ends = layout.ends[records]
        rows = list_offsets[records] + index
        found[0, rows], found[1, rows], positions = _ranges(data, positions, ends)
        found[2, rows], found[3, rows], positions = _ranges(data, positions, ends)
        done = counts[records] == index + 1
        if (positions[done] != ends[done]).any():
            raise _Damaged
        records, positions = records[~done], positions[~done]
    for record, position in zip(records.tolist(), positions.tolist(), strict=True):
        rows = np.arange(list_offsets[record] + HEADER_ROUNDS, list_offsets[record + 1])
        found[:, rows] = _many_headers(data, position, int(layout.ends[record]), len(rows))
    if (found[1] < 0).any():  # a header key is never null
        raise _Damaged
    keys = BytesColumn(data, found[0], found[1])
    return HeaderColumns(list_offsets, keys, BytesColumn(data, found[2], found[3]))


def _many_headers(data: Bytes, position: int, end: int, count: int) -> Int64s:
    """The last `count` headers of one record, which has so many that rounds over all records do not pay."""
    block = data[position:end].tobytes()
    at = 0
    found: array[int] = array("q")
    try:
        for _ in range(2 * count):
            length, at = _varint(block, at)
            found.append(position + at)
            found.append(max(length, -1))
            at += max(length, 0)
    except IndexError:
        raise _Damaged from None
    if at != len(block):
        raise _Damaged
    return np.frombuffer(found, np.int64).reshape(count, 4).T


def _varint(block: Buffer, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 35, 7):
        byte = block[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 32:
                raise _Damaged
            return (value >> 1) ^ -(value & 1), position
    raise _Damaged
