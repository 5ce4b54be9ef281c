"""Columns of record batches: what the plain decoder finds, and its errors, whatever the bytes are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import columns, legacy, record_layout, records
from protocol.columns import RecordColumns
from protocol.records import CorruptBatch, Record

LIMIT = 1 << 20
CODECS = [0, 1, 2, 3, 4]

sizes = st.sampled_from([0, 1, 5, 62, 63, 64, 65, 127, 128, 8190, 8200]) | st.integers(0, 80)
some_bytes = st.none() | st.binary(max_size=12) | sizes.map(lambda size: b"\x00v" * (size // 2))
headers = st.lists(st.tuples(st.text(max_size=4), some_bytes), max_size=3) | st.just([("h", None)] * 40)
record = st.builds(
    Record,
    timestamp=st.integers(-1, 2**62) | st.integers(1_700_000_000_000, 1_700_000_000_200),
    key=some_bytes,
    value=some_bytes,
    headers=st.just([]) | headers,
)


def as_records(piece: RecordColumns) -> list[Record]:
    found = []
    for index in range(len(piece)):
        span = range(int(piece.headers.list_offsets[index]), int(piece.headers.list_offsets[index + 1]))
        pairs = [
            ((piece.headers.keys[at] or b"").decode("utf-8", "replace"), piece.headers.values[at])
            for at in span
        ]
        found.append(
            Record(
                int(piece.offsets[index]),
                int(piece.timestamps[index]),
                piece.keys[index],
                piece.values[index],
                pairs,
            )
        )
    return found


def by_columns(data: bytes | bytearray, limit: int = LIMIT) -> list[Record]:
    return list(itertools.chain.from_iterable(map(as_records, columns.decode(data, limit))))


def by_record(data: bytes | bytearray, limit: int = LIMIT) -> list[Record]:
    found: list[Record] = []
    for batch in records.parse_batches(data):
        if not batch.is_control:
            found += records.iterate(data, batch, limit)
    for one in found:  # as Java's long addition, and numpy's
        one.timestamp = (one.timestamp + 2**63) % 2**64 - 2**63
    return found


def outcome(decoder: object, data: bytes | bytearray) -> object:
    try:
        return decoder(data)  # type: ignore[operator]
    except CorruptBatch as error:
        return type(error), str(error)


batches = st.builds(
    lambda source, base, codec, kind: records.build(
        source, base_offset=base, compression=codec, timestamp_type=kind, append_time=77
    ),
    st.lists(record, max_size=5),
    st.integers(0, 2**60),
    st.sampled_from(CODECS),
    st.sampled_from([0, 1]),
)


@given(st.lists(batches, max_size=4))
def test_columns_hold_what_the_plain_decoder_finds(source: list[bytearray]) -> None:
    data = b"".join(source)
    assert by_columns(data) == by_record(data)


@settings(max_examples=30)
@given(st.lists(batches, min_size=1, max_size=4), st.integers(0, 255), st.integers(0, 400), st.data())
def test_many_batches_are_read_as_each_for_itself(
    source: list[bytearray], byte: int, at: int, data: st.DataObject
) -> None:
    many = data.draw(st.permutations(source * 120 if len(source[0]) < 500 else source))
    whole = bytearray().join(many)
    assert outcome(by_columns, whole) == outcome(by_record, whole)
    victim = data.draw(st.integers(0, len(many) - 1))
    position = (
        sum(map(len, many[:victim])) + 57 + at % (len(many[victim]) - 57)
    )  # the record count, or behind it
    whole[position] = byte
    assert outcome(by_columns, whole) == outcome(by_record, whole)


@settings(max_examples=300)
@given(st.lists(record, min_size=1, max_size=4), st.data())
def test_damaged_records_raise_the_plain_decoders_error(source: list[Record], data: st.DataObject) -> None:
    damaged = records.build(source, base_offset=9)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(records.BATCH_OVERHEAD, len(damaged) - 1) | st.integers(57, 60))
        damaged[position] = data.draw(
            st.sampled_from([0, 1, 2, 3, 0x7F, 0x80, 0x81, 0xFF]) | st.integers(0, 255)
        )
    assert outcome(by_columns, damaged) == outcome(by_record, damaged)


@settings(max_examples=300)
@given(st.binary(max_size=40), st.integers(-1, 6))
def test_garbage_raises_the_plain_decoders_error(block: bytes, count: int) -> None:
    header = records.parse_header(records.build([Record(timestamp=5)]), 0)
    header.record_count = count
    garbage = records.assemble(header, block)
    assert outcome(by_columns, garbage) == outcome(by_record, garbage)


@pytest.mark.parametrize("timestamp", [0, 1, 63, 64, 2**31, 2**62, 2**63 - 1])
def test_long_timestamp_deltas(timestamp: int) -> None:
    data = records.build([Record(timestamp=0, value=b"a"), Record(timestamp=timestamp, value=b"b")])
    assert [found.timestamp for found in by_columns(data)] == [0, timestamp]


def test_control_batches_are_left_out_and_offsets_with_holes_stay() -> None:
    marker = records.end_transaction_marker(
        True, producer_id=1, producer_epoch=0, coordinator_epoch=0, timestamp=1, base_offset=10
    )
    source = [Record(offset=12, timestamp=1, value=b"x"), Record(offset=17, timestamp=2, value=None)]
    batch = records.build(source, base_offset=12, preserve_offsets=True)
    [piece] = columns.decode(marker + batch + marker, LIMIT)
    assert piece.offsets.tolist() == [12, 17]
    assert piece.values[0] == b"x" and piece.values[1] is None


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [0, 1, 2, 3])
def test_old_formats_are_converted(magic: int, codec: int) -> None:
    source = [Record(timestamp=100 + i, key=b"k", value=b"v%d" % i) for i in range(3)]
    data = legacy.build_message_set(source, magic, codec)
    assert [found.value for found in by_columns(data)] == [b"v0", b"v1", b"v2"]


def test_a_batch_of_many_records_comes_in_pieces() -> None:
    count = record_layout.PIECE_RECORDS + 7
    data = records.build([Record(timestamp=i % 9, value=b"") for i in range(count)], base_offset=5)
    pieces = list(columns.decode(data, LIMIT))
    assert [len(piece) for piece in pieces] == [record_layout.PIECE_RECORDS, 7]
    assert np.array_equal(np.concatenate([piece.offsets for piece in pieces]), np.arange(5, 5 + count))


def test_what_decompresses_to_too_much_is_refused() -> None:
    data = records.build([Record(value=b"\x00" * 5000)], compression=4)
    with pytest.raises(records.TooLarge):
        by_columns(data, limit=1000)


def test_layout_gives_byte_ranges() -> None:
    source = [Record(timestamp=7 + i, key=b"key%d" % i, value=None if i else b"v") for i in range(3)]
    data = records.build(source)
    [batch] = records.parse_batches(data)
    block = records.records_bytes(data, batch, LIMIT)
    layout = record_layout.record_layout(block, batch.record_count)
    assert layout.starts[0] == 0 and layout.ends[-1] == len(block)
    assert np.array_equal(layout.starts[1:], layout.ends[:-1])
    keys = [block[s : s + n] for s, n in zip(layout.key_starts, layout.key_lengths)]
    assert keys == [b"key0", b"key1", b"key2"]
    assert layout.value_lengths.tolist() == [1, -1, -1]
    assert layout.timestamp_deltas.tolist() == layout.offset_deltas.tolist() == [0, 1, 2]
    with pytest.raises(CorruptBatch):
        record_layout.record_layout(block, batch.record_count + 1)


@given(st.lists(record, min_size=1, max_size=6), st.integers(0, 5), st.integers(1, 7))
def test_a_part_is_what_lies_in_it(source: list[Record], first: int, count: int) -> None:
    [piece] = columns.decode(records.build(source), LIMIT)
    first = min(first, len(source) - 1)
    assert as_records(piece.part(first, first + count)) == as_records(piece)[first : first + count]


@pytest.mark.parametrize("sizes", [(3, 70, 200), (1, 8100, 8300, 9), (20_000,)])
def test_records_of_every_length_in_many_batches(sizes: tuple[int, ...]) -> None:
    """Walked abreast: lengths of one byte and of two are looked up together, longer ones are read."""
    data = b"".join(
        bytes(records.build([Record(timestamp=5, value=b"v" * size) for size in sizes], base_offset=at * 9))
        for at in range(record_layout.ABREAST + 1)
    )
    assert by_columns(data) == by_record(data)
    last = len(data) - len(records.build([Record(timestamp=5, value=b"v" * size) for size in sizes]))
    for lie in (0x00, 0x01, 0x40, 0x80, 0xFF):  # the length of the last batch's first record
        damaged = bytearray(data)
        damaged[last + records.BATCH_OVERHEAD] = lie
        assert outcome(by_columns, damaged) == outcome(by_record, damaged)
