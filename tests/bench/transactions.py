"""`python -m tests.bench.transactions`: what transactions cost. Figures only.

Transactions per second, the time a commit takes, and the broker's processor time for a transaction: one batch of ten
records of 100 bytes to each of 1 or 3 partitions, then EndTxn. Producers speak transaction version 2 (KIP-890). `plain`
is the same batches from the same producers without transactions: what is more is what transactions cost.

    --floe-only                         not beside Apache Kafka, even if Java is there

Apache Kafka runs with its defaults: it does not sync before it answers. What a sync takes on this disk is told beside:
Floe's batch waits for one, its commit for three (the decision, the markers, that it is complete).
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import click

from broker.cli import admin
from protocol.api import ApiKey
from protocol.errors import ErrorCode
from protocol.framing import parse_response, request_frame
from protocol.messages.end_txn import EndTxnRequest
from protocol.messages.init_producer_id import InitProducerIdRequest
from protocol.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from protocol.records import Record, build
from tests.bench.brokers import BrokerProcess, Floe, Kafka, find_kafka_jars, sync_microseconds
from tests.bench.groups import _processor_seconds as processor_seconds
from tests.bench.sessions import Session, run

Figures = dict[str, float]

TOPIC = "transactions"
PARTITIONS = 12
PRODUCERS = (1, 16)
SPANS = (1, 3)
SECONDS = 4.0
WARM_UP_SECONDS = 1.5
RETRY_S = 0.002
_CLIENT_ID = "bench"
_PRODUCE_VERSION, _END_VERSION, _INIT_VERSION = 12, 5, 5
_VALUES = [Record(timestamp=1_700_000_000_000 + number, value=b"x" * 100) for number in range(10)]


def ask(api_key: ApiKey, version: int, message: Any) -> Any:
    """`response = yield from ask(…)`: one request of a session."""
    response = yield request_frame(api_key, version, 1, _CLIENT_ID, message)
    return parse_response(api_key, version, memoryview(response))[1]


def produce(transactional_id: str | None, producer: tuple[int, int], sequence: int, span: list[int]) -> Any:
    """One batch to each partition of `span`; the error code of the last that has one."""
    producer_id, epoch = producer
    records = build(
        _VALUES,
        producer_id=producer_id,
        producer_epoch=epoch,
        base_sequence=sequence,
        is_transactional=transactional_id is not None,
    )
    data = [PartitionProduceData(index=index, records=records) for index in span]
    message = ProduceRequest(
        transactional_id=transactional_id,
        acks=-1,
        timeout_ms=30_000,
        topic_data=[TopicProduceData(name=TOPIC, partition_data=data)],
    )
    response = yield from ask(ApiKey.PRODUCE, _PRODUCE_VERSION, message)
    codes = [result.error_code for result in response.responses[0].partition_responses]
    return max(codes)


class Count:
    """What the sessions of a run have done."""

    def __init__(self) -> None:
        self.transactions = 0
        self.retries = 0
        self.commit_seconds: list[float] = []


def initialise(transactional_id: str | None) -> Any:
    """(producer id, epoch), asking again while there is no coordinator yet."""
    message = InitProducerIdRequest(transactional_id=transactional_id, transaction_timeout_ms=60_000)
    while True:
        answer = yield from ask(ApiKey.INIT_PRODUCER_ID, _INIT_VERSION, message)
        if not answer.error_code:
            return answer.producer_id, answer.producer_epoch
        assert ErrorCode(answer.error_code).retriable, ErrorCode(answer.error_code)
        time.sleep(0.05)


def transacting(name: str, span: list[int], until: float, count: Count) -> Session:
    """Transactions, one after the other."""
    producer = yield from initialise(name)
    while time.monotonic() < until:
        while (code := (yield from produce(name, producer, 0, span))) != ErrorCode.NONE:
            assert ErrorCode(code).retriable, ErrorCode(code)
            count.retries += 1
            time.sleep(RETRY_S)
        started = time.perf_counter()
        message = EndTxnRequest(
            transactional_id=name, producer_id=producer[0], producer_epoch=producer[1], committed=True
        )
        answer = yield from ask(ApiKey.END_TXN, _END_VERSION, message)
        assert not answer.error_code, ErrorCode(answer.error_code)
        count.commit_seconds.append(time.perf_counter() - started)
        producer = answer.producer_id, answer.producer_epoch
        count.transactions += 1


def plain(span: list[int], until: float, count: Count) -> Session:
    """The same batches without transactions."""
    producer = yield from initialise(None)
    sequence = 0
    while time.monotonic() < until:
        code = yield from produce(None, producer, sequence, span)
        assert code == ErrorCode.NONE, ErrorCode(code)
        sequence += len(_VALUES)
        count.transactions += 1


def _play(broker: BrokerProcess, producers: int, width: int, kind: str, seconds: float) -> Count:
    count, until = Count(), time.monotonic() + seconds

    def sessions() -> Iterator[list[Session]]:
        for number in range(producers):
            span = [(number * width + step) % PARTITIONS for step in range(width)]
            if kind == "plain":
                yield [plain(span, until, count)]
            else:
                yield [transacting(f"bench-{width}-{number}", span, until, count)]

    run(broker.address, 1, list(sessions()))
    return count


def measure(broker: BrokerProcess) -> dict[str, Figures]:
    """All figures of a broker that is not running yet."""
    broker.start()
    try:
        with broker.client() as client:
            admin.create_topic(client, TOPIC, partitions=PARTITIONS, replication_factor=1)
            client.topic(TOPIC, allow_auto_topic_creation=True, refresh=True)
        figures: dict[str, Figures] = {}
        for kind in ("plain", "transactions"):
            for width in SPANS:
                for producers in PRODUCERS:
                    _play(broker, producers, width, kind, WARM_UP_SECONDS)
                    before_s, started_s = processor_seconds(broker), time.monotonic()
                    count = _play(broker, producers, width, kind, SECONDS)
                    spent_s = time.monotonic() - started_s
                    name = f"{kind}, {producers} producers, {width} partitions"
                    figures[name] = _figures(count, spent_s, processor_seconds(broker) - before_s)
        return figures
    finally:
        broker.stop()


def _figures(count: Count, seconds: float, broker_seconds: float) -> Figures:
    figures = {
        "per_second": round(count.transactions / seconds, 1),
        "broker_us_each": round(broker_seconds / max(1, count.transactions) * 1e6, 1),
    }
    if len(count.commit_seconds) > 1:
        figures["commit_ms_median"] = round(median(count.commit_seconds) * 1e3, 3)
        figures["commit_ms_p99"] = round(quantiles(count.commit_seconds, n=100)[98] * 1e3, 3)
        figures["told_to_come_again"] = count.retries
    return figures


@click.command()
@click.option("--floe-only", is_flag=True)
def main(floe_only: bool) -> None:
    """Print the figures as JSON."""
    jars = "not asked for" if floe_only else find_kafka_jars()
    with tempfile.TemporaryDirectory(prefix="floe-transactions-") as folder:
        sync_us = [round(sync_microseconds(Path(folder)))]
        figures: dict[str, Any] = {"floe": measure(Floe(Path(folder) / "floe"))}
        if isinstance(jars, Path):
            figures["kafka"] = measure(Kafka(Path(folder) / "kafka", jars))
        else:
            print(f"without Apache Kafka: {jars}", file=sys.stderr)
        figures["sync_us"] = [*sync_us, round(sync_microseconds(Path(folder)))]
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
