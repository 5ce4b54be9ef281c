"""Single steps of the byte path, each beside the least Python that could do it: `python -m tests.bench.micro`.

A time alone says little on a shared machine; the ratio to a hand-written loop of the same run says what the
generality of the codec costs. With --profile NAME the step runs under cProfile.
"""

import cProfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from struct import Struct
from typing import Any

import click

from broker.cli.load.payload import build_batch
from broker.cli.output import Quantity, format_table
from protocol import records
from protocol.api import ApiKey
from protocol.checksum import crc32c
from protocol.compiler import decoder, encoder
from protocol.framing import Output, request_frame, response_frame
from protocol.messages.fetch import (
    FetchableTopicResponse,
    FetchPartition,
    FetchRequest,
    FetchResponse,
    FetchTopic,
    PartitionData,
)
from protocol.messages.produce import (
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
    TopicProduceResponse,
)

_TOPIC_ID = bytes(range(16))
_BATCH = build_batch(record_bytes=100, record_count=1, now_ms=1)
_PRODUCE_VERSION = 11
_FETCH_VERSION = 16


@dataclass(frozen=True, slots=True)
class Step:
    """`run` is ours, `baseline` the least that does the same for exactly these bytes."""

    name: str
    run: Callable[[], Any]
    baseline: Callable[[], Any]


def _body(frame: bytes, header_bytes: int) -> memoryview:
    return memoryview(frame)[header_bytes:]


def _produce_decode() -> Step:
    entry = TopicProduceData(name="topic", partition_data=[PartitionProduceData(index=3, records=_BATCH)])
    request = ProduceRequest(acks=-1, timeout_ms=1000, topic_data=[entry])
    body = _body(request_frame(ApiKey.PRODUCE, _PRODUCE_VERSION, 1, "c", request), 4 + 10 + 1 + 1)
    decode = decoder(ProduceRequest, _PRODUCE_VERSION)
    assert decode(body, 0)[0] == request
    head, index = Struct(">xhi"), Struct(">i")

    def baseline() -> tuple[object, ...]:
        acks, timeout_ms = head.unpack_from(body)
        end = 9 + body[8] - 1
        name = str(body[9:end], "utf-8")
        (partition,) = index.unpack_from(body, end + 1)
        size = (body[end + 5] & 0x7F) | body[end + 6] << 7
        return acks, timeout_ms, name, partition, body[end + 7 : end + 6 + size]

    assert baseline()[2:4] == ("topic", 3)
    return Step("decode Produce request", lambda: decode(body, 0), baseline)


def _produce_encode() -> Step:
    partition = PartitionProduceResponse(index=3, base_offset=77, log_append_time_ms=-1, log_start_offset=0)
    entry = TopicProduceResponse(name="topic", partition_responses=[partition])
    message = ProduceResponse(responses=[entry])
    layout = Struct(">iix2s5sxihqqqsss")
    assert response_frame(ApiKey.PRODUCE, _PRODUCE_VERSION, 9, message)

    def baseline() -> bytes:
        return layout.pack(50, 9, b"\2\6", b"topic", 3, 0, 77, -1, 0, b"\1", b"\0", b"\0")

    return Step(
        "encode Produce response",
        lambda: response_frame(ApiKey.PRODUCE, _PRODUCE_VERSION, 9, message),
        baseline,
    )


def _fetch_decode() -> Step:
    wanted = FetchPartition(partition=0, fetch_offset=5, partition_max_bytes=1 << 20)
    request = FetchRequest(
        max_wait_ms=500,
        min_bytes=1,
        session_epoch=-1,
        topics=[FetchTopic(topic_id=_TOPIC_ID, partitions=[wanted])],
    )
    out = Output()
    encoder(FetchRequest, _FETCH_VERSION)(request, out)
    body = memoryview(bytes(out))
    decode = decoder(FetchRequest, _FETCH_VERSION)
    assert decode(body, 0)[0] == request
    head, part = Struct(">iiibii"), Struct(">iiqiqi")

    def baseline() -> tuple[object, ...]:
        return *head.unpack_from(body), bytes(body[22:38]), *part.unpack_from(body, 39)

    return Step("decode Fetch request", lambda: decode(body, 0), baseline)


