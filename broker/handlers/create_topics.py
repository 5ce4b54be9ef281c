"""CreateTopics (key 19), versions 0 to 7.

v1  validate_only, error messages      v2  throttle time       v4  -1 for the broker's defaults (KIP-464)
v5  flexible; partitions, replication factor and settings in the answer (KIP-525)        v7  topic ids (KIP-516)

One broker: a replication factor other than 1 or -1 is refused as Kafka refuses what it cannot place. The time-out is
not needed: the answer comes with the next sync. There are no creation policies and no quotas (KIP-599).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.topics.commands import CreatedTopic, CreateTopics, NewTopic, Result
from broker.topics.settings_origin import describe_topic
from protocol.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfigs,
    CreatableTopicResult,
    CreateTopicsRequest,
    CreateTopicsResponse,
)

if TYPE_CHECKING:
    from broker.request import Deferred, Request
    from broker.runtime import Broker


def handle(broker: Broker, request: Request) -> Deferred[CreateTopicsResponse]:
    message: CreateTopicsRequest = request.message
    topics = [_new_topic(broker, topic) for topic in message.topics]

    def respond(results: list[Result]) -> CreateTopicsResponse:
        # A name that stands there twice is refused twice and told once.
        by_name = dict(zip((topic.name for topic in topics), results, strict=True))
        return CreateTopicsResponse(
            topics=[_result(broker, name, result) for name, result in by_name.items()]
        )

    return broker.catalog.answer(CreateTopics(topics, message.validate_only), respond)


def _new_topic(broker: Broker, topic: CreatableTopic) -> NewTopic:
    return NewTopic(
        name=topic.name,
        topic_id=broker.new_id(),
        num_partitions=topic.num_partitions,
        replication_factor=topic.replication_factor,
        assignments=[(entry.partition_index, entry.broker_ids) for entry in topic.assignments],
        settings=[(config.name, config.value) for config in topic.configs],
    )


def _result(broker: Broker, name: str, result: Result) -> CreatableTopicResult:
    if not result.is_success:
        return CreatableTopicResult(
            name=name, error_code=result.error, error_message=result.message, configs=[]
        )
    created: CreatedTopic = result.value
    return CreatableTopicResult(
        name=name,
        topic_id=created.topic_id,
        num_partitions=created.num_partitions,
        replication_factor=1,
        configs=[
            CreatableTopicConfigs(
                name=described.setting.name,
                value=described.value,
                config_source=described.source,
                is_sensitive=described.setting.is_sensitive,
            )
            for described in describe_topic(broker.catalog.state, created.settings)
        ],
    )
