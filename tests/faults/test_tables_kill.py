"""The counting test: worker and broker are killed at random moments under load, and every offset is in the table once.

The kills come after so and so many acknowledgements, half of them when a worker is seen to run. FLOE_SOAK=1 makes two
hundred rounds of it.
"""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest
from confluent_kafka import Producer

from broker.cli import admin
from broker.cli.client import Client
from tests import tables
from tests.floe_process import FloeProcess

SOAK = os.environ.get("FLOE_SOAK") == "1"
ROUNDS = 200 if SOAK else 6
PARTITIONS = 3
TOPIC = "counted"
LIMIT_S = 120.0


class Load:
    """A producer in a thread of its own, which never gives a record up."""

    def __init__(self, bootstrap: str) -> None:
        self.acknowledged = 0
        self.failed: list[str] = []
        self._progress = threading.Condition()
        self._stopping = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "linger.ms": 2,
                "reconnect.backoff.max.ms": 200,
                "message.timeout.ms": 0,
                "log_level": 0,
            }
        )
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._stopping.is_set():
            if len(self._producer) < 500:
                self._producer.produce(
                    TOPIC, b"%d" % number, partition=number % PARTITIONS, on_delivery=self._delivered
                )
                number += 1
                self._producer.poll(0)
            else:
                self._producer.poll(0.01)
            if number % 50 == 0:
                self._stopping.wait(0.005)
        self._producer.flush(LIMIT_S)

    def _delivered(self, error: object, _message: object) -> None:
        with self._progress:
            if error is not None:
                self.failed.append(str(error))
            self.acknowledged += 1
            self._progress.notify_all()

    def wait_for(self, more: int) -> None:
        with self._progress:
            target = self.acknowledged + more
            assert self._progress.wait_for(lambda: self.acknowledged >= target, LIMIT_S), (
                "nothing is acknowledged"
            )

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive()


def strike(broker: FloeProcess, load: Load, chance: random.Random) -> str:
    """Kill something, at a moment that the load and chance decide."""
    load.wait_for(chance.randrange(200, 1500))
    if chance.random() < 0.5:
        tables.until(lambda: bool(tables.workers(broker)), "a worker")
        load.wait_for(chance.randrange(1, 400))
    if chance.random() < 0.6:
        tables.kill_workers(broker)
        return "worker"
    broker.kill()
    broker.start()
    return "broker"


@pytest.mark.slow
def test_every_offset_is_in_the_table_once(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    data_dir = tmp_path / "data"
    broker = tables.floe(data_dir, floe__table__commit__interval__ms="100").start()
    load = Load(broker.bootstrap)
    try:
        with Client([("127.0.0.1", broker.port)]) as client:
            admin.create_topic(client, TOPIC, partitions=PARTITIONS)
        load.start()
        struck = [strike(broker, load, chance) for _ in range(ROUNDS)]
        load.stop()
        assert not load.failed
        with Client([("127.0.0.1", broker.port)]) as client:
            ends = admin.list_offsets(client, TOPIC, range(PARTITIONS), admin.LATEST)
        assert sum(ends.values()) == load.acknowledged, "an idempotent producer's records are there once"
        tables.until_tabled(broker, TOPIC, load.acknowledged)
        found = tables.offsets(data_dir, f"floe.{TOPIC}")
        for partition, end in ends.items():
            assert found[partition] == list(range(end)), f"partition {partition} after {struck}, seed {seed}"
    finally:
        load.stop()
        broker.end()
