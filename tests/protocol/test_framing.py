"""Frames, our own and recorded ones: a frame some client or Kafka sent is decoded whole and encoded to the
same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.api import ApiKey
from protocol.compiler import decoder, message_class
from protocol.errors import Malformed
from protocol.framing import Output, parse_request_header, parse_response, request_frame, response_frame
from protocol.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from protocol.messages.fetch import FetchableTopicResponse, FetchResponse, PartitionData
from protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from protocol.messages.metadata import MetadataRequest

GOLDEN = Path(__file__).parents[1] / "golden" / "frames.jsonl"
FRAMES = [json.loads(line) for line in GOLDEN.read_text().splitlines()]


def name(frame: dict[str, Any]) -> str:
    return f"{ApiKey(frame['api_key']).name}-v{frame['version']}-{frame['client']}"


@pytest.mark.parametrize("frame", FRAMES, ids=name)
def test_recorded_requests(frame: dict[str, Any]) -> None:
    wire = bytes.fromhex(frame["request"])
    assert int.from_bytes(wire[:4], "big") == len(wire) - 4
    buffer = memoryview(wire)
    header = parse_request_header(buffer, 4, len(wire))
    assert (header.api_key, header.version) == (frame["api_key"], frame["version"])
    message, end = decoder(message_class(header.api_key, False), header.version)(buffer, header.body_pos)
    assert end == len(wire)
    again = request_frame(header.api_key, header.version, header.correlation_id, header.client_id, message)
    assert again.hex() == frame["request"]


@pytest.mark.parametrize("frame", [frame for frame in FRAMES if frame["response"]], ids=name)
def test_recorded_responses(frame: dict[str, Any]) -> None:
    wire = bytes.fromhex(frame["response"])
    correlation_id, message = parse_response(frame["api_key"], frame["version"], wire[4:])
    assert (
        response_frame(frame["api_key"], frame["version"], correlation_id, message).hex() == frame["response"]
    )


class FileSlice:
    """What the log hands out: a length, and no bytes."""

    def __init__(self, length: int) -> None:
        self.length = length


def fetched(*records: Any) -> FetchResponse:
    partitions = [PartitionData(partition_index=index, records=value) for index, value in enumerate(records)]
    return FetchResponse(responses=[FetchableTopicResponse(topic="t", partitions=partitions)])


@pytest.mark.parametrize("version", [4, 12])
def test_slices_of_files_stand_between_the_bytes(version: int) -> None:
    pieces = [b"a" * 300, b"b" * 5, b"c" * 7]
    plain = bytes(response_frame(ApiKey.FETCH, version, 9, fetched(*pieces)))
    first, last = FileSlice(300), FileSlice(7)
    out = response_frame(ApiKey.FETCH, version, 9, fetched(first, pieces[1], last))
    assert out.total_length() == len(plain)
    assert [value for _, value in out.slices] == [first, last]
    joined, done = b"", 0
    for (position, _), data in zip(out.slices, (pieces[0], pieces[2]), strict=True):
        joined += out[done:position] + data
        done = position
    assert joined + out[done:] == plain


def test_outputs_do_not_share_slices() -> None:
    out = response_frame(ApiKey.FETCH, 4, 1, fetched(FileSlice(3)))
    assert len(out.slices) == 1
    assert list(Output().slices) == []
    assert list(response_frame(ApiKey.FETCH, 4, 1, fetched(b"abc")).slices) == []


@given(st.none() | st.text(max_size=20), st.integers(-(2**31), 2**31 - 1), st.sampled_from([0, 3, 4]))
def test_request_header(client_id: str | None, correlation_id: int, version: int) -> None:
    frame = request_frame(
        ApiKey.HEARTBEAT, version, correlation_id, client_id, HeartbeatRequest(group_id="g")
    )
    header = parse_request_header(memoryview(frame), 4, len(frame))
    assert (header.api_key, header.version) == (ApiKey.HEARTBEAT, version)
    assert (header.correlation_id, header.client_id) == (correlation_id, client_id)
    body = decoder(HeartbeatRequest, version)(memoryview(frame), header.body_pos)
    assert body == (HeartbeatRequest(group_id="g"), len(frame))


@pytest.mark.parametrize("version", [0, 4])
def test_a_truncated_request_header_is_malformed(version: int) -> None:
    frame = request_frame(ApiKey.HEARTBEAT, version, 1, "client", HeartbeatRequest())
    header = parse_request_header(memoryview(frame), 4, len(frame))
    for end in range(4, header.body_pos):
        with pytest.raises(Malformed, match="RequestHeader"):
            parse_request_header(memoryview(frame)[:end], 4, end)
        with pytest.raises(Malformed, match="RequestHeader"):
            parse_request_header(memoryview(frame), 4, end)  # the next frame's bytes are not this one's


def test_a_client_id_that_is_not_utf8_is_malformed() -> None:
    with pytest.raises(Malformed):
        parse_request_header(memoryview(bytes.fromhex("0003000000000001" + "0002" + "c328")), 0, 12)


def test_header_of_an_api_nobody_knows() -> None:
    """It is for the caller to refuse; the header itself is readable."""
    header = parse_request_header(memoryview(bytes.fromhex("7d00000100000007ffff00")), 0, 11)
    assert (header.api_key, header.version, header.correlation_id) == (32000, 1, 7)
    assert header.client_id is None


def test_api_versions_newer_than_ours_has_a_readable_header() -> None:
    frame = bytearray(request_frame(ApiKey.API_VERSIONS, 4, 5, "x", ApiVersionsRequest()))
    frame[6:8] = (99).to_bytes(2, "big")
    header = parse_request_header(memoryview(frame), 4, len(frame))
    assert (header.version, header.client_id) == (99, "x")


def test_api_versions_response_never_has_tags_in_its_header() -> None:
    frame = response_frame(ApiKey.API_VERSIONS, 4, 5, ApiVersionsResponse(error_code=35))
    assert frame[4:10].hex() == "00000005" + "0023"


@pytest.mark.parametrize("version", [0, 4])
def test_truncated_or_overlong_responses_are_malformed(version: int) -> None:
    frame = bytes(response_frame(ApiKey.HEARTBEAT, version, 5, HeartbeatResponse(error_code=27)))[4:]
    assert parse_response(ApiKey.HEARTBEAT, version, frame) == (5, HeartbeatResponse(error_code=27))
    for end in range(len(frame)):
        with pytest.raises(Malformed):
            parse_response(ApiKey.HEARTBEAT, version, frame[:end])
    with pytest.raises(Malformed, match="1 bytes are left over"):
        parse_response(ApiKey.HEARTBEAT, version, frame + b"\0")


def test_null_topics_of_metadata_mean_all() -> None:
    frame = request_frame(ApiKey.METADATA, 1, 1, None, MetadataRequest(topics=None))
    assert frame.hex() == "0000000e" + "0003" + "0001" + "00000001" + "ffff" + "ffffffff"
