"""Varints, ids and outputs."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kio.serial.readers import read_unsigned_varint

from protocol.primitives import Output, format_uuid, parse_uuid, put_records, read_uvarint, uvarint


@given(
    st.integers(0, 0xFFFFFFFF) | st.sampled_from([0, 127, 128, 16383, 16384, 0x1FFFFF, 0x200000, 0xFFFFFFFF])
)
def test_varints(value: int) -> None:
    wire = uvarint(value)
    assert read_uvarint(memoryview(b"x" + wire + b"y"), 1) == (value, 1 + len(wire))
    if value < 1 << 31:
        assert read_unsigned_varint(wire, 0)[0] == value


def test_varints_end_with_32_bits() -> None:
    with pytest.raises(OverflowError):
        uvarint(1 << 32)
    for wire in ("ffffffffff", "ffffffff10", "8080808080" + "00"):
        with pytest.raises(ValueError):
            read_uvarint(memoryview(bytes.fromhex(wire)), 0)
    with pytest.raises(IndexError):
        read_uvarint(memoryview(b"\x80\x80"), 0)


@given(st.binary(min_size=16, max_size=16))
def test_ids(value: bytes) -> None:
    text = format_uuid(value)
    assert len(text) == 22
    assert parse_uuid(text) == value


def test_ids_look_like_kafkas() -> None:
    """Kafka's rendering of Uuid.METADATA_TOPIC_ID and of its largest id."""
    assert format_uuid(uuid.UUID(int=1).bytes) == "AAAAAAAAAAAAAAAAAAAAAQ"
    assert parse_uuid("_____________________w") == b"\xff" * 16


@pytest.mark.parametrize("text", ["", "AAAA", "AAAAAAAAAAAAAAAAAAAAAA==", "not an id", "?" * 22])
def test_what_is_not_an_id(text: str) -> None:
    with pytest.raises(ValueError):
        parse_uuid(text)


@pytest.mark.parametrize("value", [b"abc", bytearray(b"abc"), memoryview(b"abc")])
def test_records_are_anything_bytes_like(value: bytes) -> None:
    out = Output()
    put_records(out, value, compact=True)
    put_records(out, value, compact=False)
    put_records(out, None, compact=True)
    put_records(out, None, compact=False)
    assert out.hex() == "04616263" + "00000003616263" + "00" + "ffffffff"
    assert out.total_length() == len(out)
