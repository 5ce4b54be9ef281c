"""Catch-up reading: Fetch requests one after the other on each connection, from the earliest offset to the
end and again.
"""

import select
import time
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from broker.cli import admin
from broker.cli.client import Address, BrokerError, Client, Connection
from broker.cli.errors import CommandFailed
from broker.cli.load.measurement import Measurement
from protocol import records
from protocol.api import ApiKey
from protocol.framing import parse_response, request_frame
from protocol.messages.fetch import FetchPartition, FetchRequest, FetchTopic

# base_offset, batch_length, last_offset_delta, record_count of a batch header
_BATCH: Final = Struct(">qi11xi30xi")
assert _BATCH.size == records.BATCH_OVERHEAD
_SIZE_PREFIX: Final = 4
_STALL_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class FetchLoad:
    """What to read. Each connection reads the partitions that fall to it, one partition a request."""

    topic: str
    max_bytes: int = 1 << 20
    connections: int = 1
    duration_s: float = 5.0


def count_records(data: memoryview) -> tuple[int, int, int]:
    """Return (records, bytes, next offset) of the whole batches in `data`, by their headers; (0, 0, -1) if
    there are none.
    """
    position, end = 0, len(data)
    count, next_offset = 0, -1
    unpack = _BATCH.unpack_from
    while end - position >= records.BATCH_OVERHEAD:
        base_offset, length, last_offset_delta, record_count = unpack(data, position)
        if length + records.LOG_OVERHEAD > end - position:
            break
        position += length + records.LOG_OVERHEAD
        count += record_count
        next_offset = base_offset + last_offset_delta + 1
    return count, position, next_offset


@dataclass(slots=True)
class Fetcher:
    """One connection with at most one Fetch in flight, its response received into one buffer."""

    connection: Connection
    topic: str
    topic_id: bytes
    max_bytes: int
    buffer: memoryview
    version: int = 0
    filled: int = 0
    correlation_id: int = 0

    def ask(self, partition: int, offset: int) -> None:
        """Send a Fetch for one partition."""
        self.version = self.version or self.connection.version(ApiKey.FETCH)
        limit = self.max_bytes
        wanted = FetchPartition(partition=partition, fetch_offset=offset, partition_max_bytes=limit)
        topic = FetchTopic(partitions=[wanted])
        if self.version >= 13:  # KIP-516
            topic.topic_id = self.topic_id
        else:
            topic.topic = self.topic
        request = FetchRequest(max_wait_ms=500, min_bytes=1, topics=[topic])
        if self.version >= 3:
            request.max_bytes = limit
        if self.version >= 7:
            request.session_epoch = -1  # no fetch session (KIP-227)
        self.correlation_id += 1
        frame = request_frame(ApiKey.FETCH, self.version, self.correlation_id, "floe-bench", request)
        self.connection.socket.sendall(frame)

    def read(self) -> tuple[int, int, int] | None:
        """Take what arrived; `count_records` of the answer once it is whole. Raises BrokerError,
        CommandFailed.
        """
        count = self.connection.socket.recv_into(self.buffer[self.filled :])
        if count == 0:
            raise CommandFailed(f"{self.connection.name} closed the connection under load.")
        self.filled += count
        if self.filled < _SIZE_PREFIX:
            return None
        size = int.from_bytes(self.buffer[:_SIZE_PREFIX], "big") + _SIZE_PREFIX
        if size > len(self.buffer):  # KIP-74: a batch larger than the limit comes whole
            larger = memoryview(bytearray(size))
            larger[: self.filled] = self.buffer[: self.filled]
            self.buffer = larger
        if self.filled < size:
            return None
        assert self.filled == size, "one request in flight"
        self.filled = 0
        got_id, response = parse_response(ApiKey.FETCH, self.version, self.buffer[_SIZE_PREFIX:size])
        assert got_id == self.correlation_id
        answer = response.responses[0].partitions[0] if response.responses else response
        code = response.error_code or answer.error_code
        if code:
            raise BrokerError(code, f"Fetch of {self.topic}")
        return count_records(memoryview(answer.records or b""))


