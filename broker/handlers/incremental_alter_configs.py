"""IncrementalAlterConfigs (key 44), versions 0 to 1: sets, deletes, appends to and subtracts from single settings.

v1  flexible     (KIP-339; broker loggers KIP-412, client metrics KIP-714, groups KIP-848)

Levels of broker loggers (8) change in this process and are not kept, as in Kafka.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from broker import log_levels
from broker.topics.commands import Alteration, AlterSettings, Result
from broker.topics.state import BROKER_LOGGER
from protocol.errors import ApiError, ErrorCode
from protocol.messages.incremental_alter_configs import (
    AlterConfigsResourceResponse,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)

if TYPE_CHECKING:
    from broker.request import Deferred, Request
    from broker.runtime import Broker


def handle(broker: Broker, request: Request) -> Deferred[IncrementalAlterConfigsResponse]:
    message: IncrementalAlterConfigsRequest = request.message
    resources = [
        Alteration(
            resource.resource_type,
            resource.resource_name,
            [(config.name, config.config_operation, config.value) for config in resource.configs],
        )
        for resource in message.resources
    ]
    loggers = [resource for resource in resources if resource.resource_type == BROKER_LOGGER]
    others = [resource for resource in resources if resource.resource_type != BROKER_LOGGER]
    logger_results = _alter_loggers(broker, loggers, message.validate_only)

    def respond(results: list[Result]) -> IncrementalAlterConfigsResponse:
        of_loggers, of_others = iter(logger_results), iter(results)
        return IncrementalAlterConfigsResponse(
            responses=[
                _response(
                    resource, next(of_loggers if resource.resource_type == BROKER_LOGGER else of_others)
                )
                for resource in resources
            ]
        )

    return broker.catalog.answer(AlterSettings(others, message.validate_only), respond)


def _alter_loggers(broker: Broker, resources: list[Alteration], validate_only: bool) -> list[Result]:
    asked = Counter(resource.resource_name for resource in resources)
    results = []
    for resource in resources:
        try:
            if asked[resource.resource_name] > 1:
                raise ApiError(ErrorCode.INVALID_REQUEST, "Each resource must appear at most once.")
            if resource.resource_name != str(broker.node_id):
                text = f"Unexpected node id. Expected {broker.node_id}, but received {resource.resource_name}"
                raise ApiError(ErrorCode.INVALID_REQUEST, text)
            levels = [log_levels.check(*operation) for operation in resource.operations]
        except ApiError as error:
            results.append(Result(error.code, error.message))
            continue
        if not validate_only:
            for name, level in levels:
                log_levels.change(name, level)
        results.append(Result())
    return results


def _response(resource: Alteration, result: Result) -> AlterConfigsResourceResponse:
    return AlterConfigsResourceResponse(
        error_code=result.error,
        error_message=result.message,
        resource_type=resource.resource_type,
        resource_name=resource.resource_name,
    )
