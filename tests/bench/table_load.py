"""JSON events at a fixed rate over several partitions, from a process of its own: the load of `tests.bench.tables`.

Prebuilt frames with many different events (a table of few would compress too well), each event of exactly the size
asked for, so that all frames have one size. Latencies count from the moment a request was due.
"""

from __future__ import annotations

import json
import multiprocessing
import select
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from broker.cli.client import Address, Client, Connection
from broker.cli.errors import CommandFailed
from broker.cli.load.measurement import percentiles_ms
from broker.cli.load.produce import Lane, ProduceLoad
from broker.cli.load.ring import Ring, response_layout
from protocol import records
from protocol.api import ApiKey
from protocol.framing import request_frame
from protocol.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from protocol.records import Record

RING_FRAMES: Final = 256
IN_FLIGHT: Final = 64
TIMEOUT_MS: Final = 30_000
_KINDS: Final = ("page_view", "add_to_cart", "search", "purchase")
_PAGES: Final = "overview-details-reviews-questions-" * 6
_SPIN_S: Final = 0.0001
_STALL_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Rate:
    """`records_per_s` in requests of `records_per_batch`, for `duration_s`."""

    records_per_s: float
    duration_s: float
    records_per_batch: int = 500
    value_bytes: int = 110


def events(count: int, value_bytes: int, seed: int = 1) -> list[bytes]:
    """Clicks as JSON of exactly so many bytes, no two the same; 100 to 300."""
    chance = Random(seed)
    found = []
    for number in range(count):
        event = {
            "id": 10_000_000 + number,
            "user": chance.randrange(50_000),
            "kind": chance.choice(_KINDS),
            "price": round(chance.random() * 100, 2),
            "session": f"{chance.getrandbits(32):08x}",
            "page": f"/p/{chance.randrange(10_000)}/",
        }
        room = value_bytes - len(json.dumps(event, separators=(",", ":")))
        assert 0 <= room <= len(_PAGES), "events are of 100 to 300 bytes"
        event["page"] += _PAGES[:room]  # type: ignore[operator]
        found.append(json.dumps(event, separators=(",", ":")).encode())
    return found


def produce(address: Address, topic: str, rate: Rate) -> dict[str, Any]:
    """Send; seconds it took, records acknowledged, percentiles of the latency in ms. Raises CommandFailed."""
    with Client([address]) as client:
        found = client.topic(topic)
        sender = Connection(address, timeout_s=client.timeout_s, client_id="floe-bench")
        try:
            version = sender.version(ApiKey.PRODUCE)
            topic_id = bytes(found.topic_id)
            ring = _ring(version, topic, topic_id, len(found.partitions), rate)
            load = ProduceLoad(topic, rate.value_bytes, rate.records_per_batch)
            lane = Lane(sender, ring, response_layout(version, topic, topic_id), load, ring.frame_bytes)
            return _drive(lane, rate)
        finally:
            sender.close()


def _ring(version: int, topic: str, topic_id: bytes, partitions: int, rate: Rate) -> Ring:
    values = events(RING_FRAMES * rate.records_per_batch, rate.value_bytes)
    now_ms = time.time_ns() // 1_000_000
    data = bytearray()
    frame_bytes = 0
    for index in range(RING_FRAMES):
        part = values[index * rate.records_per_batch : (index + 1) * rate.records_per_batch]
        batch = bytes(
            records.build([Record(timestamp=now_ms + at // 100, value=v) for at, v in enumerate(part)])
        )
        entry = TopicProduceData(
            partition_data=[PartitionProduceData(index=index % partitions, records=batch)]
        )
        if version >= 13:
            entry.topic_id = topic_id
        else:
            entry.name = topic
        request = ProduceRequest(acks=-1, timeout_ms=TIMEOUT_MS, topic_data=[entry])
        frame = request_frame(ApiKey.PRODUCE, version, index, "floe-bench", request)
        assert frame_bytes in (0, len(frame)), "frames of one ring have one size"
        frame_bytes = len(frame)
        data += frame
    return Ring(memoryview(bytes(data)), frame_bytes, RING_FRAMES, version)


def _drive(lane: Lane, rate: Rate) -> dict[str, Any]:
    clock = time.perf_counter
    interval = rate.records_per_batch / rate.records_per_s
    total = max(1, round(rate.duration_s / interval))
    started = last_event = clock()
    sent = answered = 0
    while answered < total:
        now = clock()
        while sent < total and sent - answered < IN_FLIGHT and started + sent * interval <= now:
            lane.start(1, started + sent * interval)
            sent += 1
        if lane.wants_to_write:
            lane.write()
        may_send = sent < total and sent - answered < IN_FLIGHT
        wait_s = max(0.0, started + sent * interval - now - _SPIN_S) if may_send else 0.1
        writers = (lane.socket,) if lane.wants_to_write else ()
        if select.select((lane.socket,), writers, (), wait_s)[0]:
            answered += lane.read()
            last_event = clock()
        if lane.measurement.errors or now - last_event > _STALL_S:
            raise CommandFailed(f"{answered} of {total} requests answered: {dict(lane.measurement.errors)}")
    measured = lane.measurement
    return {
        "seconds": clock() - started,
        "records": measured.records,
        "latency_ms": percentiles_ms(measured.latencies_s),
    }


def beside(
    address: Address, topic: str, rate: Rate, sample: Callable[[], None], every_s: float
) -> dict[str, Any]:
    """`produce` in another process; meanwhile `sample` is called here. Raises as `produce`."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as processes:
        running = processes.submit(produce, address, topic, rate)
        while not running.done():
            sample()
            time.sleep(every_s)
        return running.result()
