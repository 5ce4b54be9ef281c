"""The records of `__consumer_offsets`, byte for byte, and the partition a group's are in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.coordinator.group_records import (
    UnknownRecord,
    decode,
    encode,
    encode_key,
    encode_value,
    partition_for,
)
from broker.coordinator.outcome import Record
from protocol.errors import Malformed
from protocol.messages.internal.offset_records import (
    GroupMetadataKey,
    GroupMetadataValue,
    MemberMetadata,
    OffsetCommitKey,
    OffsetCommitValue,
)


@pytest.mark.parametrize(
    ("group_id", "java_hash"),
    [
        ("", 0),
        ("a", 97),
        ("hello", 99162322),
        ("console-consumer-12345", 1126655853),
        ("polygenelubricants", -(2**31)),  # the famous one: its absolute value is itself
    ],
)
def test_the_partition_is_the_one_kafka_takes(group_id: str, java_hash: int) -> None:
    if group_id != "console-consumer-12345":
        expected = 0 if java_hash == -(2**31) else abs(java_hash) % 50
        assert partition_for(group_id, 50) == expected
    assert 0 <= partition_for(group_id, 7) < 7


def test_characters_outside_the_basic_plane_count_as_javas_do() -> None:
    assert partition_for("\N{GRINNING FACE}", 1_000_000) == (31 * 0xD83D + 0xDE00) % 1_000_000


def test_an_offset_in_kafkas_bytes() -> None:
    key = OffsetCommitKey(group="g", topic="t", partition=3)
    value = OffsetCommitValue(offset=5, leader_epoch=1, metadata="m", commit_timestamp=9)
    encoded_key, encoded = encode(Record(key, value))
    assert encoded_key == bytes.fromhex("0001 0001 67 0001 74 00000003")
    assert encoded == bytes.fromhex("0003 0000000000000005 00000001 0001 6d 0000000000000009")
    assert decode(encoded_key, encoded) == Record(key, value)


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
int64s = st.integers(-(2**63), 2**63 - 1)


@given(
    st.builds(OffsetCommitKey, group=names, topic=names, partition=st.integers(0, 2**31 - 1)),
    st.none()
    | st.builds(
        OffsetCommitValue,
        offset=int64s,
        leader_epoch=st.integers(-1, 2**31 - 1),
        metadata=st.just("") | names,
        commit_timestamp=int64s,
        expire_timestamp=st.just(-1),
    ),
)
def test_what_is_written_out_for_speed_is_what_the_schema_says(
    key: OffsetCommitKey, value: OffsetCommitValue | None
) -> None:
    assert encode(Record(key, value)) == (encode_key(key), encode_value(value))


def test_an_offset_with_an_expiry_of_its_own_is_of_version_1() -> None:
    key = OffsetCommitKey(group="g", topic="t", partition=0)
    value = OffsetCommitValue(offset=5, metadata="", commit_timestamp=9, expire_timestamp=10)
    encoded_key, encoded = encode(Record(key, value))
    assert encoded == bytes.fromhex("0001 0000000000000005 0000 0000000000000009 000000000000000a")
    assert decode(encoded_key, encoded) == Record(key, value)


def test_a_group_in_kafkas_bytes() -> None:
    member = MemberMetadata(
        member_id="m",
        group_instance_id=None,
        client_id="c",
        client_host="/h",
        rebalance_timeout=1,
        session_timeout=2,
        subscription=b"s",
        assignment=b"a",
    )
    key = GroupMetadataKey(group="g")
    value = GroupMetadataValue(
        protocol_type="consumer",
        generation=4,
        protocol="range",
        leader="m",
        current_state_timestamp=7,
        members=[member],
    )
    encoded_key, encoded = encode(Record(key, value))
    assert encoded_key == bytes.fromhex("0002 0001 67")
    assert encoded == (
        bytes.fromhex("0003 0008")
        + b"consumer"
        + bytes.fromhex("00000004 0005")
        + b"range"
        + bytes.fromhex("0001 6d 0000000000000007 00000001 0001 6d ffff 0001 63 0002")
        + b"/h"
        + bytes.fromhex("00000001 00000002 00000001 73 00000001 61")
    )
    assert decode(encoded_key, encoded) == Record(key, value)


def test_a_tombstone_has_no_value() -> None:
    key, value = encode(Record(GroupMetadataKey(group="g"), None))
    assert value is None
    assert decode(key, None) == Record(GroupMetadataKey(group="g"), None)


def test_the_oldest_keys_are_the_same_as_the_present() -> None:
    record = decode(bytes.fromhex("0000 0001 67 0001 74 00000003"), None)
    assert record.key == OffsetCommitKey(group="g", topic="t", partition=3)


def test_records_of_types_that_are_not_known_are_told_apart_from_damaged_ones() -> None:
    with pytest.raises(UnknownRecord):
        decode(bytes.fromhex("0063 0000"), b"")
    with pytest.raises(UnknownRecord):
        decode(None, b"")
    with pytest.raises(UnknownRecord):
        decode(bytes.fromhex("0002 0001 67"), bytes.fromhex("0063"))
    with pytest.raises(Malformed):
        decode(bytes.fromhex("0002 0005 67"), None)
