"""Which changes of settings are legal: Kafka 4.3's ConfigurationControlManager and the validators behind it.

What can have settings (ConfigResource.Type): topics (2), brokers (4: "" for all, or this one's id; KIP-226), client
metrics subscriptions (16, KIP-714) and groups (32, KIP-848). Broker loggers (8) are not stored: their levels last as
long as the process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from broker.config import topic_settings_problem
from broker.config_table import BROKER_SETTINGS
from broker.config_topics import CLIENT_METRICS_SETTINGS, GROUP_SETTINGS, TOPIC_SETTINGS
from broker.settings import DYNAMIC, InvalidValue, Setting, Value, split_list
from broker.topics.commands import APPEND, DELETE, SET, SUBTRACT, Alteration
from broker.topics.names import name_problem
from broker.topics.state import BROKER, CLIENT_METRICS, GROUP, TOPIC, State
from protocol.errors import ApiError, ErrorCode

TABLES: Final[dict[int, Mapping[str, Setting]]] = {
    TOPIC: TOPIC_SETTINGS,
    BROKER: BROKER_SETTINGS,
    CLIENT_METRICS: CLIENT_METRICS_SETTINGS,
    GROUP: GROUP_SETTINGS,
}

METRICS_INTERVAL_MS: Final = (100, 3_600_000)
METRICS_SELECTORS: Final = frozenset(
    (
        "client_instance_id",
        "client_id",
        "client_software_name",
        "client_software_version",
        "client_source_address",
        "client_source_port",
    )
)


def new_topic_settings(state: State, pairs: Sequence[tuple[str, str | None]]) -> dict[str, str]:
    """The settings of a topic to be created; a name given twice takes the last value. Raises ApiError."""
    nulls = [name for name, value in pairs if value is None]
    if nulls:
        text = f"Null value not supported for topic configs: {','.join(nulls)}"
        raise ApiError(ErrorCode.INVALID_CONFIG, text)
    settings = {name: value for name, value in pairs if value is not None}
    _check_topic(state, settings)
    return settings


def altered(state: State, resource: Alteration, replace: bool) -> dict[str, str | None]:
    """What changes: new values, None for a setting that goes. Raises ApiError."""
    names = [name for name, _, _ in resource.operations]
    if len(set(names)) < len(names):
        raise ApiError(ErrorCode.INVALID_REQUEST, "Error due to duplicate config keys")
    nulls = [name for name, operation, value in resource.operations if operation != DELETE and value is None]
    if nulls:
        text = f"Null value not supported for : {','.join(nulls)}"
        raise ApiError(ErrorCode.INVALID_REQUEST, text)
    _check_resource(state, resource.resource_type, resource.resource_name)
    current = state.settings_of(resource.resource_type, resource.resource_name)
    settings = {} if replace else dict(current)
    for name, operation, value in resource.operations:
        _operate(state, resource.resource_type, settings, name, operation, value)
    changed: dict[str, str | None] = {
        name: value for name, value in settings.items() if current.get(name) != value
    }
    changed.update((name, None) for name in current if name not in settings)
    _CHECKS[resource.resource_type](state, settings, changed)
    return changed


def _operate(
    state: State, resource_type: int, settings: dict[str, str], name: str, operation: int, value: str | None
) -> None:
    if operation == DELETE:
        settings.pop(name, None)
        return
    assert value is not None
    if operation == SET:
        settings[name] = value
        return
    word = {APPEND: "APPEND", SUBTRACT: "SUBTRACT"}.get(operation)
    if word is None:
        raise ApiError(ErrorCode.INVALID_REQUEST, f"Unknown operation type {operation}")
    setting = TABLES[resource_type].get(name)
    if setting is None or setting.kind != "list":
        text = f"Can't {word} to key {name} because its type is not LIST."
        raise ApiError(ErrorCode.INVALID_CONFIG, text)
    entries = split_list(settings[name]) if name in settings else _default_entries(state, resource_type, name)
    given = split_list(value)
    if operation == APPEND:
        entries += [entry for entry in given if entry not in entries]
    else:
        entries = [entry for entry in entries if entry not in given]
    settings[name] = ",".join(entries)


def _default_entries(state: State, resource_type: int, name: str) -> list[str]:
    value: Value
    if resource_type == TOPIC:
        value = state.config.topic_values({})[name]
    elif resource_type == BROKER:
        value = state.config[name]
    else:
        value = TABLES[resource_type][name].default
    assert value is None or isinstance(value, list)
    return list(value or ())


def _check_resource(state: State, resource_type: int, name: str) -> None:
    """Raises ApiError unless there is such a resource."""
    if resource_type not in TABLES:
        raise ApiError(ErrorCode.INVALID_REQUEST, f"Unknown resource type {resource_type}")
    if resource_type == TOPIC:
        if not name:
            raise ApiError(ErrorCode.INVALID_REQUEST, "Default topic resources are not allowed.")
        problem = name_problem(name)
        if problem is not None:
            raise ApiError(ErrorCode.INVALID_TOPIC_EXCEPTION, problem)
        if name not in state.topics:
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{name}' does not exist.")
    elif resource_type == BROKER:
        if not name:
            return
        try:
            node_id = int(name)
        except ValueError:
            text = f"Node id must be an integer, but it is: {name}"
            raise ApiError(ErrorCode.INVALID_REQUEST, text) from None
        if node_id != state.config.node_id or name != str(node_id):
            text = f"Unexpected broker id, expected {state.config.node_id}, but received {name}"
            raise ApiError(ErrorCode.INVALID_REQUEST, text)
    elif not name:
        text = "Default group resources are not allowed."
        if resource_type == CLIENT_METRICS:
            text = "Subscription name can't be empty"
        raise ApiError(ErrorCode.INVALID_REQUEST, text)


def _check_topic(
    state: State, settings: Mapping[str, str], changed: Mapping[str, str | None] | None = None
) -> None:
    for name in settings:
        if name not in TOPIC_SETTINGS:
            raise ApiError(ErrorCode.INVALID_CONFIG, f"Unknown topic config name: {name}")
    try:
        problem = topic_settings_problem(state.config.topic_values(settings))
    except InvalidValue as error:
        raise ApiError(ErrorCode.INVALID_CONFIG, str(error)) from error
    if problem is not None:
        raise ApiError(ErrorCode.INVALID_CONFIG, problem)


def _check_broker(state: State, settings: Mapping[str, str], changed: Mapping[str, str | None]) -> None:
    for name in changed:
        if name not in BROKER_SETTINGS:
            raise ApiError(ErrorCode.INVALID_CONFIG, f"Unknown broker config name: {name}")
    fixed = [name for name in changed if BROKER_SETTINGS[name].update != DYNAMIC]
    if fixed:
        text = f"Cannot update these configs dynamically: [{', '.join(fixed)}]"
        raise ApiError(ErrorCode.INVALID_REQUEST, text)
    try:
        for name, text in settings.items():
            BROKER_SETTINGS[name].parse(text)
    except InvalidValue as error:
        raise ApiError(ErrorCode.INVALID_REQUEST, str(error)) from error


def _check_client_metrics(
    state: State, settings: Mapping[str, str], changed: Mapping[str, str | None]
) -> None:
    parsed = {}
    for name, text in settings.items():
        setting = CLIENT_METRICS_SETTINGS.get(name)
        if setting is None:
            raise ApiError(ErrorCode.INVALID_REQUEST, f"Unknown client metrics configuration: {name}")
        try:
            parsed[name] = setting.parse(text)
        except InvalidValue as error:
            raise ApiError(ErrorCode.INVALID_REQUEST, str(error)) from error
    interval_ms = parsed.get("interval.ms", METRICS_INTERVAL_MS[0])
    assert isinstance(interval_ms, int)
    low, high = METRICS_INTERVAL_MS
    if not low <= interval_ms <= high:
        text = (
            f"Invalid value {interval_ms} for interval.ms, interval must be between {low} and {high} (1 hour)"
        )
        raise ApiError(ErrorCode.INVALID_REQUEST, text)
    patterns = parsed.get("match", [])
    assert isinstance(patterns, list)
    for pattern in patterns:
        selector, equals, expression = pattern.partition("=")
        if not equals or selector.strip() not in METRICS_SELECTORS or not _compiles(expression):
            raise ApiError(ErrorCode.INVALID_CONFIG, f"Illegal client matching pattern: {pattern}")


def _compiles(expression: str) -> bool:
    try:
        re.compile(expression)
    except re.error:
        return False
    return True


def _check_group(state: State, settings: Mapping[str, str], changed: Mapping[str, str | None]) -> None:
    for name, text in settings.items():
        setting = GROUP_SETTINGS.get(name)
        if setting is None:
            raise ApiError(ErrorCode.INVALID_CONFIG, f"Unknown group config name: {name}")
        try:
            value = setting.parse(text)
        except InvalidValue as error:
            raise ApiError(ErrorCode.INVALID_CONFIG, str(error)) from error
        assert isinstance(value, int)
        least, most = (name.replace("consumer.", f"group.consumer.{bound}.", 1) for bound in ("min", "max"))
        if value < state.config[least]:
            text = f"{name} must be greater than or equal to {least}"
            raise ApiError(ErrorCode.INVALID_CONFIG, text)
        if value > state.config[most]:
            text = f"{name} must be less than or equal to {most}"
            raise ApiError(ErrorCode.INVALID_CONFIG, text)


_CHECKS: Final = {
    TOPIC: _check_topic,
    BROKER: _check_broker,
    CLIENT_METRICS: _check_client_metrics,
    GROUP: _check_group,
}
