"""The client against peers that are not what it hopes for."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from broker.cli.client import BrokerError, CannotConnect, Client, Connection, ConnectionLost, error_name
from broker.cli.errors import CommandFailed
from protocol.api import ApiKey
from protocol.framing import response_frame
from protocol.messages.api_versions import ApiVersion, ApiVersionsResponse

Answer = Callable[[int, int, int], bytes | None]


@contextmanager
def peer(answer: Answer) -> Iterator[tuple[str, int]]:
    """A server for one connection: `answer(api_key, version, correlation_id)` is sent back, None closes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        connection, _ = listener.accept()
        # A client that gives up resets the connection.
        with contextlib.suppress(ConnectionError), connection, connection.makefile("rb") as reader:
            while head := reader.read(4):
                frame = reader.read(int.from_bytes(head, "big"))
                reply = answer(*struct.unpack_from(">hhi", frame))
                if reply is None:
                    return
                connection.sendall(reply)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        thread.join()
        listener.close()


def versions(version: int, correlation_id: int, ranges: dict[int, tuple[int, int]], error: int = 0) -> bytes:
    keys = [ApiVersion(api_key=key, min_version=low, max_version=high) for key, (low, high) in ranges.items()]
    message = ApiVersionsResponse(error_code=error, api_keys=keys)
    return bytes(response_frame(ApiKey.API_VERSIONS, version, correlation_id, message))


def connect(address: tuple[str, int], timeout_s: float = 5.0) -> Connection:
    return Connection(address, timeout_s=timeout_s, client_id="test")


def test_an_old_broker_answers_an_unknown_version_in_version_0() -> None:
    def answer(_: int, version: int, correlation_id: int) -> bytes:
        if version > 0:
            return versions(0, correlation_id, {}, error=35)  # as 0.10: without a list
        return versions(0, correlation_id, {0: (0, 2), 3: (0, 1), 18: (0, 0)})

    with peer(answer) as address:
        connection = connect(address)
        assert connection.version(ApiKey.PRODUCE) == 2
        assert connection.version(ApiKey.METADATA) == 1
        with pytest.raises(CommandFailed, match="does not implement CREATE_TOPICS"):
            connection.version(ApiKey.CREATE_TOPICS)
        connection.close()


def test_no_version_in_common_names_both_ranges() -> None:
    with peer(
        lambda _, version, correlation_id: versions(version, correlation_id, {3: (900, 901)})
    ) as address:
        connection = connect(address)
        with pytest.raises(CommandFailed, match="METADATA 900-901, this client 0-13"):
            connection.version(ApiKey.METADATA)
        connection.close()


def test_something_that_is_no_kafka() -> None:
    with peer(lambda *_: b"HTTP/1.1 400 Bad Request\r\n\r\n") as address:
        with pytest.raises(CommandFailed, match="no Kafka frame") as caught:
            connect(address)
        assert "right port" in caught.value.hint


def test_garbage_in_a_frame() -> None:
    garbage = b"\0\0\0\7" + b"\0\0\0\1\0\0\xff"
    said = "does not answer as a Kafka broker"
    with peer(lambda *_: garbage) as address, pytest.raises(CommandFailed, match=said):
        connect(address)


def test_a_closed_connection_and_a_silent_one() -> None:
    with peer(lambda *_: None) as address, pytest.raises(ConnectionLost, match="closed the connection"):
        connect(address)
    with peer(lambda *_: b"") as address, pytest.raises(ConnectionLost, match="No answer from"):
        connect(address, timeout_s=0.05)


def test_answers_out_of_order_are_refused() -> None:
    def answer(api_key: int, version: int, correlation_id: int) -> bytes:
        return versions(version, correlation_id + (1 if version == 0 else 0), {18: (0, 4)})

    with peer(answer) as address:
        connection = connect(address)
        from protocol.messages.api_versions import ApiVersionsRequest

        with pytest.raises(CommandFailed, match="where 2 was due"):
            connection.request(ApiKey.API_VERSIONS, ApiVersionsRequest(), 0)
        connection.close()


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = probe.getsockname()
    with pytest.raises(CannotConnect, match="nothing listens there") as caught:
        connect(address)
    assert "--bootstrap-server" in caught.value.hint
    with pytest.raises(CannotConnect, match="None of the bootstrap servers"):
        Client([address, address]).any_broker()


def test_the_next_bootstrap_address_is_tried() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        closed = probe.getsockname()

    def answer(_: int, version: int, correlation_id: int) -> bytes:
        return versions(version, correlation_id, {3: (0, 1)})

    with peer(answer) as address, Client([closed, address]) as client:
        assert client.any_broker().address == address


def test_errors_have_kafkas_names() -> None:
    assert error_name(3) == "UNKNOWN_TOPIC_OR_PARTITION"
    assert error_name(9999) == "error 9999"
    assert str(BrokerError(9999, "Cannot")).startswith("Cannot: error 9999: ")
