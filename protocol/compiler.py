"""Message class and version -> one flat decode function and one flat encode function.

A function is generated when its version is first spoken (under a millisecond) and kept. Its source is
registered in `linecache`, so that tracebacks and pdb show it, and printed by

    python -m protocol.compiler Fetch 13        (or: make codec MSG=Fetch V=13)
"""

from __future__ import annotations

import linecache
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from protocol.api import ApiKey
from protocol.errors import Malformed, Unencodable
from protocol.layout import Source, layout
from protocol.primitives import Output, StructError
from protocol.schema import MESSAGES

Decoder = Callable[[memoryview, int], tuple[Any, int]]
"""(buffer, position) -> (message, next position). The buffer ends where the message may not read on: pass a
view of one frame. Raises Malformed, and nothing else whatever the bytes are."""

Encoder = Callable[[Any, Output], None]
"""Appends a message to an output. Raises Unencodable, and then the output is of no further use."""

_decoders: Final[dict[tuple[type, int], Decoder]] = {}
_encoders: Final[dict[tuple[type, int], Encoder]] = {}


def decoder(cls: type, version: int) -> Decoder:
    """The decoder of a version; ValueError if the message has no such version."""
    try:
        return _decoders[cls, version]
    except KeyError:
        return _decoders.setdefault((cls, version), _compile_decoder(cls, version))


def encoder(cls: type, version: int) -> Encoder:
    """The encoder of a version; ValueError if the message has no such version."""
    try:
        return _encoders[cls, version]
    except KeyError:
        return _encoders.setdefault((cls, version), _compile_encoder(cls, version))


def message_class(api_key: int, response: bool) -> type:
    """The class of an API's request or response; its module is imported when first asked for."""
    kind = "response" if response else "request"
    try:
        return MESSAGES[kind, api_key]
    except KeyError:
        import_module(f"protocol.messages.{ApiKey(api_key).name.lower()}")
        return MESSAGES[kind, api_key]


def encode(message: Any, version: int) -> Output:
    """A message on its own, without header or size: for what is persisted, and for tests."""
    out = Output()
    encoder(type(message), version)(message, out)
    return out


def _compile_decoder(cls: type, version: int) -> Decoder:
    from protocol.decoder_source import DecoderSource

    generated = DecoderSource(layout(cls, version))
    labels = generated.source.labels

    def malformed(error: Exception) -> Malformed:
        reason = "the message ends too early" if isinstance(error, (StructError, IndexError)) else str(error)
        return Malformed(reason, message=cls.__name__, version=version, field=_field(error, labels))

    generated.scope["malformed"] = malformed
    made: Decoder = _execute(generated.source, generated.scope, cls, version, "decode")
    return made


def _compile_encoder(cls: type, version: int) -> Encoder:
    from protocol.encoder_source import EncoderSource

    generated = EncoderSource(layout(cls, version))
    labels = generated.source.labels

    def unencodable(error: Exception) -> Unencodable:
        return Unencodable(f"{cls.__name__} v{version}: {_field(error, labels)}: {error}")

    generated.scope["unencodable"] = unencodable
    made: Encoder = _execute(generated.source, generated.scope, cls, version, "encode")
    return made


def _execute(source: Source, scope: dict[str, Any], cls: type, version: int, name: str) -> Any:
    text = source.text()
    filename = f"<{name} {cls.__name__} v{version}>"
    # Without a modification time linecache takes the entry for good instead of looking for a file.
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    exec(compile(text, filename, "exec"), scope)
    return scope[name]


def _field(error: Exception, labels: list[str]) -> str:
    """The field at which a generated function failed, by the line it failed on."""
    assert error.__traceback__ is not None
    return labels[error.__traceback__.tb_lineno - 1]


def _print(name: str, version: int) -> None:
    from protocol.decoder_source import DecoderSource
    from protocol.encoder_source import EncoderSource

    wanted = name.replace("_", "").lower()
    key = next((key for key in ApiKey if key.name.replace("_", "").lower() == wanted), None)
    if key is None:
        raise SystemExit(f"no API is called {name}; there are: {', '.join(key.name for key in ApiKey)}")
    for response in (False, True):
        shape = layout(message_class(key, response), version)
        print(f"# {shape.cls.__name__} version {version}\n")
        print(DecoderSource(shape).source.text())
        print(EncoderSource(shape).source.text())


if __name__ == "__main__":
    import sys

    if len(sys.argv) != 3:
        raise SystemExit("usage: python -m protocol.compiler MESSAGE VERSION, as in: Fetch 13")
    _print(sys.argv[1], int(sys.argv[2]))
