"""AddPartitionsToTxn: partitions a transaction is about to write to.

v1   the broker answers before it throttles (KIP-219)
v2   PRODUCER_FENCED is told from INVALID_PRODUCER_EPOCH (KIP-588)
v3   flexible (KIP-482)
v4   request transactions, no longer v3_and_below_transactional_id, v3_and_below_producer_id,
     v3_and_below_producer_epoch, v3_and_below_topics; response error_code, results_by_transaction, no
     longer results_by_topic_v3_and_below; many transactions at once, for brokers among themselves (KIP-890)
v5   TRANSACTION_ABORTABLE may be answered (KIP-890)
"""

from __future__ import annotations

from protocol.api import ApiKey
from protocol.schema import array, bool_, int16, int32, int64, request, response, string, struct


@struct
class AddPartitionsToTxnTopic:
    name: str = string()
    partitions: list[int] = array(int32)


@struct
class AddPartitionsToTxnTransaction:
    transactional_id: str = string("4+")  # KIP-890
    producer_id: int = int64("4+")
    producer_epoch: int = int16("4+")
    verify_only: bool = bool_("4+")
    topics: list[AddPartitionsToTxnTopic] = array(AddPartitionsToTxnTopic, "4+")


@request(ApiKey.ADD_PARTITIONS_TO_TXN, versions="0-5", flexible="3+")
class AddPartitionsToTxnRequest:
    transactions: list[AddPartitionsToTxnTransaction] = array(AddPartitionsToTxnTransaction, "4+")  # KIP-890
    v3_and_below_transactional_id: str = string("0-3")
    v3_and_below_producer_id: int = int64("0-3")
    v3_and_below_producer_epoch: int = int16("0-3")
    v3_and_below_topics: list[AddPartitionsToTxnTopic] = array(AddPartitionsToTxnTopic, "0-3")


@struct
class AddPartitionsToTxnPartitionResult:
    partition_index: int = int32()
    partition_error_code: int = int16()


@struct
class AddPartitionsToTxnTopicResult:
    name: str = string()
    results_by_partition: list[AddPartitionsToTxnPartitionResult] = array(AddPartitionsToTxnPartitionResult)


@struct
class AddPartitionsToTxnResult:
    transactional_id: str = string("4+")  # KIP-890
    topic_results: list[AddPartitionsToTxnTopicResult] = array(AddPartitionsToTxnTopicResult, "4+")


@response(ApiKey.ADD_PARTITIONS_TO_TXN, versions="0-5", flexible="3+")
class AddPartitionsToTxnResponse:
    throttle_time_ms: int = int32()
    error_code: int = int16("4+", ignorable=True)  # KIP-890
    results_by_transaction: list[AddPartitionsToTxnResult] = array(AddPartitionsToTxnResult, "4+")
    results_by_topic_v3_and_below: list[AddPartitionsToTxnTopicResult] = array(
        AddPartitionsToTxnTopicResult, "0-3"
    )
