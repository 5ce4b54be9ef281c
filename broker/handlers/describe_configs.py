"""DescribeConfigs (key 32), versions 0 to 4.

v1  synonyms and sources (KIP-226)     v3  types and documentation (KIP-569)     v4  flexible

Topics (2), brokers (4: this one, or "" for what is set at run time for all), broker loggers (8), client metrics
subscriptions (16) and groups (32). Every setting there is comes back, asked for or not by name, with the one value it
has in this process. Settings of Kafka's that Floe does not have are not in the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from broker import log_levels
from broker.settings import READ_ONLY
from broker.topics.names import name_problem
from broker.topics.settings_origin import (
    SOURCE_DEFAULT,
    SOURCE_LOGGER,
    Described,
    describe_all_brokers,
    describe_broker,
    describe_client_metrics,
    describe_group,
    describe_topic,
)
from broker.topics.state import BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC
from protocol.errors import ApiError, ErrorCode
from protocol.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
    DescribeConfigsResourceResult,
    DescribeConfigsResponse,
    DescribeConfigsResult,
    DescribeConfigsSynonym,
)

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker

_MALFORMED: Final = (
    "This most likely occurs because of a request being malformed by the client library or the message was sent "
    "to an incompatible broker. See the broker logs for more details."
)


def handle(broker: Broker, request: Request) -> DescribeConfigsResponse:
    message: DescribeConfigsRequest = request.message
    return DescribeConfigsResponse(
        results=[_describe(broker, resource, message, request.version) for resource in message.resources]
    )


def _describe(
    broker: Broker, resource: DescribeConfigsResource, message: DescribeConfigsRequest, version: int
) -> DescribeConfigsResult:
    result = DescribeConfigsResult(
        error_message="", resource_type=resource.resource_type, resource_name=resource.resource_name
    )
    wanted = set(resource.configuration_keys or ())
    try:
        if resource.resource_type == BROKER_LOGGER:
            result.configs = _loggers(broker, resource.resource_name, wanted)
            return result
        describe = _RESOURCES.get(resource.resource_type)
        if describe is None:
            raise ApiError(ErrorCode.INVALID_REQUEST, _MALFORMED)
        result.configs = [
            _setting(described, message, version)
            for described in describe(broker, resource.resource_name)
            if not wanted or described.setting.name in wanted
        ]
    except ApiError as error:
        result.error_code, result.error_message = error.code, error.message
    return result


def _setting(
    described: Described, message: DescribeConfigsRequest, version: int
) -> DescribeConfigsResourceResult:
    setting = described.setting
    synonyms = described.synonyms if message.include_synonyms else []
    return DescribeConfigsResourceResult(
        name=setting.name,
        value=described.value,
        read_only=setting.update == READ_ONLY,
        is_default=version == 0 and described.source == SOURCE_DEFAULT,
        config_source=described.source,
        is_sensitive=setting.is_sensitive,
        synonyms=[
            DescribeConfigsSynonym(name=name, value=value, source=source) for name, value, source in synonyms
        ],
        config_type=setting.type_code,
        documentation=setting.doc if message.include_documentation else None,
    )


def _topic(broker: Broker, name: str) -> Iterator[Described]:
    problem = name_problem(name)
    if problem is not None:
        raise ApiError(ErrorCode.INVALID_TOPIC_EXCEPTION, problem)
    if name not in broker.catalog.topics:
        raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "")
    state = broker.catalog.state
    return describe_topic(state, state.settings_of(TOPIC, name))


def _broker(broker: Broker, name: str) -> Iterator[Described]:
    if not name:
        return describe_all_brokers(broker.catalog.state)
    _check_node_id(
        broker, name, f"Unexpected broker id, expected {broker.node_id} or empty string, but received {name}"
    )
    return describe_broker(broker.catalog.state)


def _check_node_id(broker: Broker, name: str, otherwise: str) -> None:
    if not name.removeprefix("-").isdecimal():
        raise ApiError(ErrorCode.INVALID_REQUEST, f"Broker id must be an integer, but it is: {name}")
    if name != str(broker.node_id):
        raise ApiError(ErrorCode.INVALID_REQUEST, otherwise)


def _loggers(broker: Broker, name: str, wanted: set[str]) -> list[DescribeConfigsResourceResult]:
    if not name:
        raise ApiError(ErrorCode.INVALID_REQUEST, "Broker id must not be empty")
    _check_node_id(broker, name, f"Unexpected broker id, expected {broker.node_id} but received {name}")
    return [
        DescribeConfigsResourceResult(name=logger, value=level, config_source=SOURCE_LOGGER, documentation="")
        for logger, level in log_levels.levels()
        if not wanted or logger in wanted
    ]


def _client_metrics(broker: Broker, name: str) -> Iterator[Described]:
    if not name:
        raise ApiError(ErrorCode.INVALID_REQUEST, "Client metrics subscription name must not be empty")
    return describe_client_metrics(broker.catalog.state, name)


def _group(broker: Broker, name: str) -> Iterator[Described]:
    if not name:
        raise ApiError(ErrorCode.INVALID_REQUEST, "Group name must not be empty")
    return describe_group(broker.catalog.state, name)


_RESOURCES: Final[dict[int, Callable[[Broker, str], Iterator[Described]]]] = {
    TOPIC: _topic,
    BROKER: _broker,
    CLIENT_METRICS: _client_metrics,
    GROUP: _group,
}
