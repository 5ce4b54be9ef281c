"""librdkafka through confluent-kafka: the client most of the world has. It needs a core of its own above a
million a second.
"""

import threading
import time
from typing import Any

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from broker.cli.errors import CommandFailed
from broker.cli.load.measurement import percentiles_ms

_VALUE = b"x" * 100
_STALL_S = 60.0
_POLL_EVERY = 1000


def produce(bootstrap: str, topic: str, duration_s: float) -> float:
    """Produce 100 B values as fast as it goes (acks=all, its default batching) and return records a second."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "linger.ms": 5,
            "queue.buffering.max.messages": 1_000_000,
            "batch.size": 1_000_000,
        }
    )
    count = 0
    started = time.perf_counter()
    deadline = started + duration_s
    while time.perf_counter() < deadline:
        for _ in range(_POLL_EVERY):
            try:
                producer.produce(topic, _VALUE)
            except BufferError:
                producer.poll(0.01)
                producer.produce(topic, _VALUE)
        count += _POLL_EVERY
        producer.poll(0)
    if producer.flush(_STALL_S):
        raise CommandFailed("librdkafka could not deliver everything")
    return count / (time.perf_counter() - started)


def consume(bootstrap: str, topic: str, count: int) -> float:
    """Read `count` records from the beginning and return records a second."""
    consumer = _consumer(bootstrap)
    # librdkafka rests for a second whenever its queue holds queued.min.messages.
    consumer.assign([TopicPartition(topic, 0, 0)])
    got = 0
    started = time.perf_counter()
    last = started
    while got < count:
        messages = consumer.consume(10_000, 0.2)
        now = time.perf_counter()
        if messages:
            got += len(messages)
            last = now
        elif now - last > _STALL_S:
            raise CommandFailed(f"librdkafka read {got} of {count} records and no more")
    seconds = time.perf_counter() - started
    consumer.close()
    return got / seconds


def _consumer(bootstrap: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bench",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "queued.min.messages": 1_000_000,
            "queued.max.messages.kbytes": 1 << 20,
            "fetch.message.max.bytes": 8 << 20,
            "fetch.wait.max.ms": 500,
        }
    )


def rate(bootstrap: str, topic: str, per_second: float, duration_s: float) -> dict[str, float]:
    """One record a request at a fixed rate; the time from produce() to the acknowledgement, by librdkafka's clock."""
    producer = _one_by_one(bootstrap)
    latencies: list[float] = []
    errors: list[str] = []

    def delivered(error: Any, message: Message) -> None:
        if error is not None:
            errors.append(str(error))
        else:
            latencies.append(message.latency() or 0.0)

    _pace(producer, topic, per_second, duration_s, lambda: _VALUE, delivered)
    if errors:
        raise CommandFailed(f"librdkafka: {len(errors)} records failed, first: {errors[0]}")
    return {f"{name}_ms": value for name, value in percentiles_ms(latencies).items()}


def tail(bootstrap: str, topic: str, per_second: float, duration_s: float) -> dict[str, float]:
    """From produce() to poll() of a consumer that waits at the end of the topic."""
    consumer = _consumer(bootstrap)
    consumer.assign([TopicPartition(topic, 0, -1)])
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)
    consumer.seek(TopicPartition(topic, 0, high)) if low <= high else None
    total = int(per_second * duration_s)
    latencies: list[float] = []
    ready = threading.Event()

    def read() -> None:
        deadline = time.monotonic() + duration_s + _STALL_S
        consumer.poll(0.2)
        ready.set()
        while len(latencies) < total and time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                sent_ns = int(message.value() or b"0")
                latencies.append((time.perf_counter_ns() - sent_ns) / 1e9)

    reader = threading.Thread(target=read)
    reader.start()
    ready.wait()
    producer = _one_by_one(bootstrap)
    _pace(producer, topic, per_second, duration_s, lambda: b"%0100d" % time.perf_counter_ns(), None)
    reader.join()
    consumer.close()
    if len(latencies) < total:
        raise CommandFailed(f"librdkafka: {len(latencies)} of {total} records arrived")
    return {f"{name}_ms": value for name, value in percentiles_ms(latencies).items()}


def _one_by_one(bootstrap: str) -> Producer:
    return Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 0, "batch.num.messages": 1})


def _pace(
    producer: Producer, topic: str, per_second: float, duration_s: float, make_value: Any, delivered: Any
) -> None:
    # In steps of a millisecond or of one record: sleeping less than that is not reliable.
    interval = 1 / per_second
    total = int(per_second * duration_s)
    sent = 0
    started = time.perf_counter()
    while sent < total:
        due = min(total, int((time.perf_counter() - started) * per_second) + 1)
        while sent < due:
            producer.produce(topic, make_value(), on_delivery=delivered)
            sent += 1
        producer.poll(0)
        wait = started + sent * interval - time.perf_counter()
        if wait > 0:
            time.sleep(max(wait, 0.001))
    if producer.flush(_STALL_S):
        raise CommandFailed("librdkafka could not deliver everything")
