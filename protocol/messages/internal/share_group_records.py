"""What `__consumer_offsets` holds of share groups (KIP-932), framed as `offset_records.py` says."""

from __future__ import annotations

from protocol.schema import array, int8, int32, int64, persisted, string, struct, uuid


@persisted("group-key", 11, versions="0")
class ShareGroupMetadataKey:
    group_id: str = string()


@persisted("group-value", 11, versions="0", flexible="0+")
class ShareGroupMetadataValue:
    epoch: int = int32()
    metadata_hash: int = int64()


@persisted("group-key", 10, versions="0")
class ShareGroupMemberMetadataKey:
    group_id: str = string()
    member_id: str = string()


@persisted("group-value", 10, versions="0", flexible="0+")
class ShareGroupMemberMetadataValue:
    rack_id: str | None = string(nullable="0+")
    client_id: str = string()
    client_host: str = string()
    subscribed_topic_names: list[str] = array(string)


@persisted("group-key", 12, versions="0")
class ShareGroupTargetAssignmentMetadataKey:
    group_id: str = string()


@persisted("group-value", 12, versions="0", flexible="0+")
class ShareGroupTargetAssignmentMetadataValue:
    assignment_epoch: int = int32()
    assignment_timestamp: int = int64(tag=0, tagged="0+")


@persisted("group-key", 13, versions="0")
class ShareGroupTargetAssignmentMemberKey:
    group_id: str = string()
    member_id: str = string()


@struct
class TopicPartition:
    topic_id: bytes = uuid()
    partitions: list[int] = array(int32)


@persisted("group-value", 13, versions="0", flexible="0+")
class ShareGroupTargetAssignmentMemberValue:
    topic_partitions: list[TopicPartition] = array(TopicPartition)


@persisted("group-key", 14, versions="0")
class ShareGroupCurrentMemberAssignmentKey:
    group_id: str = string()
    member_id: str = string()


@struct
class TopicPartitions:
    topic_id: bytes = uuid()
    partitions: list[int] = array(int32)


@persisted("group-value", 14, versions="0", flexible="0+")
class ShareGroupCurrentMemberAssignmentValue:
    member_epoch: int = int32()
    previous_member_epoch: int = int32()
    state: int = int8()
    assigned_partitions: list[TopicPartitions] = array(TopicPartitions)


@persisted("group-key", 15, versions="0")
class ShareGroupStatePartitionMetadataKey:
    group_id: str = string()


@struct
class TopicPartitionsInfo:
    topic_id: bytes = uuid()
    topic_name: str = string()
    partitions: list[int] = array(int32)


@struct
class TopicInfo:
    topic_id: bytes = uuid()
    topic_name: str = string()


@persisted("group-value", 15, versions="0", flexible="0+")
class ShareGroupStatePartitionMetadataValue:
    initializing_topics: list[TopicPartitionsInfo] = array(TopicPartitionsInfo)
    initialized_topics: list[TopicPartitionsInfo] = array(TopicPartitionsInfo)
    deleting_topics: list[TopicInfo] = array(TopicInfo)
