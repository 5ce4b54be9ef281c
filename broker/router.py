"""From (api key, version) to what decodes, handles and answers it.

Codecs are compiled and handler modules imported when a version is first spoken; after that a request costs one
dictionary lookup here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from broker.handlers import HANDLERS, HandlerSpec
from protocol.api import ApiKey, request_header_version, response_header_version
from protocol.compiler import Decoder, Encoder, decoder, encoder, message_class
from protocol.errors import Malformed
from protocol.primitives import Output, skip_tags

if TYPE_CHECKING:
    from broker.runtime import Broker

_RESPONSE_V0: Final = struct.Struct(">ii")
_ROOM_V0: Final = bytes(8)
_ROOM_V1: Final = bytes(9)  # the ninth byte is the empty tag section of the flexible header

_TAGS_END: Final = 0


def skip_header_tags(frame: memoryview, position: int) -> int:
    """Where the body begins behind the tagged fields of a flexible header. Raises Malformed."""
    try:
        count = frame[position]
        return position + 1 if count == _TAGS_END else skip_tags(frame, position + 1, count, len(frame))
    except (IndexError, ValueError) as error:
        raise Malformed(f"request header: tagged fields: {error}") from error


Handle = Callable[["Broker", Any], Any]


class Endpoint:
    """One API at one version, ready to use. `decode` is None for the answer to an unknown ApiVersions version."""

    __slots__ = ("_encode", "_room", "decode", "handle", "is_flexible", "name")

    def __init__(
        self, api: ApiKey, version: int, decode: Decoder | None, encode: Encoder, handle: Handle
    ) -> None:
        self.name = f"{api.name} v{version}"
        self.decode = decode
        self.handle = handle
        self.is_flexible = request_header_version(api, version) >= 2
        self._encode = encode
        self._room = _ROOM_V1 if response_header_version(api, version) >= 1 else _ROOM_V0

    def encode_frame(self, correlation_id: int, response: Any) -> Output:
        """The whole response frame, size prefix included; file slices are listed in it, not copied."""
        out = Output(self._room)
        self._encode(response, out)
        size = len(out) if not out.slices else out.total_length()
        _RESPONSE_V0.pack_into(out, 0, size - 4, correlation_id)
        return out


class Router:
    """Finds the endpoint of a request among the registered handlers."""

    def __init__(self, handlers: Iterable[HandlerSpec] = HANDLERS) -> None:
        self._specs = {int(spec.api): spec for spec in handlers}
        self._endpoints: dict[int, Endpoint] = {}

    def endpoint(self, api_key: int, version: int) -> Endpoint:
        """The endpoint for a request header; raises `Malformed` where Kafka, too, closes the connection."""
        endpoint = self._endpoints.get(api_key << 16 | version)
        return endpoint if endpoint is not None else self._make(api_key, version)

    def _make(self, api_key: int, version: int) -> Endpoint:
        spec = self._specs.get(api_key)
        if spec is None:
            raise Malformed(f"request header: api key {api_key} is not served")
        lowest, highest = spec.versions
        module = import_module(f"broker.handlers.{spec.module}")
        response = message_class(api_key, response=True)
        if not lowest <= version <= highest:
            if api_key != ApiKey.API_VERSIONS:
                raise Malformed(
                    f"request header: {spec.api.name} version {version} is not served, only {lowest} to {highest}"
                )
            # KIP-511: the client learns our range from a version 0 answer. Not kept: versions are the peer's to choose.
            return Endpoint(spec.api, 0, None, encoder(response, 0), module.handle_unsupported_version)
        endpoint = Endpoint(
            spec.api,
            version,
            decoder(message_class(api_key, response=False), version),
            encoder(response, version),
            module.handle,
        )
        self._endpoints[api_key << 16 | version] = endpoint
        return endpoint
