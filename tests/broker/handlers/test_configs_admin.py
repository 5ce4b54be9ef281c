"""DescribeConfigs, AlterConfigs, IncrementalAlterConfigs and ListConfigResources at every version."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from broker.config_table import BROKER_SETTINGS
from broker.config_topics import TOPIC_SETTINGS
from broker.topics.commands import APPEND, DELETE, SET, CreateTopics, NewTopic
from protocol.api import ApiKey
from protocol.errors import ErrorCode
from protocol.messages import alter_configs, incremental_alter_configs
from protocol.messages.describe_configs import DescribeConfigsRequest, DescribeConfigsResource
from protocol.messages.list_config_resources import ListConfigResourcesRequest
from tests.broker.handlers.stand import StandIn

E = ErrorCode
TOPIC, BROKER, LOGGER, METRICS, GROUP = 2, 4, 8, 16, 32


@pytest.fixture
def stand() -> Iterator[StandIn]:
    stand = StandIn(message_max_bytes="5000", log_retention_hours="2")
    stand.catalog.submit(CreateTopics([NewTopic("t", stand.new_id(), settings=[("retention.ms", "7")])]))
    root = logging.getLogger("floe")
    level = root.level
    yield stand
    root.setLevel(level)


def _describe(
    stand: StandIn,
    resource_type: int,
    name: str,
    *keys: str,
    version: int = 4,
    synonyms: bool = True,
    documentation: bool = True,
) -> tuple[ErrorCode, str, dict[str, tuple[object, ...]]]:
    resource = DescribeConfigsResource(
        resource_type=resource_type, resource_name=name, configuration_keys=list(keys) or None
    )
    request = DescribeConfigsRequest(
        resources=[resource],
        include_synonyms=synonyms and version >= 1,
        include_documentation=documentation and version >= 3,
    )
    (result,) = stand.call(ApiKey.DESCRIBE_CONFIGS, version, request).results
    configs = {
        config.name: (
            config.value,
            config.config_source,
            config.read_only,
            [(synonym.name, synonym.value, synonym.source) for synonym in config.synonyms],
        )
        for config in result.configs
    }
    return ErrorCode(result.error_code), result.error_message, configs


def _incremental(
    stand: StandIn,
    resource_type: int,
    name: str,
    *operations: tuple[str, int, str | None],
    validate: bool = False,
) -> tuple[ErrorCode, str | None]:
    configs = [
        incremental_alter_configs.AlterableConfig(name=key, config_operation=operation, value=value)
        for key, operation, value in operations
    ]
    resource = incremental_alter_configs.AlterConfigsResource(
        resource_type=resource_type, resource_name=name, configs=configs
    )
    request = incremental_alter_configs.IncrementalAlterConfigsRequest(
        resources=[resource], validate_only=validate
    )
    (result,) = stand.call(ApiKey.INCREMENTAL_ALTER_CONFIGS, 1, request).responses
    assert (result.resource_type, result.resource_name) == (resource_type, name)
    return ErrorCode(result.error_code), result.error_message


class TestDescribe:
    def test_topic(self, stand: StandIn) -> None:
        error, message, configs = _describe(stand, TOPIC, "t")
        assert (error, message) == (E.NONE, "")
        assert set(configs) == set(TOPIC_SETTINGS)
        assert configs["retention.ms"] == (
            "7",
            1,
            False,
            [("retention.ms", "7", 1), ("log.retention.hours", "2", 4)],
        )
        assert configs["max.message.bytes"] == (
            "5000",
            4,
            False,
            [("message.max.bytes", "5000", 4), ("message.max.bytes", "1048588", 5)],
        )
        assert configs["segment.ms"] == ("604800000", 5, False, [])
        assert configs["cleanup.policy"] == ("delete", 5, False, [("log.cleanup.policy", "delete", 5)])

    def test_broker(self, stand: StandIn) -> None:
        error, _, configs = _describe(stand, BROKER, "1")
        assert error == E.NONE
        assert set(configs) == set(BROKER_SETTINGS)
        assert configs["node.id"][:3] == ("1", 5, True)
        assert configs["log.retention.ms"] == (None, 5, False, [])
        assert configs["message.max.bytes"][:3] == ("5000", 4, False)

    def test_dynamic_broker_settings_have_their_sources(self, stand: StandIn) -> None:
        assert _incremental(stand, BROKER, "", ("message.max.bytes", SET, "6000")) == (E.NONE, None)
        assert _incremental(stand, BROKER, "1", ("message.max.bytes", SET, "7000")) == (E.NONE, None)
        synonyms = [("7000", 2), ("6000", 3), ("5000", 4), ("1048588", 5)]
        named = [("message.max.bytes", value, source) for value, source in synonyms]
        _, _, configs = _describe(stand, BROKER, "1", "message.max.bytes", "nope")
        assert configs == {"message.max.bytes": ("7000", 2, False, named)}
        _, _, configs = _describe(stand, BROKER, "")
        assert configs == {"message.max.bytes": ("6000", 3, False, [("message.max.bytes", "6000", 3)])}
        _, _, configs = _describe(stand, TOPIC, "t", "max.message.bytes")
        assert configs == {"max.message.bytes": ("7000", 2, False, named)}

    @pytest.mark.parametrize("version", range(5))
    def test_every_version(self, stand: StandIn, version: int) -> None:
        request = DescribeConfigsRequest(
            resources=[
                DescribeConfigsResource(resource_type=TOPIC, resource_name="t", configuration_keys=None)
            ],
            include_synonyms=version >= 1,
            include_documentation=version >= 3,
        )
        (result,) = stand.call(ApiKey.DESCRIBE_CONFIGS, version, request).results
        configs = {config.name: config for config in result.configs}
        retention, policy = configs["retention.ms"], configs["cleanup.policy"]
        assert retention.value == "7"
        if version == 0:
            assert (retention.is_default, policy.is_default) == (False, True)
        else:
            assert (retention.config_source, policy.config_source) == (1, 5)
            assert policy.synonyms
        if version >= 3:
            assert (retention.config_type, policy.config_type) == (5, 7)
            assert policy.documentation

    def test_asks_for_neither_synonyms_nor_documentation(self, stand: StandIn) -> None:
        _, _, configs = _describe(stand, TOPIC, "t", "max.message.bytes", synonyms=False, documentation=False)
        assert configs == {"max.message.bytes": ("5000", 4, False, [])}

    def test_group_and_client_metrics(self, stand: StandIn) -> None:
        assert _incremental(stand, GROUP, "g", ("consumer.session.timeout.ms", SET, "46000"))[0] == E.NONE
        assert _incremental(stand, METRICS, "m", ("interval.ms", SET, "200"))[0] == E.NONE
        _, _, configs = _describe(stand, GROUP, "g", "consumer.session.timeout.ms")
        assert configs["consumer.session.timeout.ms"] == (
            "46000",
            8,
            False,
            [("consumer.session.timeout.ms", "46000", 8), ("group.consumer.session.timeout.ms", "45000", 5)],
        )
        _, _, configs = _describe(stand, METRICS, "m")
        assert configs["interval.ms"] == ("200", 7, False, [("interval.ms", "200", 7)])
        assert configs["match"] == ("", 5, False, [])

    @pytest.mark.parametrize(
        ("resource_type", "name", "error", "message"),
        [
            (TOPIC, "no", E.UNKNOWN_TOPIC_OR_PARTITION, ""),
            (
                TOPIC,
                "",
                E.INVALID_TOPIC_EXCEPTION,
                "Topic name is invalid: the empty string is not allowed",
            ),
            (
                BROKER,
                "2",
                E.INVALID_REQUEST,
                "Unexpected broker id, expected 1 or empty string, but received 2",
            ),
            (BROKER, "x", E.INVALID_REQUEST, "Broker id must be an integer, but it is: x"),
            (LOGGER, "2", E.INVALID_REQUEST, "Unexpected broker id, expected 1 but received 2"),
            (LOGGER, "", E.INVALID_REQUEST, "Broker id must not be empty"),
            (METRICS, "", E.INVALID_REQUEST, "Client metrics subscription name must not be empty"),
            (GROUP, "", E.INVALID_REQUEST, "Group name must not be empty"),
        ],
    )
    def test_refused(
        self, stand: StandIn, resource_type: int, name: str, error: ErrorCode, message: str
    ) -> None:
        assert _describe(stand, resource_type, name) == (error, message, {})

    def test_unknown_type(self, stand: StandIn) -> None:
        assert _describe(stand, 7, "x")[0] == E.INVALID_REQUEST


class TestLoggers:
    def test_described_and_changed(self, stand: StandIn) -> None:
        logging.getLogger("floe").setLevel(logging.INFO)
        logging.getLogger("floe.catalog").setLevel(logging.NOTSET)
        _, _, configs = _describe(stand, LOGGER, "1", "root", "catalog")
        assert configs == {"root": ("INFO", 6, False, []), "catalog": ("INFO", 6, False, [])}
        assert _incremental(stand, LOGGER, "1", ("catalog", SET, "TRACE"), validate=True)[0] == E.NONE
        assert _incremental(stand, LOGGER, "1", ("root", SET, "WARN"))[0] == E.NONE
        _, _, configs = _describe(stand, LOGGER, "1", "root", "catalog")
        assert [config[0] for config in configs.values()] == ["WARN", "WARN"]
        assert _incremental(stand, LOGGER, "1", ("catalog", SET, "TRACE"))[0] == E.NONE
        assert logging.getLogger("floe.catalog").level == 5
        assert _incremental(stand, LOGGER, "1", ("catalog", DELETE, None))[0] == E.NONE
        assert logging.getLogger("floe.catalog").level == logging.NOTSET

    @pytest.mark.parametrize(
        ("name", "operation", "error", "message"),
        [
            ("1", ("nope", SET, "INFO"), E.INVALID_CONFIG, "Logger nope does not exist!"),
            ("2", ("root", SET, "INFO"), E.INVALID_REQUEST, "Unexpected node id. Expected 1, but received 2"),
            (
                "1",
                ("root", DELETE, None),
                E.INVALID_REQUEST,
                "Removing the log level of the root logger is not allowed",
            ),
            (
                "1",
                ("root", SET, "x"),
                E.INVALID_CONFIG,
                "Cannot set the log level of root to x as it is not a supported log level. "
                "Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN",
            ),
            (
                "1",
                ("root", APPEND, "INFO"),
                E.INVALID_REQUEST,
                "APPEND operation is not allowed for the BROKER_LOGGER resource",
            ),
        ],
    )
    def test_refused(
        self,
        stand: StandIn,
        name: str,
        operation: tuple[str, int, str | None],
        error: ErrorCode,
        message: str,
    ) -> None:
        assert _incremental(stand, LOGGER, name, operation) == (error, message)


@pytest.mark.parametrize("version", range(2))
def test_incremental_keeps_the_order_of_the_request(stand: StandIn, version: int) -> None:
    resources = [
        incremental_alter_configs.AlterConfigsResource(
            resource_type=resource_type,
            resource_name=name,
            configs=[incremental_alter_configs.AlterableConfig(name=key, value=value)],
        )
        for resource_type, name, key, value in (
            (LOGGER, "1", "root", "INFO"),
            (TOPIC, "no", "retention.ms", "8"),
            (LOGGER, "1x", "root", "INFO"),
            (TOPIC, "t", "retention.ms", "8"),
        )
    ]
    request = incremental_alter_configs.IncrementalAlterConfigsRequest(resources=resources)
    responses = stand.call(ApiKey.INCREMENTAL_ALTER_CONFIGS, version, request).responses
    assert [(response.resource_name, response.error_code) for response in responses] == [
        ("1", E.NONE),
        ("no", E.UNKNOWN_TOPIC_OR_PARTITION),
        ("1x", E.INVALID_REQUEST),
        ("t", E.NONE),
    ]
    assert stand.catalog.topics["t"].config.retention_ms == 8


@pytest.mark.parametrize("version", range(3))
def test_alter_configs_replaces(stand: StandIn, version: int) -> None:
    resources = [
        alter_configs.AlterConfigsResource(
            resource_type=resource_type,
            resource_name=name,
            configs=[alter_configs.AlterableConfig(name=key, value=value)],
        )
        for resource_type, name, key, value in (
            (TOPIC, "t", "segment.ms", "8"),
            (LOGGER, "1", "root", "INFO"),
            (BROKER, "1", "num.partitions", "3"),
        )
    ]
    request = alter_configs.AlterConfigsRequest(resources=resources)
    responses = stand.call(ApiKey.ALTER_CONFIGS, version, request).responses
    assert [(response.error_code, response.error_message) for response in responses] == [
        (E.NONE, None),
        (E.INVALID_REQUEST, "Unknown resource type 8"),
        (E.INVALID_REQUEST, "Cannot update these configs dynamically: [num.partitions]"),
    ]
    config = stand.catalog.topics["t"].config
    assert (config.segment_ms, config.retention_ms) == (8, 7_200_000)


@pytest.mark.parametrize(
    ("version", "types", "expected"),
    [
        (0, [], [("m", METRICS)]),
        (1, [], [("g", GROUP), ("m", METRICS), ("1", LOGGER), ("1", BROKER), ("t", TOPIC)]),
        (1, [TOPIC], [("t", TOPIC)]),
        (1, [GROUP, TOPIC], [("g", GROUP), ("t", TOPIC)]),
    ],
)
def test_list_config_resources(
    stand: StandIn, version: int, types: list[int], expected: list[tuple[str, int]]
) -> None:
    _incremental(stand, GROUP, "g", ("consumer.session.timeout.ms", SET, "46000"))
    _incremental(stand, METRICS, "m", ("interval.ms", SET, "200"))
    response = stand.call(
        ApiKey.LIST_CONFIG_RESOURCES, version, ListConfigResourcesRequest(resource_types=types)
    )
    assert [(entry.resource_name, entry.resource_type) for entry in response.config_resources] == expected


@pytest.mark.parametrize("types", [[99], [0], [TOPIC, 7]])
def test_list_config_resources_of_unknown_types(stand: StandIn, types: list[int]) -> None:
    response = stand.call(ApiKey.LIST_CONFIG_RESOURCES, 1, ListConfigResourcesRequest(resource_types=types))
    assert (response.error_code, response.config_resources) == (E.UNSUPPORTED_VERSION, [])
