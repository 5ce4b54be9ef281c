"""What `__share_group_state` holds: the delivery state of the records in flight (KIP-932), framed as
`offset_records.py` says."""

from __future__ import annotations

from protocol.schema import array, int8, int16, int32, int64, persisted, string, struct, uuid


@persisted("share-key", 0, versions="0")
class ShareSnapshotKey:
    group_id: str = string()
    topic_id: bytes = uuid()
    partition: int = int32()


@struct
class StateBatch:
    first_offset: int = int64()
    last_offset: int = int64()
    delivery_state: int = int8()
    delivery_count: int = int16()


@persisted("share-value", 0, versions="0", flexible="0+")
class ShareSnapshotValue:
    snapshot_epoch: int = int32()
    state_epoch: int = int32()
    leader_epoch: int = int32()
    start_offset: int = int64()
    delivery_complete_count: int = int32(default=-1, tag=0, tagged="0+")
    create_timestamp: int = int64()
    write_timestamp: int = int64()
    state_batches: list[StateBatch] = array(StateBatch)


@persisted("share-key", 1, versions="0")
class ShareUpdateKey:
    group_id: str = string()
    topic_id: bytes = uuid()
    partition: int = int32()


@persisted("share-value", 1, versions="0", flexible="0+")
class ShareUpdateValue:
    snapshot_epoch: int = int32()
    leader_epoch: int = int32()
    start_offset: int = int64()
    delivery_complete_count: int = int32(default=-1, tag=0, tagged="0+")
    state_batches: list[StateBatch] = array(StateBatch)
