"""What the commands ask brokers for, as plain functions over `Client`: one per question, whatever the
version.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from broker.cli.client import BrokerError, Client, Connection, check
from broker.cli.errors import CommandFailed
from protocol.api import ApiKey
from protocol.errors import ErrorCode

LATEST: Final = -1
EARLIEST: Final = -2

READ_UNCOMMITTED: Final = 0
READ_COMMITTED: Final = 1

# Resource types of the configuration APIs (ConfigResource.Type).
TOPIC: Final = 2
BROKER: Final = 4
BROKER_LOGGER: Final = 8
CLIENT_METRICS: Final = 16
GROUP: Final = 32

# Sources of a setting (DescribeConfigsResponse.ConfigSource).
DEFAULT_SOURCE: Final = 5
SOURCES: Final = {
    0: "unknown",
    1: "topic",
    2: "broker",
    3: "all brokers",
    4: "static",
    DEFAULT_SOURCE: "default",
    6: "broker logger",
    7: "client metrics",
    8: "group",
}

# A partition whose leader is new, moves or restarts.
_MOVING: Final = (
    ErrorCode.NOT_LEADER_OR_FOLLOWER,
    ErrorCode.LEADER_NOT_AVAILABLE,
    ErrorCode.REPLICA_NOT_AVAILABLE,
    ErrorCode.OFFSET_NOT_AVAILABLE,
)

SET: Final = 0
DELETE: Final = 1


@dataclass(slots=True)
class Setting:
    """One setting of a topic, a broker or another resource."""

    name: str
    value: str | None
    source: int
    default: str | None
    read_only: bool
    sensitive: bool

    @property
    def is_default(self) -> bool:
        """Whether nobody set it."""
        return self.source == DEFAULT_SOURCE


def list_offsets(
    client: Client, topic: str, partitions: Iterable[int], timestamp: int, isolation: int = READ_UNCOMMITTED
) -> dict[int, int]:
    """Return {partition: offset}: the first record at or after `timestamp` (ms), LATEST or EARLIEST; -1 if
    there is none.
    """
    wanted = dict.fromkeys(partitions, timestamp)
    return client.retrying(lambda: _ask_offsets(client, topic, wanted, isolation), _MOVING)


def _ask_offsets(client: Client, topic: str, timestamps: Mapping[int, int], isolation: int) -> dict[int, int]:
    from protocol.messages.list_offsets import ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic

    found: dict[int, int] = {}
    for node_id, wanted in client.by_leader(topic, timestamps).items():
        connection = client.broker(node_id)
        version = connection.version(ApiKey.LIST_OFFSETS)
        asked = [ListOffsetsPartition(partition_index=index, timestamp=at) for index, at in wanted.items()]
        request = ListOffsetsRequest(replica_id=-1, topics=[ListOffsetsTopic(name=topic, partitions=asked)])
        if version >= 2:
            request.isolation_level = isolation
        response = connection.request(ApiKey.LIST_OFFSETS, request, version)
        for partition in response.topics[0].partitions:
            check(partition.error_code, f"Offsets of {topic}-{partition.partition_index}")
            offset = partition.offset
            if version == 0:
                offset = partition.old_style_offsets[0] if partition.old_style_offsets else -1
            found[partition.partition_index] = offset
    return found


def partition_sizes(client: Client, topics: Mapping[str, Iterable[int]]) -> dict[tuple[str, int], int]:
    """Return the bytes on disk of each partition's leader replica; nothing for brokers that do not say."""
    from protocol.messages.describe_log_dirs import DescribableLogDirTopic, DescribeLogDirsRequest

    sizes: dict[tuple[str, int], int] = {}
    asked = [DescribableLogDirTopic(topic=name, partitions=list(indexes)) for name, indexes in topics.items()]
    leaders = {
        (topic.name, partition.partition_index): partition.leader_id
        for topic in client.topics.values()
        for partition in topic.partitions
    }
    for node_id in sorted(set(leaders.values()) & set(client.brokers)):
        connection = client.broker(node_id)
        if not connection.supports(ApiKey.DESCRIBE_LOG_DIRS):
            continue
        response = connection.request(ApiKey.DESCRIBE_LOG_DIRS, DescribeLogDirsRequest(topics=asked))
        for result in response.results:
            for topic in result.topics if result.error_code == 0 else ():
                for partition in topic.partitions:
                    where = (topic.name, partition.partition_index)
                    if leaders.get(where) == node_id and not partition.is_future_key:
                        sizes[where] = partition.partition_size
    return sizes


