"""One connection to a broker: frames out, frames in, in order."""

from __future__ import annotations

import socket
import struct
from io import BytesIO
from typing import Any

from kio.index import load_response_schema
from kio.serial import entity_reader, entity_writer

from side_by_side.values import to_plain

ANSWER_LIMIT_S = 5.0  # no scripted request may wait for longer
CLIENT_ID = "side-by-side"


class Closed(Exception):
    """The broker closed the connection instead of answering."""


class Connection:
    """A socket, and which requests on it are still unanswered."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, ANSWER_LIMIT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sent = 0

    def close(self) -> None:
        self._socket.close()

    def send(self, request: Any) -> int:
        """Send a message of kio's; the correlation id to receive its answer by."""
        header_schema = type(request).__header_schema__
        header: dict[str, Any] = {
            "request_api_key": request.__api_key__,
            "request_api_version": request.__version__,
            "correlation_id": self._sent + 1,
        }
        if header_schema.__version__ > 0:
            header["client_id"] = CLIENT_ID
        frame = BytesIO()
        entity_writer(header_schema)(frame, header_schema(**header))
        entity_writer(type(request))(frame, request)
        return self.send_frame(frame.getvalue())

    def send_frame(self, frame: bytes) -> int:
        """Send a frame whose header carries the next correlation id."""
        self._sent += 1
        try:
            self._socket.sendall(struct.pack(">i", len(frame)) + frame)
        except ConnectionError as error:
            raise Closed from error
        return self._sent

    def receive(self, api: int, version: int, correlation_id: int) -> Any:
        """The next answer as plain values. Raises Closed, TimeoutError."""
        frame = self.receive_frame()
        (answered,) = struct.unpack_from(">i", frame)
        assert answered == correlation_id, f"answer to {answered}, expected {correlation_id}"
        schema = load_response_schema(api, version)
        position = 4
        if schema.__header_schema__.__version__ > 0:
            _, size = entity_reader(schema.__header_schema__)(frame, 0)
            position = size
        message, size = entity_reader(schema)(frame, position)
        left = len(frame) - position - size
        plain = to_plain(message)
        return plain if not left else {**plain, "bytes_behind_the_answer": left}

    def receive_frame(self) -> bytes:
        (size,) = struct.unpack(">i", self._read(4))
        return self._read(size)

    def is_closed_by_peer(self) -> bool:
        """Wait for the broker to close. Raises TimeoutError."""
        try:
            return not self._socket.recv(1)
        except ConnectionError:
            return True

    def _read(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            try:
                part = self._socket.recv(size - len(parts))
            except ConnectionError as error:
                raise Closed from error
            if not part:
                raise Closed
            parts += part
        return bytes(parts)
