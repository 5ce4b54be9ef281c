"""Metadata (key 3), versions 0 to 13.

v1  null means all topics, controller, racks   v2  cluster id           v4  allow_auto_topic_creation (KIP-204)
v5  offline replicas                           v7  leader epochs        v8  authorised operations (KIP-430)
v9  flexible                                   v10 topic ids (KIP-516)  v12 lookups by id      v13 a top-level error

Topics are created on the way where the client and `auto.create.topics.enable` allow it; unlike Kafka's, the answer
waits for them, so that a producer's first record needs no second round.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from broker.security.operations import NOT_ASKED, Resource, authorized_operations
from protocol.errors import ErrorCode
from protocol.messages.metadata import (
    MetadataRequest,
    MetadataRequestTopic,
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from protocol.schema import ZERO_UUID

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker
    from broker.topics.catalog import Topic

_NULL_MEANS_ALL_VERSION: Final = 1
_IDS_VERSION: Final = 12
_CLUSTER_OPERATIONS_LAST_VERSION: Final = 10


def handle(broker: Broker, request: Request) -> Any:
    message: MetadataRequest = request.message
    if message.topics is None or (request.version < _NULL_MEANS_ALL_VERSION and not message.topics):
        topics = [_describe(broker, topic, message) for topic in broker.catalog.topics.values()]
        return _respond(broker, request, topics)
    if request.version < _IDS_VERSION and any(
        t.name is None or t.topic_id != ZERO_UUID for t in message.topics
    ):
        # v10 and v11 have the field already, but brokers take no ids there, and the answer cannot be nameless.
        return MetadataResponse(topics=[_refused(asked) for asked in message.topics])
    missing = _missing(broker, message)
    if missing:
        return _create_and_respond(broker, request, missing)
    return _respond(broker, request, _look_up(broker, message))


def _refused(asked: MetadataRequestTopic) -> MetadataResponseTopic:
    return MetadataResponseTopic(
        error_code=ErrorCode.INVALID_REQUEST, name=asked.name or "", topic_id=asked.topic_id
    )


def _missing(broker: Broker, message: MetadataRequest) -> list[str]:
    """The topics to create: those named, valid, absent, and wanted by client and configuration."""
    assert message.topics is not None
    if not (message.allow_auto_topic_creation and broker.config.auto_create_topics_enable):
        return []
    return [
        topic.name
        for topic in message.topics
        if topic.name
        and topic.topic_id == ZERO_UUID
        and topic.name not in broker.catalog.topics
        and broker.why_no_topic(topic.name) == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    ]


async def _create_and_respond(broker: Broker, request: Request, missing: list[str]) -> MetadataResponse:
    await broker.create_topics(missing)
    return _respond(broker, request, _look_up(broker, request.message))


def _look_up(broker: Broker, message: MetadataRequest) -> list[MetadataResponseTopic]:
    assert message.topics is not None
    # What stands there twice is told once.
    asked = {(topic.name, topic.topic_id): topic for topic in message.topics}
    return [_look_up_one(broker, topic, message) for topic in asked.values()]


def _look_up_one(
    broker: Broker, asked: MetadataRequestTopic, message: MetadataRequest
) -> MetadataResponseTopic:
    if asked.topic_id != ZERO_UUID:
        topic = broker.catalog.by_id.get(asked.topic_id)
        if topic is None:
            return MetadataResponseTopic(
                error_code=ErrorCode.UNKNOWN_TOPIC_ID, name=None, topic_id=asked.topic_id
            )
        return _describe(broker, topic, message)
    name = asked.name or ""
    topic = broker.catalog.topics.get(name)
    if topic is None:
        return MetadataResponseTopic(error_code=broker.why_no_topic(name), name=name)
    return _describe(broker, topic, message)


def _describe(broker: Broker, topic: Topic, message: MetadataRequest) -> MetadataResponseTopic:
    node = [broker.node_id]
    epochs = topic.leader_epochs
    operations = NOT_ASKED
    if message.include_topic_authorized_operations:
        operations = authorized_operations(Resource.TOPIC)
    return MetadataResponseTopic(
        name=topic.name,
        topic_id=topic.topic_id,
        is_internal=topic.is_internal,
        partitions=[
            MetadataResponsePartition(
                partition_index=index,
                leader_id=broker.node_id,
                leader_epoch=epochs.get(index, 0),
                replica_nodes=node,
                isr_nodes=node,
            )
            for index in range(topic.partition_count)
        ],
        topic_authorized_operations=operations,
    )


def _respond(broker: Broker, request: Request, topics: Iterable[MetadataResponseTopic]) -> MetadataResponse:
    host, port = broker.advertised(request.connection)
    operations = NOT_ASKED
    if (
        request.version <= _CLUSTER_OPERATIONS_LAST_VERSION
        and request.message.include_cluster_authorized_operations
    ):
        operations = authorized_operations(Resource.CLUSTER)
    return MetadataResponse(
        brokers=[MetadataResponseBroker(node_id=broker.node_id, host=host, port=port, rack=broker.rack)],
        cluster_id=broker.cluster_id,
        controller_id=broker.node_id,
        topics=list(topics),
        cluster_authorized_operations=operations,
    )