def create_topic(
    client: Client,
    name: str,
    *,
    partitions: int = -1,
    replication_factor: int = -1,
    configs: Mapping[str, str] | None = None,
    validate_only: bool = False,
) -> bytes:
    """Create a topic and return its id (zeros if the broker has none). -1 is the broker's default. Raises
    BrokerError.
    """
    from protocol.messages.create_topics import CreatableTopic, CreatableTopicConfig, CreateTopicsRequest

    connection = client.controller()
    version = connection.version(ApiKey.CREATE_TOPICS)
    if version < 4:  # KIP-464: the broker's own defaults
        partitions, replication_factor = abs(partitions), abs(replication_factor)
    settings = [CreatableTopicConfig(name=key, value=value) for key, value in (configs or {}).items()]
    topic = CreatableTopic(
        name=name, num_partitions=partitions, replication_factor=replication_factor, configs=settings
    )
    request = CreateTopicsRequest(topics=[topic], timeout_ms=_timeout_ms(client))
    if version >= 1:
        request.validate_only = validate_only
    response = connection.request(ApiKey.CREATE_TOPICS, request, version)
    for result in response.topics:
        hint = ""
        if result.error_code == ErrorCode.TOPIC_ALREADY_EXISTS:
            hint = "Use --if-not-exists if that is fine."
        check(result.error_code, f"Cannot create topic {name}", result.error_message, hint)
        return bytes(result.topic_id)
    raise CommandFailed(f"The broker's answer does not mention topic {name}.")


def delete_topic(client: Client, name: str) -> None:
    """Delete a topic. Raises BrokerError."""
    from protocol.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState

    connection = client.controller()
    version = connection.version(ApiKey.DELETE_TOPICS)
    request = DeleteTopicsRequest(timeout_ms=_timeout_ms(client))
    if version >= 6:
        request.topics = [DeleteTopicState(name=name)]
    else:
        request.topic_names = [name]
    for result in connection.request(ApiKey.DELETE_TOPICS, request, version).responses:
        check(result.error_code, f"Cannot delete topic {name}", result.error_message)


def create_partitions(client: Client, name: str, count: int) -> None:
    """Raise a topic's number of partitions to `count`. Raises BrokerError."""
    from protocol.messages.create_partitions import CreatePartitionsRequest, CreatePartitionsTopic

    topic = CreatePartitionsTopic(name=name, count=count, assignments=None)
    request = CreatePartitionsRequest(topics=[topic], timeout_ms=_timeout_ms(client))
    for result in client.controller().request(ApiKey.CREATE_PARTITIONS, request).results:
        check(result.error_code, f"Cannot change the partitions of {name}", result.error_message)


