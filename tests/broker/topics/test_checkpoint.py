"""The checkpoint saves work and holds no truth: lost, damaged or foreign, the log has it all."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import plyvel
import pytest

from broker.topics.commands import SET, Alteration, AlterSettings, CreateTopics, DeleteTopics
from broker.topics.metadata_log import append
from broker.topics.state import BROKER, GROUP
from protocol.messages.internal.topic_records import PartitionChangeRecord
from protocol.schema import ZERO_UUID
from tests.broker.topics.fakes import FakeLog, Harness


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "checkpoint")


def _filled(path: str) -> Harness:
    harness = Harness(checkpoint_path=path)
    harness.catalog.register([("PLAINTEXT", "localhost", 9092)], None)
    harness.run(
        CreateTopics([harness.topic("a", 3, retention_ms="5"), harness.topic("b.c"), harness.topic("d")])
    )
    harness.run(
        AlterSettings(
            [
                Alteration(BROKER, "", [("log.retention.bytes", SET, "7")]),
                Alteration(GROUP, "g", [("consumer.session.timeout.ms", SET, "46000")]),
            ]
        )
    )
    harness.run(DeleteTopics([("d", ZERO_UUID)]))
    return harness


class CountingLog(FakeLog):
    reads = 0

    def read(self, *args: object) -> object:  # type: ignore[override]
        self.reads += 1
        return super().read(*args)  # type: ignore[arg-type]


def test_a_start_reads_nothing_that_is_in_it(path: str) -> None:
    before = _filled(path)
    before.catalog.close()
    log = CountingLog(before.log.batches)
    after = Harness(log, path)
    assert log.reads == 0
    assert after.catalog.state.image() == before.catalog.state.image()
    assert after.catalog.topics["a"].config.retention_bytes == 7
    after.catalog.close()


def test_leader_epochs_of_elections_elsewhere_are_kept(path: str) -> None:
    before = _filled(path)
    topic_id = before.catalog.topics["a"].topic_id
    for leader in (-1, 1, -2):  # gone, back, and a change that is no election
        append(before.log, [PartitionChangeRecord(partition_id=1, topic_id=topic_id, leader=leader)], 0)
    before.catalog.close()
    second = Harness(before.log.crashed(), path)
    assert second.catalog.topics["a"].leader_epochs == {1: 2}
    second.catalog.close()
    third = Harness(CountingLog(second.log.batches), path)
    assert third.catalog.topics["a"].leader_epochs == {1: 2}
    third.run(DeleteTopics([("a", ZERO_UUID)]))
    third.run(CreateTopics([third.topic("a", 3)]))
    third.catalog.close()
    fourth = Harness(third.log.crashed(), path)
    assert fourth.catalog.topics["a"].leader_epochs == {}
    fourth.catalog.close()


def test_it_may_be_deleted(path: str) -> None:
    before = _filled(path)
    before.catalog.close()
    shutil.rmtree(path)
    after = Harness(before.log.crashed(), path)
    assert after.catalog.state.image() == before.catalog.state.image()
    after.catalog.close()
    third = Harness(CountingLog(before.log.batches), path)
    assert third.catalog.state.image() == before.catalog.state.image()
    third.catalog.close()


def test_one_of_another_cluster_is_thrown_away(path: str, caplog: pytest.LogCaptureFixture) -> None:
    before = _filled(path)
    before.catalog.close()
    with caplog.at_level(logging.WARNING, "floe.catalog"):
        after = Harness(FakeLog(), path, cluster_id="other")
    assert "it belongs to another cluster" in caplog.text
    assert after.catalog.topics == {}
    assert after.config.dynamic == {}
    after.catalog.close()


def test_one_ahead_of_the_log_is_thrown_away(path: str, caplog: pytest.LogCaptureFixture) -> None:
    before = _filled(path)
    before.catalog.close()
    with caplog.at_level(logging.WARNING, "floe.catalog"):
        after = Harness(FakeLog(before.log.batches[:3]), path)
    assert "the log has 0 to" in caplog.text
    assert sorted(after.catalog.topics) == ["a", "b.c", "d"]
    after.catalog.close()


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (b"!format", b"\0\0\0\x63", "it is of another format"),
        (b"!offset", None, "it has no offset"),
        (b"!offset", b"\0", ""),
        (b"tzz", b"\0", ""),
        (b"tzz", bytes(20) + b"\0\0\0\x05ab", "a setting is cut short"),
        (b"tzz", bytes(20) + b"\0\0\0\x01a", "a setting has no value"),
        (b"t\xff", bytes(20), ""),
    ],
)
def test_a_damaged_one_is_thrown_away(
    path: str, key: bytes, value: bytes | None, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = _filled(path)
    before.catalog.close()
    db = plyvel.DB(path)
    if value is None:
        db.delete(key)
    else:
        db.put(key, value)
    db.close()
    with caplog.at_level(logging.WARNING, "floe.catalog"):
        after = Harness(before.log.crashed(), path)
    assert f"thrown away and made again from its log: {reason}" in caplog.text
    assert after.catalog.state.image() == before.catalog.state.image()
    after.catalog.close()


def test_a_broken_database_is_thrown_away(path: str, caplog: pytest.LogCaptureFixture) -> None:
    before = _filled(path)
    before.catalog.close()
    Path(path, "CURRENT").write_bytes(b"nonsense")
    with caplog.at_level(logging.WARNING, "floe.catalog"):
        after = Harness(before.log.crashed(), path)
    assert "thrown away" in caplog.text
    assert after.catalog.state.image() == before.catalog.state.image()
    after.catalog.close()
