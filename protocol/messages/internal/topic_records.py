"""What `__cluster_metadata` holds of topics, partitions and configs (KIP-631).

A record's value begins with three unsigned varints: the frame version (1), the record type and the message
version. Its key is null.
"""

from __future__ import annotations

from protocol.schema import array, int8, int32, persisted, string, uuid


@persisted("metadata", 2, versions="0", flexible="0+")
class TopicRecord:
    name: str = string()
    topic_id: bytes = uuid()


@persisted("metadata", 9, versions="0", flexible="0+")
class RemoveTopicRecord:
    topic_id: bytes = uuid()


@persisted("metadata", 3, versions="0-2", flexible="0+")
class PartitionRecord:
    partition_id: int = int32(default=-1)
    topic_id: bytes = uuid()
    replicas: list[int] = array(int32)
    isr: list[int] = array(int32)
    removing_replicas: list[int] = array(int32)
    adding_replicas: list[int] = array(int32)
    leader: int = int32(default=-1)
    leader_recovery_state: int = int8(tag=0, tagged="0+")
    leader_epoch: int = int32(default=-1)
    partition_epoch: int = int32(default=-1)
    directories: list[bytes] = array(uuid, "1+")  # KIP-858
    eligible_leader_replicas: list[int] | None = array(int32, nullable="2+", default=None, tag=1, tagged="2+")
    last_known_elr: list[int] | None = array(int32, nullable="2+", default=None, tag=2, tagged="2+")


@persisted("metadata", 5, versions="0-2", flexible="0+")
class PartitionChangeRecord:
    partition_id: int = int32(default=-1)
    topic_id: bytes = uuid()
    isr: list[int] | None = array(int32, nullable="0+", default=None, tag=0, tagged="0+")
    leader: int = int32(default=-2, tag=1, tagged="0+")
    replicas: list[int] | None = array(int32, nullable="0+", default=None, tag=2, tagged="0+")
    removing_replicas: list[int] | None = array(int32, nullable="0+", default=None, tag=3, tagged="0+")
    adding_replicas: list[int] | None = array(int32, nullable="0+", default=None, tag=4, tagged="0+")
    leader_recovery_state: int = int8(default=-1, tag=5, tagged="0+")
    directories: list[bytes] | None = array(uuid, nullable="1+", default=None, tag=8, tagged="1+")  # KIP-858
    eligible_leader_replicas: list[int] | None = array(int32, nullable="2+", default=None, tag=6, tagged="2+")
    last_known_elr: list[int] | None = array(int32, nullable="2+", default=None, tag=7, tagged="2+")


@persisted("metadata", 4, versions="0", flexible="0+")
class ConfigRecord:
    resource_type: int = int8()
    resource_name: str = string()
    name: str = string()
    value: str | None = string(nullable="0+")


@persisted("metadata", 28, versions="0", flexible="0+")
class ClearElrRecord:
    topic_name: str = string()
