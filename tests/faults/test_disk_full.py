"""A disk that is really full: a small file system mounted for the test, filled to the last block.

Kafka exits. Floe refuses writes with KAFKA_STORAGE_ERROR and one clear log line, goes on reading, and takes writes
again by itself once there is space; what was acknowledged is there, whatever happens to the process meanwhile.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.api import ApiKey
from protocol.errors import ErrorCode
from protocol.messages.create_topics import CreatableTopic, CreateTopicsRequest
from protocol.messages.metadata import MetadataRequest, MetadataRequestTopic
from protocol.records import Record, build, iterate, parse_batches
from tests.faults.wire import (
    NOW_MS,
    Closed,
    RawClient,
    assert_healthy,
    end_offset,
    fetch_request,
    make_topic,
    produce_request,
    warnings,
)
from tests.floe_process import FLOE, FloeProcess

DISK_BYTES = 24 << 20
TOPIC = "filled"
VALUE_BYTES = 100_000
SETTINGS = {"log.segment.bytes": str(4 << 20), "floe.log.preallocate.bytes": str(1 << 20)}


def mount_tmpfs(path: Path) -> bool:
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        return False
    command = [mount, "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(path)]
    return subprocess.run(command, capture_output=True).returncode == 0


def mount_loop(path: Path) -> bool:
    """An ext4 image: delayed allocation and preallocation as on a server's disk."""
    tools = [shutil.which(name) for name in ("mount", "mkfs.ext4")]
    if os.geteuid() != 0 or None in tools:
        return False
    image = path.with_suffix(".image")
    with image.open("wb") as file:
        file.truncate(DISK_BYTES)
    made = subprocess.run([str(tools[1]), "-q", "-m", "0", str(image)], capture_output=True)
    if made.returncode != 0:
        return False
    return (
        subprocess.run([str(tools[0]), "-o", "loop", str(image), str(path)], capture_output=True).returncode
        == 0
    )


MOUNTS = {"tmpfs": mount_tmpfs, "ext4": mount_loop}


