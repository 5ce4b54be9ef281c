"""Transactions of Kafka's Java client, which speaks transaction version 2 (KIP-890): see `java/Transactions.java`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.bench.brokers import find_kafka_jars
from tests.floe_process import FloeProcess

LIMIT_S = 120.0
PROGRAM = Path(__file__).with_name("java") / "Transactions.java"


def test_the_java_client(floe: FloeProcess) -> None:
    jars = find_kafka_jars()
    if isinstance(jars, str):
        pytest.skip(f"without Kafka's Java client: {jars}")
    command = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{jars}/*", str(PROGRAM)]
    done = subprocess.run(
        [*command, floe.bootstrap], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stderr[-5000:]
    assert done.stdout.splitlines() == [
        "simple [0a, 0b, 2a, 2b, 4a, 4b]",
        "fenced ProducerFencedException [new]",
        "stranger CommitFailedException",
        "offset 100",
        "output 100 100",
        "described Ongoing [hanging-0]",
        "listed 1",
        "producer 0",
        "aborted []",
        "fenced by admin Empty",
        "feature 2",
    ]
