"""What strangers, broken clients and attackers send: frames and requests that are not what they say they are.

Each gets the error Kafka gives, or a closed connection with one log line; the connection of somebody else works on
throughout, nothing is written, the process lives and stays small.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from protocol.api import ApiKey, first_flexible_version
from protocol.errors import ErrorCode
from protocol.framing import request_frame
from protocol.messages.api_versions import ApiVersionsRequest
from protocol.messages.create_topics import CreatableTopic, CreateTopicsRequest
from protocol.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from protocol.messages.metadata import MetadataRequest, MetadataRequestTopic
from protocol.messages.produce import ProduceRequest
from tests.faults.wire import (
    Closed,
    RawClient,
    WellBehaved,
    assert_healthy,
    batch,
    end_offset,
    fetch_request,
    make_topic,
    produce_request,
    raw_frame,
    resident_bytes,
    warnings,
)
from tests.floe_process import FloeProcess

MAX_FRAME = 1 << 20
RSS_LIMIT_BYTES = 150 << 20
LIES = (b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\xff\xff\xff\xfe", b"\x80\0\0\0", b"\0\0\0\0")


@pytest.fixture(scope="module")
def floe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FloeProcess]:
    settings = {"socket.request.max.bytes": str(MAX_FRAME), "group.initial.rebalance.delay.ms": "0"}
    process = FloeProcess(tmp_path_factory.mktemp("floe") / "data", settings).start()
    with RawClient(process.port) as client:
        make_topic(client, "bad")
    yield process
    process.end()


@pytest.fixture(scope="module")
def others(floe: FloeProcess) -> WellBehaved:
    return WellBehaved(floe.port)


@pytest.fixture(autouse=True)
def nobody_notices(floe: FloeProcess, others: WellBehaved) -> Iterator[None]:
    """Around every test: somebody else's connection works, nothing is written, the process is well."""
    others.check()
    before, since = end_offset(others.client, "bad"), len(floe.log())
    yield
    others.check()
    assert end_offset(others.client, "bad") == before, "something was written"
    assert_healthy(floe, since)
    assert resident_bytes(floe.pid, "VmHWM") < RSS_LIMIT_BYTES


def assert_closed_with_one_line(floe: FloeProcess, data: bytes, *expected: str) -> None:
    since = len(floe.log())
    with RawClient(floe.port) as client:
        client.send(data)
        assert client.is_closed_by_peer()
    lines = warnings(floe, since)
    assert len(lines) == 1 and "closing 127.0.0.1" in lines[0], lines
    for text in expected:
        assert text in lines[0], lines


# --- frames -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [MAX_FRAME + 1, 2**31 - 1, -1, -(2**31), 0, 1, 9])
def test_a_frame_size_out_of_bounds_closes(floe: FloeProcess, size: int) -> None:
    assert_closed_with_one_line(floe, struct.pack(">i", size) + bytes(64), f"a frame of {size} bytes")


