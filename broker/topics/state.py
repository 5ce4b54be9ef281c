"""The catalog's state, and the only function that changes it: `State.apply`.

Everything here follows from the records of `__cluster_metadata` in their order; applying the same records to an
empty state gives an equal one, live or at start. A topic costs a few hundred bytes, its partitions nothing until
somebody asks for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from broker.config import BrokerConfig, TopicConfig
from broker.config_table import BROKER_SETTINGS
from broker.config_topics import TOPIC_SETTINGS
from broker.settings import InvalidValue, Setting
from broker.topics.names import collision_key, is_internal, may_collide
from protocol.messages.internal.cluster_records import (
    FeatureLevelRecord,
    ProducerIdsRecord,
    RegisterBrokerRecord,
)
from protocol.messages.internal.topic_records import (
    ConfigRecord,
    PartitionChangeRecord,
    PartitionRecord,
    RemoveTopicRecord,
    TopicRecord,
)

if TYPE_CHECKING:
    from broker.topics.partition import Partition

# ConfigResource.Type, as in requests and ConfigRecord.
TOPIC: Final = 2
BROKER: Final = 4
BROKER_LOGGER: Final = 8
CLIENT_METRICS: Final = 16
GROUP: Final = 32

_NOTHING: Final[dict[str, str]] = {}
_FIRST_EPOCHS: Final[Mapping[int, int]] = {}
_SAME_LEADER: Final = -2
"""PartitionChangeRecord.leader where the leader stays (Kafka's LeaderConstants.NO_LEADER_CHANGE)."""


def usable(settings: Mapping[str, str], table: Mapping[str, Setting]) -> dict[str, str]:
    """Those of `settings` that the table knows and takes: all, unless another version or Kafka wrote them."""
    kept = {}
    for name, text in settings.items():
        if name in table:
            with suppress(InvalidValue):
                table[name].parse(text)
                kept[name] = text
    return kept


class Topic:
    """A topic: identity, settings, and its partitions, each made when first asked for."""

    __slots__ = ("_make", "_partitions", "config", "leader_epochs", "name", "partition_count", "topic_id")

    def __init__(
        self, name: str, topic_id: bytes, config: TopicConfig, make: Callable[[Topic, int], Partition]
    ) -> None:
        self.name = name
        self.topic_id = topic_id
        self.config = config
        self.partition_count = 0
        self.leader_epochs: Mapping[int, int] = _FIRST_EPOCHS
        """Leader epochs by partition, where they are not 0: elections happened while this folder was Apache Kafka's."""
        self._make = make
        self._partitions: dict[int, Partition] | None = None

    @property
    def is_internal(self) -> bool:
        """One of Kafka's own; clients hide it."""
        return is_internal(self.name)

    @property
    def has_table(self) -> bool:
        """Its records are to be in an Iceberg table."""
        return bool(self.config["floe.table.enable"]) and not self.is_internal

    def partition(self, index: int) -> Partition | None:
        """The partition, or None where there is none of that index."""
        partitions = self._partitions
        if partitions is not None:
            partition = partitions.get(index)
            if partition is not None:
                return partition
        if not 0 <= index < self.partition_count:
            return None
        if partitions is None:
            partitions = self._partitions = {}
        partition = partitions[index] = self._make(self, index)
        return partition

    def set_leader_epoch(self, index: int, leader_epoch: int) -> None:
        self.leader_epochs = {**self.leader_epochs, index: leader_epoch}

    def made_partitions(self) -> Iterator[Partition]:
        """Those somebody asked for so far."""
        return iter(tuple((self._partitions or {}).values()))

    def __repr__(self) -> str:
        return f"Topic({self.name!r}, {self.partition_count} partitions)"


class State:
    """Topics by name and by id, settings by resource, and the rest of what the records say."""

    def __init__(self, config: BrokerConfig, make_partition: Callable[[Topic, int], Partition]) -> None:
        self.config = config
        self.topics: dict[str, Topic] = {}
        self.by_id: dict[bytes, Topic] = {}
        self.settings: dict[tuple[int, str], dict[str, str]] = {}
        """(resource type, resource name) → what is set for it."""
        self.features: dict[str, int] = {}
        self.next_producer_id = 0
        self.broker_epoch = -1
        self._make_partition = make_partition
        self._colliding: dict[str, str] = {}
        self._apply: dict[type, Callable[[Any], None]] = {
            TopicRecord: self._add_topic,
            PartitionRecord: self._add_partition,
            PartitionChangeRecord: self._change_partition,
            RemoveTopicRecord: self._remove_topic,
            ConfigRecord: self._set,
            FeatureLevelRecord: self._set_feature,
            ProducerIdsRecord: self._set_producer_ids,
            RegisterBrokerRecord: self._set_broker,
        }

    # --- reading ----------------------------------------------------------------------------------------------

    def settings_of(self, resource_type: int, resource_name: str) -> Mapping[str, str]:
        """What is set for a resource, as text; empty where nothing is."""
        return self.settings.get((resource_type, resource_name), _NOTHING)

    def colliding_topic(self, name: str) -> str | None:
        """The topic that differs from `name` in nothing but '.' and '_'."""
        return self._colliding.get(collision_key(name)) if may_collide(name) else None

    def image(self) -> dict[str, Any]:
        """Everything the state consists of, as values that compare."""
        return {
            "topics": {
                topic.name: (
                    topic.topic_id,
                    topic.partition_count,
                    dict(topic.leader_epochs),
                    topic.config.values,
                )
                for topic in self.topics.values()
            },
            "by_id": {topic_id: topic.name for topic_id, topic in self.by_id.items()},
            "settings": self.settings,
            "features": self.features,
            "next_producer_id": self.next_producer_id,
            "broker_epoch": self.broker_epoch,
            "dynamic": self.config.dynamic,
            "colliding": self._colliding,
        }

    # --- changing ---------------------------------------------------------------------------------------------

    def apply(self, record: Any) -> None:
        """Take one record in. Records of types the catalog has no use for change nothing."""
        change = self._apply.get(type(record))
        if change is not None:
            change(record)

    def add_topic(
        self, name: str, topic_id: bytes, partition_count: int, settings: Mapping[str, str]
    ) -> None:
        """A whole topic at once: how the checkpoint loads them."""
        assert name not in self.topics and topic_id not in self.by_id
        if settings:
            self.settings[TOPIC, name] = dict(settings)
        topic = Topic(name, topic_id, self._topic_config(settings), self._make_partition)
        topic.partition_count = partition_count
        self.topics[name] = self.by_id[topic_id] = topic
        if may_collide(name):
            self._colliding[collision_key(name)] = name

    def set_resource(self, resource_type: int, resource_name: str, settings: Mapping[str, str]) -> None:
        """All settings of a resource that is no topic at once: how the checkpoint loads them."""
        assert settings and resource_type != TOPIC
        self.settings[resource_type, resource_name] = dict(settings)
        self._settings_changed(resource_type, resource_name)

    def _add_topic(self, record: TopicRecord) -> None:
        self.add_topic(record.name, record.topic_id, 0, self.settings_of(TOPIC, record.name))

    def _add_partition(self, record: PartitionRecord) -> None:
        topic = self.by_id[record.topic_id]
        assert record.partition_id == topic.partition_count, "partitions are added in their order"
        topic.partition_count += 1
        if record.leader_epoch:
            topic.set_leader_epoch(record.partition_id, record.leader_epoch)

    def _change_partition(self, record: PartitionChangeRecord) -> None:
        """Written by Apache Kafka only: another leader, be it none, is another epoch (PartitionRegistration.merge)."""
        if record.leader != _SAME_LEADER:
            topic = self.by_id[record.topic_id]
            topic.set_leader_epoch(record.partition_id, topic.leader_epochs.get(record.partition_id, 0) + 1)

    def _remove_topic(self, record: RemoveTopicRecord) -> None:
        topic = self.by_id.pop(record.topic_id)
        removed = self.topics.pop(topic.name)
        assert removed is topic
        self.settings.pop((TOPIC, topic.name), None)
        if may_collide(topic.name):
            del self._colliding[collision_key(topic.name)]

    def _set(self, record: ConfigRecord) -> None:
        key = record.resource_type, record.resource_name
        settings = self.settings.setdefault(key, {})
        if record.value is None:
            settings.pop(record.name, None)
        else:
            settings[record.name] = record.value
        if not settings:
            del self.settings[key]
        self._settings_changed(*key)

    def _settings_changed(self, resource_type: int, resource_name: str) -> None:
        settings = self.settings_of(resource_type, resource_name)
        if resource_type == TOPIC:
            topic = self.topics.get(resource_name)
            if topic is not None:  # else its TopicRecord follows
                topic.config = self._topic_config(settings)
        elif resource_type == BROKER and resource_name in ("", str(self.config.node_id)):
            self.config.set_dynamic(resource_name, usable(settings, BROKER_SETTINGS))
            for topic in self.topics.values():
                topic.config = self._topic_config(self.settings_of(TOPIC, topic.name))

    def _topic_config(self, settings: Mapping[str, str]) -> TopicConfig:
        return self.config.topic_config(usable(settings, TOPIC_SETTINGS) if settings else settings)

    def _set_feature(self, record: FeatureLevelRecord) -> None:
        if record.feature_level:
            self.features[record.name] = record.feature_level
        else:
            self.features.pop(record.name, None)

    def _set_producer_ids(self, record: ProducerIdsRecord) -> None:
        assert record.next_producer_id >= self.next_producer_id, "producer ids are never handed out twice"
        self.next_producer_id = record.next_producer_id

    def _set_broker(self, record: RegisterBrokerRecord) -> None:
        self.broker_epoch = record.broker_epoch