def open_fetcher(client: Client, address: Address, topic: str, topic_id: bytes, max_bytes: int) -> Fetcher:
    """Connect a fetcher; its buffer holds a full answer and some more."""
    connection = Connection(address, timeout_s=client.timeout_s, client_id="floe-bench")
    return Fetcher(connection, topic, topic_id, max_bytes, memoryview(bytearray(max_bytes + (1 << 20))))


@dataclass(slots=True)
class Reader:
    """Reads its partitions one after the other, from `starts` to `ends`, and begins again."""

    fetcher: Fetcher
    starts: dict[int, int]
    ends: dict[int, int]
    queue: list[int] = field(default_factory=list)
    position: int = -1
    asked_at: float = 0.0
    measurement: Measurement = field(default_factory=Measurement)

    def ask(self, now: float) -> None:
        """Send the next Fetch."""
        if not self.queue:
            self.queue = list(self.starts)
        if self.position < 0:
            self.position = self.starts[self.queue[0]]
        self.asked_at = now
        self.fetcher.ask(self.queue[0], self.position)

    def read(self, now: float) -> bool:
        """Take what arrived; True when a response is whole and counted."""
        answer = self.fetcher.read()
        if answer is None:
            return False
        count, size, next_offset = answer
        if next_offset < 0:
            raise CommandFailed(f"Fetch of {self.fetcher.topic}-{self.queue[0]} at {self.position} is empty.")
        self.measurement.latencies_s.append(now - self.asked_at)
        self.measurement.requests += 1
        self.measurement.records += count
        self.measurement.bytes += size
        self.position = next_offset
        if next_offset >= self.ends[self.queue[0]]:
            self.queue.pop(0)
            self.position = -1
        return True


def run_fetch(client: Client, load: FetchLoad) -> Measurement:
    """Read the topic over and over for the duration. Raises CommandFailed if it is empty or the broker
    goes away.
    """
    topic = client.topic(load.topic)
    indexes = [partition.partition_index for partition in topic.partitions]
    starts = admin.list_offsets(client, load.topic, indexes, admin.EARLIEST)
    ends = admin.list_offsets(client, load.topic, indexes, admin.LATEST)
    filled = [index for index in indexes if ends[index] > starts[index]]
    if not filled:
        raise CommandFailed(
            f"Topic {load.topic} is empty.", f"Fill it with: floe bench produce --topic {load.topic}"
        )
    readers: list[Reader] = []
    try:
        for number in range(load.connections):
            mine = filled[number :: load.connections] or [filled[number % len(filled)]]
            leader = client.leader(load.topic, mine[0])
            if any(client.leader(load.topic, index) is not leader for index in mine):
                raise CommandFailed(
                    f"Topic {load.topic} has several leaders; the load generator drives one broker."
                )
            fetcher = open_fetcher(client, leader.address, load.topic, bytes(topic.topic_id), load.max_bytes)
            part = {index: starts[index] for index in mine}
            readers.append(Reader(fetcher, part, {index: ends[index] for index in mine}))
        return _run(readers, load.duration_s)
    finally:
        for reader in readers:
            reader.fetcher.connection.close()


def _run(readers: list[Reader], duration_s: float) -> Measurement:
    poll = select.epoll()
    by_descriptor = {reader.fetcher.connection.socket.fileno(): reader for reader in readers}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.EPOLLIN)
    clock = time.perf_counter
    started = clock()
    deadline = started + duration_s
    for reader in readers:
        reader.ask(started)
    waiting = len(readers)
    while waiting:
        events = poll.poll(_STALL_S)
        if not events:
            raise CommandFailed(
                f"No answer from {readers[0].fetcher.connection.name} for {_STALL_S:g} s under load."
            )
        for descriptor, _ in events:
            reader = by_descriptor[descriptor]
            now = clock()
            if not reader.read(now):
                continue
            if now < deadline:
                reader.ask(now)
            else:
                waiting -= 1
    poll.close()
    total = Measurement(seconds=clock() - started)
    for reader in readers:
        total.add(reader.measurement)
    return total