@pytest.mark.parametrize(
    "text",
    [b"GET / HTTP/1.1\r\nHost: kafka\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(64)],
    ids=["HTTP", "TLS"],
)
def test_other_protocols_are_closed(floe: FloeProcess, text: bytes) -> None:
    assert_closed_with_one_line(floe, text, "a frame of")


def test_garbage_is_closed_or_answered(floe: FloeProcess) -> None:
    chance = random.Random(1)
    for _ in range(300):
        body = chance.randbytes(chance.randint(10, 200))
        with RawClient(floe.port) as client:
            client.send(struct.pack(">i", len(body)) + body)
            client.socket.shutdown(1)
            while client.socket.recv(65536):
                pass


@pytest.mark.parametrize("api_key", [-1, 4, 5, 6, 7, 52, 58, 1000, 32767])
def test_unknown_apis_close(floe: FloeProcess, api_key: int) -> None:
    assert_closed_with_one_line(floe, raw_frame(api_key, 0, b""), f"api key {api_key} is not served")


@pytest.mark.parametrize(
    ("api", "version"),
    [(ApiKey.PRODUCE, 14), (ApiKey.FETCH, 99), (ApiKey.METADATA, -1), (ApiKey.LIST_OFFSETS, 32767)],
)
def test_unknown_versions_close(floe: FloeProcess, api: ApiKey, version: int) -> None:
    assert_closed_with_one_line(floe, raw_frame(api, version, b""), f"{api.name} version {version}")


@pytest.mark.parametrize("version", [5, 100, 32767, -1])
def test_api_versions_of_any_version_is_answered(floe: FloeProcess, version: int) -> None:
    with RawClient(floe.port) as client:
        client.correlation_id = 7
        client.send(raw_frame(ApiKey.API_VERSIONS, version, b"whatever it may hold"))
        answer = client.response(ApiKey.API_VERSIONS, 0)
        assert answer.error_code == ErrorCode.UNSUPPORTED_VERSION
        ranges = {key.api_key: (key.min_version, key.max_version) for key in answer.api_keys}
        assert ranges[ApiKey.API_VERSIONS] == (0, 4)
        assert ranges[ApiKey.PRODUCE] == (0, 13)
        assert client.ask(ApiKey.API_VERSIONS, 0, ApiVersionsRequest()).error_code == ErrorCode.NONE


@pytest.mark.parametrize(
    ("name", "version"), [("", "1"), ("a client", "1"), ("-x", "1"), ("x", ""), ("x", "1\n"), ("é", "1")]
)
def test_a_client_software_name_that_is_none(floe: FloeProcess, name: str, version: str) -> None:
    with RawClient(floe.port) as client:
        message = ApiVersionsRequest(client_software_name=name, client_software_version=version)
        assert client.ask(ApiKey.API_VERSIONS, 3, message).error_code == ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize(
    "client_id", [b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80"], ids=["bytes", "overlong", "surrogate"]
)
def test_a_client_id_that_is_not_utf8_closes(floe: FloeProcess, client_id: bytes) -> None:
    assert_closed_with_one_line(floe, raw_frame(ApiKey.API_VERSIONS, 0, b"", client_id=client_id), "UTF-8")


def test_a_client_id_longer_than_its_frame_closes(floe: FloeProcess) -> None:
    frame = bytearray(raw_frame(ApiKey.API_VERSIONS, 0, b"", client_id=b"abc"))
    struct.pack_into(">h", frame, 12, 3000)
    assert_closed_with_one_line(floe, bytes(frame))
    with RawClient(floe.port) as client:  # also where the broker has seen just these bytes as an id before
        client.send(raw_frame(ApiKey.API_VERSIONS, 0, b"", client_id=b"abc"))
        client.receive_frame()
        client.send(bytes(frame))
        assert client.is_closed_by_peer()


def test_a_client_id_ends_no_log_line(floe: FloeProcess) -> None:
    forged = b"x\n12:00:00.000 ERROR broker: the disk is full" + b"y" * 20_000
    since = len(floe.log())
    assert_closed_with_one_line(floe, raw_frame(ApiKey.METADATA, 1, b"\x7f", client_id=forged))
    assert len(floe.log()) - since < 500


def test_a_client_that_leaves_in_mid_frame(floe: FloeProcess) -> None:
    frame = request_frame(ApiKey.PRODUCE, 9, 1, "raw", produce_request(batch(size=200_000)))
    for cut in (0, 3, 4, 17, 100, 70_000, len(frame) - 1):
        for leave in (RawClient.close, RawClient.reset):
            client = RawClient(floe.port)
            client.send(frame[:cut])
            leave(client)


def test_a_client_that_only_shuts_down_its_side(floe: FloeProcess) -> None:
    with RawClient(floe.port) as client:
        client.send(b"\0\0\1\0")
        client.socket.shutdown(1)
        assert client.is_closed_by_peer()


def test_one_byte_at_a_time(floe: FloeProcess, others: WellBehaved) -> None:
    frame = request_frame(
        ApiKey.API_VERSIONS,
        3,
        1,
        "slow",
        ApiVersionsRequest(client_software_name="slow", client_software_version="1.0"),
    )
    with RawClient(floe.port) as client:
        client.correlation_id = 1
        for _ in range(2):
            for value in frame:
                client.send(bytes([value]))
                others.check()
            assert client.response(ApiKey.API_VERSIONS, 3).error_code == ErrorCode.NONE


# --- messages -----------------------------------------------------------------------------------------------------


def broken_batch() -> bytearray:
    """One that nothing can make valid by chance: its CRC is wrong."""
    records = batch(3)
    records[17] ^= 0x55
    return records


def samples() -> list[tuple[ApiKey, int, Any]]:
    produce = produce_request(broken_batch())
    by_id = produce_request(broken_batch())
    by_id.topic_data[0].topic_id = b"i" * 16
    metadata = MetadataRequest(topics=[MetadataRequestTopic(name="bad"), MetadataRequestTopic(name="t")])
    metadata.allow_auto_topic_creation = False
    create = CreateTopicsRequest(
        topics=[CreatableTopic(name="made/up", num_partitions=1, replication_factor=1)],
        timeout_ms=1000,
        validate_only=True,
    )
    found = [(ApiKey.PRODUCE, version, produce) for version in (0, 3, 9)]
    found += [(ApiKey.PRODUCE, 13, by_id)]
    # A topic that is not there: whatever wait the mutation asks for, there is an error to tell at once.
    found += [(ApiKey.FETCH, version, fetch_request("nowhere")) for version in (0, 4, 11, 12, 17)]
    found += [(ApiKey.METADATA, version, metadata) for version in (4, 8, 9, 12)]
    found += [(ApiKey.CREATE_TOPICS, version, create) for version in (2, 5, 7)]
    return found


SAMPLES = samples()
SAMPLE_NAMES = [f"{api.name}-v{version}" for api, version, _ in SAMPLES]


def send_all(floe: FloeProcess, frames: Iterator[bytes]) -> tuple[int, int]:
    """Send each and take what comes back; (answered, closed). A connection that was closed is made again."""
    answered = closed = 0
    client = RawClient(floe.port)
    for frame in frames:
        # A request that is always answered comes behind, for those that never are (Produce with acks=0).
        fence = request_frame(ApiKey.API_VERSIONS, 0, 0x0FE0CE, None, ApiVersionsRequest())
        try:
            client.send(frame + fence)
            while client.receive_frame()[:4] != b"\x00\x0f\xe0\xce":
                pass
            answered += 1
        except Closed:
            closed += 1
            client.close()
            client = RawClient(floe.port)
    client.close()
    return answered, closed


@pytest.mark.parametrize(("api", "version", "message"), SAMPLES, ids=SAMPLE_NAMES)
def test_lying_lengths_everywhere(floe: FloeProcess, api: ApiKey, version: int, message: Any) -> None:
    frame = request_frame(api, version, 1, "raw", message)

    def lying() -> Iterator[bytes]:
        for position in range(8, len(frame)):
            for lie in LIES:
                for width in (1, 2, 4):
                    if position + width <= len(frame):
                        yield frame[:position] + lie[:width] + frame[position + width :]

    answered, closed = send_all(floe, lying())
    assert closed > 20 and answered + closed > 10 * (len(frame) - 12)


@pytest.mark.parametrize(("api", "version", "message"), SAMPLES, ids=SAMPLE_NAMES)
def test_truncated_everywhere(floe: FloeProcess, api: ApiKey, version: int, message: Any) -> None:
    frame = request_frame(api, version, 1, "raw", message)

    def cut() -> Iterator[bytes]:
        for end in range(14, len(frame)):
            yield struct.pack(">i", end - 4) + frame[4:end]

    answered, closed = send_all(floe, cut())
    assert answered == 0 and closed == len(frame) - 14


@pytest.mark.parametrize(("api", "version", "message"), SAMPLES, ids=SAMPLE_NAMES)
def test_bytes_after_a_message_are_let_pass(
    floe: FloeProcess, api: ApiKey, version: int, message: Any
) -> None:
    """Some of librdkafka's requests have them."""
    frame = request_frame(api, version, 1, "raw", message)
    padded = [
        struct.pack(">i", len(frame) - 4 + len(padding)) + frame[4:] + padding
        for padding in (b"\0", b"\xff", bytes(100))
    ]
    assert send_all(floe, iter(padded)) == (3, 0)


def test_null_where_null_is_not_allowed(floe: FloeProcess) -> None:
    null_topics = struct.pack(">hhih", ApiKey.PRODUCE, 0, 1, -1) + struct.pack(">hii", 1, 1000, -1)
    assert_closed_with_one_line(floe, struct.pack(">i", len(null_topics)) + null_topics, "topic_data")
    null_name = struct.pack(">hhih", ApiKey.METADATA, 1, 1, -1) + struct.pack(">ih", 1, -1)
    assert_closed_with_one_line(floe, struct.pack(">i", len(null_name)) + null_name, "topics.name")


def test_tagged_fields_that_lie(floe: FloeProcess) -> None:
    assert first_flexible_version(ApiKey.METADATA) <= 9
    for tags in (
        b"\xff\xff\xff\xff\x0f",
        b"\x01\x00\xff\xff\xff\xff\x0f",
        b"\x02\x05\x00\x05\x00",
        b"\xff" * 9,
    ):
        header = struct.pack(">hhih", ApiKey.METADATA, 9, 1, -1) + tags
        assert_closed_with_one_line(floe, struct.pack(">i", len(header)) + header)


def test_many_empty_elements(floe: FloeProcess) -> None:
    """A frame of the largest size that is nothing but elements: what it makes of memory is in RSS_LIMIT_BYTES."""
    count = (MAX_FRAME - 100) // 2
    metadata = struct.pack(">i", count) + b"\0\0" * count
    with RawClient(floe.port) as client:
        client.send(raw_frame(ApiKey.METADATA, 1, metadata))
        client.receive_frame()
    topics = struct.pack(">iiiib", -1, 0, 0, 0, 0) + struct.pack(">i", (MAX_FRAME - 100) // 6)
    topics += bytes(6) * ((MAX_FRAME - 100) // 6)
    with RawClient(floe.port) as client:
        client.send(raw_frame(ApiKey.FETCH, 4, topics))
        client.receive_frame()


# --- requests ------------------------------------------------------------------------------------------------------

BAD_NAMES = ["", ".", "..", "a/b", "../x", "a\0b", "a b", "é", "x" * 250, "x" * 30_000, "a\nb", "%2e"]


@pytest.mark.parametrize("name", BAD_NAMES, ids=[repr(name)[:20] for name in BAD_NAMES])
def test_names_no_topic_can_have(floe: FloeProcess, name: str) -> None:
    with RawClient(floe.port) as client:
        for version in (1, 4, 9, 13):
            asked = MetadataRequest(topics=[MetadataRequestTopic(name=name)])
            answer = client.ask(ApiKey.METADATA, version, asked)
            assert answer.topics[0].error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
        for version in (0, 3, 9, 12):
            produced = client.ask(ApiKey.PRODUCE, version, produce_request(batch(), topic=name))
            assert (
                produced.responses[0].partition_responses[0].error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
            )
        fetched = client.ask(ApiKey.FETCH, 11, fetch_request(name))
        assert fetched.responses[0].partitions[0].error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
        create = CreateTopicsRequest(
            topics=[CreatableTopic(name=name, num_partitions=1, replication_factor=1)], timeout_ms=1000
        )
        created = client.ask(ApiKey.CREATE_TOPICS, 5, create)
        assert created.topics[0].error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
    inside = {path.name for path in floe.data_dir.parent.iterdir()}
    assert inside <= {"data", "data.log"}


def test_the_longest_name(floe: FloeProcess) -> None:
    with RawClient(floe.port) as client:
        make_topic(client, "n" * 249)
        produced = client.ask(ApiKey.PRODUCE, 9, produce_request(batch(), topic="n" * 249))
        assert produced.responses[0].partition_responses[0].error_code == ErrorCode.NONE


@pytest.mark.parametrize("partition", [-1, 1, 2**31 - 1, -(2**31)])
def test_partitions_that_are_not_there(floe: FloeProcess, partition: int) -> None:
    unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    with RawClient(floe.port) as client:
        for version in (0, 3, 9):
            request = produce_request(batch(), partition=partition)
            produced = client.ask(ApiKey.PRODUCE, version, request)
            assert produced.responses[0].partition_responses[0].error_code == unknown
        fetched = client.ask(ApiKey.FETCH, 11, fetch_request("bad", partition=partition))
        assert fetched.responses[0].partitions[0].error_code == unknown


@pytest.mark.parametrize("acks", [2, -2, 32767, -32768])
@pytest.mark.parametrize("version", [0, 3, 9])
def test_invalid_acks(floe: FloeProcess, acks: int, version: int) -> None:
    with RawClient(floe.port) as client:
        produced = client.ask(ApiKey.PRODUCE, version, produce_request(batch(), acks=acks))
        assert produced.responses[0].partition_responses[0].error_code == ErrorCode.INVALID_REQUIRED_ACKS


def test_acks_0_with_an_error_closes(floe: FloeProcess) -> None:
    for message in (
        produce_request(batch(), acks=0, partition=9),
        produce_request(broken_batch(), acks=0),
        produce_request(batch(), acks=0, topic="../x"),
        produce_request(None, acks=0),
    ):
        frame = request_frame(ApiKey.PRODUCE, 9, 1, "raw", message)
        assert_closed_with_one_line(floe, frame, "acks=0")


def test_an_empty_produce_is_answered(floe: FloeProcess) -> None:
    with RawClient(floe.port) as client:
        assert client.ask(ApiKey.PRODUCE, 9, ProduceRequest(acks=-1, timeout_ms=0)).responses == []


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"offset": -1}, ErrorCode.OFFSET_OUT_OF_RANGE),
        ({"offset": -(2**63)}, ErrorCode.OFFSET_OUT_OF_RANGE),
        ({"offset": 2**63 - 1}, ErrorCode.OFFSET_OUT_OF_RANGE),
        ({"partition_max_bytes": -1}, ErrorCode.NONE),
        ({"partition_max_bytes": -(2**31)}, ErrorCode.NONE),
        ({"max_bytes": -(2**31)}, ErrorCode.NONE),
        ({"min_bytes": -(2**31), "max_wait_ms": -5}, ErrorCode.NONE),
        ({"current_leader_epoch": 2**31 - 1}, ErrorCode.UNKNOWN_LEADER_EPOCH),
        ({"current_leader_epoch": -7}, ErrorCode.NONE),
        ({"last_fetched_epoch": 2**31 - 1}, ErrorCode.OFFSET_OUT_OF_RANGE),
        ({"log_start_offset": -9}, ErrorCode.NONE),
    ],
)
def test_fetches_out_of_bounds(others: WellBehaved, floe: FloeProcess, fields: Any, code: ErrorCode) -> None:
    with RawClient(floe.port) as client:
        for version in (0, 3, 5, 11, 12):
            if fields.keys() & {"current_leader_epoch", "last_fetched_epoch"} and version < 9:
                continue
            if "last_fetched_epoch" in fields and version < 12:
                continue
            answer = client.ask(ApiKey.FETCH, version, fetch_request(WellBehaved.TOPIC, **fields))
            assert answer.responses[0].partitions[0].error_code == code, version


