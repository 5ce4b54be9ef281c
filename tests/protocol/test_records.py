"""Record batches: round trips, patches in place, mutations, what LogValidator refuses."""

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import record_checks, records
from protocol.records import CorruptBatch, Record

LIMIT = 1 << 20

int64 = st.integers(-(2**63), 2**63 - 1)
maybe_bytes = st.none() | st.binary(max_size=80)
header = st.tuples(st.text(max_size=10), maybe_bytes)
record = st.builds(
    Record,
    timestamp=st.integers(-1, 2**62),
    key=maybe_bytes,
    value=maybe_bytes,
    headers=st.lists(header, max_size=3),
)


def expected(source: list[Record], base_offset: int) -> list[Record]:
    return [
        Record(base_offset + index, r.timestamp, r.key, r.value, r.headers) for index, r in enumerate(source)
    ]


def build_three(**options: object) -> bytearray:
    source = [Record(timestamp=100 + 10 * i, key=b"k%d" % i, value=b"v" * 100) for i in range(3)]
    return records.build(source, **options)  # type: ignore[arg-type]


@given(st.lists(record, max_size=6), st.integers(0, 2**60), st.sampled_from([0, 1, 2, 3, 4]))
def test_what_is_built_is_what_is_read(source: list[Record], base_offset: int, codec: int) -> None:
    buffer = memoryview(records.build(source, base_offset=base_offset, compression=codec))
    [batch] = records.parse_batches(buffer)
    assert records.crc_is_valid(buffer, batch)
    assert batch.size == len(buffer)
    assert batch.record_count == len(source)
    assert batch.compression == codec
    assert batch.next_offset == base_offset + len(source)
    assert batch.max_timestamp == max((r.timestamp for r in source), default=-1)
    assert list(records.iterate(buffer, batch, LIMIT)) == expected(source, base_offset)


def test_header_fields_and_properties() -> None:
    buffer = build_three(
        base_offset=40,
        producer_id=7,
        producer_epoch=3,
        base_sequence=2**31 - 2,
        is_transactional=True,
        leader_epoch=9,
    )
    batch = records.parse_header(buffer, 0)
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (7, 3, 2**31 - 2)
    assert batch.last_sequence == 0  # 2147483646, 2147483647, 0
    assert (batch.base_offset, batch.last_offset, batch.next_offset) == (40, 42, 43)
    assert (batch.base_timestamp, batch.max_timestamp, batch.timestamp_type) == (100, 120, 0)
    assert batch.is_transactional and not batch.is_control and batch.has_producer_id
    assert batch.partition_leader_epoch == 9
    assert records.peek_magic(buffer, 0) == batch.magic == 2


def test_place_leaves_the_crc_valid() -> None:
    buffer = memoryview(build_three() + build_three())
    batches = records.parse_batches(buffer)
    records.place(buffer, batches[1], 2**40, 5)
    again = records.parse_batches(buffer)
    assert (again[1].base_offset, again[1].partition_leader_epoch) == (2**40, 5)
    assert (batches[1].base_offset, batches[1].partition_leader_epoch) == (2**40, 5)
    assert again[1].size == batches[1].size
    assert again[0].base_offset == 0
    assert records.crc_is_valid(buffer, again[1])


def test_append_time_is_every_records_timestamp() -> None:
    buffer = memoryview(build_three())
    [batch] = records.parse_batches(buffer)
    records.stamp_append_time(buffer, batch, 5000)
    [again] = records.parse_batches(buffer)
    assert records.crc_is_valid(buffer, again) and again.crc == batch.crc
    assert (again.timestamp_type, again.max_timestamp, again.base_timestamp) == (1, 5000, 100)
    assert [r.timestamp for r in records.iterate(buffer, again, LIMIT)] == [5000] * 3


def test_offsets_with_gaps_are_preserved() -> None:
    source = [Record(offset=7, key=b"a"), Record(offset=19, key=b"b")]
    buffer = records.build(source, base_offset=5, preserve_offsets=True)
    [batch] = records.parse_batches(buffer)
    assert (batch.base_offset, batch.last_offset, batch.record_count) == (5, 19, 2)
    assert [r.offset for r in records.iterate(buffer, batch, LIMIT)] == [7, 19]


# --- lengths ---


def test_several_batches_and_a_partial_tail() -> None:
    one = build_three()
    buffer = one + build_three(base_offset=3) + one[:-1]
    assert [b.position for b in records.parse_batches(buffer, allow_partial_tail=True)] == [0, len(one)]
    with pytest.raises(CorruptBatch, match=f"batch at {2 * len(one)} is cut short"):
        records.parse_batches(buffer)
    assert records.parse_batches(b"") == []
    assert records.parse_batches(one[:60], allow_partial_tail=True) == []


