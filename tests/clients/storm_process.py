"""Members of one group in one process, to be killed and frozen together; SIGTERM makes them leave.

Prints `PARTITION FIRST LAST` for every run of records a member is given, and only then commits it: whatever is
committed has been printed, also if the process is killed just then.

python -m tests.clients.storm_process LIBRARY BOOTSTRAP GROUP TOPIC MEMBERS
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from tests.clients.group_members import HEARTBEAT_INTERVAL_MS, in_python

SESSION_TIMEOUT_MS: Final = 2_000
POLL_MS: Final = 100
BOOTSTRAP_MS: Final = 60_000
"""A member may come while the broker is away."""

stopping = threading.Event()


def report(seen: Iterable[tuple[int, int]]) -> bool:
    """Print (partition, offset) of records as runs, each line in one write; True if there were any."""
    runs: list[list[int]] = []
    for partition, offset in seen:
        if runs and runs[-1][0] == partition and runs[-1][2] + 1 == offset:
            runs[-1][2] = offset
        else:
            runs.append([partition, offset, offset])
    for run in runs:
        os.write(1, b"%d %d %d\n" % tuple(run))
    return bool(runs)


def confluent_member(bootstrap: str, group: str, topic: str, **settings: object) -> None:
    from confluent_kafka import Consumer, KafkaException

    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "log_level": 0,
            **settings,
        }
    )
    consumer.subscribe([topic])
    owes_commit = False
    while not stopping.is_set():
        messages = consumer.consume(100, POLL_MS / 1000)
        owes_commit |= report((m.partition(), m.offset()) for m in messages if m.error() is None)
        if owes_commit:
            with suppress(KafkaException):  # in a rebalance: it commits again, or somebody reads it again
                consumer.commit(asynchronous=False)
                owes_commit = False
    consumer.close()


def classic_member(bootstrap: str, group: str, topic: str, assignor: str) -> None:
    confluent_member(
        bootstrap,
        group,
        topic,
        **{
            "partition.assignment.strategy": assignor,
            "session.timeout.ms": SESSION_TIMEOUT_MS,
            "heartbeat.interval.ms": HEARTBEAT_INTERVAL_MS,
        },
    )


def kafka_python_member(bootstrap: str, group: str, topic: str) -> None:
    from kafka.coordinator.assignors.range import RangePartitionAssignor
    from kafka.errors import KafkaConnectionError, KafkaError

    from tests.clients.kafka_python_members import Punctual

    consumer = Punctual(
        bootstrap,
        group,
        topic,
        session_timeout_ms=SESSION_TIMEOUT_MS,
        partition_assignment_strategy=[RangePartitionAssignor],
        bootstrap_timeout_ms=BOOTSTRAP_MS,
    )
    owes_commit = False
    while not stopping.is_set():
        try:
            owes_commit |= report(consumer.poll())
        except KafkaConnectionError:  # the broker is away: it polls again
            stopping.wait(POLL_MS / 1000)
            continue
        if owes_commit:
            with suppress(KafkaError):
                consumer.commit()
                owes_commit = False
    consumer.close()


async def aiokafka_member(bootstrap: str, group: str, topic: str) -> None:
    from aiokafka import AIOKafkaConsumer
    from aiokafka.coordinator.assignors.range import RangePartitionAssignor
    from aiokafka.errors import KafkaConnectionError, KafkaError

    while True:
        consumer = AIOKafkaConsumer(
            topic,
            partition_assignment_strategy=(RangePartitionAssignor,),
            **in_python(bootstrap, group, SESSION_TIMEOUT_MS),
        )
        try:
            await consumer.start()
            break
        except KafkaConnectionError:  # the broker is away: it tries once
            await consumer.stop()
            if await asyncio.get_running_loop().run_in_executor(None, stopping.wait, POLL_MS / 1000):
                return
    owes_commit = False
    while not stopping.is_set():
        polled = await consumer.getmany(timeout_ms=POLL_MS)
        owes_commit |= report((r.partition, r.offset) for records in polled.values() for r in records)
        if owes_commit:
            with suppress(KafkaError):
                await consumer.commit()
                owes_commit = False
    await consumer.stop()


async def _in_tasks(members: int, *where: str) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await asyncio.gather(*(aiokafka_member(*where) for _ in range(members)))


def _in_threads(member: Callable[[], None], count: int) -> None:
    """SIGTERM is waited for: a handler would run when the main thread wakes, and joining threads it need not."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    with ThreadPoolExecutor(count) as threads:
        running = [threads.submit(member) for _ in range(count)]
        signal.sigwait([signal.SIGTERM])
        stopping.set()
    for each in running:
        each.result()


def main(library: str, bootstrap: str, group: str, topic: str, members: str) -> None:
    faulthandler.register(signal.SIGUSR1)  # where it is, if it does not end
    where, count = (bootstrap, group, topic), int(members)
    if library == "aiokafka":
        asyncio.run(_in_tasks(count, *where))
    elif library == "kafka-python":
        _in_threads(lambda: kafka_python_member(*where), count)
    elif library == "confluent-consumer":
        _in_threads(lambda: confluent_member(*where, **{"group.protocol": "consumer"}), count)
    else:
        _in_threads(lambda: classic_member(*where, library.removeprefix("confluent-")), count)


if __name__ == "__main__":
    main(*sys.argv[1:])
