"""Clients that ask for more than they take, send slower than they promised, or come in crowds.

Each costs what the limits say, and the others go on: requests in flight, bytes of unsent answers and bytes of
half-received frames are bounded, and so is the time one connection may have the loop for.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from protocol.api import ApiKey
from protocol.framing import request_frame
from protocol.messages.api_versions import ApiVersionsRequest
from protocol.messages.metadata import MetadataRequest
from tests.faults.wire import (
    Closed,
    RawClient,
    WellBehaved,
    assert_healthy,
    batch,
    end_offset,
    fetch_request,
    make_topic,
    produce_request,
    resident_bytes,
    warnings,
)
from tests.floe_process import FloeProcess

MIB = 1 << 20


@pytest.fixture(scope="module")
def floe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FloeProcess]:
    settings = {"queued.max.request.bytes": str(8 * MIB), "message.max.bytes": str(4 * MIB)}
    process = FloeProcess(tmp_path_factory.mktemp("floe") / "data", settings).start()
    yield process
    process.end()


@pytest.fixture(scope="module")
def others(floe: FloeProcess) -> WellBehaved:
    return WellBehaved(floe.port)


@pytest.fixture(scope="module")
def stored(floe: FloeProcess, others: WellBehaved) -> str:
    """A topic with some megabytes in it."""
    make_topic(others.client, "stored")
    for _ in range(20):
        answer = others.client.ask(
            ApiKey.PRODUCE, 9, produce_request(batch(10, size=100_000), topic="stored")
        )
        assert answer.responses[0].partition_responses[0].error_code == 0
    return "stored"


@pytest.fixture(autouse=True)
def nobody_notices(floe: FloeProcess, others: WellBehaved) -> Iterator[None]:
    others.check()
    yield
    others.check()
    assert_healthy(floe)


def fill(client: RawClient, frame: bytes, limit: int) -> int:
    """Send frames without reading an answer until the broker takes no more; how many whole ones it took."""
    client.socket.settimeout(0.3)
    sent = 0
    try:
        while sent < limit:
            client.socket.sendall(frame)
            sent += 1
    except TimeoutError:
        pass
    client.socket.settimeout(30)
    return sent


# --- readers ---------------------------------------------------------------------------------------------------------


def test_a_reader_that_never_reads(floe: FloeProcess, others: WellBehaved, stored: str) -> None:
    """Fetches of 20 MB each, thousands of them: slices of files wait, not bytes, and reading pauses."""
    before = resident_bytes(floe.pid)
    with RawClient(floe.port, receive_buffer=4096) as client:
        frame = request_frame(
            ApiKey.FETCH, 11, 1, "greedy", fetch_request(stored, partition_max_bytes=50 * MIB)
        )
        taken = fill(client, frame * 100, 1000)
        assert taken < 1000, "the broker read on although its answers are not taken"
        for _ in range(50):
            others.check()
        assert resident_bytes(floe.pid) - before < 32 * MIB


def test_small_questions_with_large_answers(floe: FloeProcess, others: WellBehaved) -> None:
    """A megabyte of 20-byte questions whose answers have 30 kB each would be a gigabyte and a half."""
    names = [f"many-{index:03d}-{'x' * 200}" for index in range(60)]
    for name in names:
        make_topic(others.client, name)
    everything = request_frame(ApiKey.METADATA, 1, 1, None, MetadataRequest(topics=None))
    before = resident_bytes(floe.pid)
    with RawClient(floe.port, receive_buffer=4096) as client:
        fill(client, everything * 5000, 100)
        for _ in range(20):
            others.check()
        assert resident_bytes(floe.pid, "VmHWM") - before < 64 * MIB


def test_answers_that_wait_for_an_earlier_one(floe: FloeProcess, others: WellBehaved) -> None:
    """The first fetch waits for records that do not come: what is asked behind it is bounded."""
    make_topic(others.client, "empty")
    parked = request_frame(
        ApiKey.FETCH, 11, 1, None, fetch_request("empty", max_wait_ms=2**31 - 1, min_bytes=2**31 - 1)
    )
    everything = request_frame(ApiKey.METADATA, 1, 2, None, MetadataRequest(topics=None))
    before = resident_bytes(floe.pid)
    with RawClient(floe.port) as client:
        client.send(parked)
        taken = fill(client, everything * 1000, 1000)
        assert taken < 1000
        others.check()
        assert resident_bytes(floe.pid) - before < 48 * MIB


def test_fetches_whose_client_left(floe: FloeProcess, others: WellBehaved) -> None:
    """Parked for 24 days, and gone with the connection."""
    make_topic(others.client, "empty")
    frame = request_frame(
        ApiKey.FETCH, 11, 1, None, fetch_request("empty", max_wait_ms=2**31 - 1, min_bytes=2**31 - 1)
    )

    def park(count: int) -> None:
        for _ in range(count):
            with RawClient(floe.port) as client:
                client.send(frame * 500)
                client.send(request_frame(ApiKey.API_VERSIONS, 0, 1, None, ApiVersionsRequest()))
            others.check()

    park(10)
    before = resident_bytes(floe.pid)
    park(60)
    assert resident_bytes(floe.pid) - before < 8 * MIB


def test_a_slow_reader_gets_everything(floe: FloeProcess, others: WellBehaved, stored: str) -> None:
    """Back-pressure ends where its cause ends: all answers come, whole and in order."""
    with RawClient(floe.port, receive_buffer=4096) as client:
        requests = b"".join(
            request_frame(ApiKey.FETCH, 11, number, None, fetch_request(stored, number % 200))
            for number in range(150)
        )
        client.send(requests)
        for number in range(150):
            frame = client.receive_frame()
            assert struct.unpack_from(">i", frame) == (number,) and len(frame) > 100_000
            if number % 50 == 0:
                others.check()


# --- writers ---------------------------------------------------------------------------------------------------------


def test_writers_that_never_finish(floe: FloeProcess, others: WellBehaved) -> None:
    """A hundred large frames are begun: memory is what queued.max.request.bytes says, small requests go on, and
    large ones are served as soon as there is room."""
    make_topic(others.client, "large")
    large = request_frame(ApiKey.PRODUCE, 9, 1, None, produce_request(batch(size=3 * MIB), topic="large"))
    before = resident_bytes(floe.pid)
    writers = [RawClient(floe.port) for _ in range(100)]
    for writer in writers:
        writer.socket.settimeout(0.05)
        with suppress(TimeoutError):
            writer.socket.sendall(large[: len(large) - 1])
    for _ in range(20):
        others.check()
    assert resident_bytes(floe.pid) - before < 8 * MIB + 100 * (MIB // 4)
    honest = RawClient(floe.port)
    honest.socket.setblocking(False)
    sent = honest.socket.send(large)
    for writer in writers:
        writer.close()
    honest.socket.settimeout(30)
    honest.send(large[sent:])
    honest.receive_frame()
    assert end_offset(others.client, "large") == 1
    honest.close()


def test_who_waits_for_memory_is_served_one_after_the_other(floe: FloeProcess, others: WellBehaved) -> None:
    make_topic(others.client, "turns")
    large = request_frame(ApiKey.PRODUCE, 9, 1, None, produce_request(batch(size=3 * MIB), topic="turns"))
    writers = [RawClient(floe.port) for _ in range(12)]
    rests = []
    for writer in writers:
        writer.socket.setblocking(False)
        rests.append(large[writer.socket.send(large[: 200 * 1024]) :])
        writer.socket.settimeout(30)
    others.check()
    writers[3].close()  # one that waits leaves
    for number, (writer, rest) in enumerate(zip(writers, rests, strict=True)):
        if number != 3:
            writer.send(rest)
            writer.receive_frame()
            writer.close()
    assert end_offset(others.client, "turns") == 11


# --- crowds ----------------------------------------------------------------------------------------------------------


def test_thousands_of_pipelined_requests(floe: FloeProcess, others: WellBehaved) -> None:
    """Answered in order; the others have their turn meanwhile."""
    make_topic(others.client, "pipelined")
    count = 20_000
    record = batch()
    frames = b"".join(
        request_frame(ApiKey.PRODUCE, 9, number, None, produce_request(record, topic="pipelined"))
        if number % 2
        else request_frame(ApiKey.API_VERSIONS, 0, number, None, ApiVersionsRequest())
        for number in range(count)
    )
    with RawClient(floe.port) as client:
        client.socket.setblocking(False)
        position = received = 0
        buffer = bytearray()
        while received < count:
            try:
                position += client.socket.send(frames[position : position + MIB])
            except BlockingIOError:
                others.check()
            try:
                buffer += client.socket.recv(MIB)
            except BlockingIOError:
                others.check()
            while len(buffer) >= 8:
                size, correlation_id = struct.unpack_from(">ii", buffer)
                if len(buffer) < 4 + size:
                    break
                assert correlation_id == received
                received += 1
                del buffer[: 4 + size]
    assert end_offset(others.client, "pipelined") == count // 2


def test_connections_that_come_and_go(floe: FloeProcess, others: WellBehaved) -> None:
    before = resident_bytes(floe.pid)
    for number in range(2000):
        client = RawClient(floe.port)
        if number % 3 == 0:
            client.send(b"\0\0\0")
        if number % 2:
            client.reset()
        else:
            client.close()
    others.check()
    assert resident_bytes(floe.pid) - before < 8 * MIB


def refused(floe: FloeProcess) -> bool:
    client = RawClient(floe.port)
    try:
        client.ask(ApiKey.API_VERSIONS, 0, ApiVersionsRequest())
    except Closed:
        return True
    finally:
        client.close()
    return False


@pytest.mark.parametrize("setting", ["max_connections", "max_connections_per_ip"])
def test_too_many_connections(start_floe: Callable[..., FloeProcess], setting: str) -> None:
    floe = start_floe(**{setting: "5"})
    clients = [RawClient(floe.port) for _ in range(5)]
    for client in clients:
        client.ask(ApiKey.API_VERSIONS, 0, ApiVersionsRequest())
    assert refused(floe) and refused(floe)
    assert len(warnings(floe)) == 2 and all(setting.replace("_", ".") in line for line in warnings(floe))
    clients[0].ask(ApiKey.API_VERSIONS, 0, ApiVersionsRequest())
    clients[1].close()
    clients[0].ask(ApiKey.API_VERSIONS, 0, ApiVersionsRequest())
    assert not refused(floe)
    for client in clients:
        client.close()
