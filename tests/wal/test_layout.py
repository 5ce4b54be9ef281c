"""Names and small files, which are Kafka's."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from tests.simulation.memory_storage import Crashed, MemoryStorage
from wal import layout
from wal.checkpoint import (
    TopicPartition,
    format_offsets,
    parse_offsets,
    put_file,
    read_offsets,
    replace_file,
)
from wal.errors import CorruptCheckpoint, DiskFull
from wal.storage import Storage, read_file

# As Apache Kafka 4.3.1 wrote them.
KAFKA_CHECKPOINT = b"0\n3\n__transaction_state 0 13\nt1 0 30044\n__transaction_state 1 0\n"
KAFKA_PARTITION_METADATA = b"version: 0\ntopic_id: xmZxYU5XTl6UBVrPCTVs4w"
KAFKA_META_PROPERTIES = (
    b"#\n#Sat Nov 21 07:57:37 UTC 2026\nnode.id=1\ndirectory.id=dERVafRodI_jneoyAW6hfQ\nversion=1\n"
    b"cluster.id=pDA8W_76TEOQVvW8WsVGMA\n"
)


def test_segment_names() -> None:
    path = layout.segment_path("/d/t-0", 4711, ".log")
    assert path == "/d/t-0/00000000000000004711.log"
    assert layout.parse_base_offset("00000000000000004711.log", ".log") == 4711
    for name in ("00000000000000004711.index", "4711.log", "x0000000000000004711.log", ".log"):
        assert layout.parse_base_offset(name, ".log") is None


def test_folder_names() -> None:
    assert layout.partition_directory("/d", "a-b", 3) == "/d/a-b-3"
    assert layout.parse_partition_directory("a-b-3") == ("a-b", 3)
    for name in ("orders", "-1", "orders-", "orders-x", "a-0.0123-delete", "meta.properties"):
        assert layout.parse_partition_directory(name) is None
    deleted = layout.deleted_directory("/d/" + "t" * 249 + "-0", bytes(range(16)))
    assert len(deleted.rpartition("/")[2]) == 255 and deleted.endswith("-delete")


def test_partition_metadata() -> None:
    topic_id = layout.parse_partition_metadata(KAFKA_PARTITION_METADATA)
    assert layout.format_partition_metadata(topic_id) == KAFKA_PARTITION_METADATA
    bad = (
        b"",
        b"version: 1\ntopic_id: xmZxYU5XTl6UBVrPCTVs4w",
        b"version: 0\ntopic_id: ??",
        b"version: 0\ntopic_id: AAAA",
    )
    for data in bad:
        with pytest.raises(CorruptCheckpoint):
            layout.parse_partition_metadata(data)


def test_meta_properties() -> None:
    properties = layout.parse_properties(KAFKA_META_PROPERTIES)
    assert properties["cluster.id"] == "pDA8W_76TEOQVvW8WsVGMA" and properties["version"] == "1"
    assert layout.parse_properties(layout.format_properties(properties)) == properties


def test_offset_checkpoints() -> None:
    offsets = parse_offsets("recovery-point-offset-checkpoint", KAFKA_CHECKPOINT)
    assert offsets[TopicPartition("t1", 0)] == 30044
    assert format_offsets(offsets) == KAFKA_CHECKPOINT
    assert format_offsets({}) == b"0\n0\n"  # as Kafka writes it
    assert parse_offsets("x", b"") == {}


@pytest.mark.parametrize(
    "data", [b"1\n0\n", b"0\n", b"0\nx\n", b"0\n2\na 0 1\n", b"0\n1\na 0\n", b"0\n1\na x 1\n", b"\xff\xfe"]
)
def test_corrupt_checkpoints_say_where(data: bytes) -> None:
    with pytest.raises(CorruptCheckpoint, match="file, line"):
        parse_offsets("file", data)


def test_replacing_a_file(root: str, storage: Storage) -> None:
    replace_file(storage, root, "x", b"one")
    replace_file(storage, root, "x", b"two")
    assert read_file(storage, f"{root}/x") == b"two"
    assert storage.list(root) == ["x"]
    assert read_offsets(storage, root, "none") == {}


def test_a_crash_leaves_the_old_or_the_new_content() -> None:
    for crash_after in range(12):
        storage = MemoryStorage("/r", random.Random(crash_after))
        replace_file(storage, "/r", "x", b"old")
        storage.crash_at = storage.calls + crash_after
        with suppress(Crashed):
            replace_file(storage, "/r", "x", b"new")
        for seed in range(20):
            assert read_file(storage.crash(random.Random(seed)), "/r/x") in (b"old", b"new")


def test_a_full_disk_keeps_the_old_content() -> None:
    storage = MemoryStorage("/r")
    replace_file(storage, "/r", "x", b"old")
    storage.capacity = storage.used_bytes() + 5
    with pytest.raises(DiskFull):
        replace_file(storage, "/r", "x", b"much longer than that")
    assert read_file(storage, "/r/x") == b"old" and storage.list("/r") == ["x"]


def test_content_that_is_there_already_is_not_written_again() -> None:
    storage = MemoryStorage("/r")
    put_file(storage, "/r", "x", b"same").sync()
    calls = storage.calls
    put_file(storage, "/r", "x", b"same")
    assert storage.calls == calls
    put_file(storage, "/r", "x", b"other")
    assert read_file(storage, "/r/x") == b"other"
