"""The catalog's records in Kafka's own form: what a Kafka wrote reads here, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.topics.commands import CreateTopics
from broker.topics.metadata_log import (
    FRAME_VERSION,
    UnreadableMetadata,
    append,
    frame,
    newest_snapshot,
    replay,
    unframe,
)
from protocol.errors import Malformed
from protocol.messages.internal.cluster_records import FeatureLevelRecord, RegisterBrokerRecord
from protocol.messages.internal.topic_records import (
    ConfigRecord,
    PartitionRecord,
    RemoveTopicRecord,
    TopicRecord,
)
from protocol.records import Record, build, iterate, parse_batches
from tests.broker.topics.fakes import NOW_MS, FakeLog, Harness

GOLDEN = Path(__file__).parents[2] / "golden" / "cluster-metadata" / "kafka-4.3.1.log"


def _values() -> list[bytes]:
    view = memoryview(GOLDEN.read_bytes())
    return [record.value or b"" for batch in parse_batches(view) for record in iterate(view, batch, 1 << 20)]


OURS = (
    TopicRecord,
    PartitionRecord,
    RemoveTopicRecord,
    ConfigRecord,
    FeatureLevelRecord,
    RegisterBrokerRecord,
)


def test_what_kafka_wrote_reads_and_writes_back() -> None:
    records = [unframe(value) for value in _values()]
    assert set(OURS) <= {type(record) for record in records}
    for record, value in zip(records, _values(), strict=True):
        if isinstance(record, OURS):
            assert frame(record) == value


def test_ours_are_as_kafkas() -> None:
    """A partition of one broker differs from Kafka's in ids alone."""
    harness = Harness()
    harness.run(CreateTopics([harness.topic("t")]))
    ours = next(record for _, record in replay(harness.log, 0) if isinstance(record, PartitionRecord))
    kafkas = next(record for record in map(unframe, _values()) if isinstance(record, PartitionRecord))
    ours.topic_id, ours.directories, ours.partition_id = (
        kafkas.topic_id,
        kafkas.directories,
        kafkas.partition_id,
    )
    assert ours == kafkas


def test_batches_are_read_from_the_middle() -> None:
    log = FakeLog()
    names = [f"t{number}" for number in range(5)]
    append(log, [TopicRecord(name=name, topic_id=bytes(16)) for name in names[:3]], NOW_MS)
    append(log, [TopicRecord(name=name, topic_id=bytes(16)) for name in names[3:]], NOW_MS)
    assert [(offset, record.name) for offset, record in replay(log, 2)] == [(2, "t2"), (3, "t3"), (4, "t4")]
    assert list(replay(log, 5)) == []


def test_control_batches_are_passed_over() -> None:
    control = build([Record(value=b"anything")], is_control=True)
    log = FakeLog([bytes(control)])
    append(log, [TopicRecord(name="t")], NOW_MS)
    assert [record.name for _, record in replay(log, 0)] == ["t"]


@pytest.mark.parametrize(
    "value",
    [
        bytes((2, 2, 0)) + frame(TopicRecord(name="t"))[3:],
        bytes((FRAME_VERSION, 99, 0)),
        bytes((FRAME_VERSION, 2, 9)) + frame(TopicRecord(name="t"))[3:],
        frame(TopicRecord(name="t")) + b"\0",
    ],
)
def test_what_is_not_known_stops_the_start(value: bytes) -> None:
    with pytest.raises(UnreadableMetadata):
        unframe(value)


@pytest.mark.parametrize("length", range(1, len(frame(TopicRecord(name="t")))))
def test_a_record_cut_short_is_refused(length: int) -> None:
    with pytest.raises((Malformed, UnreadableMetadata)):
        unframe(frame(TopicRecord(name="t"))[:length])


def test_a_damaged_batch_stops_the_start() -> None:
    log = FakeLog()
    append(log, [TopicRecord(name="topic", topic_id=bytes(16))], NOW_MS)
    damaged = bytearray(log.batches[0])
    damaged[-3] ^= 1
    with pytest.raises(UnreadableMetadata, match="offset 0 is damaged"):
        list(replay(FakeLog([bytes(damaged)]), 0))


def test_the_newest_snapshot_that_the_log_goes_on_from_is_taken() -> None:
    names = [f"{offset:020d}-{3:010d}.checkpoint" for offset in (90, 100, 120, 131)]
    names += ["00000000000000000100.log", "leader-epoch-checkpoint", names[2] + ".part"]
    assert newest_snapshot(names, 100, 130) == (120, names[2])
    assert newest_snapshot(names, 121, 130) is None


def test_a_log_without_its_beginning_goes_on_from_a_snapshot() -> None:
    before = Harness()
    before.catalog.register([("PLAINTEXT", "localhost", 9092)], None)
    before.run(CreateTopics([before.topic("a", 3, retention_ms="5"), before.topic("b")]))
    taken = before.log.log_end_offset, b"".join(before.log.batches)
    written = len(before.log.batches)
    before.run(CreateTopics([before.topic("c")]))
    rest = FakeLog()
    rest.batches = before.log.batches[written:]
    rest.log_start_offset = taken[0]
    rest.log_end_offset = rest.durable_offset = before.log.log_end_offset
    after = Harness(rest, snapshot=taken)
    assert after.catalog.state.image() == before.catalog.state.image()
    with pytest.raises(UnreadableMetadata, match="no snapshot"):
        Harness(rest)
