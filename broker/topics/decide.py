"""What a command comes to, decided without changing anything: the half of the catalog with the rules.

Rules, codes and sentences are those of Kafka 4.3's ReplicationControlManager and ControllerApis for a cluster of
one broker; `settings_rules.py` has the part of ConfigurationControlManager.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from broker.topics import settings_rules
from broker.topics.commands import (
    AllocateProducerIds,
    AlterSettings,
    Command,
    CreatedTopic,
    CreatePartitions,
    CreateTopics,
    DeleteTopics,
    MorePartitions,
    NewTopic,
    Outcome,
    RegisterBroker,
    ReplaceSettings,
    Result,
    SetFeatures,
)
from broker.topics.names import CLUSTER_METADATA, collision_key, may_collide, name_problem
from broker.topics.state import TOPIC, State
from protocol.errors import ApiError, ErrorCode
from protocol.messages.internal.cluster_records import (
    BrokerEndpoint,
    FeatureLevelRecord,
    ProducerIdsRecord,
    RegisterBrokerRecord,
)
from protocol.messages.internal.topic_records import (
    ConfigRecord,
    PartitionRecord,
    RemoveTopicRecord,
    TopicRecord,
)
from protocol.schema import ZERO_UUID

MAX_PARTITIONS_PER_REQUEST: Final = 10_000
"""As Kafka's (MAX_PARTITIONS_PER_BATCH): one command is one batch of records."""

UNKNOWN_TOPIC: Final = "This server does not host this topic-partition."
UNKNOWN_ID: Final = "This server does not host this topic ID."
DUPLICATE_NAME: Final = "Duplicate topic name."
NAME_AND_ID: Final = "The provided topic name maps to an ID that was already supplied."


def decide(state: State, command: Command, now_ms: int) -> Outcome:
    """The records a command makes, and its answer."""
    return _DECISIONS[type(command)](state, command, now_ms)


def _refused(error: ErrorCode, message: str | None = None) -> Result:
    assert error is not ErrorCode.NONE
    return Result(error, message)


# --- topics ---------------------------------------------------------------------------------------------------


def _create_topics(state: State, command: CreateTopics, now_ms: int) -> Outcome:
    asked = Counter(topic.name for topic in command.topics)
    wanted = sum(_wanted_partitions(state, topic) for topic in command.topics)
    records: list[Any] = []
    results = []
    taken: dict[str, str] = {}
    for topic in command.topics:
        try:
            if asked[topic.name] > 1:
                raise ApiError(ErrorCode.INVALID_REQUEST, DUPLICATE_NAME)
            if wanted > MAX_PARTITIONS_PER_REQUEST:
                text = "Excessively large number of partitions per request."
                raise ApiError(ErrorCode.POLICY_VIOLATION, text)
            _check_new_name(state, topic.name, taken)
            count = _partition_count(state, topic)
            settings = settings_rules.new_topic_settings(state, topic.settings)
        except ApiError as error:
            results.append(_refused(error.code, error.message))
            continue
        assert topic.topic_id not in state.by_id and topic.topic_id != ZERO_UUID
        taken[collision_key(topic.name)] = topic.name
        records += _topic_records(state.config.node_id, topic, count, settings)
        results.append(Result(value=CreatedTopic(topic.topic_id, count, settings)))
    return Outcome([] if command.validate_only else records, results)


def _wanted_partitions(state: State, topic: NewTopic) -> int:
    if topic.assignments:
        return len(topic.assignments)
    return topic.num_partitions if topic.num_partitions > 0 else state.config.num_partitions


def _check_new_name(state: State, name: str, taken: dict[str, str]) -> None:
    if name == CLUSTER_METADATA:
        raise ApiError(ErrorCode.INVALID_REQUEST, f"Creation of internal topic {name} is prohibited.")
    problem = name_problem(name)
    if problem is not None:
        raise ApiError(ErrorCode.INVALID_TOPIC_EXCEPTION, problem)
    if name in state.topics:
        raise ApiError(ErrorCode.TOPIC_ALREADY_EXISTS, f"Topic '{name}' already exists.")
    other = state.colliding_topic(name) or (taken.get(collision_key(name)) if may_collide(name) else None)
    if other is not None:
        text = f"Topic '{name}' collides with existing topic: {other}"
        raise ApiError(ErrorCode.INVALID_TOPIC_EXCEPTION, text)


