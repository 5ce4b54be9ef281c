"""PushTelemetry: client metrics, in OTLP (KIP-714)."""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import bool_, bytes_, int8, int16, int32, request, response, uuid


@request(ApiKey.PUSH_TELEMETRY, versions="0", flexible="0+")
class PushTelemetryRequest:
    client_instance_id: bytes = uuid()
    subscription_id: int = int32()
    terminating: bool = bool_()
    compression_type: int = int8()
    metrics: bytes = bytes_()


@response(ApiKey.PUSH_TELEMETRY, versions="0", flexible="0+")
class PushTelemetryResponse:
    throttle_time_ms: int = int32()
    error_code: int = int16()
