"""What a partition takes, what it refuses and with which error, and whom it wakes."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from broker.topics.partition import Partition
from protocol.compression import Codec
from protocol.errors import ApiError, ErrorCode
from protocol.legacy import build_message_set
from protocol.records import Record, build, iterate, parse_batches
from tests.broker.topics.conftest import NOW_MS, Bench

NEWEST = 13
Make = Callable[..., Partition]


def batch(
    *values: bytes | None, key: bytes | None = b"k", timestamp: int = NOW_MS, **fields: int
) -> bytearray:
    return build([Record(timestamp=timestamp, key=key, value=value) for value in values], **fields)


def records(partition: Partition) -> list[Record]:
    """Everything that is written, durable or not."""
    log = partition.log
    if log.log_end_offset == log.log_start_offset:
        return []
    piece = log.read(log.log_start_offset, 1 << 30, log.log_end_offset, True)
    assert piece is not None
    data = piece.read()
    return [record for header in parse_batches(data) for record in iterate(data, header, 1 << 20)]


def refusal(partition: Partition, data: bytes | bytearray | None, version: int = NEWEST) -> ErrorCode:
    """The code an append is refused with; nothing may have been written."""
    with pytest.raises(ApiError) as caught:
        partition.append(None if data is None else memoryview(bytearray(data)), version, NOW_MS)
    assert partition.log.log_end_offset == 0
    assert partition.topic.name in caught.value.message
    return caught.value.code


def test_a_batch_is_stored_as_it_came_with_its_offsets(make_partition: Make) -> None:
    partition = make_partition()
    for first in (0, 2):
        appended = partition.append(memoryview(batch(b"a", b"b", compression=Codec.LZ4)), NEWEST, NOW_MS)
        assert (appended.base_offset, appended.last_offset) == (first, first + 1)
    assert [(record.offset, record.value) for record in records(partition)] == [
        (0, b"a"),
        (1, b"b"),
        (2, b"a"),
        (3, b"b"),
    ]


@pytest.mark.parametrize("nothing", [None, b""])
def test_no_batch_at_all(make_partition: Make, nothing: bytes | None) -> None:
    assert refusal(make_partition(), nothing) == ErrorCode.INVALID_RECORD


def test_a_flipped_bit_is_found(make_partition: Make) -> None:
    data = batch(b"value")
    data[-1] ^= 1
    assert refusal(make_partition(), data) == ErrorCode.CORRUPT_MESSAGE


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_cut_batch_is_found(make_partition: Make, cut: int) -> None:
    assert refusal(make_partition(), batch(b"value" * 20)[:-cut]) == ErrorCode.CORRUPT_MESSAGE


def test_a_batch_over_the_topics_limit(make_partition: Make) -> None:
    partition = make_partition(max_message_bytes="100")
    assert refusal(partition, batch(b"x" * 100)) == ErrorCode.MESSAGE_TOO_LARGE


def test_two_batches_in_one_request(make_partition: Make) -> None:
    assert refusal(make_partition(), batch(b"a") + batch(b"b")) == ErrorCode.INVALID_RECORD


def test_control_and_transactional_batches_are_not_for_clients(make_partition: Make) -> None:
    partition = make_partition()
    assert refusal(partition, batch(b"a", is_control=True)) == ErrorCode.INVALID_RECORD
    transactional = batch(b"a", is_transactional=True, producer_id=1, producer_epoch=0, base_sequence=0)
    assert refusal(partition, transactional) == ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED


def test_a_base_offset_is_the_brokers_to_give(make_partition: Make) -> None:
    data = batch(b"a")
    struct.pack_into(">q", data, 0, 7)  # outside the CRC
    assert refusal(make_partition(), data) == ErrorCode.INVALID_RECORD


def test_zstd_needs_produce_7(make_partition: Make) -> None:
    data = batch(b"a", compression=Codec.ZSTD)
    assert refusal(make_partition(), data, version=6) == ErrorCode.UNSUPPORTED_COMPRESSION_TYPE


@pytest.mark.parametrize("timestamp", [NOW_MS + 3_600_001, NOW_MS - 1001])
def test_timestamps_out_of_bounds(make_partition: Make, timestamp: int) -> None:
    partition = make_partition(message_timestamp_before_max_ms="1000")
    assert refusal(partition, batch(b"a", timestamp=timestamp)) == ErrorCode.INVALID_TIMESTAMP


def test_log_append_time_is_the_brokers(make_partition: Make) -> None:
    partition = make_partition(message_timestamp_type="LogAppendTime")
    partition.append(memoryview(batch(b"a", timestamp=1)), NEWEST, NOW_MS)
    assert [record.timestamp for record in records(partition)] == [NOW_MS]


def test_a_compacted_topic_asks_for_keys(make_partition: Make) -> None:
    partition = make_partition(cleanup_policy="compact")
    assert refusal(partition, batch(b"a", key=None)) == ErrorCode.INVALID_RECORD
    partition.append(memoryview(batch(b"a")), NEWEST, NOW_MS)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd", "uncompressed"])
@pytest.mark.parametrize("sent", [Codec.NONE, Codec.GZIP])
def test_recompression_to_the_topics_codec(make_partition: Make, codec: str, sent: Codec) -> None:
    partition = make_partition(compression_type=codec)
    partition.append(memoryview(batch(b"a" * 1000, b"b", compression=sent)), NEWEST, NOW_MS)
    piece = partition.log.read(0, 1 << 20, 2, True)
    assert piece is not None
    (header,) = parse_batches(piece.read())
    assert header.compression == (Codec.NONE if codec == "uncompressed" else Codec[codec.upper()])
    assert [record.value for record in records(partition)] == [b"a" * 1000, b"b"]


def test_lying_compressed_records_are_found_where_asked_for(make_partition: Make) -> None:
    data = batch(b"a", b"b", b"c")
    struct.pack_into(">i", data, 23, 1)  # last offset delta
    struct.pack_into(">i", data, 57, 2)  # record count: there are three
    from protocol.checksum import crc32c

    struct.pack_into(">I", data, 17, crc32c(bytes(data[21:])))
    make_partition(name="trusting").append(memoryview(bytearray(data)), NEWEST, NOW_MS)
    partition = make_partition(name="careful", floe_records_validate="true")
    assert refusal(partition, data) == ErrorCode.INVALID_RECORD


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [Codec.NONE, Codec.GZIP])
def test_old_formats_are_converted(make_partition: Make, magic: int, codec: Codec) -> None:
    partition = make_partition()
    sent = [Record(offset, NOW_MS, b"k", b"v%d" % offset) for offset in range(3)]
    partition.append(memoryview(build_message_set(sent, magic, codec)), 2, NOW_MS)
    assert [(r.offset, r.key, r.value) for r in records(partition)] == [
        (0, b"k", b"v0"),
        (1, b"k", b"v1"),
        (2, b"k", b"v2"),
    ]
    old = memoryview(build_message_set(sent, magic, codec))
    with pytest.raises(ApiError) as caught:
        partition.append(old, 3, NOW_MS)  # from v3 on magic 2 only
    assert caught.value.code == ErrorCode.INVALID_RECORD


class Waiter:
    def __init__(self) -> None:
        self.calls = 0

    def durable(self) -> None:
        self.calls += 1

    def progressed(self, partition: Partition) -> None:
        self.calls += 1


def test_durability_is_told_once_and_no_sooner(bench: Bench, make_partition: Make) -> None:
    partition = make_partition()
    waiter, reader = Waiter(), Waiter()
    appended = partition.append(memoryview(batch(b"a", b"b")), NEWEST, NOW_MS)
    partition.progress_waiters[reader] = None
    assert partition.when_durable(appended.last_offset + 1, waiter)
    assert (waiter.calls, reader.calls) == (0, 0)
    bench.flusher.run_round()
    assert (waiter.calls, reader.calls) == (1, 1)
    assert not partition.when_durable(appended.last_offset + 1, waiter)


def test_a_duplicate_is_acknowledged_no_sooner_than_its_original(bench: Bench, make_partition: Make) -> None:
    partition = make_partition()
    fields = {"producer_id": 7, "producer_epoch": 0, "base_sequence": 0}
    first = partition.append(memoryview(batch(b"a", **fields)), NEWEST, NOW_MS)
    again = partition.append(memoryview(batch(b"a", **fields)), NEWEST, NOW_MS)
    assert again.duplicate and again.base_offset == first.base_offset
    waiter = Waiter()
    assert partition.when_durable(again.last_offset + 1, waiter)
    bench.flusher.run_round()
    assert waiter.calls == 1


def test_whoever_waits_is_let_go_when_the_topic_is_deleted(make_partition: Make) -> None:
    partition = make_partition()
    waiter, reader = Waiter(), Waiter()
    appended = partition.append(memoryview(batch(b"a")), NEWEST, NOW_MS)
    partition.progress_waiters[reader] = None
    partition.when_durable(appended.last_offset + 1, waiter)
    partition.deleted()
    assert (waiter.calls, reader.calls) == (1, 1)
