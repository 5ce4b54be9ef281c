"""What the command says and returns where it cannot start, and how it stops."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from protocol.api import ApiKey
from protocol.records import Record, build, iterate, parse_batches
from tests.faults.wire import (
    NOW_MS,
    Closed,
    RawClient,
    WellBehaved,
    assert_healthy,
    end_offset,
    fetch_request,
    make_topic,
    produce_request,
)
from tests.floe_process import FLOE, FloeProcess

CLEAN_SHUTDOWN = ".kafka_cleanshutdown"
LIMIT_S = 60


def serve(data_dir: Path, listen: str = "127.0.0.1:0", *more: str) -> subprocess.CompletedProcess[str]:
    command = [*more, str(FLOE), "serve", "--data-dir", str(data_dir), "--listen", listen]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)


def assert_refused(done: subprocess.CompletedProcess[str], *expected: str) -> None:
    assert done.returncode == 1, done
    assert done.stdout == "" and "Traceback" not in done.stderr
    told = [line for line in done.stderr.splitlines() if line]
    assert len(told) == 1, told
    for text in expected:
        assert text in told[0]


def test_a_second_process_on_the_same_folder(floe: FloeProcess) -> None:
    others = WellBehaved(floe.port)
    others.check()
    assert_refused(serve(floe.data_dir), "another process is using", str(floe.data_dir), "--data-dir")
    others.check()
    assert floe.stop() == 0
    assert (floe.data_dir / CLEAN_SHUTDOWN).exists()


def test_a_folder_is_free_again_after_a_kill(floe: FloeProcess) -> None:
    floe.kill()
    floe.start()
    WellBehaved(floe.port).check()


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert_refused(serve(tmp_path / "data", f"127.0.0.1:{port}"), f"127.0.0.1:{port}", "in use")


def test_an_address_of_another_machine(tmp_path: Path) -> None:
    assert_refused(serve(tmp_path / "data", "192.0.2.1:9092"), "192.0.2.1:9092")


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("not a folder")
    assert_refused(serve(path), str(path), "--data-dir")


def test_a_folder_nobody_may_write(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.mkdir(mode=0o555)
    as_nobody: tuple[str, ...] = ()
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("DID NOT RUN: root may write anywhere, and there is no setpriv to be somebody else")
        as_nobody = (setpriv, "--reuid=65534", "--regid=65534", "--clear-groups")
        readable = subprocess.run([*as_nobody, str(FLOE), "--version"], capture_output=True)
        if readable.returncode != 0:
            # The interpreter may lie where only root reads; without that capability root obeys the mode as well.
            as_nobody = (setpriv, "--bounding-set=-dac_override", "--inh-caps=-dac_override")
    assert_refused(serve(path, "127.0.0.1:0", *as_nobody), str(path), "Permission denied")


def test_another_nodes_folder(floe: FloeProcess) -> None:
    assert floe.stop() == 0
    properties = floe.data_dir / "meta.properties"
    properties.write_text(properties.read_text().replace("node.id=1", "node.id=7"))
    assert_refused(serve(floe.data_dir), "node.id", "7")


def test_sigterm_is_a_clean_stop(floe: FloeProcess) -> None:
    others = WellBehaved(floe.port)
    others.check()
    assert floe.stop() == 0
    assert (floe.data_dir / CLEAN_SHUTDOWN).exists()
    floe.start()
    assert not (floe.data_dir / CLEAN_SHUTDOWN).exists()
    with RawClient(floe.port) as client:
        assert end_offset(client, WellBehaved.TOPIC) == 1
    assert "recovered" not in floe.log()
    floe.kill()
    assert not (floe.data_dir / CLEAN_SHUTDOWN).exists()
    assert_unharmed(floe)


def assert_unharmed(floe: FloeProcess) -> None:
    floe.start()
    assert_healthy(floe)


def test_sigterm_answers_long_polls_at_once(floe: FloeProcess) -> None:
    """Nobody waits ten seconds for a consumer's long poll to end."""
    with RawClient(floe.port) as client:
        make_topic(client, "polled")
        client.request(ApiKey.FETCH, 11, fetch_request("polled", max_wait_ms=3_600_000, min_bytes=1))
        with RawClient(floe.port) as other:  # answered after the fetch was taken
            end_offset(other, "polled")
        assert floe.stop() == 0
        answer = client.response(ApiKey.FETCH, 11)
        assert answer.responses[0].partitions[0].error_code == 0
    assert "did not drain" not in floe.log()


class Writer(threading.Thread):
    """Writes with ten requests in flight until the connection ends; remembers what was acknowledged."""

    def __init__(self, port: int, topic: str) -> None:
        super().__init__(daemon=True)
        self.client = RawClient(port)
        self.topic = topic
        self.acknowledged: list[tuple[int, bytes]] = []
        self.enough = threading.Event()

    def run(self) -> None:
        sent: list[bytes] = []
        try:
            while True:
                while len(sent) < len(self.acknowledged) + 10:
                    value = b"%s-%d" % (self.topic.encode(), len(sent))
                    records = build([Record(timestamp=NOW_MS, value=value)])
                    self.client.request(ApiKey.PRODUCE, 9, produce_request(records, topic=self.topic))
                    sent.append(value)
                frame = self.client.receive_frame()
                number = int.from_bytes(frame[:4], "big") - 1
                code, offset = frame_result(frame)
                assert code == 0
                self.acknowledged.append((offset, sent[number]))
                if len(self.acknowledged) == 300:
                    self.enough.set()
        except (Closed, OSError):
            return


def frame_result(frame: bytes) -> tuple[int, int]:
    from protocol.framing import parse_response

    _, message = parse_response(ApiKey.PRODUCE, 9, frame)
    result = message.responses[0].partition_responses[0]
    return result.error_code, result.base_offset


def test_sigterm_under_load_loses_nothing(floe: FloeProcess) -> None:
    topics = [f"stopped-{number}" for number in range(3)]
    with RawClient(floe.port) as client:
        for topic in topics:
            make_topic(client, topic)
    writers = [Writer(floe.port, topic) for topic in topics]
    for writer in writers:
        writer.start()
    for writer in writers:
        assert writer.enough.wait(LIMIT_S)
    assert floe.stop() == 0
    for writer in writers:
        writer.join(LIMIT_S)
        assert not writer.is_alive()
    floe.start()
    with RawClient(floe.port) as client:
        for writer in writers:
            request = fetch_request(writer.topic, partition_max_bytes=50 << 20)
            data = bytes(client.ask(ApiKey.FETCH, 11, request).responses[0].partitions[0].records)
            values = [
                record.value for batch in parse_batches(data) for record in iterate(data, batch, 1 << 20)
            ]
            assert all(values[offset] == value for offset, value in writer.acknowledged)
            assert len(values) == len(set(values))
    assert "recovered" not in floe.log()
    assert_healthy(floe)
