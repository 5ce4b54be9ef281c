"""Message formats 0 and 1: conversion both ways, offsets, limits, garbage."""

import contextlib
import zlib

import pytest
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from protocol import compression, legacy, records
from protocol.errors import ApiError, ErrorCode
from protocol.records import CorruptBatch, Record, TooLarge

LIMIT = 1 << 20

# Not lz4 in magic 0, which aiokafka refuses; Kafka's own classes vouch for it (test_golden_records).
AIOKAFKA_FORMATS = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3)]

maybe_bytes = st.none() | st.binary(max_size=60)
record = st.builds(Record, timestamp=st.integers(-1, 2**60), key=maybe_bytes, value=maybe_bytes)
old_codec = st.sampled_from([0, 1, 2, 3])


def three(**options: object) -> bytearray:
    source = [Record(timestamp=10 * i, key=b"k", value=b"%d" % i, headers=[("h", b"x")]) for i in range(3)]
    return records.build(source, **options)  # type: ignore[arg-type]


def down(buffer: bytes | bytearray, magic: int, first_offset: int = 0, max_bytes: int = LIMIT) -> bytearray:
    return legacy.down_convert(
        buffer,
        records.parse_batches(buffer),
        magic,
        first_offset=first_offset,
        max_decompressed_bytes=LIMIT,
        max_bytes=max_bytes,
    )


@given(st.lists(record, min_size=1, max_size=6), st.sampled_from([0, 1]), old_codec)
def test_up_and_down_again(source: list[Record], magic: int, codec: int) -> None:
    message_set = legacy.build_message_set(source, magic, codec)
    batch_bytes = legacy.up_convert(message_set, LIMIT)
    [batch] = records.parse_batches(batch_bytes)
    assert batch.compression == codec and batch.base_offset == 0 and batch.producer_id == -1
    expected = [Record(i, r.timestamp if magic == 1 else -1, r.key, r.value) for i, r in enumerate(source)]
    assert list(records.iterate(batch_bytes, batch, LIMIT)) == expected
    records.place(batch_bytes, batch, 1000, 3)
    again = list(legacy.iterate_message_set(down(batch_bytes, magic, 1000), LIMIT))
    assert [r.offset for r in again] == list(range(1000, 1000 + len(source)))
    assert [(r.timestamp, r.key, r.value) for r in again] == [(r.timestamp, r.key, r.value) for r in expected]


@pytest.mark.parametrize(("magic", "codec"), AIOKAFKA_FORMATS)
def test_aiokafka_reads_what_is_converted_down(magic: int, codec: int) -> None:
    converted = down(three(base_offset=70, compression=codec), magic, 70)
    found, message_set = [], MemoryRecords(bytes(converted))
    while message_set.has_next():
        batch = message_set.next_batch()
        assert batch.validate_crc()
        found += list(batch)
    assert [(r.offset, r.key, r.value) for r in found] == [(70 + i, b"k", b"%d" % i) for i in range(3)]
    assert [r.timestamp for r in found] == ([0, 10, 20] if magic == 1 else [None] * 3)


@pytest.mark.parametrize(("magic", "codec"), AIOKAFKA_FORMATS)
def test_aiokafkas_message_sets_are_converted_up(magic: int, codec: int) -> None:
    builder = LegacyRecordBatchBuilder(magic=magic, compression_type=codec, batch_size=10_000)
    for index in range(3):
        builder.append(index, timestamp=100 + index, key=b"k%d" % index, value=None)
    converted = legacy.up_convert(builder.build(), LIMIT)
    [batch] = records.parse_batches(converted)
    assert batch.compression == codec
    assert [(r.offset, r.key, r.value) for r in records.iterate(converted, batch, LIMIT)] == [
        (i, b"k%d" % i, None) for i in range(3)
    ]


def test_up_conversion_to_another_codec() -> None:
    converted = legacy.up_convert(legacy.build_message_set([Record(value=b"v")], 1, 1), LIMIT, codec=4)
    assert records.parse_batches(converted)[0].compression == 4


# --- offsets ---


def test_a_wrapper_offset_of_zero_is_librdkafkas() -> None:
    message_set = legacy.build_message_set([Record(value=b"a"), Record(value=b"b")], 1, 1)
    message_set[:8] = bytes(8)  # the offset lies outside the CRC
    assert [r.offset for r in legacy.iterate_message_set(message_set, LIMIT)] == [0, 1]


def test_a_wrapper_offset_below_its_messages_is_corrupt() -> None:
    message_set = legacy.build_message_set([Record(value=b"a")] * 5, 1, 1)
    message_set[:8] = (3).to_bytes(8, "big")
    with pytest.raises(CorruptBatch, match="wrapper offset 3"):
        list(legacy.iterate_message_set(message_set, LIMIT))


def test_a_fetch_from_the_middle_of_a_batch() -> None:
    plain = [r.offset for r in legacy.iterate_message_set(down(three(base_offset=5), 1, 6), LIMIT)]
    assert plain == [6, 7]
    packed = down(three(base_offset=5, compression=1), 1, 6)
    assert [r.offset for r in legacy.iterate_message_set(packed, LIMIT)] == [5, 6, 7]


