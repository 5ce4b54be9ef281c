"""Groups under load whose members are added, removed, killed and frozen at random, with real libraries and processes;
now and then the broker is killed, too.

Every record is delivered, none is left out, and committed offsets never go back. A schedule is drawn from a seed; with
FLOE_SOAK=1 there are more of them, with up to 50 members over up to 200 partitions.

librdkafka's members of the consumer protocol lose an answer for good that takes more than twice the heartbeat interval,
as it may to who was frozen (`compat/confluent-kafka/FINDINGS.md`). kafka-python's seek to what is committed when they
are given again what they had; else its offsets would go back (`compat/kafka-python/FINDINGS.md`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Final

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from broker.coordinator.group_records import decode, partition_for
from broker.topics.names import CONSUMER_OFFSETS
from protocol.messages.internal.offset_records import OffsetCommitKey
from tests.clients.confluent_members import create
from tests.clients.group_members import LIMIT_S, wait_until
from tests.floe_process import FloeProcess

IS_LONG = os.environ.get("FLOE_SOAK") == "1"
SEEDS = range(10) if IS_LONG else range(1)
OFFSETS_PARTITIONS: Final = 4
SETTINGS: Final = {
    "group.initial.rebalance.delay.ms": "100",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "2000",
    "group.consumer.min.session.timeout.ms": "2000",
    "group.consumer.heartbeat.interval.ms": "200",
    "group.consumer.min.heartbeat.interval.ms": "200",
    "group.consumer.assignment.interval.ms": "200",
    "offsets.topic.num.partitions": str(OFFSETS_PARTITIONS),
}
KINDS: Final = {
    "kafka-python": ("kafka-python",),
    "aiokafka": ("aiokafka",),
    "confluent-eager": ("confluent-range",),
    "confluent-cooperative": ("confluent-cooperative-sticky",),
    "confluent-consumer": ("confluent-consumer",),
    "all-together": ("confluent-consumer", "confluent-range", "kafka-python", "aiokafka"),
}
"""Which libraries' members a group has. The last one is taken over by KIP-848 members and given back as they come."""


@pytest.fixture(scope="module")
def floe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FloeProcess]:
    process = FloeProcess(tmp_path_factory.mktemp("floe") / "data", SETTINGS).start()
    yield process
    process.end()


