"""What transactions cost, as `python -m tests.bench` measures it beside Apache Kafka.

    python -m tests.bench.transactions          only this, with the same options

A transaction is one batch of ten records of 100 bytes to each of 1 or 3 partitions, then EndTxn. Producers are nothing
but their requests, of transaction version 2 (KIP-890), and begin the next one as soon as they have the answer. "no
transactions" is the same batches from the same producers: what is more is what transactions cost.

A commit is the time EndTxn takes. Apache Kafka answers it when the decision is written, not synced, and writes the
markers after that: there the next transaction's first batch waits, or is told to come again (`retries`), so what
compares the two is the rate. Floe's answer comes when decision and markers are synced, one after the other.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from statistics import median, quantiles
from typing import Any

from protocol.api import ApiKey
from protocol.errors import ErrorCode
from protocol.framing import parse_response, request_frame
from protocol.messages.end_txn import EndTxnRequest
from protocol.messages.find_coordinator import FindCoordinatorRequest
from protocol.messages.init_producer_id import InitProducerIdRequest
from protocol.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from protocol.records import Record, build
from tests.bench.brokers import BrokerProcess
from tests.bench.groups import _processor_seconds as processor_seconds
from tests.bench.sessions import Session, run

Figures = dict[str, float]

PARTITIONS = 12
ASK_AGAIN_S = 0.05
_CLIENT_ID = "bench"
_PRODUCE_VERSION, _END_VERSION, _INIT_VERSION, _FIND_VERSION = 12, 5, 5, 6
_TRANSACTION_KEY = 1
_VALUES = [Record(timestamp=1_700_000_000_000 + number, value=b"x" * 100) for number in range(10)]


def ask(api_key: ApiKey, version: int, message: Any) -> Any:
    """`response = yield from ask(…)`: one request of a session."""
    response = yield request_frame(api_key, version, 1, _CLIENT_ID, message)
    return parse_response(api_key, version, memoryview(response))[1]


def produce(
    topic: str, transactional_id: str | None, producer: tuple[int, int], sequence: int, span: list[int]
) -> Any:
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
        topic_data=[TopicProduceData(name=topic, partition_data=data)],
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
    """(producer id, epoch), asking again while there is no coordinator. Kafka's comes to be when it is looked for."""
    if transactional_id is not None:
        find = FindCoordinatorRequest(key_type=_TRANSACTION_KEY, coordinator_keys=[transactional_id])
        yield from ask(ApiKey.FIND_COORDINATOR, _FIND_VERSION, find)
    message = InitProducerIdRequest(transactional_id=transactional_id, transaction_timeout_ms=60_000)
    while True:
        answer = yield from ask(ApiKey.INIT_PRODUCER_ID, _INIT_VERSION, message)
        if not answer.error_code:
            return answer.producer_id, answer.producer_epoch
        assert ErrorCode(answer.error_code).retriable, ErrorCode(answer.error_code)
        time.sleep(ASK_AGAIN_S)


def transacting(topic: str, name: str, span: list[int], until: float, count: Count) -> Session:
    """Transactions, one after the other."""
    producer = yield from initialise(name)
    while time.monotonic() < until:
        while (code := (yield from produce(topic, name, producer, 0, span))) != ErrorCode.NONE:
            assert ErrorCode(code).retriable, ErrorCode(code)
            count.retries += 1
        started = time.perf_counter()
        message = EndTxnRequest(
            transactional_id=name, producer_id=producer[0], producer_epoch=producer[1], committed=True
        )
        answer = yield from ask(ApiKey.END_TXN, _END_VERSION, message)
        assert not answer.error_code, ErrorCode(answer.error_code)
        count.commit_seconds.append(time.perf_counter() - started)
        producer = answer.producer_id, answer.producer_epoch
        count.transactions += 1


def plain(topic: str, span: list[int], until: float, count: Count) -> Session:
    """The same batches without transactions."""
    producer = yield from initialise(None)
    sequence = 0
    while time.monotonic() < until:
        code = yield from produce(topic, None, producer, sequence, span)
        assert code == ErrorCode.NONE, ErrorCode(code)
        sequence += len(_VALUES)
        count.transactions += 1


def _play(
    broker: BrokerProcess, topic: str, producers: int, width: int, is_transactional: bool, seconds: float
) -> Count:
    count, until = Count(), time.monotonic() + seconds

    def sessions() -> Iterator[list[Session]]:
        for number in range(producers):
            span = [(number * width + step) % PARTITIONS for step in range(width)]
            if is_transactional:
                yield [transacting(topic, f"bench-{number}", span, until, count)]
            else:
                yield [plain(topic, span, until, count)]

    run(broker.address, 1, list(sessions()))
    return count


def measure(
    broker: BrokerProcess,
    topic: str,
    *,
    producers: int,
    width: int,
    is_transactional: bool,
    warm_up_s: float,
    duration_s: float,
) -> Figures:
    """One run. `topic` has PARTITIONS partitions; a transaction has `width` of them."""
    _play(broker, topic, producers, width, is_transactional, warm_up_s)
    before_s, started_s = processor_seconds(broker), time.monotonic()
    count = _play(broker, topic, producers, width, is_transactional, duration_s)
    spent_s = time.monotonic() - started_s
    assert count.transactions, "not a single one was completed"
    figures = {
        "transactions_per_s": count.transactions / spent_s,
        "broker_us_each": (processor_seconds(broker) - before_s) / count.transactions * 1e6,
    }
    if len(count.commit_seconds) > 1:
        figures["commit_p50_ms"] = median(count.commit_seconds) * 1e3
        figures["commit_p99_ms"] = quantiles(count.commit_seconds, n=100)[98] * 1e3
        figures["retries"] = count.retries
    return figures


if __name__ == "__main__":
    from tests.bench.__main__ import main

    main(["--only", "transactions", *sys.argv[1:]])