@pytest.mark.parametrize("rebalance_timeout_ms", [-1, -(2**31)])
def test_a_group_member_without_sense(floe: FloeProcess, rebalance_timeout_ms: int) -> None:
    """A negative time-out, and a protocol named twice."""
    protocols = [JoinGroupRequestProtocol(name="range", metadata=b"m")] * 2
    with RawClient(floe.port) as client:
        join = JoinGroupRequest(
            group_id=f"senseless{rebalance_timeout_ms}",
            session_timeout_ms=10_000,
            rebalance_timeout_ms=rebalance_timeout_ms,
            protocol_type="consumer",
            protocols=protocols,
        )
        answer = client.ask(ApiKey.JOIN_GROUP, 1, join)
        assert (answer.error_code, answer.protocol_name) == (ErrorCode.NONE, "range")


@pytest.mark.parametrize(("session_id", "epoch"), [(1, 1), (2**31 - 1, 2**31 - 1), (-5, 3), (0, 7), (9, -7)])
def test_fetch_sessions_nobody_began(floe: FloeProcess, session_id: int, epoch: int) -> None:
    with RawClient(floe.port) as client:
        request = fetch_request("bad", session_id=session_id, session_epoch=epoch)
        assert client.ask(ApiKey.FETCH, 11, request).error_code == ErrorCode.FETCH_SESSION_ID_NOT_FOUND
