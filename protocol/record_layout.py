"""Where the records of many batches lie in their bytes, and where everything is in them, as numpy arrays.

A record's length is a varint, so its successor is only known once it is read. That one step is done record by record,
or, where there are many batches, for the first record of each, the second of each, and so on. All other fields are
decoded for all records at once: the byte at every record's position is gathered, and the records whose varint goes on
are gathered again.

Every range is checked against its record, every record against its batch. Only worker processes import this module,
for numpy's sake.
"""

from array import array
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocol.batch import Buffer, CorruptBatch

Int64s = NDArray[np.int64]
Bytes = NDArray[np.uint8]

PIECE_RECORDS: Final = 1 << 17
"""Records decoded together: enough to make numpy's cost per call vanish, 100 bytes of columns each."""

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


class Damaged(Exception):
    """Something does not fit; `protocol.records` will say what."""


def record_layout(block: Buffer, record_count: int) -> RecordLayout:
    """The layout of one batch's decompressed records (`records_bytes`), of which the header says the count.

    Everything but the inside of headers is checked. Raises CorruptBatch.
    """
    try:
        return lay_out(
            np.frombuffer(block, np.uint8),
            record_starts(block, np.array([(0, len(block), record_count)], np.int64)),
        )
    except Damaged:
        raise CorruptBatch(f"the {len(block)} bytes are not {record_count} records") from None


def span_layout(data: Buffer, spans: Sequence[tuple[int, int, int]]) -> RecordLayout:
    """The layout of the records of several batches in one buffer; a span is (start, end, record_count) of one.

    Raises CorruptBatch, as `record_layout` does.
    """
    try:
        return lay_out(
            np.frombuffer(data, np.uint8), record_starts(data, np.array(spans, np.int64).reshape(-1, 3))
        )
    except Damaged:
        raise CorruptBatch(f"the records of {len(spans)} batches are not what their headers say") from None


def record_starts(data: Buffer, spans: Int64s) -> Int64s:
    """The positions of all records; a span is (start, end, record_count). Raises Damaged where they do not fill one."""
    counts = spans[:, 2]
    if len(counts) == 0:
        return np.empty(0, np.int64)
    if counts.min() < 0:
        raise Damaged
    total = int(counts.sum())
    if 0 < ABREAST * int(counts.max()) <= total <= PIECE_RECORDS and len(data) > 1:
        try:
            return _walk_abreast(np.frombuffer(data, np.uint8), spans)
        except IndexError:
            raise Damaged from None
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
                raise Damaged
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
    exact[untold] = behind + np.maximum(lengths, 0) - positions[untold]  # `lay_out` refuses negative lengths
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
                    position = behind + max(length, 0)  # `lay_out` refuses negative lengths
            if position != end:
                raise Damaged
    except IndexError:
        raise Damaged from None
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
            raise Damaged
        part = data.take(behind[going_on], mode="clip")
        values[going_on] |= (part & 0x7F).astype(np.uint64) << np.uint64(shift)
        behind[going_on] += 1
        # What would be shifted out: bits above 32 of a varint, above 64 of a varlong.
        if shift == 7 * (longest - 1) and (part & (0x70 if longest == 5 else 0x7E)).any():
            raise Damaged
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
        raise Damaged
    return starts, lengths, behind


def lay_out(data: Bytes, starts: Int64s) -> RecordLayout:
    """What is where in the records at `starts`. Raises Damaged."""
    layout = RecordLayout()
    table = np.empty((len(_LAYOUT_FIELDS), len(starts)), np.int64)
    for first in range(0, len(starts), CACHED_RECORDS):
        block = slice(first, first + CACHED_RECORDS)
        _fill(data, starts[block], table[:, block])
    layout.starts = starts
    for name, row in zip(_LAYOUT_FIELDS, table, strict=True):
        setattr(layout, name, row)
    return layout


def _fill(data: Bytes, starts: Int64s, out: Int64s) -> None:
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
        raise Damaged


def header_ranges(data: Bytes, layout: RecordLayout) -> tuple[Int64s, Int64s]:
    """(where each record's headers begin in a row of all, four rows of them: starts and lengths of keys, of values).

    Raises Damaged.
    """
    counts = layout.header_counts
    list_offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=list_offsets[1:])
    total = int(list_offsets[-1])
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
            raise Damaged
        records, positions = records[~done], positions[~done]
    for record, position in zip(records.tolist(), positions.tolist(), strict=True):
        rows = np.arange(list_offsets[record] + HEADER_ROUNDS, list_offsets[record + 1])
        found[:, rows] = _many_headers(data, position, int(layout.ends[record]), len(rows))
    if (found[1] < 0).any():  # a header key is never null
        raise Damaged
    return list_offsets, found


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
        raise Damaged from None
    if at != len(block):
        raise Damaged
    return np.frombuffer(found, np.int64).reshape(count, 4).T


def _varint(block: Buffer, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 35, 7):
        byte = block[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 32:
                raise Damaged
            return (value >> 1) ^ -(value & 1), position
    raise Damaged
