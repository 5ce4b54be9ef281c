"""Replayed Produce requests over N connections with M in flight each."""

import select
import socket
import time
from collections import deque
from dataclasses import dataclass
from struct import Struct
from typing import Final

from broker.cli.client import Client, Connection, error_name
from broker.cli.errors import CommandFailed
from broker.cli.load.measurement import Measurement
from broker.cli.load.payload import build_batch
from broker.cli.load.ring import ResponseLayout, Ring, build_ring, response_layout
from protocol.api import ApiKey
from protocol.framing import parse_response
from protocol.messages.api_versions import ApiVersionsRequest

_RECEIVE_BYTES: Final = 1 << 16
_SAMPLE_EVERY: Final = 1000  # one response in so many is decoded in full
_SIZE_PREFIX: Final = 4
_STALL_S: Final = 30.0
_TIMEVAL: Final = Struct("ll")


@dataclass(frozen=True, slots=True)
class ProduceLoad:
    """What to send. `duration_s` is how long new requests are started; those in flight are waited for."""

    topic: str
    record_bytes: int = 100
    records_per_batch: int = 1
    acks: int = -1
    compression: int = 0
    as_json: bool = False
    connections: int = 1
    in_flight: int = 5
    duration_s: float = 5.0


def run_produce(client: Client, load: ProduceLoad, batch: bytes | None = None) -> Measurement:
    """Send `load` to its topic's leader and return what was measured. All partitions must have one leader.

    Raises CommandFailed if the topic is missing, has leaders on several brokers, or the broker goes away.
    """
    topic = client.topic(load.topic)
    leaders = {partition.leader_id for partition in topic.partitions}
    if len(leaders) != 1:
        raise CommandFailed(
            f"Topic {load.topic} has {len(leaders)} leaders; the load generator drives one broker."
        )
    address = client.brokers[leaders.pop()]
    version = client.connect(address).version(ApiKey.PRODUCE)
    batch = batch or build_batch(
        record_bytes=load.record_bytes,
        record_count=load.records_per_batch,
        now_ms=time.time_ns() // 1_000_000,
        compression=load.compression,
        as_json=load.as_json,
    )
    ring = build_ring(
        version=version,
        topic=load.topic,
        topic_id=bytes(topic.topic_id),
        partition_count=len(topic.partitions),
        batch=batch,
        acks=load.acks,
        timeout_ms=int(client.timeout_s * 1000),
    )
    layout = response_layout(version, load.topic, bytes(topic.topic_id))
    opened = [
        Connection(address, timeout_s=client.timeout_s, client_id="floe-bench")
        for _ in range(load.connections)
    ]
    try:
        lanes = [Lane(connection, ring, layout, load, len(batch)) for connection in opened]
        if load.acks == 0:
            return _run_without_replies(lanes, load)
        return _run_alone(lanes[0], load) if len(lanes) == 1 else _run(lanes, load)
    finally:
        for connection in opened:
            connection.close()


