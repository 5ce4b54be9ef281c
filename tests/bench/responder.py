"""A peer that answers at once: the ceiling of the load generator, measured without a broker.

It knows one topic, answers ApiVersions and Metadata through our codecs, learns a Produce request's size
from the first one and then answers by copying: whatever the generator reaches against it is the
generator's own limit.
"""

import selectors
import socket
import struct
import sys
from typing import Any

from protocol.api import ApiKey
from protocol.framing import parse_request_header, response_frame
from protocol.messages.api_versions import ApiVersion, ApiVersionsResponse
from protocol.messages.metadata import (
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from protocol.messages.produce import PartitionProduceResponse, ProduceResponse, TopicProduceResponse

TOPIC = "responder"
_PREFIX = struct.Struct(">ihhi")  # size, API key, version, correlation id
_VERSIONS = {ApiKey.PRODUCE: 11, ApiKey.METADATA: 9, ApiKey.API_VERSIONS: 3}


class Peer:
    """One connection: bytes that are not a whole request yet, and the shape of its Produce requests."""

    def __init__(self, connection: socket.socket, port: int) -> None:
        self.connection = connection
        self.port = port
        self.rest = b""
        self.answer_head = self.answer_tail = b""

    def read(self) -> bool:
        """Answer what arrived; False at the end."""
        data = self.connection.recv(1 << 20)
        if not data:
            return False
        data = self.rest + data
        answers: list[bytes] = []
        position = 0
        while len(data) - position >= _PREFIX.size:
            size, api_key, version, correlation_id = _PREFIX.unpack_from(data, position)
            if len(data) - position < size + 4:
                break
            if api_key != ApiKey.PRODUCE:
                answers.append(
                    self._answer(data[position + 4 : position + size + 4], version, correlation_id)
                )
            else:
                if not self.answer_head:
                    self._learn(version)
                answers.append(self.answer_head + data[position + 8 : position + 12] + self.answer_tail)
            position += size + 4
        self.rest = data[position:]
        if answers:
            self.connection.sendall(b"".join(answers))
        return True

    def _learn(self, version: int) -> None:
        partition = PartitionProduceResponse(index=0, base_offset=0)
        message = ProduceResponse(
            responses=[TopicProduceResponse(name=TOPIC, partition_responses=[partition])]
        )
        frame = bytes(response_frame(ApiKey.PRODUCE, version, 0, message))
        self.answer_head, self.answer_tail = frame[:4], frame[8:]

    def _answer(self, frame: bytes, version: int, correlation_id: int) -> bytes:
        header = parse_request_header(memoryview(frame), 0, len(frame))
        message: Any
        if header.api_key == ApiKey.API_VERSIONS:
            known = [
                ApiVersion(api_key=key, min_version=0, max_version=last) for key, last in _VERSIONS.items()
            ]
            message = ApiVersionsResponse(error_code=0 if version <= 3 else 35, api_keys=known)
            version = version if version <= 3 else 0
        else:
            assert header.api_key == ApiKey.METADATA
            partition = MetadataResponsePartition(
                partition_index=0, leader_id=1, replica_nodes=[1], isr_nodes=[1]
            )
            message = MetadataResponse(
                brokers=[MetadataResponseBroker(node_id=1, host="127.0.0.1", port=self.port)],
                controller_id=1,
                topics=[MetadataResponseTopic(name=TOPIC, partitions=[partition])],
            )
        return bytes(response_frame(header.api_key, version, correlation_id, message))


def serve(listener: socket.socket) -> None:
    """Answer until the process is ended."""
    port = listener.getsockname()[1]
    poll = selectors.DefaultSelector()
    poll.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in poll.select():
            if key.fileobj is listener:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                poll.register(connection, selectors.EVENT_READ, Peer(connection, port))
                continue
            peer: Peer = key.data
            try:
                open_still = peer.read()
            except ConnectionError:
                open_still = False
            if not open_still:
                poll.unregister(peer.connection)
                peer.connection.close()


def main() -> None:
    """Listen on the port given (0: a free one), say which, answer."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    listener = socket.create_server(("127.0.0.1", port))
    print(f"listening on 127.0.0.1:{listener.getsockname()[1]}", flush=True)
    serve(listener)


if __name__ == "__main__":
    main()