@pytest.mark.parametrize("length", [-(2**31), -1, 0, 48])
def test_a_length_below_the_header_is_refused_even_in_a_partial_tail(length: int) -> None:
    buffer = build_three()
    buffer[8:12] = length.to_bytes(4, "big", signed=True)
    with pytest.raises(CorruptBatch, match="fewer than a header"):
        records.parse_batches(buffer, allow_partial_tail=True)
    with pytest.raises(CorruptBatch, match="fewer than a header"):
        records.parse_header(buffer, 0)


def test_another_magic_is_refused_by_name() -> None:
    buffer = build_three()
    buffer[16] = 1
    with pytest.raises(CorruptBatch, match="magic 1, not 2"):
        records.parse_batches(buffer)
    with pytest.raises(CorruptBatch):
        records.parse_header(buffer, len(buffer) - 10)
    with pytest.raises(CorruptBatch):
        records.peek_magic(buffer, len(buffer) - 16)


@settings(max_examples=400)
@given(st.data())
def test_mutated_bytes_raise_corrupt_batch_and_nothing_else(data: st.DataObject) -> None:
    source = [Record(timestamp=5, key=b"key", value=b"x" * 50, headers=[("h", b"1"), ("i", None)])] * 3
    buffer = records.build(source, compression=data.draw(st.sampled_from([0, 0, 1, 2, 3, 4])))
    for _ in range(data.draw(st.integers(1, 4))):
        buffer[data.draw(st.integers(0, len(buffer) - 1))] = data.draw(st.integers(0, 255))
    try:
        [batch] = records.parse_batches(buffer)
        list(records.iterate(buffer, batch, LIMIT))
    except CorruptBatch:
        pass
    try:
        [batch] = records.parse_batches(buffer)
        record_checks.record_errors(buffer, batch, LIMIT, require_key=True)
        records.find_by_timestamp(buffer, batch, 5, LIMIT)
    except CorruptBatch:
        pass


@given(st.binary(max_size=200))
def test_random_bytes_as_records(block: bytes) -> None:
    header = records.parse_header(build_three(), 0)
    buffer = records.assemble(header, block)
    [batch] = records.parse_batches(buffer)
    try:
        found = list(records.iterate(buffer, batch, LIMIT))
    except CorruptBatch:
        return
    assert len(found) == batch.record_count


def test_any_single_bit_flip_past_the_length_fails_the_crc() -> None:
    buffer = build_three()
    for position in range(records.ATTRIBUTES_POSITION, len(buffer), 7):
        buffer[position] ^= 1
        assert not records.crc_is_valid(memoryview(buffer), records.parse_header(buffer, 0))
        buffer[position] ^= 1


def test_a_lying_record_count_is_corrupt() -> None:
    for count in (-1, 2, 4, 2**31 - 1):
        buffer = build_three()
        buffer[57:61] = count.to_bytes(4, "big", signed=True)
        [batch] = records.parse_batches(buffer)
        with pytest.raises(CorruptBatch):
            list(records.iterate(buffer, batch, LIMIT))


@pytest.mark.parametrize("varint", [b"\xff" * 5 + b"\x01", b"\xff\xff\xff\xff\x1f", b"\xff" * 3])
def test_overlong_varints_are_corrupt(varint: bytes) -> None:
    header = records.parse_header(build_three(), 0)
    buffer = records.assemble(header, varint)
    [batch] = records.parse_batches(buffer)
    with pytest.raises(CorruptBatch):
        list(records.iterate(buffer, batch, LIMIT))


# --- scans ---


def test_find_by_timestamp_finds_the_first_record_not_the_batch() -> None:
    source = [Record(timestamp=t, value=b"v") for t in (100, 300, 200, 400)]
    for codec in (0, 4):
        buffer = memoryview(records.build(source, base_offset=10, compression=codec))
        [batch] = records.parse_batches(buffer)
        assert records.find_by_timestamp(buffer, batch, 0, LIMIT) == (10, 100)
        assert records.find_by_timestamp(buffer, batch, 150, LIMIT) == (11, 300)
        assert records.find_by_timestamp(buffer, batch, 301, LIMIT) == (13, 400)
        assert records.find_by_timestamp(buffer, batch, 401, LIMIT) is None
        assert records.find_by_timestamp(buffer, batch, 0, LIMIT, min_offset=12) == (12, 200)
        records.stamp_append_time(buffer, batch, 1000)
        assert records.find_by_timestamp(buffer, batch, 500, LIMIT) == (10, 1000)
        assert records.find_by_timestamp(buffer, batch, 500, LIMIT, min_offset=11) == (11, 1000)


def test_record_errors_name_the_records() -> None:
    source = [Record(timestamp=t, key=k) for t, k in ((10, b"a"), (20, None), (30, b"c"), (-1, b"d"))]
    buffer = memoryview(records.build(source))
    [batch] = records.parse_batches(buffer)
    assert record_checks.record_errors(buffer, batch, LIMIT) == []
    keyless = record_checks.record_errors(buffer, batch, LIMIT, require_key=True)
    assert [(e.index, e.is_timestamp) for e in keyless] == [(1, False)]
    untimely = record_checks.record_errors(buffer, batch, LIMIT, min_timestamp=15, max_timestamp=25)
    assert [(e.index, e.is_timestamp) for e in untimely] == [(0, True), (2, True)]
    records.stamp_append_time(buffer, batch, 99)
    assert record_checks.record_errors(buffer, batch, LIMIT, min_timestamp=15, max_timestamp=25) == []


