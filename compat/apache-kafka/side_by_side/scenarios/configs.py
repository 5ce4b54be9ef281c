"""DescribeConfigs, AlterConfigs, IncrementalAlterConfigs, ListConfigResources, DescribeLogDirs."""

from __future__ import annotations

from typing import Any

from side_by_side.scenario import scenario
from side_by_side.side import Side

TOPIC, BROKER, LOGGER, CLIENT_METRICS, GROUP = 2, 4, 8, 16, 32
SET, DELETE, APPEND, SUBTRACT = 0, 1, 2, 3


def describe(side: Side, kind: int, name: str, keys: list[str] | None = None, **more: Any) -> None:
    side.ask(resources=[{"resource_type": kind, "resource_name": name, "configuration_keys": keys}], **more)


@scenario("describe_configs", smoke=True)
def of_a_topic(side: Side) -> None:
    describe(side, TOPIC, "events")
    describe(side, TOPIC, "compacted", include_synonyms=True)


@scenario("describe_configs")
def by_key(side: Side) -> None:
    describe(
        side, TOPIC, "compacted", ["cleanup.policy", "no.such.setting", "retention.ms"], include_synonyms=True
    )
    describe(side, TOPIC, "events", [])
    describe(side, BROKER, "1", ["log.retention.ms", "node.id", "num.partitions"], include_synonyms=True)


@scenario("describe_configs", 3)
def documented(side: Side) -> None:
    describe(side, TOPIC, "events", ["cleanup.policy"], include_documentation=True)


@scenario("describe_configs")
def of_a_broker(side: Side) -> None:
    describe(side, BROKER, "1", include_synonyms=True)


@scenario("describe_configs")
def of_all_brokers(side: Side) -> None:
    describe(side, BROKER, "", include_synonyms=True)


@scenario("describe_configs", smoke=True)
def of_nobody(side: Side) -> None:
    for kind, name in (
        (TOPIC, "absent"),
        (TOPIC, ""),
        (TOPIC, "a b"),
        (BROKER, "2"),
        (BROKER, "x"),
        (LOGGER, "2"),
        (LOGGER, ""),
        (CLIENT_METRICS, ""),
        (GROUP, ""),
        (0, "x"),
        (3, "x"),
        (99, "x"),
    ):
        describe(side, kind, name)


@scenario("describe_configs")
def of_groups_and_metrics(side: Side) -> None:
    describe(side, GROUP, "any-group", include_synonyms=True)
    describe(side, CLIENT_METRICS, "any-metrics", include_synonyms=True)


@scenario("describe_configs")
def several(side: Side) -> None:
    rows = [
        {"resource_type": TOPIC, "resource_name": name, "configuration_keys": ["retention.ms"]}
        for name in ("events", "empty", "absent", "events")
    ]
    side.ask(resources=rows)


@scenario("describe_configs")
def none_asked(side: Side) -> None:
    side.ask(resources=[])


def alter(side: Side, kind: int, name: str, *configs: tuple[str, str | None], **more: Any) -> None:
    rows = [{"name": key, "value": value} for key, value in configs]
    side.ask(resources=[{"resource_type": kind, "resource_name": name, "configs": rows}], **more)


def look(side: Side, name: str, **expected: str) -> None:
    """What is set on a topic in the end: Kafka's broker hears of it some time after its answer."""
    rows = [{"resource_type": TOPIC, "resource_name": name, "configuration_keys": None}]
    wanted = {key.replace("_", "."): value for key, value in expected.items()}

    def own(answer: Any) -> dict[str, str]:
        configs = answer["results"][0]["configs"]
        return {row["name"]: row["value"] for row in configs if row["config_source"] == 1}

    answer = side.until_quietly(32, 4, lambda seen: own(seen) == wanted, resources=rows)
    side.note("set now", own(answer))


@scenario("alter_configs", smoke=True)
def replaced(side: Side) -> None:
    name = side.topic(configs={"retention.ms": "5000"})
    alter(side, TOPIC, name, ("segment.bytes", "2097152"))
    look(side, name, segment_bytes="2097152")
    alter(side, TOPIC, name, validate_only=True)
    alter(side, TOPIC, name)
    look(side, name)


BAD = (
    ("no.such.setting", "1"),
    ("retention.ms", "x"),
    ("retention.ms", "-2"),
    ("cleanup.policy", "shred"),
    ("segment.bytes", "1"),
    ("retention.ms", None),
    ("compression.type", "rar"),
    ("remote.storage.enable", "true"),
)


@scenario("alter_configs")
def bad_values(side: Side) -> None:
    name = side.topic()
    for pair in BAD:
        alter(side, TOPIC, name, pair)
    alter(side, TOPIC, name, ("retention.ms", "1000"), ("retention.ms", "2000"))
    look(side, name)


