"""ListConfigResources (key 74), versions 0 to 1.

v0  ListClientMetricsResources (KIP-714): client metrics subscriptions only     v1  every type (KIP-1142)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.topics.state import BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC
from protocol.errors import ErrorCode
from protocol.messages.list_config_resources import (
    ConfigResource,
    ListConfigResourcesRequest,
    ListConfigResourcesResponse,
)

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker

_TYPES: Final = (GROUP, CLIENT_METRICS, BROKER_LOGGER, BROKER, TOPIC)


def handle(broker: Broker, request: Request) -> ListConfigResourcesResponse:
    message: ListConfigResourcesRequest = request.message
    wanted = [CLIENT_METRICS] if request.version == 0 else message.resource_types or list(_TYPES)
    if not set(wanted) <= set(_TYPES):
        return ListConfigResourcesResponse(error_code=ErrorCode.UNSUPPORTED_VERSION)
    return ListConfigResourcesResponse(
        config_resources=[
            ConfigResource(resource_name=name, resource_type=resource_type)
            for resource_type in _TYPES
            if resource_type in wanted
            for name in _names(broker, resource_type)
        ]
    )


def _names(broker: Broker, resource_type: int) -> list[str]:
    if resource_type == TOPIC:
        return list(broker.catalog.topics)
    if resource_type in (BROKER, BROKER_LOGGER):
        return [str(broker.node_id)]
    return [name for kind, name in broker.catalog.state.settings if kind == resource_type]
