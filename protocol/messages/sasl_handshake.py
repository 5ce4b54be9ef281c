"""SaslHandshake: agree on a SASL mechanism. Never flexible: what a broker speaks is not known yet.

v1   tokens follow in SaslAuthenticate requests instead of bare frames (KIP-152)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, int16, request, response, string


@request(ApiKey.SASL_HANDSHAKE, versions="0-1")
class SaslHandshakeRequest:
    mechanism: str = string()


@response(ApiKey.SASL_HANDSHAKE, versions="0-1")
class SaslHandshakeResponse:
    error_code: int = int16()
    mechanisms: list[str] = array(string)
