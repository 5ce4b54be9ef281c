"""Loading: the quick way gives what the ordinary way gives; the checkpoint gives back what was put in."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from broker.coordinator.checkpoint import GroupCheckpoint
from broker.coordinator.group_records import decode, encode
from broker.coordinator.groups import Groups
from broker.coordinator.loading import load
from broker.coordinator.outcome import Record
from protocol.messages.internal.offset_records import (
    GroupMetadataKey,
    GroupMetadataValue,
    OffsetCommitKey,
    OffsetCommitValue,
)

TOPIC_ID = b"t" * 16
names = st.sampled_from(["", "a", "über", "group-1"])
offset_keys = st.builds(
    lambda group, topic, partition: OffsetCommitKey(group=group, topic=topic, partition=partition),
    names,
    names,
    st.sampled_from([0, 1, 2**31 - 1]),
)
offset_values = st.builds(
    lambda offset, epoch, metadata, time, expiry: OffsetCommitValue(
        offset=offset,
        leader_epoch=epoch if expiry < 0 else -1,
        metadata=metadata,
        commit_timestamp=time,
        expire_timestamp=expiry,
    ),
    st.integers(-1, 2**63 - 1),
    st.integers(-1, 2**31 - 1),
    st.sampled_from(["", "", "note", "ä"]),
    st.integers(0, 2**62),
    st.sampled_from([-1, -1, 7]),
)
group_records = st.builds(
    lambda group, generation: Record(
        GroupMetadataKey(group=group),
        GroupMetadataValue(protocol_type="consumer", generation=generation) if generation else None,
    ),
    names,
    st.integers(0, 3),
)
records = st.lists(
    st.one_of(st.builds(Record, offset_keys, st.one_of(st.none(), offset_values)), group_records), max_size=30
)


@given(records)
def test_the_quick_way_gives_what_the_ordinary_way_gives(history: list[Record]) -> None:
    stored = [encode(record) for record in history]
    quick, ordinary = Groups(), Groups()
    assert load(quick, stored) == len(history)
    for key, value in stored:
        ordinary.apply("", decode(key, value))
    assert quick.offsets.by_group == ordinary.offsets.by_group
    assert sorted(quick.by_id) == sorted(ordinary.by_id)


def test_what_is_no_record_of_ours_is_passed_over() -> None:
    groups = Groups()
    key, value = encode(
        Record(OffsetCommitKey(group="g", topic="t", partition=0), OffsetCommitValue(offset=5))
    )
    assert value is not None
    odd = [
        (None, b"x"),
        (b"", b""),
        (b"\0\1", value),
        (b"\0\1\0\7g", value),
        (b"\0\1\0\1\xff\0\1t\0\0\0\0", value),
        (key + b"x", value),
        (key, value[:-1]),
        (key, b"\0\3"),
        (b"\0\x63", value),
        (key, value),
    ]
    assert load(groups, odd) == len(odd)
    assert groups.offsets.get("g", "t", 0) is not None
    assert list(groups.offsets.by_group) == ["g"]


def test_the_checkpoint_gives_back_what_was_put_in(tmp_path: Path) -> None:
    path = str(tmp_path / "groups.checkpoint")
    checkpoint = GroupCheckpoint(path, TOPIC_ID)
    assert checkpoint.offset(0) == 0
    assert checkpoint.write(0, {b"a": b"1", b"b": b"2"}, 10)
    assert checkpoint.write(1, {b"a": b"3"}, 20)
    assert checkpoint.write(0, {b"a": None, b"c": b"4"}, 30)
    checkpoint.close()
    checkpoint = GroupCheckpoint(path, TOPIC_ID)
    assert [checkpoint.offset(index) for index in range(3)] == [30, 20, 0]
    assert list(checkpoint.records(0)) == [(b"b", b"2"), (b"c", b"4")]
    assert list(checkpoint.records(1)) == [(b"a", b"3")]
    checkpoint.clear(0)
    assert checkpoint.offset(0) == 0
    assert list(checkpoint.records(0)) == []
    assert list(checkpoint.records(1)) == [(b"a", b"3")]
    checkpoint.close()


def test_a_checkpoint_of_another_topic_is_thrown_away(tmp_path: Path) -> None:
    path = str(tmp_path / "groups.checkpoint")
    checkpoint = GroupCheckpoint(path, TOPIC_ID)
    checkpoint.write(0, {b"a": b"1"}, 10)
    checkpoint.close()
    checkpoint = GroupCheckpoint(path, b"u" * 16)
    assert (checkpoint.offset(0), list(checkpoint.records(0))) == (0, [])
    checkpoint.close()


def test_a_damaged_checkpoint_is_thrown_away(tmp_path: Path) -> None:
    path = tmp_path / "groups.checkpoint"
    GroupCheckpoint(str(path), TOPIC_ID).close()
    (path / "CURRENT").write_bytes(b"nonsense")
    checkpoint = GroupCheckpoint(str(path), TOPIC_ID)
    assert checkpoint.offset(0) == 0
    checkpoint.close()