class Lane:
    """One connection: a cursor in the ring, the times of requests in flight, a receive buffer."""

    __slots__ = (
        "allowed_bytes",
        "batch_bytes",
        "buffer",
        "connection",
        "filled",
        "layout",
        "load",
        "measurement",
        "next_correlation_id",
        "now",
        "ring",
        "sent_bytes",
        "socket",
        "started_at",
        "view",
        "wants_to_write",
    )

    def __init__(
        self, connection: Connection, ring: Ring, layout: ResponseLayout, load: ProduceLoad, batch_bytes: int
    ) -> None:
        self.connection = connection
        self.socket = connection.socket
        self.socket.setblocking(False)
        self.ring = ring
        self.layout = layout
        self.load = load
        self.batch_bytes = batch_bytes
        self.measurement = Measurement()
        self.allowed_bytes = 0  # absolute: how far the window lets us send
        self.sent_bytes = 0
        self.started_at: deque[float] = deque()
        self.next_correlation_id = 0
        self.buffer = bytearray(_RECEIVE_BYTES)
        self.view = memoryview(self.buffer)
        self.filled = 0
        self.now = 0.0
        self.wants_to_write = False

    def start(self, count: int, now: float) -> None:
        """Let `count` more requests go out."""
        self.allowed_bytes += count * self.ring.frame_bytes
        if count == 1:
            self.started_at.append(now)
        else:
            self.started_at.extend([now] * count)
        self.write()

    def write(self) -> None:
        """Send what the window allows; `wants_to_write` says whether the socket was full."""
        data, length = self.ring.data, self.ring.frame_bytes * self.ring.frame_count
        while self.sent_bytes < self.allowed_bytes:
            begin = self.sent_bytes % length
            end = min(length, begin + self.allowed_bytes - self.sent_bytes)
            try:
                self.sent_bytes += self.socket.send(data[begin:end], socket.MSG_DONTWAIT)
            except BlockingIOError:
                self.wants_to_write = True
                return
        self.wants_to_write = False

    def read(self) -> int:
        """Take what arrived and return the number of responses; `now` is when it was read."""
        count = self.socket.recv_into(self.view[self.filled :])
        self.now = now = time.perf_counter()
        if count == 0:
            raise CommandFailed(
                f"{self.connection.name} closed the connection under load.",
                "See the broker's log for the reason.",
            )
        end = self.filled + count
        position = responses = 0
        size = self.layout.frame_bytes
        expected_size = size - _SIZE_PREFIX
        unpack = self.layout.fields.unpack_from
        buffer, popleft = self.buffer, self.started_at.popleft
        latencies = self.measurement.latencies_s
        correlation_id = self.next_correlation_id
        while end - position >= size:
            got_size, got_id, error_code = unpack(buffer, position)
            if got_size != expected_size or got_id != correlation_id or error_code:
                break
            position += size
            responses += 1
            latencies.append(now - popleft())
            correlation_id += 1
            if correlation_id == self.ring.frame_count:
                correlation_id = 0
            if not len(latencies) % _SAMPLE_EVERY:
                self._check(self.view[position - size : position])
        self.next_correlation_id = correlation_id
        measurement = self.measurement
        measurement.requests += responses
        measurement.records += responses * self.load.records_per_batch
        measurement.bytes += responses * self.batch_bytes
        if end - position > _SIZE_PREFIX:
            position, unusual = self._read_unusual(position, end)
            responses += unusual
        self.filled = end - position
        if self.filled:
            self.view[: self.filled] = self.view[position:end]
        return responses

    def _read_unusual(self, position: int, end: int) -> tuple[int, int]:
        # A response of another size than a success has, or with an error: decoded, counted, never a record.
        responses = 0
        while end - position > _SIZE_PREFIX:
            size = int.from_bytes(self.view[position : position + _SIZE_PREFIX], "big") + _SIZE_PREFIX
            if size == self.layout.frame_bytes and end - position < size:
                break
            if size > len(self.buffer):
                raise CommandFailed(f"{self.connection.name} sent a Produce response of {size} bytes.")
            if end - position < size:
                break
            code, got_id = self._check(self.view[position : position + size])
            if got_id != self.next_correlation_id:
                name = self.connection.name
                raise CommandFailed(
                    f"{name} answered request {got_id} where {self.next_correlation_id} was due."
                )
            self.measurement.requests += 1
            self.started_at.popleft()
            self.next_correlation_id = (self.next_correlation_id + 1) % self.ring.frame_count
            position += size
            responses += 1
            if code == 0:
                self.measurement.records += self.load.records_per_batch
                self.measurement.bytes += self.batch_bytes
        return position, responses

    def _check(self, frame: memoryview) -> tuple[int, int]:
        """Decode a response in full, count its error, return error code and correlation id."""
        got_id, message = parse_response(ApiKey.PRODUCE, self.ring.version, frame[_SIZE_PREFIX:])
        code: int = message.responses[0].partition_responses[0].error_code
        if code:
            self.measurement.errors[error_name(code)] += 1
        return code, got_id


