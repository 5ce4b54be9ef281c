"""Frames: four bytes of length, a header, a message. No I/O here: bytes in, bytes out.

    request   size int32 | api_key int16, version int16, correlation_id int32, client_id nullable string,
              [tagged fields] | message
    response  size int32 | correlation_id int32, [tagged fields] | message

The tagged fields are there from the API's first flexible version on (`api.py`). The client id keeps its old
two-byte length even then: a broker must be able to read the header of an ApiVersions request newer than
itself.
"""

from __future__ import annotations

from struct import Struct
from typing import Any

from protocol.api import ApiKey, request_header_version, response_header_version
from protocol.compiler import decoder, encoder, message_class
from protocol.errors import Malformed
from protocol.primitives import BadLength, Output, StructError, skip_tags

__all__ = [
    "Output",
    "RequestHeader",
    "parse_request_header",
    "parse_response",
    "request_frame",
    "response_frame",
]

_REQUEST_HEADER = Struct(">hhih")
_REQUEST_PREFIX = Struct(">ihhih")
_RESPONSE_PREFIX = Struct(">ii")
_RESPONSE_PREFIX_TAGGED = Struct(">iix")
_SIZE = Struct(">i")


class RequestHeader:
    """Who asks for what, and where in the buffer the message itself begins. `api_key` and `version` are plain
    ints that need not name anything we know."""

    __slots__ = ("api_key", "body_pos", "client_id", "correlation_id", "version")

    def __init__(
        self, api_key: int, version: int, correlation_id: int, client_id: str | None, body_pos: int
    ) -> None:
        self.api_key = api_key
        self.version = version
        self.correlation_id = correlation_id
        self.client_id = client_id
        self.body_pos = body_pos

    def __repr__(self) -> str:
        return (
            f"RequestHeader(api_key={self.api_key}, version={self.version}, "
            f"correlation_id={self.correlation_id}, client_id={self.client_id!r}, body_pos={self.body_pos})"
        )


def parse_request_header(buffer: memoryview, pos: int, end: int) -> RequestHeader:
    """The header of the request that lies at [pos, end), its size prefix already taken off. Raises
    Malformed."""
    try:
        api_key, version, correlation_id, length = _REQUEST_HEADER.unpack_from(buffer, pos)
        pos += 10
        client_id = None
        if length != -1:
            stop = pos + length
            if not pos <= stop <= end:
                raise BadLength
            client_id = buffer[pos:stop].tobytes().decode()
            pos = stop
        if request_header_version(api_key, version) == 2:
            tags = buffer[pos]
            pos += 1
            if tags:
                pos = skip_tags(buffer, pos, tags, end)
        if pos > end:
            raise BadLength
    except (StructError, IndexError, ValueError) as error:
        raise Malformed(str(error), message="RequestHeader") from error
    return RequestHeader(api_key, version, correlation_id, client_id, pos)


def request_frame(
    api_key: int, version: int, correlation_id: int, client_id: str | None, message: Any
) -> bytes:
    """A whole request with its size prefix, as a client sends it. Slices of files are not for clients."""
    name = b"" if client_id is None else client_id.encode()
    length = -1 if client_id is None else len(name)
    out = Output(_REQUEST_PREFIX.pack(0, api_key, version, correlation_id, length))
    out += name
    if request_header_version(api_key, version) == 2:
        out += b"\0"
    encoder(type(message), version)(message, out)
    assert not out.slices, "a request holds its records as bytes"
    _SIZE.pack_into(out, 0, len(out) - 4)
    return bytes(out)


def response_frame(api_key: int, version: int, correlation_id: int, message: Any) -> Output:
    """A whole response with its size prefix, which counts the slices of files that belong into it."""
    prefix = _RESPONSE_PREFIX_TAGGED if response_header_version(api_key, version) else _RESPONSE_PREFIX
    out = Output(prefix.pack(0, correlation_id))
    encoder(message.__class__, version)(message, out)
    _SIZE.pack_into(out, 0, (out.total_length() if out.slices else len(out)) - 4)
    return out


def parse_response(api_key: int, version: int, frame: memoryview | bytes) -> tuple[int, Any]:
    """(correlation id, message) of a response without its size prefix. Raises Malformed, also for bytes left
    over."""
    buffer = memoryview(frame)
    name = f"{ApiKey(api_key).name} response"
    try:
        correlation_id = int.from_bytes(buffer[0:4], "big", signed=True)
        pos = 4
        if response_header_version(api_key, version):
            pos = skip_tags(buffer, 5, buffer[4], len(buffer))
    except (IndexError, ValueError) as error:
        raise Malformed(str(error), message=name, version=version, field="header") from error
    if len(buffer) < pos:
        raise Malformed("the frame ends too early", message=name, version=version, field="header")
    message, pos = decoder(message_class(api_key, True), version)(buffer, pos)
    if pos != len(buffer):
        raise Malformed(f"{len(buffer) - pos} bytes are left over", message=name, version=version)
    return correlation_id, message
