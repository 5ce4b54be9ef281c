"""Prebuilt Produce requests back to back, and where the interesting bytes of their responses are."""

from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

from protocol.api import ApiKey
from protocol.framing import request_frame, response_frame
from protocol.messages.produce import (
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
    TopicProduceResponse,
)

MAX_RING_BYTES: Final = 16 << 20
MAX_RING_FRAMES: Final = 2048
_CLIENT_ID: Final = "floe-bench"
_PROBE_ERROR: Final = 0x5A5B  # no byte of it is zero, so every byte of the field differs from "no error"


@dataclass(frozen=True, slots=True)
class Ring:
    """`frame_count` requests of `frame_bytes` each; frame i has correlation id i and goes to partition i %
    partitions.
    """

    data: memoryview
    frame_bytes: int
    frame_count: int
    version: int


def build_ring(
    *,
    version: int,
    topic: str,
    topic_id: bytes,
    partition_count: int,
    batch: bytes,
    acks: int,
    timeout_ms: int,
) -> Ring:
    """Encode the requests of a run. Every partition has the same number of frames."""
    size = len(batch) + 128
    rounds = max(1, min(MAX_RING_BYTES // (size * partition_count), MAX_RING_FRAMES // partition_count))
    frame_count = rounds * partition_count
    data = bytearray()
    frame_bytes = 0
    for index in range(frame_count):
        partition = PartitionProduceData(index=index % partition_count, records=batch)
        entry = TopicProduceData(partition_data=[partition])
        if version >= 13:
            entry.topic_id = topic_id
        else:
            entry.name = topic
        request = ProduceRequest(acks=acks, timeout_ms=timeout_ms, topic_data=[entry])
        frame = request_frame(ApiKey.PRODUCE, version, index, _CLIENT_ID, request)
        assert frame_bytes in (0, len(frame)), "frames of one ring have one size"
        frame_bytes = len(frame)
        data += frame
    return Ring(memoryview(bytes(data)), frame_bytes, frame_count, version)


@dataclass(frozen=True, slots=True)
class ResponseLayout:
    """A successful response: its size with the prefix, and one Struct for (size, correlation id, error
    code).
    """

    frame_bytes: int
    fields: Struct


def response_layout(version: int, topic: str, topic_id: bytes) -> ResponseLayout:
    """Find the places by encoding a response with and without an error and comparing."""
    ok, failed = (
        bytes(response_frame(ApiKey.PRODUCE, version, 0, message))
        for message in _probes(version, topic, topic_id)
    )
    assert len(ok) == len(failed)
    position = next(
        index for index, (left, right) in enumerate(zip(ok, failed, strict=True)) if left != right
    )
    assert failed[position : position + 2] == _PROBE_ERROR.to_bytes(2, "big")
    return ResponseLayout(len(ok), Struct(f">ii{position - 8}xh"))


def _probes(version: int, topic: str, topic_id: bytes) -> list[Any]:
    messages: list[Any] = []
    for error_code in (0, _PROBE_ERROR):
        partition = PartitionProduceResponse(index=0, error_code=error_code, base_offset=0)
        entry = TopicProduceResponse(partition_responses=[partition])
        if version >= 13:
            entry.topic_id = topic_id
        else:
            entry.name = topic
        messages.append(ProduceResponse(responses=[entry]))
    return messages
