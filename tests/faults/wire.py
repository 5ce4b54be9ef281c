"""A client of nothing but a socket, for saying what no library would say, and what it is judged by."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from protocol.api import ApiKey
from protocol.framing import parse_response, request_frame
from protocol.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from protocol.messages.list_offsets import ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic
from protocol.messages.metadata import MetadataRequest, MetadataRequestTopic
from protocol.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from protocol.records import Record, build
from tests.floe_process import FloeProcess

LIMIT_S: Final = 30.0
NOW_MS: Final = time.time_ns() // 1_000_000
"""Of the records: retention would delete older ones."""

UNFORESEEN: Final = ("nobody foresaw", "Traceback", "stopping at once")


class Closed(Exception):
    """The broker closed the connection instead of answering."""


class RawClient:
    """One connection; a time-out anywhere is a failed test, not a wait."""

    def __init__(self, port: int, *, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(LIMIT_S)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.correlation_id = 0

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Close with RST, as a process that died with data unread does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed from error

    def receive(self, size: int) -> bytes:
        parts = []
        while size:
            try:
                part = self.socket.recv(min(size, 1 << 20))
            except ConnectionResetError as error:
                raise Closed from error
            if not part:
                raise Closed
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def receive_frame(self) -> bytes:
        (size,) = struct.unpack(">i", self.receive(4))
        return self.receive(size)

    def request(self, api: ApiKey, version: int, message: Any) -> None:
        self.correlation_id += 1
        self.send(request_frame(api, version, self.correlation_id, "raw", message))

    def response(self, api: ApiKey, version: int) -> Any:
        correlation_id, message = parse_response(api, version, self.receive_frame())
        assert correlation_id == self.correlation_id
        return message

    def ask(self, api: ApiKey, version: int, message: Any) -> Any:
        self.request(api, version, message)
        return self.response(api, version)

    def is_closed_by_peer(self) -> bool:
        """Wait until the broker has ended the connection; False if it answers something instead."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def has_input(self) -> bool:
        return bool(select.select([self.socket], [], [], 0)[0])


def raw_frame(
    api_key: int, version: int, body: bytes, *, client_id: bytes | None = b"raw", flexible: bool = False
) -> bytes:
    """A frame around any body."""
    name = b"\xff\xff" if client_id is None else struct.pack(">h", len(client_id)) + client_id
    header = struct.pack(">hhi", api_key, version, 7) + name + (b"\0" if flexible else b"")
    return struct.pack(">i", len(header) + len(body)) + header + body


def batch(count: int = 1, size: int = 10, **kwargs: Any) -> bytearray:
    """A well-formed batch; `kwargs` as protocol.records.build."""
    return build([Record(timestamp=NOW_MS + i, value=b"v" * size) for i in range(count)], **kwargs)


def produce_request(
    records: bytes | bytearray | None, *, topic: str = "bad", partition: int = 0, acks: int = -1
) -> ProduceRequest:
    data = PartitionProduceData(index=partition, records=records)
    return ProduceRequest(
        acks=acks, timeout_ms=1000, topic_data=[TopicProduceData(name=topic, partition_data=[data])]
    )


def fetch_request(
    topic: str,
    offset: int = 0,
    *,
    partition: int = 0,
    max_wait_ms: int = 0,
    min_bytes: int = 1,
    **fields: Any,
) -> FetchRequest:
    """`fields` go to the partition, but max_bytes and the session's fields to the request."""
    whole = {
        name: fields.pop(name) for name in ("max_bytes", "session_id", "session_epoch") if name in fields
    }
    one = FetchPartition(
        partition=partition,
        fetch_offset=offset,
        partition_max_bytes=fields.pop("partition_max_bytes", 1 << 20),
    )
    for name, value in fields.items():
        setattr(one, name, value)
    whole.setdefault("max_bytes", 50 << 20)
    whole.setdefault("session_epoch", -1)
    return FetchRequest(
        max_wait_ms=max_wait_ms,
        min_bytes=min_bytes,
        topics=[FetchTopic(topic=topic, partitions=[one])],
        **whole,
    )


class WellBehaved:
    """The connection that must never notice what others do: it produces, reads back and counts."""

    TOPIC: Final = "well-behaved"

    def __init__(self, port: int) -> None:
        self.client = RawClient(port)
        self.count = 0
        make_topic(self.client, self.TOPIC)

    def check(self) -> None:
        """One produce and one fetch, answered as if nobody else were there."""
        value = b"%d" % self.count
        records = build([Record(timestamp=NOW_MS, value=value)])
        answer = self.client.ask(ApiKey.PRODUCE, 9, produce_request(records, topic=self.TOPIC))
        result = answer.responses[0].partition_responses[0]
        assert (result.error_code, result.base_offset) == (0, self.count), result
        self.count += 1
        fetched = self.client.ask(ApiKey.FETCH, 11, fetch_request(self.TOPIC, result.base_offset))
        data = fetched.responses[0].partitions[0]
        assert data.error_code == 0 and value in bytes(data.records)


def make_topic(client: RawClient, name: str) -> None:
    """By asking for its metadata, as producers do."""
    answer = client.ask(ApiKey.METADATA, 4, MetadataRequest(topics=[MetadataRequestTopic(name=name)]))
    assert answer.topics[0].error_code == 0, answer


def end_offset(client: RawClient, topic: str, partition: int = 0) -> int:
    asked = ListOffsetsPartition(partition_index=partition, timestamp=-1)
    request = ListOffsetsRequest(
        replica_id=-1, topics=[ListOffsetsTopic(name=topic, partitions=[asked])], isolation_level=0
    )
    result = client.ask(ApiKey.LIST_OFFSETS, 5, request).topics[0].partitions[0]
    assert result.error_code == 0, result
    return int(result.offset)


def resident_bytes(pid: int, field: str = "VmRSS") -> int:
    """Memory of a process as the kernel counts it (Linux); VmHWM is its peak."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {field} in /proc/{pid}/status")


def warnings(floe: FloeProcess, since: int = 0) -> list[str]:
    """Log lines above INFO, from character `since` of the log on."""
    return [
        line
        for line in floe.log()[since:].splitlines()
        if any(f" {level} " in line for level in ("WARN", "ERROR", "FATAL"))
    ]


def assert_healthy(floe: FloeProcess, since: int = 0) -> None:
    """The process runs, and nothing happened that nobody foresaw since character `since` of the log."""
    assert floe.is_running, floe.log()[-4000:]
    text = floe.log()[since:]
    found: Sequence[str] = [word for word in UNFORESEEN if word in text]
    assert not found, f"{found}\n{text[-4000:]}"
