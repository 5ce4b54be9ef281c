"""Transactions of Kafka's Java client, which speaks transaction version 2 (KIP-890): see `java/Transactions.java`."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.bench.brokers import find_kafka_jars
from tests.clients.transactional import Confluent
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


def test_kafkas_tool_reads_what_is_persisted(tmp_path: Path) -> None:
    """`__transaction_state` in Kafka's record format, taken from the folder of a broker that was stopped."""
    jars = find_kafka_jars()
    if isinstance(jars, str):
        pytest.skip(f"without Kafka's tools: {jars}")
    floe = FloeProcess(tmp_path / "data", {"transaction.state.log.num.partitions": "1"}).start()
    try:
        producer = Confluent(floe, "transactional-id")
        producer.begin()
        producer.send("topic", b"value")
        producer.commit()
        producer.close()
    finally:
        floe.stop()
        floe.end()
    log = tmp_path / "data" / "__transaction_state-0" / "00000000000000000000.log"
    command = [
        "java",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        f"{jars}/*",
        "org.apache.kafka.tools.DumpLogSegments",
    ]
    done = subprocess.run(
        [*command, "--transaction-log-decoder", "--files", str(log)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"transactionalId":"transactional-id"' in done.stdout
    states = re.findall(r'"transactionStatus":(\d)', done.stdout)
    assert states == ["0", "1", "2", "4"]  # Empty, Ongoing, PrepareCommit, CompleteCommit
