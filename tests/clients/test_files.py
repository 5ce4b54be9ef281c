"""What clients wrote, read from the files: by Kafka's own DumpLogSegments, and by `floe log`, which must agree."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tests.bench.brokers import find_kafka_jars
from tests.clients import test_aiokafka as aio
from tests.clients import test_confluent_kafka as confluent
from tests.clients import test_kafka_python as python
from tests.clients import test_kcat as kcat
from tests.clients.cases import COMPRESSIONS, cases
from tests.floe_process import FLOE, FloeProcess

LIMIT_S = 120


def write_with_every_client(floe: FloeProcess) -> None:
    admin = AdminClient({"bootstrap.servers": floe.bootstrap})
    stamped = NewTopic("stamped", 1, config={"message.timestamp.type": "LogAppendTime"})
    packed = NewTopic("packed", 1, config={"compression.type": "zstd", "segment.bytes": "1048576"})
    for created in admin.create_topics([stamped, packed]).values():
        created.result(LIMIT_S)
    for compression in COMPRESSIONS:
        settings = {"compression.type": compression, "enable.idempotence": True, "batch.num.messages": 50}
        for topic in ("confluent", "stamped", "packed"):
            confluent.produce(floe, topic, cases(), **settings)
        python.produce(floe, "python", cases(), compression)
        asyncio.run(aio.produce(floe, "aio", compression, idempotent=True))
        if kcat.KCAT is not None:
            kcat.kcat(floe, "-P", "-t", "kcat", "-K", ":", "-z", compression, stdin="k:v\n" * 100)
    for compression in python.OLD_COMPRESSIONS:
        python.produce(floe, "old", cases(), compression, api_version=(0, 10, 0))


def dump_with_kafka(jars: Path, files: list[Path]) -> list[str]:
    command = ["java", "-cp", f"{jars}/*", "org.apache.kafka.tools.DumpLogSegments"]
    command += ["--deep-iteration", "--print-data-log", "--files", ",".join(map(str, files))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def dump_with_floe(files: list[Path]) -> list[str]:
    lines: list[str] = []
    for file in files:
        done = subprocess.run(
            [FLOE, "log", "dump", "--deep", file],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        lines += done.stdout.splitlines()
    return lines


@pytest.mark.slow
def test_kafka_and_floe_read_the_same_from_the_files(start_floe: Callable[..., FloeProcess]) -> None:
    jars = find_kafka_jars()
    if isinstance(jars, str):
        pytest.skip(f"Kafka's DumpLogSegments did not read the files: {jars}")
    floe = start_floe()
    write_with_every_client(floe)
    floe.kill()
    floe.start()  # recovered, and written to once more
    confluent.produce(floe, "confluent", cases())
    assert floe.stop() == 0
    logs = sorted(
        path for path in floe.data_dir.glob("*-[0-9]*/*.log") if not path.parent.name.startswith("__")
    )
    assert len({path.parent for path in logs}) >= 6
    by_kafka = dump_with_kafka(jars, logs)
    assert not [line for line in by_kafka if "isvalid: false" in line or "rror" in line]
    assert sum(line.startswith("| offset") for line in by_kafka) > 5 * len(cases())
    assert dump_with_floe(logs) == by_kafka
    indexes = sorted(floe.data_dir.glob("*-[0-9]*/*.index")) + sorted(
        floe.data_dir.glob("*-[0-9]*/*.timeindex")
    )
    complaints = [line for line in dump_with_kafka(jars, indexes) if "ismatch" in line or "rror" in line]
    assert not complaints
    verified = subprocess.run(
        [FLOE, "log", "verify", floe.data_dir], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr
