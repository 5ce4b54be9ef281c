"""Record batches that are not what they say they are: refused with the code Kafka gives, and nothing written."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from protocol import compression
from protocol.api import ApiKey
from protocol.checksum import crc32c
from protocol.errors import ErrorCode
from protocol.legacy import build_message_set
from protocol.messages.create_topics import CreatableTopic, CreatableTopicConfig, CreateTopicsRequest
from protocol.records import Record, RecordBatch, append_record, assemble
from tests.faults.wire import (
    NOW_MS,
    RawClient,
    WellBehaved,
    assert_healthy,
    batch,
    end_offset,
    fetch_request,
    produce_request,
    resident_bytes,
)
from tests.floe_process import FloeProcess

RSS_LIMIT_BYTES = 400 << 20
"""The process with the largest bomb it opens (64 MiB) in its hands: in parts, joined, and as what was made of it."""

TOPICS = {
    "plain": {},
    "validating": {"floe.records.validate": "true"},
    "uncompressed": {"compression.type": "uncompressed"},
    "recompressing": {"compression.type": "lz4"},
    "compacted": {"cleanup.policy": "compact"},
    "stamping": {"message.timestamp.type": "LogAppendTime"},
}
LOOKING_INSIDE = ["validating", "uncompressed", "recompressing", "compacted"]


@pytest.fixture(scope="module")
def floe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FloeProcess]:
    process = FloeProcess(tmp_path_factory.mktemp("floe") / "data").start()
    topics = [
        CreatableTopic(
            name=name,
            num_partitions=1,
            replication_factor=1,
            configs=[CreatableTopicConfig(name=key, value=value) for key, value in configs.items()],
        )
        for name, configs in TOPICS.items()
    ]
    with RawClient(process.port) as client:
        answer = client.ask(ApiKey.CREATE_TOPICS, 5, CreateTopicsRequest(topics=topics, timeout_ms=1000))
        assert all(topic.error_code == 0 for topic in answer.topics), answer
    yield process
    process.end()


@pytest.fixture(scope="module")
def others(floe: FloeProcess) -> WellBehaved:
    return WellBehaved(floe.port)


@pytest.fixture(autouse=True)
def nothing_is_written(floe: FloeProcess, others: WellBehaved) -> Iterator[None]:
    before = {topic: end_offset(others.client, topic) for topic in TOPICS}
    since = len(floe.log())
    yield
    others.check()
    assert {topic: end_offset(others.client, topic) for topic in TOPICS} == before
    assert_healthy(floe, since)
    assert resident_bytes(floe.pid, "VmHWM") < RSS_LIMIT_BYTES


def code(
    floe: FloeProcess, records: bytes | bytearray | None, *, topic: str = "plain", version: int = 9
) -> ErrorCode:
    with RawClient(floe.port) as client:
        answer = client.ask(ApiKey.PRODUCE, version, produce_request(records, topic=topic))
        result = answer.responses[0].partition_responses[0]
        assert result.base_offset == -1 or result.error_code == 0
        return ErrorCode(result.error_code)


def patched(position: int, form: str, value: int, records: bytearray | None = None) -> bytearray:
    """A batch with one header field changed and the CRC made right again."""
    records = batch(3) if records is None else bytearray(records)
    struct.pack_into(">" + form, records, position, value)
    struct.pack_into(">I", records, 17, crc32c(bytes(records[21:])))
    return records


def with_block(block: bytes, codec: int, record_count: int) -> bytearray:
    """A batch with a right CRC around any bytes, as if they were `record_count` records."""
    header = RecordBatch()
    header.base_offset, header.partition_leader_epoch, header.attributes = 0, -1, 0
    header.last_offset_delta, header.record_count = record_count - 1, record_count
    header.base_timestamp = header.max_timestamp = NOW_MS
    header.producer_id = header.producer_epoch = header.base_sequence = -1
    return patched(21, "h", codec, assemble(header, block))


# --- the header ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [3, 8, 9])
def test_no_batch_is_invalid(floe: FloeProcess, version: int) -> None:
    assert code(floe, None, version=version) == ErrorCode.INVALID_RECORD
    assert code(floe, b"", version=version) == ErrorCode.INVALID_RECORD


def test_a_wrong_crc(floe: FloeProcess) -> None:
    for position in (17, 21, 30, 57, 61, 65):
        records = batch(3)
        records[position] ^= 1
        assert code(floe, records) == ErrorCode.CORRUPT_MESSAGE


@pytest.mark.parametrize("magic", [3, 127, 255])
def test_a_magic_from_the_future(floe: FloeProcess, magic: int) -> None:
    records = batch()
    records[16] = magic
    for version in (0, 3, 9):
        assert code(floe, records, version=version) == ErrorCode.CORRUPT_MESSAGE


@pytest.mark.parametrize("magic", [0, 1])
def test_old_magic_in_a_new_request(floe: FloeProcess, magic: int) -> None:
    old = build_message_set([Record(timestamp=NOW_MS, value=b"v")], magic)
    assert code(floe, old, version=3) == ErrorCode.INVALID_RECORD


def test_several_batches_in_one_request(floe: FloeProcess) -> None:
    for version in (3, 9):
        assert code(floe, batch() + batch(), version=version) == ErrorCode.INVALID_RECORD


def test_a_batch_cut_short_or_too_long(floe: FloeProcess) -> None:
    whole = batch(3)
    for end in (1, 12, 16, 17, 60, 61, len(whole) - 1):
        assert code(floe, whole[:end]) in (ErrorCode.CORRUPT_MESSAGE, ErrorCode.INVALID_RECORD)
    assert code(floe, whole + b"\0") == ErrorCode.CORRUPT_MESSAGE
    for length in (-1, 0, 48, -(2**31), 2**31 - 1, len(whole)):
        lying = bytearray(whole)
        struct.pack_into(">i", lying, 8, length)
        assert code(floe, lying) == ErrorCode.CORRUPT_MESSAGE


@pytest.mark.parametrize(
    ("position", "form", "value"),
    [
        (57, "i", 2),
        (57, "i", 4),
        (57, "i", 0),
        (57, "i", -1),
        (57, "i", 2**31 - 1),
        (23, "i", -1),
        (23, "i", 5),
        (23, "i", 2**31 - 1),
        (0, "q", 5),
        (0, "q", -1),
        (21, "h", 0x20),
        (21, "h", 5),
        (21, "h", 7),
    ],
)
def test_a_header_that_contradicts_itself(floe: FloeProcess, position: int, form: str, value: int) -> None:
    assert code(floe, patched(position, form, value)) == ErrorCode.INVALID_RECORD


def test_a_sequence_without_sense(floe: FloeProcess) -> None:
    with_producer = batch(3, producer_id=7, producer_epoch=0, base_sequence=0)
    assert code(floe, patched(53, "i", -1, with_producer)) == ErrorCode.INVALID_RECORD
    assert code(floe, patched(53, "i", -(2**31), with_producer)) == ErrorCode.INVALID_RECORD


def test_a_transaction_nobody_began(floe: FloeProcess) -> None:
    records = batch(producer_id=7, producer_epoch=0, base_sequence=0, is_transactional=True)
    assert code(floe, records) == ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, (
        "it names no transactional id"
    )


@pytest.mark.parametrize(
    "timestamp", [2**63 - 1, NOW_MS + 3 * 3_600_000, -(2**63)], ids=["last", "ahead", "first"]
)
def test_timestamps_out_of_bounds(floe: FloeProcess, timestamp: int) -> None:
    for position in (27, 35):
        assert code(floe, patched(position, "q", timestamp)) == ErrorCode.INVALID_TIMESTAMP


def test_a_client_that_stamps_append_time(floe: FloeProcess) -> None:
    assert code(floe, patched(21, "h", 0x08)) == ErrorCode.INVALID_TIMESTAMP


def test_a_batch_over_max_message_bytes(floe: FloeProcess) -> None:
    large = batch(size=1_100_000)
    assert code(floe, large) == ErrorCode.MESSAGE_TOO_LARGE
    large[17] ^= 1
    assert code(floe, large) == ErrorCode.MESSAGE_TOO_LARGE


def test_zstd_in_a_version_before_it(floe: FloeProcess) -> None:
    assert code(floe, batch(compression=4), version=6) == ErrorCode.UNSUPPORTED_COMPRESSION_TYPE


# --- inside --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", LOOKING_INSIDE)
@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_compressed_garbage(floe: FloeProcess, topic: str, codec: int) -> None:
    if topic == "recompressing" and codec == 3:
        return  # already what the topic wants: kept as it is, as Kafka does
    whole = compression.compress(codec, bytes(batch(50)[61:]))
    for block in (b"", b"garbage" * 9, whole[:-3], whole[: len(whole) // 2], bytes(100), b"\xff" * 100):
        assert code(floe, with_block(block, codec, 50), topic=topic) == ErrorCode.INVALID_RECORD


@pytest.mark.parametrize("topic", ["validating", "compacted"])
def test_records_that_lie(floe: FloeProcess, topic: str) -> None:
    good = bytearray()
    for index in range(3):
        append_record(good, Record(timestamp=NOW_MS, key=b"k", value=b"v"), index, NOW_MS)
    one = bytes(good[: len(good) // 3])
    for block, count in (
        (bytes(good), 2),
        (bytes(good), 4),
        (bytes(good) + b"\0", 3),
        (b"\xff\xff\xff\xff\xff\xff", 1),
        (b"\xfe\xff\xff\xff\x0f" + one, 1),
        (b"\x01" + one, 1),
        (one + one, 2),
        (one[:1] + one[1:4] + b"\xfe\xff\xff\xff\x0f" + one[5:], 1),
    ):
        assert code(floe, with_block(block, 0, count), topic=topic) == ErrorCode.INVALID_RECORD


def test_a_keyless_record_on_a_compacted_topic(floe: FloeProcess) -> None:
    assert code(floe, batch(3), topic="compacted") == ErrorCode.INVALID_RECORD


def bomb(codec: int, size: int) -> bytes:
    return compression.compress(codec, bytes(size))


@pytest.mark.parametrize("topic", LOOKING_INSIDE)
@pytest.mark.parametrize("codec", [1, 3, 4])
def test_decompression_bombs(floe: FloeProcess, topic: str, codec: int) -> None:
    block = bomb(codec, 200 << 20)
    assert len(block) < 1 << 20
    expected = ErrorCode.INVALID_RECORD
    if topic == "recompressing" and codec == 3:
        return
    assert code(floe, with_block(block, codec, 50), topic=topic) == expected


def test_a_snappy_block_that_claims_four_gigabytes(floe: FloeProcess) -> None:
    for block in (
        b"\xff\xff\xff\xff\x0f" + bytes(50),
        b"\x82SNAPPY\0" + b"\0\0\0\1" * 2 + b"\x7f\xff\xff\xff\0",
    ):
        assert code(floe, with_block(block, 2, 1), topic="validating") == ErrorCode.INVALID_RECORD


def test_recompression_does_not_get_around_the_size_limit(floe: FloeProcess) -> None:
    records = batch(size=10 << 20, compression=1)
    assert len(records) < 1 << 20
    assert code(floe, records, topic="uncompressed") == ErrorCode.MESSAGE_TOO_LARGE


def test_more_records_than_are_looked_at(floe: FloeProcess) -> None:
    one = bytearray()
    append_record(one, Record(timestamp=NOW_MS, key=b"k"), 0, NOW_MS)
    block = compression.compress(4, bytes(one) * 3_000_000)
    assert code(floe, with_block(block, 4, 3_000_000), topic="validating") == ErrorCode.INVALID_RECORD


# --- the old formats ------------------------------------------------------------------------------------------------


def wrapped(block: bytes, codec: int, magic: int) -> bytearray:
    """A wrapper message of any content, with a right CRC."""
    out = build_message_set([Record(timestamp=NOW_MS, value=block)], magic)
    out[17] |= codec
    from zlib import crc32

    struct.pack_into(">I", out, 12, crc32(bytes(out[16:])))
    return out


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("version", [0, 2])
def test_old_message_sets_that_lie(floe: FloeProcess, magic: int, version: int) -> None:
    whole = build_message_set([Record(timestamp=NOW_MS, key=b"k", value=b"v" * 20)], magic)
    for end in (13, 17, 20, 30, len(whole) - 1):
        assert code(floe, whole[:end], version=version) == ErrorCode.CORRUPT_MESSAGE
    for position in range(12, len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 0x10
        assert code(floe, flipped, version=version) in (
            ErrorCode.CORRUPT_MESSAGE,
            ErrorCode.INVALID_RECORD,
        ), position
    for size in (-1, 0, 13, 2**31 - 1):
        lying = bytearray(whole)
        struct.pack_into(">i", lying, 8, size)
        assert code(floe, lying, version=version) == ErrorCode.CORRUPT_MESSAGE


@pytest.mark.parametrize("magic", [0, 1])
def test_old_wrappers_of_nothing_good(floe: FloeProcess, magic: int) -> None:
    inner = bytes(build_message_set([Record(timestamp=NOW_MS, value=b"v")], magic, codec=1))
    for codec in (1, 2, 3, 4, 5, 7):
        for block in (b"", b"garbage", bytes(200)):
            assert code(floe, wrapped(block, codec, magic), version=2) == ErrorCode.CORRUPT_MESSAGE
    nested = compression.compress(1, inner)
    assert code(floe, wrapped(nested, 1, magic), version=2) == ErrorCode.CORRUPT_MESSAGE


@pytest.mark.parametrize("magic", [0, 1])
def test_old_bombs(floe: FloeProcess, magic: int) -> None:
    assert code(floe, wrapped(bomb(1, 200 << 20), 1, magic), version=2) == ErrorCode.CORRUPT_MESSAGE
    one = bytes(build_message_set([Record(timestamp=NOW_MS)], magic))
    many = compression.compress(1, one * 2_000_000)
    assert len(many) < 1 << 20
    assert code(floe, wrapped(many, 1, magic), version=2) == ErrorCode.CORRUPT_MESSAGE


# --- what is stored and lies ----------------------------------------------------------------------------------------


def test_a_stored_batch_that_lies_harms_its_readers_only(floe: FloeProcess, others: WellBehaved) -> None:
    """Nobody looks inside on the way in; whoever must look later says CORRUPT_MESSAGE, and goes on."""
    topic = "poisoned"
    with RawClient(floe.port) as client:
        create = CreateTopicsRequest(
            topics=[CreatableTopic(name=topic, num_partitions=1, replication_factor=1)], timeout_ms=1000
        )
        client.ask(ApiKey.CREATE_TOPICS, 5, create)
        assert code(floe, batch(2), topic=topic) == ErrorCode.NONE
        assert code(floe, with_block(b"garbage" * 5, 1, 3), topic=topic) == ErrorCode.NONE
        assert code(floe, batch(2), topic=topic) == ErrorCode.NONE
        for version in (0, 2, 3):
            found = client.ask(ApiKey.FETCH, version, fetch_request(topic)).responses[0].partitions[0]
            assert found.error_code == 0 and len(found.records) > 0  # what stands before it
            found = client.ask(ApiKey.FETCH, version, fetch_request(topic, 2)).responses[0].partitions[0]
            assert found.error_code == ErrorCode.CORRUPT_MESSAGE
        whole = client.ask(ApiKey.FETCH, 11, fetch_request(topic)).responses[0].partitions[0]
        assert whole.error_code == 0 and whole.high_watermark == 7
        assert end_offset(client, topic) == 7
