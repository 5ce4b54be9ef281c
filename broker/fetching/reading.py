"""What one partition answers to one fetch: a value, made without touching anything else."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from protocol.errors import ApiError, ErrorCode, StorageFailed
from protocol.messages.fetch import AbortedTransaction, EpochEndOffset, LeaderIdAndEpoch, PartitionData
from protocol.records import CorruptBatch

if TYPE_CHECKING:
    from broker.fetching.sessions import FetchedPartition
    from broker.runtime import Broker
    from broker.topics.partition import Partition

log = logging.getLogger("floe.fetch")

READ_COMMITTED: Final = 1
_ZSTD_FETCH_VERSION: Final = 10  # KIP-110
_CURRENT_LEADER_VERSION: Final = 16  # KIP-951
_NEWEST_OLD_FORMAT_VERSION: Final = 3  # Fetch v0-1 speak magic 0, v2-3 magic 1


class Read(NamedTuple):
    """A partition's answer, the bytes of records in it, and the partition to wait for if they do not suffice."""

    data: PartitionData
    size: int
    partition: Partition | None


class Terms(NamedTuple):
    """What holds for every partition of a fetch."""

    version: int
    isolation_level: int


def find_partition(broker: Broker, topic: bytes | str, index: int) -> Partition:
    """Raises ApiError where there is none, with the code that fits how it was named."""
    if isinstance(topic, bytes):
        found = broker.catalog.by_id.get(topic)
        if found is None:
            raise ApiError(ErrorCode.UNKNOWN_TOPIC_ID)
    else:
        found = broker.catalog.topics.get(topic)
        if found is None:
            raise ApiError(broker.why_no_topic(topic))
    partition = found.partition(index)
    if partition is None:
        raise ApiError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    return partition


def refusal(broker: Broker, error: ApiError | StorageFailed) -> tuple[ErrorCode, str]:
    """Code and message to answer with instead of what was asked for. Where the disk is to blame, the broker is told."""
    if isinstance(error, ApiError):
        return error.code, error.message
    broker.storage_failed(error)
    return ErrorCode.KAFKA_STORAGE_ERROR, str(error)


def error_code(broker: Broker, error: ApiError | StorageFailed) -> ErrorCode:
    """The code of `refusal`, for responses without room for a message."""
    return refusal(broker, error)[0]


def check_leader_epoch(partition: Partition, current_leader_epoch: int) -> None:
    """Fence a client whose metadata is older or newer than we are (KIP-320); -1 asks for no check."""
    if current_leader_epoch < 0:
        return
    if current_leader_epoch < partition.leader_epoch:
        raise ApiError(ErrorCode.FENCED_LEADER_EPOCH)
    if current_leader_epoch > partition.leader_epoch:
        raise ApiError(ErrorCode.UNKNOWN_LEADER_EPOCH)


def read_partition(
    broker: Broker, index: int, wanted: FetchedPartition, terms: Terms, max_bytes: int, min_one_batch: bool
) -> Read:
    """Read what `wanted` asks for, at most `max_bytes` of it (one batch even so where `min_one_batch`)."""
    partition = None
    try:
        partition = find_partition(broker, wanted.topic, index)
        check_leader_epoch(partition, wanted.current_leader_epoch)
        return _read(partition, wanted, terms, max_bytes, min_one_batch)
    except CorruptBatch as error:
        # Its CRC was right when it came: what is inside was the producer's, and only conversion looks there.
        log.warning("%s from offset %d: %s", partition, wanted.fetch_offset, error)
        code = ErrorCode.CORRUPT_MESSAGE
    except (ApiError, StorageFailed) as error:
        code = error_code(broker, error)
    return Read(_failed(broker, partition, index, code, terms.version), 0, None)


def _read(
    partition: Partition, wanted: FetchedPartition, terms: Terms, max_bytes: int, min_one_batch: bool
) -> Read:
    log = partition.log
    committed = terms.isolation_level == READ_COMMITTED
    last_stable_offset = log.last_stable_offset
    end_offset = last_stable_offset if committed else log.high_watermark
    data = PartitionData(
        partition_index=partition.index,
        high_watermark=log.high_watermark,
        last_stable_offset=last_stable_offset,
        log_start_offset=log.log_start_offset,
        aborted_transactions=[] if committed else None,
        records=b"",
    )
    if wanted.last_fetched_epoch >= 0:
        epoch, epoch_end_offset = log.epoch_end_offset(wanted.last_fetched_epoch)
        if epoch < 0:  # nothing is known of such an epoch, or it has not been
            raise ApiError(ErrorCode.OFFSET_OUT_OF_RANGE)
        if epoch < wanted.last_fetched_epoch or epoch_end_offset < wanted.fetch_offset:
            data.diverging_epoch = EpochEndOffset(epoch=epoch, end_offset=epoch_end_offset)
            return Read(data, 0, None)
    piece = log.read(wanted.fetch_offset, max_bytes, end_offset, min_one_batch)
    if piece is None:
        return Read(data, 0, partition)
    if terms.version < _ZSTD_FETCH_VERSION and partition.config.compression_type == "zstd":
        raise ApiError(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE)
    if terms.version <= _NEWEST_OLD_FORMAT_VERSION:
        from broker.topics import rewriting

        records = rewriting.for_old_fetcher(partition, piece, wanted.fetch_offset, terms.version)
        data.records = records
        return Read(data, len(records), partition)
    data.records = piece
    if committed:
        # Those within what is sent: the whole log's would be sent again and again.
        data.aborted_transactions = [
            AbortedTransaction(producer_id=aborted.producer_id, first_offset=aborted.first_offset)
            for aborted in log.aborted_transactions(wanted.fetch_offset, piece.next_offset)
        ]
    return Read(data, piece.length, partition)


def _failed(
    broker: Broker, partition: Partition | None, index: int, code: ErrorCode, version: int
) -> PartitionData:
    data = PartitionData(
        partition_index=index,
        error_code=code,
        high_watermark=-1,
        last_stable_offset=-1,
        log_start_offset=-1,
        aborted_transactions=[] if partition is None else None,
        records=b"",
    )
    if partition is None or version < _CURRENT_LEADER_VERSION:
        return data
    if code is ErrorCode.FENCED_LEADER_EPOCH:
        data.current_leader = LeaderIdAndEpoch(leader_id=broker.node_id, leader_epoch=partition.leader_epoch)
    return data
