"""FloeAdmin: what Floe's own commands ask a broker and Kafka has no API for (compaction, tables, ...).

Private: no Kafka has it, and ApiVersions does not list it. An operation is a name with arguments in JSON, so that
a new operation is no new message.

v0   the first, flexible as every API since KIP-482
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import int16, int32, request, response, string


@request(ApiKey.FLOE_ADMIN, versions="0", flexible="0+")
class FloeAdminRequest:
    operation: str = string()
    arguments: str = string()  # a JSON object


@response(ApiKey.FLOE_ADMIN, versions="0", flexible="0+")
class FloeAdminResponse:
    throttle_time_ms: int = int32()
    error_code: int = int16()
    error_message: str | None = string(nullable="0+")
    result: str = string()  # a JSON object; "" with an error
