"""End to end at a fixed rate: one connection produces, another waits in long polls; both times count from
the schedule.

A request that is sent late because the one before it was answered late still counts from the moment it was
due (no coordinated omission).
"""

import select
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from broker.cli import admin
from broker.cli.client import Client, Connection
from broker.cli.errors import CommandFailed
from broker.cli.load.fetch import Fetcher, open_fetcher
from broker.cli.load.measurement import Measurement
from broker.cli.load.payload import build_batch
from broker.cli.load.produce import Lane, ProduceLoad
from broker.cli.load.ring import build_ring, response_layout
from protocol.api import ApiKey

# The kernel wakes us some 60 us late: closer than this to the next send, do not sleep.
_SPIN_S: Final = 0.0001
_IDLE_S: Final = 0.1
_STALL_S: Final = 30.0
_PARTITION: Final = 0
_FETCH_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class LatencyLoad:
    """`rate` requests a second, each with one batch of `records_per_batch` records, to partition 0 of the
    topic.
    """

    topic: str
    rate: float = 1000.0
    record_bytes: int = 100
    records_per_batch: int = 1
    acks: int = -1
    in_flight: int = 100
    duration_s: float = 5.0


@dataclass(slots=True)
class Latencies:
    """Times from when a request was due until its answer, and until a consumer had its records."""

    acknowledged: Measurement
    delivered: Measurement


@dataclass(slots=True)
class Tail:
    """A consumer that stays at the end of partition 0 and notes (next offset, time) of each answer with
    records.
    """

    fetcher: Fetcher
    position: int
    arrivals: list[tuple[int, float]] = field(default_factory=list)
    measurement: Measurement = field(default_factory=Measurement)

    def ask(self) -> None:
        """Send a long poll."""
        self.fetcher.ask(_PARTITION, self.position)

    def read(self, now: float) -> bool:
        """Take what arrived; True when an answer is whole."""
        answer = self.fetcher.read()
        if answer is None:
            return False
        count, size, next_offset = answer
        self.measurement.requests += 1
        if next_offset >= 0:
            self.measurement.records += count
            self.measurement.bytes += size
            self.position = next_offset
            self.arrivals.append((next_offset, now))
        return True


def run_latency(client: Client, load: LatencyLoad) -> Latencies:
    """Produce at the rate for the duration, read everything back, return both distributions."""
    topic = client.topic(load.topic)
    if len(topic.partitions) != 1:
        raise CommandFailed(
            f"Topic {load.topic} has {len(topic.partitions)} partitions; latency is measured on one."
        )
    leader = client.leader(load.topic, _PARTITION)
    topic_id = bytes(topic.topic_id)
    first_offset = admin.list_offsets(client, load.topic, [_PARTITION], admin.LATEST)[_PARTITION]
    lane, tail = _open(client, leader, load, topic_id, first_offset)
    try:
        due: list[float] = []
        _drive(lane, tail, load, due, first_offset)
        acknowledged = lane.measurement
        acknowledged.seconds = tail.measurement.seconds = load.duration_s
        _match(tail, due, first_offset, load.records_per_batch)
        return Latencies(acknowledged, tail.measurement)
    finally:
        lane.connection.close()
        tail.fetcher.connection.close()


def _open(
    client: Client, leader: Connection, load: LatencyLoad, topic_id: bytes, first_offset: int
) -> tuple[Lane, Tail]:
    version = leader.version(ApiKey.PRODUCE)
    batch = build_batch(
        record_bytes=load.record_bytes,
        record_count=load.records_per_batch,
        now_ms=time.time_ns() // 1_000_000,
    )
    ring = build_ring(
        version=version,
        topic=load.topic,
        topic_id=topic_id,
        partition_count=1,
        batch=batch,
        acks=load.acks,
        timeout_ms=int(client.timeout_s * 1000),
    )
    produce = ProduceLoad(load.topic, load.record_bytes, load.records_per_batch, load.acks)
    sender = Connection(leader.address, timeout_s=client.timeout_s, client_id="floe-bench")
    lane = Lane(sender, ring, response_layout(version, load.topic, topic_id), produce, len(batch))
    fetcher = open_fetcher(client, leader.address, load.topic, topic_id, _FETCH_BYTES)
    tail = Tail(fetcher, first_offset)
    return lane, tail


def _drive(lane: Lane, tail: Tail, load: LatencyLoad, due: list[float], first_offset: int) -> None:
    clock = time.perf_counter
    receiver = tail.fetcher.connection.socket
    sockets = (lane.socket, receiver)
    total = max(1, round(load.rate * load.duration_s))
    interval = 1 / load.rate
    started = clock()
    tail.ask()
    in_flight = answered = 0
    last_event = started
    end_offset = first_offset + total * load.records_per_batch
    while answered < total or tail.position < end_offset:
        now = clock()
        while len(due) < total and in_flight < load.in_flight and started + len(due) * interval <= now:
            moment = started + len(due) * interval
            due.append(moment)
            in_flight += 1
            lane.start(1, moment)
        if lane.wants_to_write:
            lane.write()
        may_send = len(due) < total and in_flight < load.in_flight
        wait_s = max(0.0, started + len(due) * interval - now - _SPIN_S) if may_send else _IDLE_S
        # select, as its time-out counts in microseconds where epoll's does in milliseconds.
        for ready in select.select(sockets, (), (), wait_s)[0]:
            last_event = clock()
            if ready is receiver:
                if tail.read(last_event):
                    tail.ask()
                continue
            responses = lane.read()
            answered += responses
            in_flight -= responses
        if now - last_event > _STALL_S or lane.measurement.errors:
            raise CommandFailed(_failure(lane, tail, answered, total, end_offset))


def _failure(lane: Lane, tail: Tail, answered: int, total: int, end_offset: int) -> str:
    if lane.measurement.errors:
        errors = ", ".join(f"{count} {name}" for name, count in lane.measurement.errors.items())
        return f"The broker refused writes: {errors}."
    return (
        f"Nothing moved for {_STALL_S:g} s: {answered} of {total} requests answered, the consumer is at "
        f"offset {tail.position} of {end_offset}. Does something else write to the topic?"
    )


def _match(tail: Tail, due: list[float], first_offset: int, per_batch: int) -> None:
    # Offsets follow the order of sending: this is the only producer. One sample a request, at its last
    # record.
    waiting = deque(tail.arrivals)
    for index, moment in enumerate(due):
        last_offset = first_offset + (index + 1) * per_batch - 1
        while waiting[0][0] <= last_offset:
            waiting.popleft()
        tail.measurement.latencies_s.append(waiting[0][1] - moment)