def test_record_errors_see_offsets_that_are_not_consecutive() -> None:
    buffer = records.build([Record(offset=0), Record(offset=2)], preserve_offsets=True)
    [batch] = records.parse_batches(buffer)
    assert [e.index for e in record_checks.record_errors(buffer, batch, LIMIT)] == [1]


def test_header_refusals() -> None:
    def refusal(**fields: int) -> str | None:
        batch = records.parse_header(build_three(producer_id=1, producer_epoch=0, base_sequence=0), 0)
        for name, value in fields.items():
            setattr(batch, name, value)
        return record_checks.header_refusal(batch)

    assert refusal() is None
    assert "offset range" in (refusal(last_offset_delta=-1) or "")
    assert "reported count" in (refusal(record_count=0) or "")
    assert "Inconsistent" in (refusal(record_count=4) or "")
    assert "sequence" in (refusal(base_sequence=-1) or "")
    assert "control" in (refusal(attributes=records.CONTROL_BIT) or "")
    assert "compression" in (refusal(attributes=5) or "")


def test_timestamp_refusals_by_the_header() -> None:
    batch = records.parse_header(build_three(), 0)  # 100 to 120
    assert record_checks.timestamp_refusal(batch, 120, before_max_ms=20, after_max_ms=0) is None
    assert "Timestamp 100" in (record_checks.timestamp_refusal(batch, 121, 20, 0) or "")
    assert "Timestamp 120" in (record_checks.timestamp_refusal(batch, 110, 20, 9) or "")
    assert record_checks.timestamp_refusal(batch, 0, *[record_checks.MAX_TIMESTAMP] * 2) is None
    without = records.parse_header(records.build([Record()]), 0)
    assert record_checks.timestamp_refusal(without, 10**6, 0, 0) is None
    batch.attributes |= records.LOG_APPEND_TIME_BIT
    assert "LogAppendTime" in (record_checks.timestamp_refusal(batch, 120, 20, 20) or "")


# --- another client's codec ---


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4])
def test_aiokafka_reads_what_is_built(codec: int) -> None:
    source = [Record(timestamp=5 * i, key=b"k", value=b"v" * i, headers=[("h", b"x")]) for i in range(300)]
    built = records.build(source, base_offset=9, compression=codec, producer_id=4, producer_epoch=1)
    batch = MemoryRecords(bytes(built)).next_batch()
    assert batch is not None and batch.validate_crc()
    found = [Record(r.offset, r.timestamp, r.key, r.value, r.headers) for r in batch]
    assert found == expected(source, 9)


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4])
def test_what_aiokafka_builds_is_read(codec: int) -> None:
    builder = DefaultRecordBatchBuilder(2, codec, True, 4, 1, 77, 1 << 20)
    for index in range(300):
        builder.append(index, 5 * index, b"k", None, [("h", None)])
    buffer = memoryview(bytearray(builder.build()))
    [batch] = records.parse_batches(buffer)
    assert records.crc_is_valid(buffer, batch) and record_checks.header_refusal(batch) is None
    assert (batch.compression, batch.producer_id, batch.base_sequence) == (codec, 4, 77)
    assert batch.is_transactional
    assert list(records.iterate(buffer, batch, LIMIT)) == [
        Record(i, 5 * i, b"k", None, [("h", None)]) for i in range(300)
    ]
    assert record_checks.record_errors(buffer, batch, LIMIT, require_key=True) == []


# --- control records ---


@pytest.mark.parametrize("commit", [True, False])
def test_end_transaction_markers(commit: bool) -> None:
    buffer = records.end_transaction_marker(
        commit, producer_id=9, producer_epoch=2, coordinator_epoch=17, timestamp=123, base_offset=50
    )
    [batch] = records.parse_batches(buffer)
    assert batch.is_control and batch.is_transactional and batch.base_sequence == -1
    [marker] = records.iterate(buffer, batch, LIMIT)
    assert records.parse_control_key(marker.key) == (1 if commit else 0)
    assert records.parse_end_transaction_value(marker.value) == 17
    assert marker.offset == 50 and marker.timestamp == 123


@pytest.mark.parametrize("key", [None, b"", b"\0\0\0", b"\xff\xff\0\1"])
def test_bad_control_keys(key: bytes | None) -> None:
    with pytest.raises(CorruptBatch):
        records.parse_control_key(key)


@pytest.mark.parametrize("value", [None, b"\0\0\0\0\0", b"\xff\xff\0\0\0\0"])
def test_bad_marker_values(value: bytes | None) -> None:
    with pytest.raises(CorruptBatch):
        records.parse_end_transaction_value(value)
