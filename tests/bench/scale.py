"""`python -m tests.bench.scale`: what ten thousand partitions cost.

One topic of 10,000 partitions: made; one record into each; start after a clean stop and after SIGKILL;
memory; processor time while idle; and acks=all to 1,000 of them at once, with the latency of each request
and how many syncs they shared. Figures only.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.floe_process import FLOE, FloeProcess

PARTITIONS = 10_000
AT_ONCE = 1_000
SECONDS = 10.0
WARM_UP_SECONDS = 2.0
IDLE_SECONDS = 10.0
LIMIT_S = 300.0
_TICKS = os.sysconf("SC_CLK_TCK")
_ROUNDS = re.compile(r"stopped after (\d+) rounds of (\d+) syncs")


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _resident_mebibytes(floe: FloeProcess) -> float:
    match = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{floe.pid}/status").read_text())
    assert match is not None
    return int(match.group(1)) / 1024


def _processor_seconds(floe: FloeProcess) -> float:
    fields = Path(f"/proc/{floe.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _fill(floe: FloeProcess) -> None:
    producer = Producer({"bootstrap.servers": floe.bootstrap, "queue.buffering.max.messages": 2 * PARTITIONS})
    for partition in range(PARTITIONS):
        producer.produce("wide", b"x" * 100, partition=partition)
    assert producer.flush(LIMIT_S) == 0


def _at_once(floe: FloeProcess) -> dict[str, float]:
    """Keep one record in flight to each of 1,000 partitions, by our load generator: with so many partitions
    librdkafka serves some of them seconds late, whatever the broker.
    """
    command = [FLOE, "bench", "produce", "--bootstrap-server", floe.bootstrap, "--topic", "at-once"]
    command += ["--partitions", str(AT_ONCE), "--connections", "8", "--in-flight", str(AT_ONCE // 8)]
    command += ["--duration", str(SECONDS), "--warm-up", str(WARM_UP_SECONDS), "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout)["produce"]
    return {
        "requests_per_s": measured["requests_per_s"],
        "p50_ms": measured["latency_ms"]["p50"],
        "p99_ms": measured["latency_ms"]["p99"],
    }


def measure(folder: Path) -> dict[str, float]:
    floe = FloeProcess(folder / "data").start()
    figures: dict[str, float] = {}
    try:
        admin = AdminClient({"bootstrap.servers": floe.bootstrap})
        created = admin.create_topics([NewTopic("wide", PARTITIONS)], operation_timeout=LIMIT_S)["wide"]
        figures["create_s"] = _seconds(created.result)
        figures["fill_s"] = _seconds(lambda: _fill(floe))
        figures["filled_mebibytes"] = _resident_mebibytes(floe)
        figures["clean_stop_s"] = _seconds(floe.stop)
        figures["clean_start_s"] = _seconds(floe.start)
        figures["started_mebibytes"] = _resident_mebibytes(floe)
        before = _processor_seconds(floe)
        _wait(IDLE_SECONDS)
        figures["idle_percent_of_a_core"] = 100 * (_processor_seconds(floe) - before) / IDLE_SECONDS
        floe.stop()
        floe.start()
        figures.update((f"at_once_{name}", value) for name, value in _at_once(floe).items())
        floe.stop()
        rounds = _ROUNDS.findall(floe.log())[-1]
        seconds = SECONDS + WARM_UP_SECONDS
        figures["at_once_rounds_per_s"] = int(rounds[0]) / seconds
        figures["at_once_syncs_per_s"] = int(rounds[1]) / seconds
        floe.start()
        _fill(floe)
        floe.kill()
        figures["start_after_kill_s"] = _seconds(floe.start)
    finally:
        floe.end()
    return figures


def _wait(seconds: float) -> None:
    import select

    select.select([], [], [], seconds)  # idle on purpose: it is the idleness that is measured


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="floe-scale-") as folder:
        figures = measure(Path(folder))
    json.dump({name: round(value, 3) for name, value in figures.items()}, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
