"""A partition as the broker sees it: validation above the log, and who waits for it.

What Kafka's LogValidator checks is checked here on the batch *header*; records are looked into only where a topic's
configuration makes that necessary (compaction, recompression, the old message formats, `floe.records.validate`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from protocol.errors import ApiError, ErrorCode
from protocol.record_checks import header_refusal, timestamp_refusal
from protocol.records import (
    CODEC_MASK,
    LOG_APPEND_TIME_BIT,
    TRANSACTIONAL_BIT,
    CorruptBatch,
    RecordBatch,
    crc_is_valid,
    parse_batches,
    peek_magic,
    stamp_append_time,
)

if TYPE_CHECKING:
    from broker.config import TopicConfig
    from broker.topics.catalog import Topic
    from wal.log import Appended, Log

_ZSTD: Final = 4
_ZSTD_PRODUCE_VERSION: Final = 7  # KIP-110
_SINGLE_BATCH_VERSION: Final = 3  # KIP-98: from v3 on, exactly one batch of magic 2


class DurabilityWaiter(Protocol):
    """Whoever waits until an offset is on disk; called once, on the loop."""

    def durable(self) -> None: ...


class ProgressWaiter(Protocol):
    """Whoever waits for records to become visible; called at each move until it leaves."""

    def progressed(self, partition: Partition) -> None: ...


class Partition:
    """One partition. The log opens at first use, so ten thousand idle ones cost a few hundred bytes each."""

    __slots__ = (
        "_durability_waiters",
        "_log",
        "_open_log",
        "index",
        "on_progress",
        "progress_waiters",
        "topic",
    )

    def __init__(self, topic: Topic, index: int, open_log: Callable[[Partition], Log]) -> None:
        self.topic = topic
        self.index = index
        self.progress_waiters: dict[ProgressWaiter, None] = {}  # a dict for its order
        self.on_progress: Callable[[Partition], None] | None = None
        """Called once, when more is durable, and then forgotten: whoever wants to hear of more sets it again."""
        self._open_log = open_log
        self._log: Log | None = None
        self._durability_waiters: deque[tuple[int, DurabilityWaiter]] = deque()

    def __repr__(self) -> str:
        return f"{self.topic.name}-{self.index}"

    @property
    def log(self) -> Log:
        log = self._log
        if log is None:
            log = self._log = self._open_log(self)
            log.on_durable = self._on_durable
        return log

    @property
    def opened_log(self) -> Log | None:
        """The log if anybody used it since the start."""
        return self._log

    @property
    def leader_epoch(self) -> int:
        return self.log.leader_epoch

    @property
    def config(self) -> TopicConfig:
        return self.topic.config

    # --- append -----------------------------------------------------------------------------------------------

    def append(
        self,
        records: memoryview | None,
        version: int,
        now_ms: int,
        admit: Callable[[Partition, RecordBatch], None] | None = None,
    ) -> Appended:
        """Validate the `records` field of a Produce request of `version` and append it.

        `admit` lets a batch into its producer's transaction, or raises ApiError; None where there can be none.
        Raises ApiError with the code Kafka gives; DiskFull and StorageFailed come from the log. Nothing has been
        written where it raises.
        """
        if not records:
            raise ApiError(ErrorCode.INVALID_RECORD, f"{self}: the request holds no record batch")
        config = self.topic.config
        try:
            if len(records) > 16 and peek_magic(records, 0) < 2:
                records = self._convert_old_format(records, version)
            batches = parse_batches(records)
            for batch in batches:
                self._validate(records, batch, config, version, now_ms)
        except CorruptBatch as error:
            raise ApiError(ErrorCode.CORRUPT_MESSAGE, f"{self}: {error}") from error
        if version >= _SINGLE_BATCH_VERSION and len(batches) != 1:
            raise ApiError(
                ErrorCode.INVALID_RECORD, f"{self}: {len(batches)} batches where exactly one is allowed"
            )
        if config.looks_inside:
            try:
                records, batches = self._rewrite(records, batches, config)
            except (
                CorruptBatch
            ) as error:  # the CRC was right: this is what the producer made, not what became of it
                raise ApiError(ErrorCode.INVALID_RECORD, f"{self}: {error}") from error
        log = self.log
        if self.progress_waiters:
            log.flusher.is_awaited = True
        for batch in batches:
            if batch.attributes & TRANSACTIONAL_BIT:
                if admit is None:
                    raise ApiError(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
                admit(self, batch)
        return log.append(records, batches, now_ms)

    def _validate(
        self, records: memoryview, batch: RecordBatch, config: TopicConfig, version: int, now_ms: int
    ) -> None:
        if batch.size > config.max_message_bytes:
            raise ApiError(
                ErrorCode.MESSAGE_TOO_LARGE,
                f"{self}: a batch of {batch.size} bytes, max.message.bytes is {config.max_message_bytes}",
            )
        if not crc_is_valid(records, batch):
            raise ApiError(ErrorCode.CORRUPT_MESSAGE, f"{self}: the CRC of the batch does not match")
        reason = header_refusal(batch)
        if reason is None and batch.base_offset:
            reason = (
                f"The baseOffset of the record batch in the append should be 0, but it is {batch.base_offset}"
            )
        if reason is not None:
            raise ApiError(ErrorCode.INVALID_RECORD, f"{self}: {reason}")
        attributes = batch.attributes
        if attributes & CODEC_MASK == _ZSTD and version < _ZSTD_PRODUCE_VERSION:
            raise ApiError(
                ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, f"{self}: zstd in Produce v{version} (KIP-110)"
            )
        if config.stamps_append_time:
            stamp_append_time(records, batch, now_ms)
        else:
            reason = timestamp_refusal(
                batch, now_ms, config.message_timestamp_before_max_ms, config.message_timestamp_after_max_ms
            )
            if reason is not None:
                self._refuse_timestamps(records, batch, config, now_ms, reason)

    def _refuse_timestamps(
        self, records: memoryview, batch: RecordBatch, config: TopicConfig, now_ms: int, reason: str
    ) -> None:
        from broker.topics import rewriting

        if not batch.attributes & LOG_APPEND_TIME_BIT:
            rewriting.refuse_timestamps(self, records, batch, config, now_ms)
        raise ApiError(ErrorCode.INVALID_TIMESTAMP, f"{self}: {reason}")

    def _convert_old_format(self, records: memoryview, version: int) -> memoryview:
        from broker.topics import rewriting

        if version >= _SINGLE_BATCH_VERSION:
            raise ApiError(
                ErrorCode.INVALID_RECORD, f"{self}: Produce v{version} takes magic 2 only (KIP-98)"
            )
        return rewriting.convert_up(records)

    def _rewrite(
        self, records: memoryview, batches: list[RecordBatch], config: TopicConfig
    ) -> tuple[memoryview, list[RecordBatch]]:
        from broker.topics import rewriting

        return rewriting.rewrite(self, records, batches, config)

    # --- waiting ----------------------------------------------------------------------------------------------

    def when_durable(self, end_offset: int, waiter: DurabilityWaiter) -> bool:
        """Have `waiter` called once everything below `end_offset` is synced; False if it is already."""
        log = self.log
        if log.durable_offset >= end_offset:
            return False
        log.flusher.is_awaited = True
        self._durability_waiters.append((end_offset, waiter))
        return True

    def _on_durable(self, durable_offset: int) -> None:
        waiters = self._durability_waiters
        while waiters and waiters[0][0] <= durable_offset:
            waiters.popleft()[1].durable()
        if self.progress_waiters:
            for waiter in list(self.progress_waiters):
                waiter.progressed(self)
        if self.on_progress is not None:
            told, self.on_progress = self.on_progress, None
            told(self)

    # --- the catalog's hooks ----------------------------------------------------------------------------------

    def config_changed(self) -> None:
        """The topic's configuration was replaced."""
        if self._log is not None:
            self._log.configure(self.topic.config.log_config())

    def deleted(self) -> None:
        """The topic is gone: whoever waits is let go, to find that out."""
        for waiter in list(self.progress_waiters):
            waiter.progressed(self)
        waiting, self._durability_waiters = self._durability_waiters, deque()
        for _, writer in waiting:
            writer.durable()