def _fetch_encode() -> Step:
    partition = PartitionData(partition_index=0, high_watermark=10, last_stable_offset=10, log_start_offset=0)
    partition.records = _BATCH
    entry = FetchableTopicResponse(topic_id=_TOPIC_ID, partitions=[partition])
    message = FetchResponse(responses=[entry])
    head = Struct(">iixiihi2s16s2sihqqqii")

    def baseline() -> bytes:
        start = head.pack(0, 9, 0, 0, 0, 0, b"\0\2", _TOPIC_ID, b"\0\2", 0, 0, 10, 10, 0, -1, len(_BATCH) + 1)
        return start + _BATCH + b"\0\0"

    return Step(
        "encode Fetch response", lambda: response_frame(ApiKey.FETCH, _FETCH_VERSION, 9, message), baseline
    )


def _parse_batch() -> Step:
    buffer = memoryview(_BATCH)
    header = Struct(">qiibIhiqqqhii")
    return Step(
        "parse a batch header", lambda: records.parse_batches(buffer), lambda: header.unpack_from(buffer)
    )


def _check_batch() -> Step:
    buffer = memoryview(_BATCH)
    (batch,) = records.parse_batches(buffer)
    return Step(
        "check a batch's CRC", lambda: records.crc_is_valid(buffer, batch), lambda: crc32c(buffer[21:])
    )


def _place_batch() -> Step:
    buffer = bytearray(_BATCH)
    (batch,) = records.parse_batches(buffer)
    place = Struct(">qii")
    length = len(buffer) - records.LOG_OVERHEAD
    return Step(
        "assign offset and epoch",
        lambda: records.place(buffer, batch, 7, 1),
        lambda: place.pack_into(buffer, 0, 7, length, 1),
    )


def _iterate() -> Step:
    data = build_batch(record_bytes=100, record_count=100, now_ms=1)
    (batch,) = records.parse_batches(data)
    buffer = memoryview(data)

    def baseline() -> int:
        # The least for records of this one size: jump from length to length.
        position, count = records.BATCH_OVERHEAD, 0
        while position < len(data):
            position += ((data[position] & 0x7F) | data[position + 1] << 7) // 2 + 2
            count += 1
        return count

    return Step("iterate 100 records", lambda: list(records.iterate(buffer, batch, 1 << 20)), baseline)


def steps() -> list[Step]:
    """Every step, its codecs compiled."""
    return [
        _produce_decode(),
        _produce_encode(),
        _fetch_decode(),
        _fetch_encode(),
        _parse_batch(),
        _check_batch(),
        _place_batch(),
        _iterate(),
    ]


def microseconds(run: Callable[[], Any], budget_s: float) -> float:
    """Median over five rounds of the time one call takes."""
    count = 1
    while True:
        started = time.perf_counter()
        for _ in range(count):
            run()
        if time.perf_counter() - started > budget_s / 20:
            break
        count *= 2
    rounds = []
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(count):
            run()
        rounds.append((time.perf_counter() - started) / count * 1e6)
    return median(rounds)


@click.command()
@click.option("--only", default="", help="Steps whose name contains this.")
@click.option("--budget", type=float, default=1.0, show_default=True, help="Seconds a step.")
@click.option("--profile", is_flag=True, help="Run under cProfile, sorted by own time.")
def main(only: str, budget: float, profile: bool) -> None:
    """Time the steps beside their baselines."""
    chosen = [step for step in steps() if only in step.name]
    if profile:
        profiler = cProfile.Profile()
        for step in chosen:
            profiler.runcall(microseconds, step.run, budget)
        profiler.print_stats("tottime")
        return
    rows = []
    for step in chosen:
        ours, least = microseconds(step.run, budget), microseconds(step.baseline, budget)
        rows.append(
            (step.name, Quantity(f"{ours:.2f}"), Quantity(f"{least:.2f}"), Quantity(f"{ours / least:.1f}"))
        )
    click.echo(format_table(("STEP", "US", "LEAST US", "RATIO"), rows))


if __name__ == "__main__":
    main()