def _run_alone(lane: Lane, load: ProduceLoad) -> Measurement:
    """One connection: a blocking receive saves a system call a turn, unless the socket is full of
    requests.
    """
    lane.socket.setblocking(True)
    lane.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(int(_STALL_S), 0))
    poll = select.poll()
    poll.register(lane.socket, select.POLLIN | select.POLLOUT)
    started = time.perf_counter()
    deadline = started + load.duration_s
    in_flight = load.in_flight
    lane.start(in_flight, started)
    while in_flight:
        if lane.wants_to_write:
            events = poll.poll(_STALL_S * 1000)
            if events and not events[0][1] & ~select.POLLOUT:
                lane.write()
                continue
        try:
            responses = lane.read()
        except BlockingIOError as error:
            raise _stalled(lane) from error
        if responses and lane.now < deadline:
            lane.start(responses, lane.now)
        else:
            in_flight -= responses
    return _total([lane], time.perf_counter() - started)


def _run(lanes: list[Lane], load: ProduceLoad) -> Measurement:
    poll = select.epoll()
    by_descriptor = {lane.socket.fileno(): lane for lane in lanes}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.EPOLLIN)
    started = time.perf_counter()
    deadline = started + load.duration_s
    in_flight = load.in_flight * len(lanes)
    writing: set[int] = set()
    for lane in lanes:
        lane.start(load.in_flight, started)
        _watch_writes(poll, lane, writing)
    while in_flight:
        events = poll.poll(_STALL_S)
        if not events:
            raise _stalled(lanes[0])
        for descriptor, event in events:
            lane = by_descriptor[descriptor]
            if event & ~select.EPOLLOUT:
                responses = lane.read()
                if not responses:
                    continue
                if lane.now < deadline:
                    lane.start(responses, lane.now)
                else:
                    in_flight -= responses
            else:
                lane.write()
            if lane.wants_to_write or writing:
                _watch_writes(poll, lane, writing)
    poll.close()
    return _total(lanes, time.perf_counter() - started)


def _stalled(lane: Lane) -> CommandFailed:
    return CommandFailed(f"No answer from {lane.connection.name} for {_STALL_S:g} s under load.")


def _watch_writes(poll: select.epoll, lane: Lane, writing: set[int]) -> None:
    descriptor = lane.socket.fileno()
    if lane.wants_to_write and descriptor not in writing:
        poll.modify(descriptor, select.EPOLLIN | select.EPOLLOUT)
        writing.add(descriptor)
    elif not lane.wants_to_write and descriptor in writing:
        poll.modify(descriptor, select.EPOLLIN)
        writing.discard(descriptor)


def _run_without_replies(lanes: list[Lane], load: ProduceLoad) -> Measurement:
    """acks=0: send for the duration; the answer to a last request of another kind says that all were
    taken.
    """
    clock = time.perf_counter
    started = now = clock()
    deadline = started + load.duration_s
    for lane in lanes:
        lane.socket.settimeout(_STALL_S)
    step = max(1, min(lanes[0].ring.frame_count, (256 << 10) // lanes[0].ring.frame_bytes))
    while now < deadline:
        for lane in lanes:
            lane.start(step, now)
            lane.started_at.clear()
            lane.measurement.requests += step
            lane.measurement.records += step * load.records_per_batch
            lane.measurement.bytes += step * lane.batch_bytes
        now = clock()
    for lane in lanes:
        request = ApiVersionsRequest(client_software_name="floe-bench", client_software_version="1")
        lane.connection.request(ApiKey.API_VERSIONS, request, lane.connection.version(ApiKey.API_VERSIONS))
    return _total(lanes, clock() - started)


def _total(lanes: list[Lane], seconds: float) -> Measurement:
    total = Measurement(seconds=seconds)
    for lane in lanes:
        total.add(lane.measurement)
    return total
