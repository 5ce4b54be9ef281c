"""A synchronous consumer without a group: fetches partitions from their leaders and yields records in
offset order.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, Final, TypeVar

from broker.cli import admin
from broker.cli.client import BrokerError, Client, Connection, ConnectionLost
from broker.cli.errors import CommandFailed
from protocol import legacy, records
from protocol.api import ApiKey
from protocol.compression import READER_LIMIT_BYTES
from protocol.errors import ErrorCode
from protocol.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from protocol.records import CorruptBatch, Record, RecordBatch

Item = TypeVar("Item")

_RETRY_PAUSE_S: Final = 0.1
_RETRIABLE: Final = frozenset(
    {
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.LEADER_NOT_AVAILABLE,
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.UNKNOWN_LEADER_EPOCH,
        ErrorCode.REPLICA_NOT_AVAILABLE,
        ErrorCode.OFFSET_NOT_AVAILABLE,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.INCONSISTENT_TOPIC_ID,
    }
)


@dataclass(slots=True)
class Consumer:
    """Reads `positions` (partition -> next offset) of one topic, onwards for ever or up to `ends`."""

    client: Client
    topic: str
    positions: dict[int, int]
    ends: dict[int, int] | None = None  # exclusive
    isolation: int = admin.READ_UNCOMMITTED
    max_wait_ms: int = 500
    max_bytes: int = 32 << 20
    max_partition_bytes: int = 1 << 20
    failing_since: float | None = field(default=None)

    def records(self) -> Iterator[tuple[int, Record] | None]:
        """Yield (partition, record); None after each round of fetches. Raises BrokerError, CommandFailed."""
        return self._rounds(self._read)

    def batches(self) -> Iterator[tuple[int, memoryview] | None]:
        """Yield (partition, whole batches) instead: what is shown of one answer, or a message set of format 0 or 1.

        The first batch may begin before the position, the last one reach beyond the end.
        """
        return self._rounds(self._read_batches)

    def _rounds(self, read: Callable[[Any], Iterator[Item]]) -> Iterator[Item | None]:
        while True:
            open_positions = {
                index: offset for index, offset in self.positions.items() if not self._is_done(index)
            }
            if not open_positions:
                return
            groups = self.client.by_leader(self.topic, open_positions)
            asked: list[Connection] = []
            failed: CommandFailed | None = None
            for node_id, positions in groups.items():
                connection = self.client.broker(node_id)
                self._send(connection, positions)
                asked.append(connection)
            for connection in asked:
                try:
                    response = connection.receive()
                except ConnectionLost as error:
                    self.client.forget(connection)
                    failed = error
                    continue
                for partition in self._partitions(response):
                    try:
                        yield from read(partition)
                    except BrokerError as error:
                        if error.code not in _RETRIABLE:
                            raise
                        failed = error
            self._after_round(failed)
            yield None

    def _is_done(self, index: int) -> bool:
        return self.ends is not None and self.positions[index] >= self.ends[index]

    def _after_round(self, failed: CommandFailed | None) -> None:
        # A leader that moves or restarts is waited for, but not for ever.
        now = time.monotonic()
        if failed is None:
            self.failing_since = None
            return
        self.failing_since = self.failing_since or now
        if now - self.failing_since > self.client.timeout_s:
            raise failed
        time.sleep(_RETRY_PAUSE_S)
        self.client.topic(self.topic, refresh=True)

    def _send(self, connection: Connection, positions: dict[int, int]) -> None:
        version = connection.version(ApiKey.FETCH)
        wanted = [
            FetchPartition(partition=index, fetch_offset=offset, partition_max_bytes=self.max_partition_bytes)
            for index, offset in positions.items()
        ]
        topic = FetchTopic(partitions=wanted)
        if version >= 13:  # KIP-516
            topic.topic_id = bytes(self.client.topic(self.topic).topic_id)
        else:
            topic.topic = self.topic
        request = FetchRequest(max_wait_ms=self.max_wait_ms, min_bytes=1, topics=[topic])
        if version >= 3:
            request.max_bytes = self.max_bytes
        if version >= 4:
            request.isolation_level = self.isolation
        if version >= 7:
            request.session_epoch = -1  # no fetch session (KIP-227)
        connection.send(ApiKey.FETCH, request, version)

    def _partitions(self, response: Any) -> list[Any]:
        if response.error_code:
            raise BrokerError(response.error_code, f"Cannot read {self.topic}")
        return [partition for topic in response.responses for partition in topic.partitions]

    def _read(self, answer: Any) -> Iterator[tuple[int, Record]]:
        index = answer.partition_index
        data = self._data(answer)
        try:
            if _is_message_set(data):
                yield from self._read_message_set(data, index)
                return
            for batch in self._visible(data, answer):
                position = self.positions[index]
                for record in records.iterate(data, batch, READER_LIMIT_BYTES):
                    if record.offset < position or (
                        self.ends is not None and record.offset >= self.ends[index]
                    ):
                        continue
                    self.positions[index] = record.offset + 1
                    yield index, record
        except CorruptBatch as error:
            raise self._corrupt(index, error) from error

    def _read_batches(self, answer: Any) -> Iterator[tuple[int, memoryview]]:
        index = answer.partition_index
        data = self._data(answer)
        try:
            if _is_message_set(data):
                end = _end_of_old_messages(data)
                if end == 0:
                    self._grow(index, len(data))
                    return
                self.positions[index] = max(self.positions[index], _last_offset(data[:end]) + 1)
                yield index, data[:end]
                return
            shown = [
                data[batch.position : batch.position + batch.size] for batch in self._visible(data, answer)
            ]
        except CorruptBatch as error:
            raise self._corrupt(index, error) from error
        if shown:
            yield index, memoryview(b"".join(shown))

    def _data(self, answer: Any) -> memoryview:
        if answer.error_code:
            what = f"Cannot read {self.topic}-{answer.partition_index}"
            raise BrokerError(answer.error_code, what, hint=self._hint(answer))
        return memoryview(answer.records or b"")

    def _corrupt(self, index: int, error: CorruptBatch) -> CommandFailed:
        return CommandFailed(
            f"{self.topic}-{index}, at offset {self.positions[index]}: {error}.",
            "The broker handed out a corrupt batch: check its disk with floe log verify.",
        )

    def _visible(self, data: memoryview, answer: Any) -> Iterator[RecordBatch]:
        """The batches at and behind the position that hold records for this isolation; moves the position."""
        index = answer.partition_index
        batches = records.parse_batches(data, allow_partial_tail=True)
        if data and not batches:
            self._grow(index, len(data))
        aborted = _Aborted(answer.aborted_transactions or [])
        for batch in batches:
            if batch.next_offset <= self.positions[index]:
                continue
            if not records.crc_is_valid(data, batch):
                raise CorruptBatch(
                    f"the CRC of the batch {batch.base_offset}-{batch.last_offset} does not match"
                )
            is_hidden = self.isolation == admin.READ_COMMITTED and aborted.hides(data, batch)
            if not is_hidden and not batch.is_control:
                yield batch
            self.positions[index] = batch.next_offset

    def _read_message_set(self, data: memoryview, index: int) -> Iterator[tuple[int, Record]]:
        """Formats 0 and 1, from brokers before 0.11 or files of their time. What follows in format 2 is
        asked again.
        """
        end = _end_of_old_messages(data)
        if end == 0:
            self._grow(index, len(data))
            return
        position = self.positions[index]
        for record in legacy.iterate_message_set(data[:end], READER_LIMIT_BYTES):
            if record.offset >= position and not (
                self.ends is not None and record.offset >= self.ends[index]
            ):
                self.positions[index] = record.offset + 1
                yield index, record
        # Everything in the set may lie beyond the end: then nothing is left to read.
        self.positions[index] = max(self.positions[index], _last_offset(data[:end]) + 1)

    def _grow(self, index: int, got_bytes: int) -> None:
        # Before KIP-74 (Fetch v3) a batch larger than the limit came back cut off.
        if self.max_partition_bytes > READER_LIMIT_BYTES:
            raise CommandFailed(
                f"{self.topic}-{index}: the batch at {self.positions[index]} exceeds {got_bytes} bytes."
            )
        self.max_partition_bytes *= 4

    def _hint(self, answer: Any) -> str:
        if answer.error_code != ErrorCode.OFFSET_OUT_OF_RANGE:
            return ""
        index = answer.partition_index
        earliest = admin.list_offsets(self.client, self.topic, [index], admin.EARLIEST)[index]
        latest = admin.list_offsets(self.client, self.topic, [index], admin.LATEST)[index]
        return (
            f"Asked for offset {self.positions[index]}; it has {earliest} to {latest}. Try --from earliest."
        )


def _is_message_set(data: memoryview) -> bool:
    return len(data) > 0 and (len(data) < records.BATCH_OVERHEAD or records.peek_magic(data, 0) < 2)


class _Aborted:
    """The aborted transactions of one answer, ordered by first offset, and which producers are inside one
    (KIP-98).
    """

    def __init__(self, transactions: list[Any]) -> None:
        self.waiting = sorted(((t.first_offset, t.producer_id) for t in transactions), reverse=True)
        self.producer_ids: set[int] = set()

    def hides(self, data: memoryview, batch: RecordBatch) -> bool:
        """Whether the batch belongs to an aborted transaction. To be asked of every batch, in order."""
        while self.waiting and self.waiting[-1][0] <= batch.last_offset:
            self.producer_ids.add(self.waiting.pop()[1])
        if batch.is_control:
            marker = next(records.iterate(data, batch, READER_LIMIT_BYTES), None)
            if marker is not None and records.parse_control_key(marker.key) == records.ABORT_MARKER:
                self.producer_ids.discard(batch.producer_id)
            return True
        return batch.is_transactional and batch.producer_id in self.producer_ids


_OLD_ENTRY: Final = Struct(">qi4xb")  # offset, message size, CRC, magic


def _end_of_old_messages(data: memoryview) -> int:
    """Return where the whole messages of magic 0 and 1 at the beginning of `data` end."""
    position = 0
    while len(data) - position >= _OLD_ENTRY.size:
        _, size, magic = _OLD_ENTRY.unpack_from(data, position)
        if magic > 1 or size < 0 or position + records.LOG_OVERHEAD + size > len(data):
            break
        position += records.LOG_OVERHEAD + size
    return position


def _last_offset(data: memoryview) -> int:
    position, last = 0, -1
    while position < len(data):
        last, size, _ = _OLD_ENTRY.unpack_from(data, position)
        position += records.LOG_OVERHEAD + size
    return last
