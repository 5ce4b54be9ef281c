"""aiokafka, unchanged; it speaks no flexible version of anything."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.clients.cases import COMPRESSIONS, Case, cases
from tests.floe_process import FloeProcess

LIMIT_S = 30.0


async def produce(floe: FloeProcess, topic: str, compression: str, idempotent: bool) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=floe.bootstrap,
        compression_type=None if compression == "none" else compression,
        enable_idempotence=idempotent,
        acks="all",
    )
    await producer.start()
    try:
        sent = [
            await producer.send(
                topic,
                key=case.key,
                value=case.value,
                headers=list(case.headers),
                timestamp_ms=case.timestamp_ms,
                partition=0,
            )
            for case in cases()
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def consume(floe: FloeProcess, topic: str, count: int) -> list[Case]:
    consumer = AIOKafkaConsumer(bootstrap_servers=floe.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        received: list[Case] = []
        async with asyncio.timeout(LIMIT_S):
            while len(received) < count:
                record = await consumer.getone()
                received.append(Case(record.key, record.value, tuple(record.headers), record.timestamp))
        return received
    finally:
        await consumer.stop()


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("idempotent", [False, True], ids=["plain", "idempotent"])
def test_records_come_back_as_they_went(shared_floe: FloeProcess, compression: str, idempotent: bool) -> None:
    topic = f"aio-{compression}-{idempotent}"

    async def both() -> list[Case]:
        await produce(shared_floe, topic, compression, idempotent)
        return await consume(shared_floe, topic, len(cases()))

    assert asyncio.run(both()) == cases()