def _partition_count(state: State, topic: NewTopic) -> int:
    if topic.assignments:
        return _assigned_count(state, topic)
    factor = topic.replication_factor
    if factor < -1 or factor == 0:
        text = "Replication factor must be larger than 0, or -1 to use the default value."
        raise ApiError(ErrorCode.INVALID_REPLICATION_FACTOR, text)
    if topic.num_partitions < -1 or topic.num_partitions == 0:
        text = "Number of partitions was set to an invalid non-positive value."
        raise ApiError(ErrorCode.INVALID_PARTITIONS, text)
    if factor > 1:
        raise ApiError(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            f"Unable to replicate the partition {factor} time(s): The target replication factor of {factor} "
            "cannot be reached because only 1 broker(s) are registered or some brokers have all their log "
            "directories cordoned.",
        )
    return _wanted_partitions(state, topic)


def _assigned_count(state: State, topic: NewTopic) -> int:
    specified = "A manual partition assignment was specified, but"
    if topic.replication_factor != -1:
        text = f"{specified} replication factor was not set to -1."
        raise ApiError(ErrorCode.INVALID_REQUEST, text)
    if topic.num_partitions != -1:
        raise ApiError(ErrorCode.INVALID_REQUEST, f"{specified} numPartitions was not set to -1.")
    seen = set()
    for index, brokers in topic.assignments:
        if index in seen:
            text = f"Found multiple manual partition assignments for partition {index}"
            raise ApiError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, text)
        seen.add(index)
        check_replicas(state, brokers)
    if seen != set(range(len(seen))):
        text = "partitions should be a consecutive 0-based integer sequence"
        raise ApiError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, text)
    return len(seen)


def check_replicas(state: State, brokers: Sequence[int]) -> None:
    """Raises ApiError unless `brokers` is this broker and nobody else."""
    manual = "The manual partition assignment includes"
    if not brokers:
        text = f"{manual} an empty replica list."
        raise ApiError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, text)
    for broker in sorted(brokers):
        if broker != state.config.node_id:
            text = f"{manual} broker {broker}, but no such broker is registered."
            raise ApiError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, text)
    if len(brokers) > 1:
        text = f"{manual} the broker {brokers[0]} more than once."
        raise ApiError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, text)


def _topic_records(node_id: int, topic: NewTopic, count: int, settings: dict[str, str]) -> list[Any]:
    # Settings come first, as Kafka writes them, so that the topic is complete when its record is applied.
    records: list[Any] = [
        ConfigRecord(resource_type=TOPIC, resource_name=topic.name, name=name, value=value)
        for name, value in settings.items()
    ]
    records.append(TopicRecord(name=topic.name, topic_id=topic.topic_id))
    records += _partition_records(node_id, topic.topic_id, range(count))
    return records


def _partition_records(node_id: int, topic_id: bytes, indexes: range) -> list[PartitionRecord]:
    replicas, directories = [node_id], [ZERO_UUID]
    return [
        PartitionRecord(
            partition_id=index,
            topic_id=topic_id,
            replicas=replicas,
            isr=replicas,
            leader=node_id,
            leader_epoch=0,
            partition_epoch=0,
            directories=directories,
        )
        for index in indexes
    ]


def _delete_topics(state: State, command: DeleteTopics, now_ms: int) -> Outcome:
    names = Counter(name for name, _ in command.topics if name is not None)
    ids = Counter(topic_id for name, topic_id in command.topics if name is None)
    named = {state.topics[name].topic_id for name in names if name in state.topics}
    by_both = named & ids.keys()
    records = []
    results = []
    for name, topic_id in command.topics:
        try:
            _check_deletion(name, topic_id, names, ids)
            topic = state.topics.get(name) if name is not None else state.by_id.get(topic_id)
            if topic is not None and topic.topic_id in by_both:
                raise ApiError(ErrorCode.INVALID_REQUEST, NAME_AND_ID)
            if topic is None:
                if name is None:
                    raise ApiError(ErrorCode.UNKNOWN_TOPIC_ID, UNKNOWN_ID)
                raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC)
            if not state.config["delete.topic.enable"]:
                raise ApiError(ErrorCode.TOPIC_DELETION_DISABLED, "Topic deletion is disabled.")
        except ApiError as error:
            results.append(_refused(error.code, error.message))
            continue
        records.append(RemoveTopicRecord(topic_id=topic.topic_id))
        results.append(Result(value=(topic.name, topic.topic_id)))
    return Outcome(records, results)


def _check_deletion(name: str | None, topic_id: bytes, names: Counter[str], ids: Counter[bytes]) -> None:
    if name is not None and topic_id != ZERO_UUID:
        text = "You may not specify both topic name and topic id."
    elif name is None and topic_id == ZERO_UUID:
        text = "Neither topic name nor id were specified."
    elif name is not None and names[name] > 1:
        text = DUPLICATE_NAME
    elif name is None and ids[topic_id] > 1:
        text = "Duplicate topic id."
    else:
        return
    raise ApiError(ErrorCode.INVALID_REQUEST, text)


