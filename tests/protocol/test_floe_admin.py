"""Floe's private message has no foreign oracle; its bytes are written down by hand from the rules of KIP-482."""

from __future__ import annotations

from protocol.compiler import decoder, encode
from protocol.messages.floe_admin import FloeAdminRequest, FloeAdminResponse


def test_request() -> None:
    wire = bytes([3]) + b"do" + bytes([3]) + b"{}" + b"\0"
    message = FloeAdminRequest(operation="do", arguments="{}")
    assert bytes(encode(message, 0)) == wire
    assert decoder(FloeAdminRequest, 0)(memoryview(wire), 0) == (message, len(wire))


def test_response() -> None:
    wire = bytes(4) + b"\0\x2a" + bytes([3]) + b"no" + bytes([1]) + b"\0"
    message = FloeAdminResponse(error_code=42, error_message="no")
    assert bytes(encode(message, 0)) == wire
    assert decoder(FloeAdminResponse, 0)(memoryview(wire), 0) == (message, len(wire))