RESOURCES = (
    (TOPIC, "absent"),
    (TOPIC, ""),
    (BROKER, "2"),
    (BROKER, "x"),
    (LOGGER, "1"),
    (LOGGER, "2"),
    (GROUP, ""),
    (CLIENT_METRICS, ""),
    (0, "x"),
    (99, "x"),
)


@scenario("alter_configs")
def odd_resources(side: Side) -> None:
    for kind, name in RESOURCES:
        alter(side, kind, name, ("retention.ms", "1000"))
    side.ask(resources=[])


def change(side: Side, kind: int, name: str, *operations: tuple[int, str, str | None], **more: Any) -> None:
    rows = [
        {"config_operation": operation, "name": key, "value": value} for operation, key, value in operations
    ]
    side.ask(resources=[{"resource_type": kind, "resource_name": name, "configs": rows}], **more)


@scenario("incremental_alter_configs", smoke=True)
def operations(side: Side) -> None:
    name = side.topic()
    change(side, TOPIC, name, (SET, "retention.ms", "9000"), (SET, "cleanup.policy", "compact"))
    look(side, name, retention_ms="9000", cleanup_policy="compact")
    change(side, TOPIC, name, (APPEND, "cleanup.policy", "delete"))
    look(side, name, retention_ms="9000", cleanup_policy="compact,delete")
    change(side, TOPIC, name, (APPEND, "cleanup.policy", "delete"))
    change(side, TOPIC, name, (SUBTRACT, "cleanup.policy", "compact"))
    look(side, name, retention_ms="9000", cleanup_policy="delete")
    change(side, TOPIC, name, (DELETE, "retention.ms", None), (DELETE, "segment.bytes", None))
    look(side, name, cleanup_policy="delete")
    change(side, TOPIC, name, (APPEND, "retention.ms", "1"))
    change(side, TOPIC, name, (SUBTRACT, "retention.ms", "1"))
    change(side, TOPIC, name, (4, "retention.ms", "1"))
    change(side, TOPIC, name, (SET, "retention.ms", "1"), (DELETE, "retention.ms", None))
    change(side, TOPIC, name, (SET, "retention.ms", "77"), validate_only=True)
    look(side, name, cleanup_policy="delete")


@scenario("incremental_alter_configs")
def bad_sets(side: Side) -> None:
    name = side.topic()
    for key, value in BAD:
        change(side, TOPIC, name, (SET, key, value))
    look(side, name)


@scenario("incremental_alter_configs")
def of_odd_resources(side: Side) -> None:
    for kind, name in RESOURCES:
        change(side, kind, name, (SET, "retention.ms", "1000"))
    side.ask(resources=[])
    row = {"resource_type": TOPIC, "resource_name": "empty", "configs": []}
    side.ask(resources=[row, row])


@scenario("incremental_alter_configs")
def of_brokers(side: Side) -> None:
    for name in ("1", ""):
        change(side, BROKER, name, (SET, "log.cleaner.min.cleanable.ratio", "0.4"), validate_only=True)
        change(side, BROKER, name, (SET, "node.id", "2"), validate_only=True)
        change(side, BROKER, name, (SET, "no.such.setting", "2"), validate_only=True)
        change(side, BROKER, name, (SET, "message.max.bytes", "x"), validate_only=True)


@scenario("incremental_alter_configs")
def of_groups(side: Side) -> None:
    name = f"{side.label}-group"
    change(side, GROUP, name, (SET, "consumer.session.timeout.ms", "50000"))
    change(side, GROUP, name, (SET, "consumer.session.timeout.ms", "1"))
    change(side, GROUP, name, (SET, "consumer.heartbeat.interval.ms", "6000"))
    change(side, GROUP, name, (SET, "no.such.setting", "1"))
    change(
        side,
        GROUP,
        name,
        (DELETE, "consumer.session.timeout.ms", None),
        (DELETE, "consumer.heartbeat.interval.ms", None),
    )


@scenario("list_config_resources", smoke=True)
def resources(side: Side) -> None:
    side.ask(resource_types=[BROKER])
    side.ask(resource_types=[LOGGER])
    side.ask(resource_types=[CLIENT_METRICS])
    side.ask(resource_types=[99])


@scenario("describe_log_dirs", smoke=True)
def folders(side: Side) -> None:
    side.ask(topics=[{"topic": "events", "partitions": [0, 1, 9]}, {"topic": "absent", "partitions": [0]}])
    side.ask(topics=[{"topic": "absent", "partitions": [0]}])
    side.ask(topics=[])
