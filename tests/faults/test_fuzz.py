"""Damaged frames by the ten thousand (FLOE_SOAK=1: a million): no crash, no hang, no surprise, no growth of memory.

In process the frames go through connection, router, decoders and handlers without a network between, so that a broken
assertion is the test's own failure; against a real process they go over sockets while a canary asks for answers.
A run is its seed: FLOE_SEED=<seed> runs the same frames again.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from protocol.api import ApiKey
from protocol.messages.create_topics import CreatableTopic, CreatableTopicConfig, CreateTopicsRequest
from protocol.messages.metadata import MetadataRequest
from tests.broker.in_process import InProcessBroker, Peer, in_process, run
from tests.faults.corpus import TOPICS, Frame, corpus
from tests.faults.mutation import group
from tests.faults.wire import (
    Closed,
    RawClient,
    WellBehaved,
    assert_healthy,
    batch,
    produce_request,
    resident_bytes,
)
from tests.floe_process import FloeProcess

SOAK = os.environ.get("FLOE_SOAK") == "1"
SEED = int(os.environ.get("FLOE_SEED", random.randrange(2**31)))
FRAMES_IN_PROCESS = 800_000 if SOAK else 16_000
FRAMES_OVER_SOCKETS = 200_000 if SOAK else 4_000
GROUP = 25
GROUP_OVER_SOCKETS = 3  # the first malformed frame of a group ends its connection
WARM_UP = 0.2
GROWTH_LIMIT_BYTES = (256 if SOAK else 96) << 20
"""What the mutated frames legitimately leave behind (topics, groups, producers, sessions) is in it."""

SETTINGS = {
    "auto_create_topics_enable": "false",
    "log_segment_bytes": str(8 << 20),
    "log_retention_bytes": str(64 << 20),
    "socket_request_max_bytes": str(1 << 20),
    "group_initial_rebalance_delay_ms": "0",
    "group_min_session_timeout_ms": "1",
    "floe_log_level": "error",
}
_CONFIGS = {
    "fuzz": [],
    "fuzz-compacted": [CreatableTopicConfig(name="cleanup.policy", value="compact")],
    "fuzz-validating": [CreatableTopicConfig(name="floe.records.validate", value="true")],
}


def topics_request() -> CreateTopicsRequest:
    topics = [
        CreatableTopic(name=name, num_partitions=2, replication_factor=1, configs=_CONFIGS[name])
        for name in TOPICS
    ]
    return CreateTopicsRequest(topics=topics, timeout_ms=1000)


def canary_topic() -> CreateTopicsRequest:
    topic = CreatableTopic(name=WellBehaved.TOPIC, num_partitions=1, replication_factor=1)
    return CreateTopicsRequest(topics=[topic], timeout_ms=1000)


class Surprises(logging.Handler):
    """Collects log records that carry a traceback, and what is as bad."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = logging.Formatter().format(record)
        if record.exc_info or record.levelno >= logging.CRITICAL:
            self.found.append(text)


@pytest.fixture
def surprises() -> Iterator[Surprises]:
    handler = Surprises()
    logger = logging.getLogger("floe")
    logger.addHandler(handler)
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)
    logger.propagate = propagate


def seeds(count: int) -> Iterator[int]:
    return iter(range(SEED, SEED + count))


# --- in process ------------------------------------------------------------------------------------------------------


async def topic_ids(peer: Peer) -> tuple[bytes, ...]:
    await peer.ask(ApiKey.CREATE_TOPICS, 5, topics_request())
    answer = await peer.ask(ApiKey.METADATA, 12, MetadataRequest(topics=None))
    ids = {topic.name: topic.topic_id for topic in answer.topics}
    return tuple(ids[name] for name in TOPICS)


async def one_group(broker: InProcessBroker, frames: list[bytes]) -> None:
    """All frames of a group on one connection, or on as many as it takes."""
    peer = broker.connect()
    for frame in frames:
        if peer.connection.is_closed:
            peer.close()
            peer = broker.connect()
        peer.send(frame)
        peer.connection.on_readable()
        peer.frames()
    for _ in range(3):
        await asyncio.sleep(0)
        peer.frames()
    peer.connection.close()
    peer.close()


