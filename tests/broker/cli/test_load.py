"""The load generator against a peer that answers at once: what it counts is what happened."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from broker.cli.client import Client
from broker.cli.load.fetch import count_records
from broker.cli.load.measurement import Measurement, percentiles_ms
from broker.cli.load.payload import build_batch, json_value, text_value
from broker.cli.load.produce import ProduceLoad, run_produce
from broker.cli.load.ring import build_ring, response_layout
from protocol import records
from protocol.api import ApiKey
from protocol.framing import parse_request_header, response_frame
from protocol.messages.produce import PartitionProduceResponse, ProduceResponse, TopicProduceResponse
from tests.bench.responder import TOPIC


@pytest.fixture(scope="module")
def responder() -> Iterator[tuple[str, int]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.responder"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    port = int(process.stdout.readline().rsplit(":", 1)[1])
    yield "127.0.0.1", port
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("connections", [1, 3])
def test_every_request_is_answered_and_counted(responder: tuple[str, int], connections: int) -> None:
    with Client([responder]) as client:
        load = ProduceLoad(TOPIC, records_per_batch=7, connections=connections, duration_s=0.2)
        measurement = run_produce(client, load)
    assert measurement.requests > 0
    assert measurement.records == 7 * measurement.requests
    assert len(measurement.latencies_s) == measurement.requests
    assert not measurement.errors
    assert measurement.seconds >= 0.2


def test_frames_larger_than_the_socket_takes_at_once(responder: tuple[str, int]) -> None:
    with Client([responder]) as client:
        for connections in (1, 2):
            load = ProduceLoad(TOPIC, 1024, 2000, connections=connections, in_flight=5, duration_s=0.2)
            measurement = run_produce(client, load)
            assert measurement.requests >= 5 * connections
            assert measurement.bytes > measurement.records * 1024


@pytest.mark.parametrize("version", [3, 8, 9, 13])
def test_the_layout_finds_size_correlation_id_and_error(version: int) -> None:
    layout = response_layout(version, "t", bytes(range(16)))
    entry = TopicProduceResponse(partition_responses=[PartitionProduceResponse(index=5, error_code=10)])
    if version >= 13:
        entry.topic_id = bytes(range(16))
    else:
        entry.name = "t"
    frame = response_frame(ApiKey.PRODUCE, version, 77, ProduceResponse(responses=[entry]))
    assert len(frame) == layout.frame_bytes
    assert layout.fields.unpack_from(frame) == (len(frame) - 4, 77, 10)


def test_the_ring_holds_whole_requests_for_every_partition_in_turn() -> None:
    batch = build_batch(record_bytes=10, record_count=1, now_ms=1)
    ring = build_ring(
        version=11, topic="t", topic_id=bytes(16), partition_count=3, batch=batch, acks=1, timeout_ms=1
    )
    assert ring.frame_count % 3 == 0
    assert len(ring.data) == ring.frame_count * ring.frame_bytes
    last = (ring.frame_count - 1) * ring.frame_bytes
    header = parse_request_header(ring.data, last + 4, len(ring.data))
    assert header.correlation_id == ring.frame_count - 1


def test_records_are_counted_from_headers_and_a_cut_batch_is_not() -> None:
    first = build_batch(record_bytes=10, record_count=4, now_ms=1)
    data = bytearray(first + first)
    second = records.parse_header(data, len(first))
    records.place(data, second, 4, 0)
    assert count_records(memoryview(data)) == (8, len(data), 8)
    assert count_records(memoryview(data)[:-1]) == (4, len(first), 4)
    assert count_records(memoryview(b"")) == (0, 0, -1)


@pytest.mark.parametrize("size", [1, 50, 100, 1024])
def test_payloads_have_their_size(size: int) -> None:
    from random import Random

    assert len(text_value(Random(1), size)) == size
    assert len(json_value(Random(1), size)) == size


def test_json_compresses_as_events_do_and_random_letters_do_not() -> None:
    plain = len(build_batch(record_bytes=100, record_count=1000, now_ms=1))
    as_json = len(build_batch(record_bytes=100, record_count=1000, now_ms=1, compression=3, as_json=True))
    assert plain / 10 < as_json < plain * 0.7


def test_percentiles_are_values_that_occurred() -> None:
    assert percentiles_ms([]) == {}
    assert percentiles_ms([0.001]) == {"p50": 1, "p90": 1, "p99": 1, "p99.9": 1, "max": 1}
    many = percentiles_ms([n / 1000 for n in range(1, 1001)])
    assert (many["p50"], many["p99"], many["max"]) == (501, 991, 1000)


def test_connections_add_up() -> None:
    total = Measurement(seconds=2)
    total.add(Measurement(1, 10, 100, 1000, latencies_s=[0.1]))
    total.add(Measurement(2, 10, 100, 3_000_000, latencies_s=[0.2]))
    assert (total.requests_per_s, total.records_per_s) == (10, 100)
    assert total.to_json()["megabytes_per_s"] == 1.5
