"""ConsumerGroupHeartbeat: join, stay in and leave a consumer group of the new protocol (KIP-848).

v1   request subscribed_topic_regex (KIP-848, KIP-1082)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, int16, int32, nested, request, response, string, struct, uuid


@struct
class TopicPartitions:
    topic_id: bytes = uuid()
    partitions: list[int] = array(int32)


@request(ApiKey.CONSUMER_GROUP_HEARTBEAT, versions="0-1", flexible="0+")
class ConsumerGroupHeartbeatRequest:
    group_id: str = string()
    member_id: str = string()
    member_epoch: int = int32()  # 0 joins, -1 leaves, -2 leaves for a while (static members)
    instance_id: str | None = string(nullable="0+")
    rack_id: str | None = string(nullable="0+")
    rebalance_timeout_ms: int = int32(default=-1)
    subscribed_topic_names: list[str] | None = array(string, nullable="0+", default=None)  # null: as before
    subscribed_topic_regex: str | None = string("1+", nullable="1+")  # KIP-848, KIP-1082
    server_assignor: str | None = string(nullable="0+")
    # topic_partitions: what the member owns; null: as before
    topic_partitions: list[TopicPartitions] | None = array(TopicPartitions, nullable="0+", default=None)


@struct
class Assignment:
    topic_partitions: list[TopicPartitions] = array(TopicPartitions)


@response(ApiKey.CONSUMER_GROUP_HEARTBEAT, versions="0-1", flexible="0+")
class ConsumerGroupHeartbeatResponse:
    throttle_time_ms: int = int32()
    error_code: int = int16()
    error_message: str | None = string(nullable="0+")
    member_id: str | None = string(nullable="0+")
    member_epoch: int = int32()
    heartbeat_interval_ms: int = int32()
    assignment: Assignment | None = nested(Assignment, nullable="0+")  # null: as before