async def canary(broker: InProcessBroker) -> None:
    """Somebody else writes and waits until it is durable."""
    peer = broker.connect()
    answer = await peer.ask(ApiKey.PRODUCE, 9, produce_request(batch(), topic=WellBehaved.TOPIC))
    assert answer.responses[0].partition_responses[0].error_code == 0, answer
    peer.connection.close()
    peer.close()


async def fuzz_in_process(data_dir: Path, surprises: Surprises) -> None:
    async with in_process(data_dir, **SETTINGS) as broker:
        peer = broker.connect()
        await peer.ask(ApiKey.CREATE_TOPICS, 5, canary_topic())
        ids: tuple[bytes, ...] = ()
        groups = FRAMES_IN_PROCESS // GROUP
        baseline = 0
        frames: list[Frame] = []
        for number, seed in enumerate(seeds(groups)):
            if number == int(groups * WARM_UP):
                gc.collect()
                baseline = resident_bytes(os.getpid())
            if number % 40 == 0:
                await canary(broker)
                found = await topic_ids(peer)  # deletions succeed now and then
                if found != ids:
                    ids, frames = found, corpus(random.Random(SEED), found)
            try:
                await one_group(broker, group(seed, frames, GROUP))
            except BaseException:
                print(f"group {number} of FLOE_SEED={SEED}")
                raise
            assert not surprises.found, f"group {number} of FLOE_SEED={SEED}: {surprises.found[0]}"
        peer.close()
        gc.collect()
        growth = resident_bytes(os.getpid()) - baseline
        assert growth < GROWTH_LIMIT_BYTES, f"grew by {growth >> 20} MiB"


@pytest.mark.slow
def test_damaged_frames_in_process(tmp_path: Path, surprises: Surprises) -> None:
    print(f"FLOE_SEED={SEED}")
    run(fuzz_in_process(tmp_path / "data", surprises))


# --- over sockets ----------------------------------------------------------------------------------------------------


def over_socket(port: int, frames: list[bytes]) -> None:
    """Send a group, say that nothing follows, and read to the end: the broker has then handled or refused it all."""
    client = RawClient(port)
    try:
        for frame in frames:
            client.send(frame)
        client.socket.shutdown(1)
        while client.socket.recv(1 << 16):
            pass
    except (Closed, ConnectionResetError, OSError) as error:
        assert not isinstance(error, TimeoutError), "the broker neither answers nor closes"
    finally:
        client.close()


def existing(admin: RawClient) -> tuple[bytes, ...]:
    """The ids of the topics to aim at, made again if need be."""
    admin.ask(ApiKey.CREATE_TOPICS, 5, topics_request())
    answer = admin.ask(ApiKey.METADATA, 12, MetadataRequest(topics=None))
    ids = {topic.name: topic.topic_id for topic in answer.topics}
    return tuple(ids[name] for name in TOPICS)


@pytest.mark.slow
def test_damaged_frames_over_sockets(start_floe: Callable[..., FloeProcess]) -> None:
    print(f"FLOE_SEED={SEED}")
    floe = start_floe(**SETTINGS)
    admin = RawClient(floe.port)
    admin.ask(ApiKey.CREATE_TOPICS, 5, canary_topic())
    others = WellBehaved(floe.port)
    groups = FRAMES_OVER_SOCKETS // GROUP_OVER_SOCKETS
    baseline = 0
    ids: tuple[bytes, ...] = ()
    frames: list[Frame] = []
    for number, seed in enumerate(seeds(groups)):
        if number == int(groups * WARM_UP):
            baseline = resident_bytes(floe.pid)
        if number % 100 == 0:
            others.check()
            assert_healthy(floe)
            found = existing(admin)
            if found != ids:
                ids, frames = found, corpus(random.Random(SEED), found)
        over_socket(floe.port, group(seed, frames, GROUP_OVER_SOCKETS))
    others.check()
    admin.close()
    assert_healthy(floe)
    growth = resident_bytes(floe.pid) - baseline
    assert growth < GROWTH_LIMIT_BYTES, f"grew by {growth >> 20} MiB"
