"""Floe's private admin API from the side of the commands: one call, and a clear word where the broker is no Floe."""

import json
from collections.abc import Mapping
from typing import Any

from broker.cli.client import Client, ConnectionLost, check
from broker.cli.errors import CommandFailed
from protocol.api import ApiKey
from protocol.errors import ErrorCode
from protocol.messages.floe_admin import FloeAdminRequest, FloeAdminResponse

VERSION = 0


def call(client: Client, operation: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The result of an operation. Raises BrokerError with what the broker says, CommandFailed if it is no Floe."""
    connection = client.any_broker()
    request = FloeAdminRequest(operation=operation, arguments=json.dumps(dict(arguments or {})))
    try:
        # The API is not advertised, so its version is not negotiated.
        response: FloeAdminResponse = connection.request(ApiKey.FLOE_ADMIN, request, VERSION)
    except ConnectionLost as error:
        client.forget(connection)
        if isinstance(error.__cause__, ConnectionError):
            raise CommandFailed(
                f"The broker at {connection.name} closed the connection at a request of Floe's own.",
                "This command works with a Floe broker only, not with Apache Kafka. "
                "If it is a Floe, it may be older, or its log says why.",
            ) from error
        raise
    unknown = response.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    hint = "See what is there with: floe topics list" if unknown else ""
    check(response.error_code, operation, response.error_message, hint)
    try:
        result = json.loads(response.result)
    except ValueError as error:
        raise CommandFailed(f"{connection.name} answered {operation} with what is not JSON.") from error
    if not isinstance(result, dict):
        raise CommandFailed(f"{connection.name} answered {operation} with what is no JSON object.")
    return result
