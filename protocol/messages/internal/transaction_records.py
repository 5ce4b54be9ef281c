"""What `__transaction_state` holds (KIP-98, KIP-890): one record per transactional id, framed as `offset_records.py`
says."""

from __future__ import annotations

from protocol.schema import array, int8, int16, int32, int64, persisted, string, struct


@persisted("transaction-key", 0, versions="0")
class TransactionLogKey:
    transactional_id: str = string()


@struct
class PartitionsSchema:
    topic: str = string()
    partition_ids: list[int] = array(int32)


@persisted("transaction-value", 0, versions="0-1", flexible="1+")
class TransactionLogValue:
    producer_id: int = int64()
    previous_producer_id: int = int64(default=-1, tag=0, tagged="1+")  # KIP-915
    next_producer_id: int = int64(default=-1, tag=1, tagged="1+")
    producer_epoch: int = int16()
    next_producer_epoch: int = int16(default=-1, tag=3, tagged="1+")
    transaction_timeout_ms: int = int32()
    transaction_status: int = int8()
    transaction_partitions: list[PartitionsSchema] | None = array(PartitionsSchema, nullable="0+")
    transaction_last_update_timestamp_ms: int = int64()
    transaction_start_timestamp_ms: int = int64()
    client_transaction_version: int = int16(tag=2, tagged="1+")
