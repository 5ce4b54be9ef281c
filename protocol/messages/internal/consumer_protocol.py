"""What members of a classic "consumer" group put into the opaque bytes of JoinGroup and SyncGroup. An int16 with the
version stands before each; a reader takes any version and ignores what is newer than it knows."""

from __future__ import annotations

from protocol.schema import array, bytes_, int32, persisted, string, struct


@struct
class TopicPartition:
    topic: str = string("1+")
    partitions: list[int] = array(int32, "1+")


@persisted("data", versions="0-3")
class ConsumerProtocolSubscription:
    topics: list[str] = array(string)
    user_data: bytes | None = bytes_(nullable="0+")
    owned_partitions: list[TopicPartition] = array(TopicPartition, "1+", ignorable=True)
    generation_id: int = int32("2+", default=-1, ignorable=True)
    rack_id: str | None = string("3+", nullable="3+", ignorable=True)


@struct
class ConsumerProtocolAssignmentTopicPartition:
    topic: str = string()
    partitions: list[int] = array(int32)


@persisted("data", versions="0-3")
class ConsumerProtocolAssignment:
    assigned_partitions: list[ConsumerProtocolAssignmentTopicPartition] = array(
        ConsumerProtocolAssignmentTopicPartition
    )
    user_data: bytes | None = bytes_(nullable="0+")