def _create_partitions(state: State, command: CreatePartitions, now_ms: int) -> Outcome:
    asked = Counter(topic.name for topic in command.topics)
    records: list[Any] = []
    results = []
    for topic in command.topics:
        try:
            if asked[topic.name] > 1:
                raise ApiError(ErrorCode.INVALID_REQUEST, DUPLICATE_NAME)
            added = _added_partitions(state, topic, MAX_PARTITIONS_PER_REQUEST - len(records))
        except ApiError as error:
            results.append(_refused(error.code, error.message or None))
            continue
        records += _partition_records(state.config.node_id, state.topics[topic.name].topic_id, added)
        results.append(Result(value=added))
    return Outcome([] if command.validate_only else records, results)


def _added_partitions(state: State, topic: MorePartitions, limit: int) -> range:
    existing = state.topics.get(topic.name)
    if existing is None:
        raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "")
    present = existing.partition_count
    if topic.total_count == present:
        raise ApiError(ErrorCode.INVALID_PARTITIONS, f"Topic already has {present} partition(s).")
    if topic.total_count < present:
        raise ApiError(
            ErrorCode.INVALID_PARTITIONS,
            f"The topic {topic.name} currently has {present} partition(s); "
            f"{topic.total_count} would not be an increase.",
        )
    added = range(present, topic.total_count)
    if len(added) > limit:
        text = "Excessively large number of partitions per request."
        raise ApiError(ErrorCode.POLICY_VIOLATION, text)
    if topic.assignments is not None:
        if len(topic.assignments) != len(added):
            raise ApiError(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                f"Attempted to add {len(added)} additional partition(s), but only {len(topic.assignments)} "
                "assignment(s) were specified.",
            )
        for brokers in topic.assignments:
            check_replicas(state, brokers)
    return added


# --- settings -------------------------------------------------------------------------------------------------


def _alter_settings(state: State, command: AlterSettings | ReplaceSettings, now_ms: int) -> Outcome:
    asked = Counter((resource.resource_type, resource.resource_name) for resource in command.resources)
    replace = isinstance(command, ReplaceSettings)
    records: list[Any] = []
    results = []
    for resource in command.resources:
        key = resource.resource_type, resource.resource_name
        try:
            if asked[key] > 1:
                raise ApiError(ErrorCode.INVALID_REQUEST, "Each resource must appear at most once.")
            changed = settings_rules.altered(state, resource, replace)
        except ApiError as error:
            results.append(_refused(error.code, error.message))
            continue
        records += [
            ConfigRecord(resource_type=key[0], resource_name=key[1], name=name, value=value)
            for name, value in changed.items()
        ]
        results.append(Result())
    return Outcome([] if command.validate_only else records, results)


# --- the rest -------------------------------------------------------------------------------------------------


def _allocate_producer_ids(state: State, command: AllocateProducerIds, now_ms: int) -> Outcome:
    first = state.next_producer_id
    following = first + command.block_size
    assert command.block_size > 0 and following < 2**63
    record = ProducerIdsRecord(
        broker_id=state.config.node_id, broker_epoch=state.broker_epoch, next_producer_id=following
    )
    return Outcome([record], [Result(value=range(first, following))])


def _set_features(state: State, command: SetFeatures, now_ms: int) -> Outcome:
    records = [
        FeatureLevelRecord(name=name, feature_level=level)
        for name, level in command.levels
        if state.features.get(name, 0) != level
    ]
    return Outcome(records, [Result()])


def _register_broker(state: State, command: RegisterBroker, now_ms: int) -> Outcome:
    plaintext = 0  # SecurityProtocol.PLAINTEXT
    record = RegisterBrokerRecord(
        broker_id=state.config.node_id,
        incarnation_id=command.incarnation_id,
        broker_epoch=state.broker_epoch + 1,
        end_points=[
            BrokerEndpoint(name=name, host=host, port=port, security_protocol=plaintext)
            for name, host, port in command.endpoints
        ],
        rack=command.rack,
        fenced=False,
    )
    return Outcome([record], [Result(value=record.broker_epoch)])


_DECISIONS: Final[dict[type, Callable[[State, Any, int], Outcome]]] = {
    CreateTopics: _create_topics,
    DeleteTopics: _delete_topics,
    CreatePartitions: _create_partitions,
    AlterSettings: _alter_settings,
    ReplaceSettings: _alter_settings,
    AllocateProducerIds: _allocate_producer_ids,
    SetFeatures: _set_features,
    RegisterBroker: _register_broker,
}