class Members:
    """Members of a group in a process of their own; `delivered` is what they were given."""

    def __init__(self, library: str, floe: FloeProcess, name: str, count: int, errors: Path) -> None:
        self.count = count
        self.is_frozen = False
        self.delivered: set[tuple[int, int]] = set()
        command = [sys.executable, "-m", "tests.clients.storm_process", library]
        command += [floe.bootstrap, name, name, str(count)]
        with errors.open("a") as file:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            partition, first, last = map(int, line.split())
            self.delivered.update((partition, offset) for offset in range(first, last + 1))

    def freeze(self) -> None:
        self.is_frozen = True
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.is_frozen = False
        self.process.send_signal(signal.SIGCONT)

    def leave(self) -> None:
        """Members say goodbye; whoever is frozen does so when it is thawed."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        try:
            return self.process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGUSR1)
            raise AssertionError(f"{self.process.args} does not end") from None

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        self.process.send_signal(number)
        code = self.wait()
        self._reader.join(LIMIT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


class Storm:
    """One schedule: a topic with a group of its own."""

    def __init__(self, floe: FloeProcess, kind: str, seed: int, errors: Path) -> None:
        self.floe, self.errors = floe, errors
        self.name = f"{kind}-{seed}"
        self.libraries = KINDS[kind]
        self.random = random = Random(self.name)
        self.most_members = random.choice((3, 10, 50)) if IS_LONG else 6
        self.partitions = random.choice((1, 5, 30, 200)) if IS_LONG else random.choice((4, 9))
        self.rounds = 40 if IS_LONG else 6
        self.longest_pause_s = 1.5 if IS_LONG else 0.4
        self.produced = [0] * self.partitions
        self.present: list[Members] = []
        self.gone: list[Members] = []
        # Idempotent, so that a broker that is killed in between does not make it write anything twice.
        self.producer = Producer(
            {"bootstrap.servers": floe.bootstrap, "enable.idempotence": True, "log_level": 0}
        )
        create(floe, self.name, self.partitions)

    # --- what happens ---------------------------------------------------------------------------------------------

    def add(self) -> None:
        room = self.most_members - sum(members.count for members in self.present)
        if room > 0:
            count = self.random.randint(1, max(1, min(room, self.most_members // 3)))
            library = self.random.choice(self.libraries)
            self.present.append(Members(library, self.floe, self.name, count, self.errors))

    def leave(self, members: Members) -> None:
        self._goes(members)
        members.leave()

    def kill(self, members: Members) -> None:
        self._goes(members)
        members.process.kill()

    def _goes(self, members: Members) -> None:
        self.present.remove(members)
        self.gone.append(members)
        if members.is_frozen:
            members.thaw()

    def disturb(self) -> None:
        random = self.random
        what = random.random()
        if what < 0.08:
            self.floe.kill()
            self.floe.start()
            return
        if what < 0.4 or len(self.present) < 2:
            self.add()
            return
        members = random.choice(self.present)
        if what < 0.55:
            self.leave(members)
        elif what < 0.7:
            self.kill(members)
        elif members.is_frozen:
            members.thaw()
        else:
            members.freeze()

    def produce(self) -> None:
        """A burst of records, and what it takes the broker to write them."""
        for _ in range(self.random.randint(1, 200)):
            partition = self.random.randrange(self.partitions)
            self.producer.produce(self.name, b"%d" % self.produced[partition], partition=partition)
            self.produced[partition] += 1
        assert self.producer.flush(LIMIT_S) == 0

    def run(self) -> None:
        self.add()
        pause = threading.Event()
        for _ in range(self.rounds):
            self.disturb()
            self.produce()
            pause.wait(self.random.uniform(0, self.longest_pause_s))
        for members in self.present:
            if members.is_frozen:
                members.thaw()
        self.produce()

    # --- what must hold -------------------------------------------------------------------------------------------

    def delivered(self) -> set[tuple[int, int]]:
        return set[tuple[int, int]]().union(*(members.delivered for members in (*self.present, *self.gone)))

    def check(self) -> None:
        wait_until(
            lambda: self.committed() == self.produced, f"{self.name}: everything is read and committed"
        )
        for members in self.gone:
            members.wait()
        for members in self.present:
            code = members.end(signal.SIGTERM)
            # SIGTERM is from one that was not up yet.
            assert code in (0, -signal.SIGTERM), f"{members.process.args} ended with {code}"
        self.gone += self.present
        self.present = []
        expected = {(p, offset) for p, count in enumerate(self.produced) for offset in range(count)}
        missing = expected - self.delivered()
        assert not missing, f"{self.name}: committed, and given to nobody: {sorted(missing)[:20]}"
        for partition, offsets in self.commits().items():
            back = [(a, b) for a, b in pairwise(offsets) if b < a]
            assert not back, f"{self.name}: committed offsets of partition {partition} went back: {back}"

    def committed(self) -> list[int]:
        """What is committed, 0 where nothing was ever read."""
        settings = {"bootstrap.servers": self.floe.bootstrap, "group.id": self.name, "log_level": 0}
        consumer = Consumer(settings)
        try:
            asked = [TopicPartition(self.name, p) for p in range(self.partitions)]
            return [max(position.offset, 0) for position in consumer.committed(asked, LIMIT_S)]
        finally:
            consumer.close()

    def commits(self) -> dict[int, list[int]]:
        """Every offset that was ever committed, by partition, in order: from the records of the coordinator."""
        history: dict[int, list[int]] = {}
        for message in self._coordinator_records():
            record = decode(message.key(), message.value())
            if isinstance(record.key, OffsetCommitKey) and record.key.group == self.name:
                history.setdefault(record.key.partition, []).append(record.value.offset)
        assert len(history) == sum(count > 0 for count in self.produced)
        return history

    def _coordinator_records(self) -> Iterator[Message]:
        consumer = Consumer({"bootstrap.servers": self.floe.bootstrap, "group.id": "observer"})
        where = TopicPartition(CONSUMER_OFFSETS, partition_for(self.name, OFFSETS_PARTITIONS), 0)
        consumer.assign([where])
        end = consumer.get_watermark_offsets(where, LIMIT_S)[1]
        try:
            while consumer.position([where])[0].offset < end:
                for message in consumer.consume(1000, 1.0):
                    assert message.error() is None
                    yield message
        finally:
            consumer.close()

    def end(self) -> None:
        for members in (*self.present, *self.gone):
            members.end()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_record_is_delivered_and_offsets_only_grow(
    floe: FloeProcess, kind: str, seed: int, tmp_path: Path
) -> None:
    storm = Storm(floe, kind, seed, tmp_path / "errors")
    try:
        storm.run()
        storm.check()
    except AssertionError as failure:
        failure.add_note((tmp_path / "errors").read_text()[-4000:])
        raise
    finally:
        storm.end()
