"""AlterConfigs (key 33), versions 0 to 2: replaces all settings of a resource.

v2  flexible

Deprecated by IncrementalAlterConfigs (KIP-339), as two writers undo each other's work. Broker loggers (8) are not
among its resources, as in Kafka.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.topics.commands import SET, Alteration, ReplaceSettings, Result
from protocol.messages.alter_configs import (
    AlterConfigsRequest,
    AlterConfigsResourceResponse,
    AlterConfigsResponse,
)

if TYPE_CHECKING:
    from broker.request import Deferred, Request
    from broker.runtime import Broker


def handle(broker: Broker, request: Request) -> Deferred[AlterConfigsResponse]:
    message: AlterConfigsRequest = request.message
    resources = [
        Alteration(
            resource.resource_type,
            resource.resource_name,
            [(config.name, SET, config.value) for config in resource.configs],
        )
        for resource in message.resources
    ]

    def respond(results: list[Result]) -> AlterConfigsResponse:
        return AlterConfigsResponse(
            responses=[
                AlterConfigsResourceResponse(
                    error_code=result.error,
                    error_message=result.message,
                    resource_type=resource.resource_type,
                    resource_name=resource.resource_name,
                )
                for resource, result in zip(resources, results, strict=True)
            ]
        )

    return broker.catalog.answer(ReplaceSettings(resources, message.validate_only), respond)
