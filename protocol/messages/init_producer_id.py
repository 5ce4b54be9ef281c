"""InitProducerId: an id and epoch for an idempotent or transactional producer.

v1   the broker answers before it throttles (KIP-219)
v2   flexible (KIP-482)
v3   request producer_id, producer_epoch (KIP-360)
v4   PRODUCER_FENCED is told from INVALID_PRODUCER_EPOCH (KIP-588)
v5   TRANSACTION_ABORTABLE may be answered (KIP-890)
v6   request enable2_pc, keep_prepared_txn; response ongoing_txn_producer_id, ongoing_txn_producer_epoch;
     two-phase commit; Kafka 4.3 does not advertise it (KIP-939)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import bool_, int16, int32, int64, request, response, string


@request(ApiKey.INIT_PRODUCER_ID, versions="0-6", flexible="2+")
class InitProducerIdRequest:
    transactional_id: str | None = string(nullable="0+")
    transaction_timeout_ms: int = int32()
    producer_id: int = int64("3+", default=-1)  # -1 for a new one
    producer_epoch: int = int16("3+", default=-1)
    enable2_pc: bool = bool_("6+")  # KIP-939
    keep_prepared_txn: bool = bool_("6+")


@response(ApiKey.INIT_PRODUCER_ID, versions="0-6", flexible="2+")
class InitProducerIdResponse:
    throttle_time_ms: int = int32()
    error_code: int = int16()
    producer_id: int = int64(default=-1)
    producer_epoch: int = int16()
    ongoing_txn_producer_id: int = int64("6+", default=-1)  # KIP-939
    ongoing_txn_producer_epoch: int = int16("6+", default=-1)
