"""A small synchronous Kafka client on our own codecs: what the commands and the load generator talk through.

One blocking socket per broker, opened on first use. Versions are negotiated per connection (ApiVersions),
so the same code speaks to Kafka 0.10 and to 4.3. Requests that only a leader or the controller may answer
are routed by metadata.
"""

import socket
import struct
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from broker import __version__
from broker.cli.errors import CommandFailed
from protocol.api import ApiKey
from protocol.compiler import message_class
from protocol.errors import ErrorCode, Malformed
from protocol.framing import parse_response, request_frame
from protocol.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from protocol.messages.metadata import (
    MetadataRequest,
    MetadataRequestTopic,
    MetadataResponse,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from protocol.schema import schema_of

Address: TypeAlias = tuple[str, int]
TopicPartition: TypeAlias = tuple[str, int]
Value = TypeVar("Value")

CLIENT_ID = "floe-cli"
MAX_FRAME_BYTES = 1 << 30  # a peer that is not a Kafka must not make us allocate what it likes
_SIZE = struct.Struct(">i")
_ERROR_CODE = struct.Struct(">h")
_RETRY_PAUSE_S = 0.1
_CREATION_PATIENCE_S = 5.0
_ERRORS: dict[int, ErrorCode] = {int(error): error for error in ErrorCode}


class BrokerError(CommandFailed):
    """The broker answered with an error code."""

    def __init__(self, code: int, what: str, detail: str | None = None, hint: str = "") -> None:
        self.code = _ERRORS.get(code, ErrorCode.UNKNOWN_SERVER_ERROR)
        name = error_name(code)
        super().__init__(f"{what}: {name}: {(detail or self.code.message).rstrip('.')}.", hint)


def error_name(code: int) -> str:
    """Return Kafka's name of an error code, or "error N" for one that we do not know."""
    return _ERRORS[code].name if code in _ERRORS else f"error {code}"


def check(code: int, what: str, detail: str | None = None, hint: str = "") -> None:
    """Raise BrokerError unless `code` is 0."""
    if code != 0:
        raise BrokerError(code, what, detail, hint)


class Connection:
    """One negotiated connection to one broker."""

    def __init__(
        self,
        address: Address,
        *,
        timeout_s: float,
        client_id: str,
        max_versions: Mapping[ApiKey, int] | None = None,
    ) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self.client_id = client_id
        self.max_versions = max_versions or {}
        self.correlation_id = 0
        self.in_flight: list[tuple[int, ApiKey, int]] = []
        self.socket = _connect(address, timeout_s)
        try:
            self.api_versions = self._negotiate()
        except CommandFailed:
            self.socket.close()
            raise

    @property
    def name(self) -> str:
        """`host:port`, for messages."""
        return format_address(self.address)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def version(self, api_key: ApiKey) -> int:
        """Return the highest version that the broker and we speak. Raises CommandFailed if there is none."""
        ours = schema_of(message_class(api_key, response=False)).versions
        highest = min(ours.last, self.max_versions.get(api_key, ours.last))
        theirs = self.api_versions.get(api_key)
        if theirs is None:
            raise CommandFailed(
                f"The broker at {self.name} does not implement {api_key.name}.",
                "It may be too old, or not allow it on this listener.",
            )
        version = min(highest, theirs[1])
        if version < max(ours.first, theirs[0]):
            raise CommandFailed(
                f"The broker at {self.name} speaks {api_key.name} {theirs[0]}-{theirs[1]}, "
                f"this client {ours.first}-{highest}: no version in common."
            )
        return version

    def supports(self, api_key: ApiKey) -> bool:
        """Whether the broker lists the API at all."""
        return api_key in self.api_versions

    def send(self, api_key: ApiKey, message: Any, version: int | None = None) -> None:
        """Send one request; its response is due from `receive`, in order."""
        version = self.version(api_key) if version is None else version
        self.correlation_id = (self.correlation_id + 1) & 0x7FFFFFFF
        frame = request_frame(api_key, version, self.correlation_id, self.client_id, message)
        try:
            self.socket.sendall(frame)
        except OSError as error:
            raise self._lost(error) from error
        self.in_flight.append((self.correlation_id, api_key, version))

    def receive(self) -> Any:
        """Return the response to the oldest unanswered request."""
        correlation_id, api_key, version = self.in_flight.pop(0)
        frame = self._read_frame()
        try:
            got, message = parse_response(api_key, version, frame)
        except Malformed as error:
            raise CommandFailed(
                f"{self.name} sent a {api_key.name} v{version} response that cannot be read: {error}"
            ) from error
        if got != correlation_id:
            raise CommandFailed(
                f"The broker at {self.name} answered request {got} where {correlation_id} was due."
            )
        return message

    def request(self, api_key: ApiKey, message: Any, version: int | None = None) -> Any:
        """Send one request and return its response."""
        self.send(api_key, message, version)
        return self.receive()

    def _read_frame(self) -> memoryview:
        head = self._read_exactly(4)
        (size,) = _SIZE.unpack(head)
        if not 4 <= size <= MAX_FRAME_BYTES:
            raise CommandFailed(
                f"{self.name} answered with {bytes(head)!r}, which is no Kafka frame.",
                "Is this the right port? Perhaps it expects TLS, or speaks HTTP.",
            )
        return self._read_exactly(size)

    def _read_exactly(self, size: int) -> memoryview:
        buffer = memoryview(bytearray(size))
        filled = 0
        try:
            while filled < size:
                count = self.socket.recv_into(buffer[filled:])
                if count == 0:
                    raise ConnectionResetError("the broker closed the connection")
                filled += count
        except OSError as error:
            raise self._lost(error) from error
        return buffer

    def _lost(self, error: OSError) -> CommandFailed:
        waiting = f" while waiting for {self.in_flight[0][1].name}" if self.in_flight else ""
        if isinstance(error, TimeoutError):
            return ConnectionLost(
                f"No answer from {self.name} within {self.timeout_s:g} s{waiting}.",
                "Raise it with --timeout.",
            )
        return ConnectionLost(
            f"Connection to {self.name} lost{waiting}: {error}.",
            "See the broker's log for the reason it has.",
        )

    def _negotiate(self) -> dict[int, tuple[int, int]]:
        """Ask for the ranges. A broker that does not know our version says so in version 0 (KIP-511)."""
        newest = schema_of(ApiVersionsRequest).versions.last
        version = min(newest, self.max_versions.get(ApiKey.API_VERSIONS, newest))
        response = self._ask_versions(version)
        if response.error_code == ErrorCode.UNSUPPORTED_VERSION:
            listed = {entry.api_key: entry.max_version for entry in response.api_keys}
            response = self._ask_versions(min(version, listed.get(ApiKey.API_VERSIONS, 0)))
        check(response.error_code, f"ApiVersions at {self.name}")
        return {entry.api_key: (entry.min_version, entry.max_version) for entry in response.api_keys}

    def _ask_versions(self, version: int) -> ApiVersionsResponse:
        request = ApiVersionsRequest()
        if version >= 3:
            request.client_software_name = "floe"
            request.client_software_version = __version__
        self.send(ApiKey.API_VERSIONS, request, version)
        self.in_flight.pop()
        frame = self._read_frame()
        if len(frame) >= 6 and _ERROR_CODE.unpack_from(frame, 4)[0] == ErrorCode.UNSUPPORTED_VERSION:
            version = 0
        try:
            message: ApiVersionsResponse = parse_response(ApiKey.API_VERSIONS, version, frame)[1]
        except Malformed as error:
            raise CommandFailed(
                f"{self.name} does not answer as a Kafka broker: {error}", "Is this the right port?"
            ) from error
        return message


class ConnectionLost(CommandFailed):
    """The connection broke, or an answer did not come in time: what was sent may or may not have been
    done.
    """


class CannotConnect(CommandFailed):
    """No connection to an address."""


def format_address(address: Address) -> str:
    """(host, port) -> "host:port", IPv6 in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _connect(address: Address, timeout_s: float) -> socket.socket:
    name = format_address(address)
    try:
        connected = socket.create_connection(address, timeout_s)
    except ConnectionRefusedError as error:
        raise CannotConnect(
            f"Cannot connect to {name}: nothing listens there.",
            "Start a broker (floe serve), or name one with --bootstrap-server host:port.",
        ) from error
    except socket.gaierror as error:
        raise CannotConnect(
            f"Cannot connect to {name}: the host name does not resolve.",
            "Check the name, or use its IP address.",
        ) from error
    except TimeoutError as error:
        raise CannotConnect(
            f"Cannot connect to {name}: no answer within {timeout_s:g} s.",
            "A firewall? Raise the limit with --timeout.",
        ) from error
    except OSError as error:
        raise CannotConnect(
            f"Cannot connect to {name}: {error.strerror or error}.", "Check --bootstrap-server."
        ) from error
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


class Client:
    """A cluster: bootstrap addresses, then the brokers that metadata names."""

    def __init__(
        self,
        bootstrap: Sequence[Address],
        *,
        timeout_s: float = 30.0,
        client_id: str = CLIENT_ID,
        max_versions: Mapping[ApiKey, int] | None = None,
    ) -> None:
        assert bootstrap, "at least one bootstrap address"
        self.bootstrap = list(bootstrap)
        self.timeout_s = timeout_s
        self.client_id = client_id
        self.max_versions = max_versions or {}
        self.connections: dict[Address, Connection] = {}
        self.brokers: dict[int, Address] = {}
        self.topics: dict[str, MetadataResponseTopic] = {}
        self.controller_id = -1

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        for connection in self.connections.values():
            connection.close()
        self.connections.clear()

    def connect(self, address: Address) -> Connection:
        """Return the connection to an address, opening it if need be."""
        connection = self.connections.get(address)
        if connection is None:
            connection = Connection(
                address, timeout_s=self.timeout_s, client_id=self.client_id, max_versions=self.max_versions
            )
            self.connections[address] = connection
        return connection

    def forget(self, connection: Connection) -> None:
        """Close a connection that failed; the next use opens a new one."""
        connection.close()
        self.connections.pop(connection.address, None)

    def any_broker(self) -> Connection:
        """Return an open connection, or open one to the first bootstrap address that answers."""
        for connection in self.connections.values():
            return connection
        failure: CannotConnect | None = None
        for address in self.bootstrap:
            try:
                return self.connect(address)
            except CannotConnect as error:
                failure = failure or error
        assert failure is not None
        if len(self.bootstrap) > 1:
            tried = ", ".join(format_address(address) for address in self.bootstrap)
            raise CannotConnect(f"None of the bootstrap servers can be reached: {tried}.", failure.hint)
        raise failure

    def broker(self, node_id: int) -> Connection:
        """Return a connection to a broker by its id, at the address it advertises."""
        address = self.brokers.get(node_id)
        if address is None:
            raise CommandFailed(f"Metadata does not list broker {node_id}.")
        try:
            return self.connect(address)
        except CannotConnect as error:
            raise CannotConnect(
                f"{error.message} Broker {node_id} advertises that address.",
                "It must be reachable from here: set advertised.listeners on the broker.",
            ) from error

    def controller(self) -> Connection:
        """Return the broker to which changes of topics and settings go."""
        if self.controller_id not in self.brokers:
            self.refresh_metadata([])
        # Brokers from 2.8 on forward to the controller themselves; then any id here is right.
        return self.broker(self.controller_id) if self.controller_id in self.brokers else self.any_broker()

    def refresh_metadata(
        self, topics: Iterable[str] | None, *, allow_auto_topic_creation: bool = False
    ) -> MetadataResponse:
        """Ask for the brokers and for `topics` (None: all of them) and remember the answer."""
        connection = self.any_broker()
        version = connection.version(ApiKey.METADATA)
        wanted = None if topics is None else [MetadataRequestTopic(name=name) for name in topics]
        request = MetadataRequest(topics=wanted)
        if version >= 4:
            request.allow_auto_topic_creation = allow_auto_topic_creation
        response: MetadataResponse = connection.request(ApiKey.METADATA, request, version)
        check(response.error_code, "Metadata")
        self.brokers = {broker.node_id: (broker.host, broker.port) for broker in response.brokers}
        self.controller_id = response.controller_id
        for topic in response.topics:
            if topic.name is not None:
                self.topics[topic.name] = topic
        return response

    def topic(
        self, name: str, *, allow_auto_topic_creation: bool = False, refresh: bool = False
    ) -> MetadataResponseTopic:
        """Return a topic's metadata with its partitions by index. Waits while the topic is being created."""
        known = self.topics.get(name)
        if known is not None and known.error_code == 0 and not refresh:
            return known
        started = time.monotonic()
        # A broker that does not create topics by itself says the same as one that is about to: wait less for it.
        patience_s = {ErrorCode.LEADER_NOT_AVAILABLE: self.timeout_s}
        if allow_auto_topic_creation:
            patience_s[ErrorCode.UNKNOWN_TOPIC_OR_PARTITION] = min(self.timeout_s, _CREATION_PATIENCE_S)
        while True:
            self.refresh_metadata([name], allow_auto_topic_creation=allow_auto_topic_creation)
            topic = self.topics[name]
            if time.monotonic() - started >= patience_s.get(_ERRORS.get(topic.error_code, ErrorCode.NONE), 0):
                break
            time.sleep(_RETRY_PAUSE_S)
        hint = ""
        if topic.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
            hint = f"See what is there with: floe topics list. Create it with: floe topics create {name}"
        check(topic.error_code, f"Topic {name}", hint=hint)
        topic.partitions.sort(key=lambda partition: partition.partition_index)
        return topic

    def leader(self, topic: str, partition: int) -> Connection:
        """Return a connection to the leader of a partition."""
        return self.broker(find_partition(self.topic(topic), partition).leader_id)

    def by_leader(self, topic: str, items: Mapping[int, Value]) -> dict[int, dict[int, Value]]:
        """Group {partition: value} by the partition's leader: {node id: {partition: value}}."""
        grouped: dict[int, dict[int, Value]] = {}
        for partition, value in items.items():
            leader_id = find_partition(self.topic(topic), partition).leader_id
            grouped.setdefault(leader_id, {})[partition] = value
        return grouped

    def retrying(self, ask: Callable[[], Value], patience: Container[int] = ()) -> Value:
        """Call `ask` until it raises no error of `patience` (default: those that Kafka calls retriable).

        What a broker just did may not have reached the one that is asked; after `timeout_s` the error stands.
        """
        deadline = time.monotonic() + self.timeout_s
        while True:
            try:
                return ask()
            except BrokerError as error:
                is_passing = error.code in patience if patience else error.code.retriable
                if not is_passing or time.monotonic() > deadline:
                    raise
            time.sleep(_RETRY_PAUSE_S)
            self.topics.clear()

    def request(self, api_key: ApiKey, message: Any, version: int | None = None) -> Any:
        """Send a request that any broker may answer."""
        return self.any_broker().request(api_key, message, version)


def find_partition(topic: MetadataResponseTopic, index: int) -> MetadataResponsePartition:
    """Return a partition of a topic. Raises CommandFailed if it has no such partition or the partition no
    leader.
    """
    for partition in topic.partitions:
        if partition.partition_index == index:
            if partition.leader_id < 0:
                raise BrokerError(
                    partition.error_code or ErrorCode.LEADER_NOT_AVAILABLE, f"{topic.name}-{index}"
                )
            return partition
    count = len(topic.partitions)
    raise CommandFailed(
        f"Topic {topic.name} has no partition {index}.",
        f"It has {count}: 0 to {count - 1}." if count > 1 else "It has one: 0.",
    )
