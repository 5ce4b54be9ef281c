"""Produce: what each version takes and answers, and in which order things become true."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from protocol.api import ApiKey
from protocol.errors import ErrorCode
from protocol.legacy import build_message_set
from protocol.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from protocol.records import Record, build, crc_is_valid, iterate, parse_batches
from tests.broker.handlers.whole import Whole, with_broker
from tests.faults.wire import NOW_MS, batch, fetch_request, produce_request


def stored(whole: Whole, topic: str = "t") -> bytes:
    """Every batch of partition 0, as in its file."""
    partition = whole.broker.catalog.topics[topic].partition(0)
    assert partition is not None
    piece = partition.log.read(0, 1 << 30, partition.log.log_end_offset, True)
    return piece.read() if piece is not None else b""


@pytest.mark.parametrize("version", range(3, 13))
def test_each_version_with_names(tmp_path: Path, version: int) -> None:
    async def work(whole: Whole) -> None:
        await whole.create("t")
        for acks, expected in ((-1, 0), (1, 2)):
            result = await whole.produce("t", batch(2), version=version, acks=acks)
            assert (result.error_code, result.base_offset, result.log_append_time_ms) == (0, expected, -1)
        data = stored(whole)
        for found in parse_batches(data):
            assert found.partition_leader_epoch == 0 and crc_is_valid(memoryview(data), found)

    with_broker(tmp_path, work)


def test_version_13_names_topics_by_id(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        topic_id = await whole.create("t")
        for asked, code in ((topic_id, ErrorCode.NONE), (b"u" * 16, ErrorCode.UNKNOWN_TOPIC_ID)):
            message = produce_request(batch())
            message.topic_data[0].topic_id = asked
            answer = await whole.ask(ApiKey.PRODUCE, 13, message)
            assert answer.responses[0].topic_id == asked
            assert answer.responses[0].partition_responses[0].error_code == code

    with_broker(tmp_path, work)


@pytest.mark.parametrize(
    ("version", "magic", "codec"), [(0, 0, 0), (1, 0, 1), (2, 1, 0), (2, 1, 2), (0, 0, 3)]
)
def test_old_formats_become_one_batch(tmp_path: Path, version: int, magic: int, codec: int) -> None:
    async def work(whole: Whole) -> None:
        await whole.create("t")
        records = [Record(timestamp=NOW_MS + i, key=b"k%d" % i, value=b"v%d" % i) for i in range(3)]
        assert await whole.produced("t", build_message_set(records, magic, codec), version=version) == 0
        assert await whole.produced("t") == 3
        data = stored(whole)
        first, second = parse_batches(data)
        assert (first.magic, first.record_count, first.compression, second.base_offset) == (2, 3, codec, 3)
        values = [(r.offset, r.key, r.value) for r in iterate(data, first, 1 << 20)]
        assert values == [(i, b"k%d" % i, b"v%d" % i) for i in range(3)]

    with_broker(tmp_path, work)


def test_each_partition_has_its_own_result(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        await whole.create("t", partitions=3)
        broken = batch()
        broken[17] ^= 1
        data = [
            PartitionProduceData(index=index, records=records)
            for index, records in ((0, batch()), (1, broken), (7, batch()), (2, batch()))
        ]
        topics = [
            TopicProduceData(name="t", partition_data=data),
            TopicProduceData(name="absent", partition_data=[PartitionProduceData(index=0, records=batch())]),
        ]
        answer = await whole.ask(
            ApiKey.PRODUCE, 9, ProduceRequest(acks=-1, timeout_ms=1000, topic_data=topics)
        )
        codes = {
            (topic.name, result.index): result.error_code
            for topic in answer.responses
            for result in topic.partition_responses
        }
        unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert codes == {
            ("t", 0): 0,
            ("t", 1): ErrorCode.CORRUPT_MESSAGE,
            ("t", 7): unknown,
            ("t", 2): 0,
            ("absent", 0): unknown,
        }

    with_broker(tmp_path, work)


def test_append_time_is_stamped_and_told(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        await whole.create("t", message_timestamp_type="LogAppendTime")
        before = whole.broker.clock_ms()
        result = await whole.produce("t")
        assert before <= result.log_append_time_ms <= whole.broker.clock_ms()
        data = stored(whole)
        (found,) = parse_batches(data)
        assert found.timestamp_type == 1 and found.max_timestamp == result.log_append_time_ms
        assert crc_is_valid(memoryview(data), found)

    with_broker(tmp_path, work)


def test_acks_0_is_answered_with_nothing_and_keeps_its_place(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        await whole.create("t")
        whole.peer.request(ApiKey.PRODUCE, 9, produce_request(batch(), topic="t", acks=0))
        assert await whole.produced("t") == 1

    with_broker(tmp_path, work)


def test_acks_all_is_answered_when_it_is_durable(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        await whole.create("t")
        await whole.produced("t")
        partition = whole.broker.catalog.topics["t"].partition(0)
        assert partition is not None and partition.log.durable_offset == partition.log.log_end_offset == 1

    with_broker(tmp_path, work)


def test_min_insync_replicas_is_no_more_than_there_are_replicas(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        await whole.create("t", min_insync_replicas="2")
        assert (await whole.produce("t")).error_code == 0
        assert (await whole.produce("t", acks=1)).error_code == 0

    with_broker(tmp_path, work)


def test_refused_records_are_told_one_by_one(tmp_path: Path) -> None:
    """KIP-467, in Kafka's words."""

    async def work(whole: Whole) -> None:
        await whole.create("c", cleanup_policy="compact")
        keys = [b"k", None, b"k", None]
        records = [Record(timestamp=NOW_MS, key=key, value=b"v") for key in keys]
        result = await whole.produce("c", build(records))
        assert result.error_code == ErrorCode.INVALID_RECORD
        assert result.log_start_offset == 0
        told = "Compacted topic cannot accept message without key in topic partition c-0"
        assert [(e.batch_index, e.batch_index_error_message) for e in result.record_errors] == [
            (1, told),
            (3, told),
        ]
        assert result.error_message == (
            "One or more records have been rejected due to 2 record errors in total, and only showing the first three "
            f"errors at most: [RecordError(batchIndex=1, message='{told}'), "
            f"RecordError(batchIndex=3, message='{told}')]"
        )

    with_broker(tmp_path, work)


