"""Committed offsets over restarts: with a checkpoint, with an old one, with none, and with one of another life."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.floe_process import FloeProcess

LIMIT_S = 60.0
PARTITIONS = 3


def commit(floe: FloeProcess, offset: int) -> None:
    for number in range(5):
        consumer = Consumer({"bootstrap.servers": floe.bootstrap, "group.id": f"group-{number}"})
        positions = [TopicPartition("topic", p, offset + p) for p in range(PARTITIONS)]
        consumer.commit(offsets=positions, asynchronous=False)
        consumer.close()


def check(floe: FloeProcess, offset: int) -> None:
    for number in range(5):
        consumer = Consumer({"bootstrap.servers": floe.bootstrap, "group.id": f"group-{number}"})
        found = consumer.committed([TopicPartition("topic", p) for p in range(PARTITIONS)], LIMIT_S)
        consumer.close()
        assert [position.offset for position in found] == [offset + p for p in range(PARTITIONS)]


@pytest.fixture
def floe(start_floe: Callable[..., FloeProcess]) -> FloeProcess:
    process = start_floe()
    admin = AdminClient({"bootstrap.servers": process.bootstrap})
    admin.create_topics([NewTopic("topic", PARTITIONS)])["topic"].result(LIMIT_S)
    commit(process, 10)
    return process


def test_after_a_clean_stop(floe: FloeProcess) -> None:
    floe.restart()
    assert (floe.data_dir / "groups.checkpoint").is_dir()
    check(floe, 10)
    commit(floe, 20)
    floe.restart()
    check(floe, 20)


def test_a_killed_broker_finds_what_its_checkpoint_lacks(floe: FloeProcess) -> None:
    floe.restart()
    commit(floe, 20)
    floe.kill()
    floe.start()
    check(floe, 20)
    floe.restart()
    check(floe, 20)


def test_without_a_checkpoint(floe: FloeProcess) -> None:
    floe.stop()
    shutil.rmtree(floe.data_dir / "groups.checkpoint")
    floe.start()
    check(floe, 10)


def test_a_checkpoint_of_a_former_life_is_caught_up(floe: FloeProcess) -> None:
    floe.stop()
    kept = floe.data_dir.with_name("kept")
    shutil.copytree(floe.data_dir / "groups.checkpoint", kept)
    floe.start()
    commit(floe, 20)
    floe.stop()
    shutil.rmtree(floe.data_dir / "groups.checkpoint")
    shutil.copytree(kept, floe.data_dir / "groups.checkpoint")
    floe.start()
    check(floe, 20)
