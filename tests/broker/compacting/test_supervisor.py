"""Compaction in a running broker: in the background, on request, seen by nobody who reads, safe from kill -9."""

from __future__ import annotations

import json
from collections.abc import Callable

from click.testing import CliRunner
from confluent_kafka import Consumer, Producer, TopicPartition

from broker.cli.root import floe as floe_command
from tests.clients.group_members import wait_until
from tests.floe_process import FloeProcess

Start = Callable[..., FloeProcess]

COMPACTED = ("-c", "cleanup.policy=compact", "-c", "segment.bytes=1048576", "-c", "floe.table.enable=false")


def cli(floe: FloeProcess, *arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(floe_command, [*arguments, "--bootstrap-server", floe.bootstrap])
    assert result.exit_code == status, result.output
    return result.stdout


def produce(floe: FloeProcess, topic: str, count: int, keys: int, **settings: object) -> dict[bytes, bytes]:
    """Write every key again and again; its last value."""
    producer = Producer({"bootstrap.servers": floe.bootstrap, "linger.ms": 5, **settings})
    last = {}
    for number in range(count):
        key, value = b"key-%d" % (number % keys), b"value-%d " % number * 12
        producer.produce(topic, key=key, value=value, partition=0)
        last[key] = value
        producer.poll(0)
    assert producer.flush(60) == 0
    return last


def read(floe: FloeProcess, topic: str) -> list[tuple[int, bytes, bytes]]:
    """The whole partition 0, with librdkafka."""
    consumer = Consumer(
        {
            "bootstrap.servers": floe.bootstrap,
            "group.id": "g",
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = []
    while True:
        message = consumer.poll(30)
        assert message is not None, "nothing for 30 s"
        if message.error():
            consumer.close()
            return found
        found.append((message.offset(), message.key(), message.value()))


def test_on_request_every_key_keeps_its_last_value(start_floe: Start) -> None:
    floe = start_floe()
    cli(floe, "topics", "create", "t", *COMPACTED)
    last = produce(floe, "t", 40_000, 300, **{"compression.type": "lz4"})
    before = {offset: (key, value) for offset, key, value in read(floe, "t")}
    (partition,) = json.loads(cli(floe, "compact", "now", "t", "--output", "json"))["partitions"]
    assert partition["last_round"]["records_after"] == 300
    after = read(floe, "t")
    assert {key: value for _, key, value in after} == last
    assert len(after) == 300
    assert all(before[offset] == (key, value) for offset, key, value in after)
    floe.kill()
    floe.start()
    assert read(floe, "t") == after
    last |= produce(floe, "t", 100, 100)
    assert "compacted" in cli(floe, "compact", "now", "t")
    assert {key: value for _, key, value in read(floe, "t")} == last
    status = json.loads(cli(floe, "compact", "status", "t", "--output", "json"))["partitions"][0]
    assert status["state"] == "idle" and status["dirty_bytes"] == 0


def test_a_dirty_partition_is_compacted_in_the_background(start_floe: Start) -> None:
    floe = start_floe(log_cleaner_backoff_ms="100")
    cli(floe, "topics", "create", "t", *COMPACTED)
    last = produce(floe, "t", 40_000, 50)

    def is_clean() -> bool:
        found = json.loads(cli(floe, "compact", "status", "t", "--output", "json"))["partitions"][0]
        return bool(found["first_dirty_offset"] > 0 and found["dirty_bytes"] == 0)

    wait_until(is_clean, "a clean partition")
    after = read(floe, "t")
    assert {key: value for _, key, value in after} == last
    assert len(after) < 30_000


def test_consumer_offsets_do_not_grow_for_ever(start_floe: Start) -> None:
    floe = start_floe(
        log_cleaner_backoff_ms="100", offsets_topic_num_partitions="1", offsets_topic_segment_bytes="1048576"
    )
    cli(floe, "topics", "create", "t", "-p", "10")
    consumer = Consumer(
        {"bootstrap.servers": floe.bootstrap, "group.id": "committing", "enable.auto.commit": False}
    )
    for number in range(2500):
        consumer.commit(
            offsets=[TopicPartition("t", index, number) for index in range(10)], asynchronous=False
        )

    def size() -> int:
        found = json.loads(cli(floe, "compact", "status", "__consumer_offsets", "--output", "json"))
        return int(found["partitions"][0]["clean_bytes"] + found["partitions"][0]["dirty_bytes"])

    wait_until(
        lambda: size() < 50_000 and (floe.data_dir / "cleaner-offset-checkpoint").exists(), "few commits left"
    )
    floe.kill()
    floe.start()
    committed = consumer.committed([TopicPartition("t", index) for index in range(10)], timeout=30)
    assert [found.offset for found in committed] == [2499] * 10
    consumer.close()


def test_what_cannot_be_asked_for_is_said(start_floe: Start) -> None:
    floe = start_floe()
    cli(floe, "topics", "create", "plain")
    cli(floe, "topics", "create", "t", *COMPACTED)
    assert (
        "no compact"
        in CliRunner()
        .invoke(floe_command, ["compact", "now", "plain", "--bootstrap-server", floe.bootstrap])
        .output
    )
    cli(floe, "compact", "now", "none", status=1)
    cli(floe, "compact", "now", "t", "--partition", "7", status=1)
    assert json.loads(cli(floe, "compact", "now", "t", "-o", "json")) == {"topic": "t", "partitions": []}