def test_records_with_timestamps_out_of_range_are_told(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        await whole.create("t", message_timestamp_after_max_ms="1000")
        far = 4_000_000_000_000
        records = [Record(timestamp=stamp, key=None, value=b"v") for stamp in (0, far)]
        result = await whole.produce("t", build(records))
        assert result.error_code == ErrorCode.INVALID_TIMESTAMP
        assert result.error_message == "One or more records have been rejected due to invalid timestamp"
        (error,) = result.record_errors
        assert error.batch_index == 1
        assert f"Timestamp {far} of message with offset 1 is out of range" in error.batch_index_error_message

    with_broker(tmp_path, work)


def test_internal_topics_are_not_for_clients(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        for name in whole.broker.catalog.topics:
            if whole.broker.catalog.topics[name].is_internal:
                assert (await whole.produce(name)).error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
        result = await whole.produce("__cluster_metadata")
        assert result.error_code in (
            ErrorCode.INVALID_TOPIC_EXCEPTION,
            ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        )

    with_broker(tmp_path, work)


def idempotent(sequence: int, *, count: int = 2, epoch: int = 0, producer_id: int = 9) -> bytearray:
    return batch(count, producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence)


def test_idempotent_producers(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        await whole.create("t")
        for number in range(7):
            assert await whole.produced("t", idempotent(2 * number)) == 2 * number
        for number in (6, 4, 2):
            assert await whole.produced("t", idempotent(2 * number)) == 2 * number, "one of the last five"
        code = (await whole.produce("t", idempotent(0))).error_code
        assert code in (ErrorCode.DUPLICATE_SEQUENCE_NUMBER, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
        code = (await whole.produce("t", idempotent(40))).error_code
        assert code == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
        assert await whole.produced("t", idempotent(0, epoch=1)) == 14
        code = (await whole.produce("t", idempotent(14))).error_code
        assert code == ErrorCode.INVALID_PRODUCER_EPOCH
        assert len(parse_batches(stored(whole))) == 8

    with_broker(tmp_path, work)


def test_what_was_produced_is_fetched_as_it_was(tmp_path: Path) -> None:
    async def work(whole: Whole) -> None:
        await whole.create("t")
        sent = build([Record(timestamp=NOW_MS, key=None, value=b"v", headers=[("h", None)])], compression=4)
        await whole.produced("t", sent)
        data = (await whole.ask(ApiKey.FETCH, 11, fetch_request("t"))).responses[0].partitions[0]
        received = bytearray(data.records)
        struct.pack_into(">i", received, 12, -1)
        assert received == sent

    with_broker(tmp_path, work)