def describe_configs(
    client: Client, resource_type: int, resource_name: str, keys: Sequence[str] | None = None
) -> list[Setting]:
    """Return a resource's settings by name. Raises BrokerError."""
    from protocol.messages.describe_configs import DescribeConfigsRequest, DescribeConfigsResource

    connection = _owner(client, resource_type, resource_name)
    version = connection.version(ApiKey.DESCRIBE_CONFIGS)
    resource = DescribeConfigsResource(
        resource_type=resource_type,
        resource_name=resource_name,
        configuration_keys=list(keys) if keys else None,
    )
    request = DescribeConfigsRequest(resources=[resource])
    if version >= 1:
        request.include_synonyms = True
    settings: list[Setting] = []
    for result in connection.request(ApiKey.DESCRIBE_CONFIGS, request, version).results:
        check(result.error_code, f"Settings of {resource_name or 'all brokers'}", result.error_message)
        for entry in result.configs:
            source = entry.config_source
            if version == 0:
                source = DEFAULT_SOURCE if entry.is_default else 0
            default = next((s.value for s in entry.synonyms if s.source == DEFAULT_SOURCE), None)
            if source == DEFAULT_SOURCE and default is None:
                default = entry.value
            settings.append(
                Setting(entry.name, entry.value, source, default, entry.read_only, entry.is_sensitive)
            )
    return sorted(settings, key=lambda setting: setting.name)


def alter_configs(
    client: Client,
    resource_type: int,
    resource_name: str,
    *,
    values: Mapping[str, str] | None = None,
    unset: Iterable[str] = (),
) -> None:
    """Set some settings of a resource and put others back to their defaults. Raises BrokerError."""
    from protocol.messages.incremental_alter_configs import (
        AlterableConfig,
        AlterConfigsResource,
        IncrementalAlterConfigsRequest,
    )

    changes = [
        *(
            AlterableConfig(name=key, config_operation=SET, value=value)
            for key, value in (values or {}).items()
        ),
        *(AlterableConfig(name=key, config_operation=DELETE, value=None) for key in unset),
    ]
    resource = AlterConfigsResource(resource_type=resource_type, resource_name=resource_name, configs=changes)
    connection = _owner(client, resource_type, resource_name)
    request = IncrementalAlterConfigsRequest(resources=[resource])
    for result in connection.request(ApiKey.INCREMENTAL_ALTER_CONFIGS, request).responses:
        what = f"Cannot change the settings of {resource_name or 'all brokers'}"
        check(result.error_code, what, result.error_message)


def require_settings(client: Client, resource_type: int, resource_name: str, keys: Sequence[str]) -> None:
    """Raise CommandFailed for names that are no settings of a topic, a group or a broker.

    Brokers take them: whoever deletes a setting that there is not finds it deleted.
    """
    described = resource_name
    if resource_type == BROKER and not resource_name:  # of all brokers: those that any of them has
        client.refresh_metadata([])
        described = str(min(client.brokers, default=""))
    known = [setting.name for setting in describe_configs(client, resource_type, described)]
    unknown = [key for key in keys if key not in known]
    if unknown:
        from difflib import get_close_matches

        close = dict.fromkeys(name for key in unknown for name in get_close_matches(key, known, n=1))
        hint = (
            f"Did you mean {', '.join(close)}?"
            if close
            else "See what there is: floe configs describe … --all"
        )
        raise CommandFailed(f"There is no such setting: {', '.join(unknown)}.", hint)


def init_producer_id(client: Client) -> tuple[int, int]:
    """Return a fresh (producer id, epoch) for an idempotent producer."""
    from protocol.messages.init_producer_id import InitProducerIdRequest

    request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=60_000)

    def ask() -> tuple[int, int]:
        response = client.request(ApiKey.INIT_PRODUCER_ID, request)
        check(response.error_code, "InitProducerId")
        return response.producer_id, response.producer_epoch

    return client.retrying(ask)


def is_missing_topic(error: BrokerError) -> bool:
    """Whether the error says that the topic does not exist."""
    return error.code in (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.UNKNOWN_TOPIC_ID)


def _owner(client: Client, resource_type: int, resource_name: str) -> Connection:
    # A broker's own settings are answered by that broker only.
    if resource_type in (BROKER, BROKER_LOGGER) and resource_name:
        if not resource_name.isdigit():
            raise CommandFailed(
                f"{resource_name!r} is not a broker id.", 'Use a number, or "default" for all brokers.'
            )
        client.refresh_metadata([])
        return client.broker(int(resource_name))
    return client.controller()


def _timeout_ms(client: Client) -> int:
    return int(client.timeout_s * 1000)