def test_gaps_of_compaction_survive() -> None:
    source = [Record(offset=o, key=b"k", value=b"v") for o in (103, 110, 190)]
    for codec in (0, 1):
        for magic in (0, 1):
            buffer = records.build(source, base_offset=100, preserve_offsets=True, compression=codec)
            found = legacy.iterate_message_set(down(buffer, magic, 100), LIMIT)
            assert [r.offset for r in found] == [103, 110, 190]


# --- what old readers cannot have ---


def test_control_batches_are_left_out() -> None:
    marker = records.end_transaction_marker(
        True, producer_id=1, producer_epoch=0, coordinator_epoch=0, timestamp=1, base_offset=3
    )
    assert down(marker, 1) == b""
    found = legacy.iterate_message_set(down(three() + marker + three(base_offset=4), 1), LIMIT)
    assert [r.offset for r in found] == [0, 1, 2, 4, 5, 6]


def test_zstd_is_refused_only_when_nothing_comes_before_it() -> None:
    zstd = three(base_offset=3, compression=4)
    with pytest.raises(ApiError) as caught:
        down(zstd, 1)
    assert caught.value.code == ErrorCode.UNSUPPORTED_COMPRESSION_TYPE
    assert [r.offset for r in legacy.iterate_message_set(down(three() + zstd, 1), LIMIT)] == [0, 1, 2]


# --- limits ---


def test_max_bytes_stops_at_a_batch_but_never_before_the_first() -> None:
    buffer = three() + three(base_offset=3) + three(base_offset=6)
    one = len(down(three(), 1))
    assert len(down(buffer, 1, max_bytes=1)) == one
    assert len(down(buffer, 1, max_bytes=2 * one - 1)) == one
    assert len(down(buffer, 1, max_bytes=2 * one)) == 2 * one


def test_the_limit_holds_for_all_wrappers_together() -> None:
    one = legacy.build_message_set([Record(value=b"v" * 1000)], 1, 1)
    inner = len(legacy.build_message_set([Record(value=b"v" * 1000)], 1))
    legacy.up_convert(one + one, 2 * inner)
    with pytest.raises(TooLarge):
        legacy.up_convert(one + one, 2 * inner - 1)
    with pytest.raises(TooLarge):
        down_limit = records.build([Record(value=b"v" * 1000)], compression=1)
        legacy.down_convert(
            down_limit,
            records.parse_batches(down_limit),
            1,
            first_offset=0,
            max_decompressed_bytes=900,
            max_bytes=LIMIT,
        )


# --- garbage ---


def seal(message: bytearray) -> bytearray:
    message[12:16] = zlib.crc32(message[16:]).to_bytes(4, "big")
    return message


def test_what_is_refused_names_the_reason() -> None:
    good = legacy.build_message_set([Record(timestamp=1, key=b"key", value=b"value")], 1)
    for cut in (1, 10, 20, 30):
        with pytest.raises(CorruptBatch):
            legacy.up_convert(good[:-cut], LIMIT)
    flipped = bytearray(good)
    flipped[-1] ^= 1
    with pytest.raises(CorruptBatch, match="CRC"):
        legacy.up_convert(flipped, LIMIT)
    long_key = bytearray(good)
    long_key[26:30] = (100).to_bytes(4, "big")
    with pytest.raises(CorruptBatch, match="reach past"):
        legacy.up_convert(seal(long_key), LIMIT)
    short_value = bytearray(good)
    short_value[33:37] = (1).to_bytes(4, "big")
    with pytest.raises(CorruptBatch, match="should end"):
        legacy.up_convert(seal(short_value), LIMIT)
    magic_2 = bytearray(good)
    magic_2[16] = 2
    with pytest.raises(CorruptBatch, match="magic 2"):
        legacy.up_convert(magic_2, LIMIT)
    with pytest.raises(CorruptBatch, match="without messages"):
        legacy.up_convert(b"", LIMIT)


def test_wrappers_that_lie() -> None:
    def wrapper(codec: int, value: bytes | None) -> bytearray:
        message = legacy.build_message_set([Record(value=value)], 1)
        message[17] = codec
        return seal(message)

    nested = compression.compress(1, legacy.build_message_set([Record(value=b"v")], 1, 1))
    for codec, value, reason in (
        (1, None, "no value"),
        (1, compression.compress(1, b""), "nothing in it"),
        (1, nested, "inside another"),
        (1, b"not gzip", "gzip"),
        (4, compression.compress(4, b"x"), "zstd"),
        (5, b"x", "unknown"),
    ):
        with pytest.raises(CorruptBatch, match=reason):
            legacy.up_convert(wrapper(codec, value), LIMIT)


@given(st.data(), st.sampled_from([0, 1]), old_codec)
def test_mutated_bytes_raise_corrupt_batch_and_nothing_else(
    data: st.DataObject, magic: int, codec: int
) -> None:
    source = [Record(timestamp=5, key=b"key", value=b"x" * 50)] * 3
    message_set = legacy.build_message_set(source, magic, codec)
    for _ in range(data.draw(st.integers(1, 3))):
        message_set[data.draw(st.integers(0, len(message_set) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()) and len(message_set) > 16:
        seal(message_set)
    with contextlib.suppress(CorruptBatch):
        legacy.up_convert(message_set, 10_000)
