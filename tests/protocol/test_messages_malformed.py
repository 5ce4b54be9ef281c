"""Bytes from a peer that lies: whatever they are, decoding ends in a message or in Malformed, never in
anything else, and never makes more than the bytes could hold."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.compiler import decoder, encode
from protocol.errors import Malformed
from protocol.layout import Layout, Part, layout
from protocol.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from protocol.messages.create_partitions import CreatePartitionsRequest
from protocol.messages.fetch import FetchRequest, FetchResponse
from protocol.messages.metadata import MetadataRequest
from protocol.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from protocol.messages.sasl_handshake import SaslHandshakeRequest
from protocol.primitives import uvarint
from tests.protocol.samples import Filler, api_classes, case_name, every_version, persisted_classes

EXAMPLES = 2000 if os.environ.get("FLOE_SOAK") == "1" else 200
CASES = every_version(api_classes() + persisted_classes())


def full(shape: Layout) -> Any:
    """A small message in which nothing is empty, null or default, so that every field has bytes to cut."""
    parts = [*shape.parts, *(part for _, part in shape.tagged)]
    return shape.cls(**{part.name: full_value(part) for part in parts})


def full_value(part: Part) -> Any:
    if part.struct is not None:
        return full(part.struct)
    if part.element is not None:
        return [full_value(part.element)]
    return {"string": "ab", "bytes": b"cd", "records": b"ef", "uuid": bytes(range(16)), "float64": 0.5}.get(
        part.kind, 1
    )


@pytest.mark.parametrize(("cls", "version"), CASES, ids=case_name)
def test_truncation_at_every_byte(cls: type, version: int) -> None:
    wire = memoryview(bytes(encode(full(layout(cls, version)), version)))
    decode = decoder(cls, version)
    assert decode(wire, 0)[1] == len(wire)
    for end in range(len(wire)):
        with pytest.raises(Malformed) as caught:
            decode(wire[:end], 0)
        assert (caught.value.message, caught.value.version) == (cls.__name__, version)
        assert caught.value.field


@given(data=st.data())
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
def test_mutations_never_surprise(data: st.DataObject) -> None:
    cls, version = data.draw(st.sampled_from(CASES))
    wire = bytearray(encode(data.draw(Filler().message(cls, version)), version))
    for _ in range(data.draw(st.integers(1, 4))):
        if wire:
            wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    try:
        _, end = decoder(cls, version)(memoryview(wire), 0)
    except Malformed:
        return
    assert end <= len(wire)


@given(cls_version=st.sampled_from(CASES), garbage=st.binary(max_size=200))
@settings(max_examples=EXAMPLES)
def test_garbage_never_surprises(cls_version: tuple[type, int], garbage: bytes) -> None:
    cls, version = cls_version
    try:
        decoder(cls, version)(memoryview(garbage), 0)
    except Malformed as error:
        assert error.field


def malformed(cls: type, version: int, wire: str) -> Malformed:
    with pytest.raises(Malformed) as caught:
        decoder(cls, version)(memoryview(bytes.fromhex(wire)), 0)
    assert caught.value.message == cls.__name__
    assert caught.value.version == version
    return caught.value


def test_the_field_is_named_by_its_path() -> None:
    topic = TopicProduceData(name="t", partition_data=[PartitionProduceData(index=1, records=b"abc")])
    wire = bytes(encode(ProduceRequest(acks=1, topic_data=[topic]), 9))
    error = malformed(ProduceRequest, 9, wire[:-5].hex())
    assert error.field == "topic_data.partition_data.records"
    assert "ProduceRequest v9: topic_data.partition_data.records" in str(error)


def test_array_that_cannot_fit_is_refused_before_anything_is_made() -> None:
    assert malformed(MetadataRequest, 0, "7fffffff").field == "topics"
    assert malformed(MetadataRequest, 9, "ffffffff0f").field == "topics"


def test_negative_lengths() -> None:
    assert malformed(MetadataRequest, 0, "fffffffe").field == "topics"
    assert malformed(MetadataRequest, 1, "fffffffe").field == "topics"  # -1 is null there, -2 is nothing
    assert malformed(SaslHandshakeRequest, 1, "ffff").field == "mechanism"
    assert malformed(SaslHandshakeRequest, 1, "fffe6161").field == "mechanism"


def test_null_where_it_is_not_allowed() -> None:
    assert malformed(ApiVersionsRequest, 3, "000000").field == "client_software_name"
    assert malformed(MetadataRequest, 0, "ffffffff").field == "topics"


def test_invalid_utf8() -> None:
    error = malformed(SaslHandshakeRequest, 1, "0002c328")
    assert error.field == "mechanism"
    assert "utf-8" in error.reason


def test_varint_of_more_than_32_bits() -> None:
    assert malformed(ApiVersionsRequest, 3, "ffffffffff01").field == "client_software_name"
    assert malformed(ApiVersionsRequest, 3, "ffffffff7f").field == "client_software_name"


def test_unknown_tagged_fields_are_skipped() -> None:
    """One tag 77 of three bytes, then tag 3 of none, behind two empty strings."""
    wire = bytes.fromhex("0101" + "02" + "4d03" + "aabbcc" + "0300")
    message, end = decoder(ApiVersionsRequest, 3)(memoryview(wire), 0)
    assert (message, end) == (ApiVersionsRequest(), len(wire))


def test_tagged_fields_that_contradict_themselves() -> None:
    assert "comes twice" in malformed(ApiVersionsRequest, 3, "0101" + "02" + "4d00" + "4d00").reason
    assert malformed(ApiVersionsRequest, 3, "0101" + "01" + "4d05" + "aa").field == "tagged fields"
    assert malformed(ApiVersionsRequest, 3, "0101" + "ffffffff0f").field == "tagged fields"


def test_known_tag_of_the_wrong_length() -> None:
    """Tag 1 of an ApiVersions response is an int64: not seven bytes, nor nine, nor twice."""
    head = "0000" + "01" + "00000000"
    value = bytes(8).hex()
    assert decoder(ApiVersionsResponse, 3)(memoryview(bytes.fromhex(f"{head}010108{value}")), 0)
    assert malformed(ApiVersionsResponse, 3, f"{head}010107{value}").field == "finalized_features_epoch"
    assert malformed(ApiVersionsResponse, 3, f"{head}010109{value}00").field == "finalized_features_epoch"
    assert "comes twice" in malformed(ApiVersionsResponse, 3, f"{head}020108{value}0108{value}").reason


def test_a_view_of_part_of_a_frame_is_not_overrun() -> None:
    """The receive buffer goes on behind the frame; a slice of it must not let a length reach further."""
    buffer = memoryview(bytes.fromhex("0004") + b"abcdef")
    assert decoder(SaslHandshakeRequest, 0)(buffer, 0)[0].mechanism == "abcd"
    with pytest.raises(Malformed):
        decoder(SaslHandshakeRequest, 0)(buffer[:5], 0)


def test_records_are_a_view_and_nothing_is_copied() -> None:
    topic = TopicProduceData(name="t", partition_data=[PartitionProduceData(index=1, records=b"abc")])
    wire = bytearray(encode(ProduceRequest(topic_data=[topic]), 9))
    message, _ = decoder(ProduceRequest, 9)(memoryview(wire), 0)
    records = message.topic_data[0].partition_data[0].records
    assert isinstance(records, memoryview)
    wire[wire.index(b"abc")] = ord("A")
    assert bytes(records) == b"Abc"


def test_every_field_of_fetch_can_be_the_one_that_is_named() -> None:
    """Cut at every byte, a message names each of its fields at least once; the labels follow the lines."""
    for cls, version in ((FetchRequest, 17), (FetchResponse, 17), (FetchRequest, 4)):
        wire = memoryview(bytes(encode(full(layout(cls, version)), version)))
        named = ""
        for end in range(len(wire)):
            with pytest.raises(Malformed) as caught:
                decoder(cls, version)(wire[:end], 0)
            named += f", {caught.value.field}"
        for part in layout(cls, version).parts:
            assert part.name in named, part.name


def test_elements_of_a_message_are_limited_in_total() -> None:
    """More of them would fit the bytes of a frame, and not the memory."""
    assert len(decoder(CreatePartitionsRequest, 2)(memoryview(_create_partitions(1000)), 0)[0].topics) == 1000
    error = malformed(CreatePartitionsRequest, 2, _create_partitions(1_000_001).hex())
    assert error.field == "topics"


def _create_partitions(count: int) -> bytes:
    """`count` topics "", count 0, no assignments."""
    return (
        uvarint(count + 1) + (b"\x01" + bytes(4) + b"\x00" + b"\x00") * count + bytes(4) + b"\x00" + b"\x00"
    )


def test_tagged_fields_of_a_struct_are_limited() -> None:
    tags = b"".join(uvarint(tag) + b"\x00" for tag in range(100, 1101))
    wire = b"\x01\x01" + uvarint(1001) + tags
    assert malformed(ApiVersionsRequest, 3, wire.hex()).field == "tagged fields"
    wire = b"\x01\x01" + uvarint(1000) + tags[:-3]
    assert decoder(ApiVersionsRequest, 3)(memoryview(wire), 0)