class Disk:
    """A mounted file system and the ballast that fills it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ballast = path / "ballast"

    def fill(self, leave: int = 0) -> None:
        """Take all space but about `leave` bytes."""
        with self.ballast.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 16, 1 << 12, 1):
                try:
                    while self.free() > leave + size:
                        if file.write(b"b" * size) < size:
                            break
                except OSError:
                    continue

    def free(self) -> int:
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    def release(self) -> None:
        self.ballast.unlink()


@pytest.fixture(params=sorted(MOUNTS))
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    if not MOUNTS[request.param](path):
        pytest.skip(f"DID NOT RUN: no {request.param} of one's own can be mounted here (needs root)")
    yield Disk(path)
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def floe(disk: Disk) -> Iterator[FloeProcess]:
    process = FloeProcess(disk.path / "data", SETTINGS)
    process.log_path = disk.path.with_name("floe.log")  # the log must not need the full disk
    yield process.start()
    process.end()


class Writer:
    """Writes numbered records and remembers which were acknowledged."""

    def __init__(self, floe: FloeProcess) -> None:
        self.client = RawClient(floe.port)
        self.number = 0
        self.acknowledged: dict[int, int] = {}  # number -> offset

    def write(self, topic: str = TOPIC, acks: int = -1) -> ErrorCode:
        self.number += 1
        value = (b"%d " % self.number).ljust(VALUE_BYTES, b"x")
        records = build([Record(timestamp=NOW_MS, value=value)])
        request = produce_request(records, topic=topic, acks=acks)
        result = self.client.ask(ApiKey.PRODUCE, 9, request).responses[0].partition_responses[0]
        if result.error_code == 0 and topic == TOPIC:
            self.acknowledged[self.number] = result.base_offset
        return ErrorCode(result.error_code)

    def write_until_refused(self) -> ErrorCode:
        for _ in range(2 * DISK_BYTES // VALUE_BYTES):
            code = self.write()
            if code:
                return code
        raise AssertionError("the disk never filled up")


def stored(floe: FloeProcess) -> dict[int, int]:
    """number -> offset of every record of TOPIC."""
    found: dict[int, int] = {}
    with RawClient(floe.port) as client:
        end = end_offset(client, TOPIC)
        offset = 0
        while offset < end:
            data = client.ask(ApiKey.FETCH, 11, fetch_request(TOPIC, offset)).responses[0].partitions[0]
            assert data.error_code == 0
            for batch in parse_batches(bytes(data.records)):
                for record in iterate(bytes(data.records), batch, 1 << 20):
                    assert record.offset == offset and record.value is not None
                    found[int(record.value.split()[0])] = offset
                    offset += 1
    return found


def assert_nothing_lost(floe: FloeProcess, writer: Writer) -> None:
    found = stored(floe)
    lost = {number for number, offset in writer.acknowledged.items() if found.get(number) != offset}
    assert not lost, f"acknowledged and gone: {sorted(lost)}"


def told_full(floe: FloeProcess) -> list[str]:
    return [line for line in warnings(floe) if "disk is full" in line]


def test_writes_are_refused_and_resume(floe: FloeProcess, disk: Disk) -> None:
    writer = Writer(floe)
    make_topic(writer.client, TOPIC)
    for _ in range(5):
        assert writer.write() == ErrorCode.NONE
    disk.fill(leave=2 << 20)
    assert writer.write_until_refused() == ErrorCode.KAFKA_STORAGE_ERROR
    for acks in (-1, 1):
        for _ in range(20):
            assert writer.write(acks=acks) == ErrorCode.KAFKA_STORAGE_ERROR
    assert len(told_full(floe)) == 1, floe.log()
    assert_nothing_lost(floe, writer)
    assert floe.is_running
    metadata = writer.client.ask(ApiKey.METADATA, 4, MetadataRequest(topics=None))
    assert TOPIC in {topic.name for topic in metadata.topics}
    disk.release()
    assert writer.write() == ErrorCode.NONE
    assert any("space on the disk again" in line for line in floe.log().splitlines())
    disk.fill()
    assert writer.write_until_refused() == ErrorCode.KAFKA_STORAGE_ERROR
    assert len(told_full(floe)) == 2
    disk.release()
    assert writer.write() == ErrorCode.NONE
    assert_nothing_lost(floe, writer)
    assert floe.stop() == 0
    floe.start()
    assert_nothing_lost(floe, writer)
    assert_healthy(floe)


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_restart_while_the_disk_is_full(floe: FloeProcess, disk: Disk, end: str) -> None:
    writer = Writer(floe)
    make_topic(writer.client, TOPIC)
    for _ in range(3):
        assert writer.write() == ErrorCode.NONE
    disk.fill()
    writer.write_until_refused()
    writer.client.close()
    if end == "kill":
        floe.kill()
    else:
        floe.stop()
    floe.start()
    assert_nothing_lost(floe, writer)
    writer.client = RawClient(floe.port)
    assert writer.write_until_refused() == ErrorCode.KAFKA_STORAGE_ERROR
    floe.kill()
    floe.start()
    disk.release()
    writer.client = RawClient(floe.port)
    assert writer.write() == ErrorCode.NONE
    assert_nothing_lost(floe, writer)
    assert floe.stop() == 0
    floe.start()
    assert_nothing_lost(floe, writer)
    assert_healthy(floe)


def create(client: RawClient, name: str) -> ErrorCode:
    topic = CreatableTopic(name=name, num_partitions=1, replication_factor=1)
    request = CreateTopicsRequest(topics=[topic], timeout_ms=5000)
    return ErrorCode(client.ask(ApiKey.CREATE_TOPICS, 5, request).topics[0].error_code)


def test_topics_on_a_full_disk(floe: FloeProcess, disk: Disk) -> None:
    """Creating one is refused clearly, or succeeds in what was reserved; a first write to one is refused; and all
    of it works once there is space."""
    writer = Writer(floe)
    make_topic(writer.client, TOPIC)
    make_topic(writer.client, "unwritten")
    assert writer.write() == ErrorCode.NONE
    disk.fill()
    writer.write_until_refused()
    assert writer.write(topic="unwritten") == ErrorCode.KAFKA_STORAGE_ERROR
    refused = []
    for number in range(3000):
        code = create(writer.client, f"new-{number}-{'x' * 200}")
        if code:
            assert code == ErrorCode.KAFKA_STORAGE_ERROR
            refused.append(number)
            if len(refused) == 3:
                break
    assert refused, "the metadata log never filled up"
    name = f"new-{refused[0]}-{'x' * 200}"
    asked = MetadataRequest(topics=[MetadataRequestTopic(name=name)])
    assert writer.client.ask(ApiKey.METADATA, 4, asked).topics[0].error_code != 0
    assert_nothing_lost(floe, writer)
    disk.release()
    assert create(writer.client, name) == ErrorCode.NONE
    for topic in (TOPIC, "unwritten", name):
        assert writer.write(topic=topic) == ErrorCode.NONE
    assert floe.stop() == 0
    floe.start()
    writer.client = RawClient(floe.port)
    for topic in ("unwritten", name):
        assert end_offset(writer.client, topic) == 1
        assert writer.write(topic=topic) == ErrorCode.NONE
    assert_nothing_lost(floe, writer)
    assert_healthy(floe)


def test_a_start_on_a_full_disk(disk: Disk) -> None:
    """Nothing can be made of a full disk: it is said in a line, with exit status 1, and nothing is left behind."""
    disk.fill()
    command = [str(FLOE), "serve", "--data-dir", str(disk.path / "data"), "--listen", "127.0.0.1:0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "No space left" in done.stderr and "Traceback" not in done.stderr
    disk.release()
    process = FloeProcess(disk.path / "data", SETTINGS)
    process.start()
    with RawClient(process.port) as client:
        make_topic(client, TOPIC)
    assert process.stop() == 0
    process.end()


def test_a_connection_that_was_closed_is_not_needed(floe: FloeProcess, disk: Disk) -> None:
    """acks=0 has no answer to carry the error: the connection closes, as with Kafka."""
    writer = Writer(floe)
    make_topic(writer.client, TOPIC)
    assert writer.write() == ErrorCode.NONE
    disk.fill()
    writer.write_until_refused()
    with RawClient(floe.port) as client, pytest.raises(Closed):
        records = build([Record(timestamp=NOW_MS, value=b"x" * VALUE_BYTES)])
        client.request(ApiKey.PRODUCE, 9, produce_request(records, topic=TOPIC, acks=0))
        client.receive_frame()
    disk.release()
    assert writer.write() == ErrorCode.NONE
    assert_nothing_lost(floe, writer)
