"""A synchronous producer: collects records by partition, sends a batch to each, waits for the answer,
tries again.
"""

import time
from dataclasses import dataclass, field
from typing import Final

from broker.cli import admin
from broker.cli.client import BrokerError, Client, Connection, ConnectionLost
from broker.cli.errors import CommandFailed
from protocol import records
from protocol.api import ApiKey
from protocol.errors import ErrorCode
from protocol.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from protocol.records import Record

_RETRY_PAUSE_S: Final = 0.1
_FIRST_MAGIC_2_VERSION: Final = 3
_MAX_SEQUENCE: Final = 0x7FFFFFFF


@dataclass(slots=True)
class Options:
    """How to send."""

    acks: int = -1
    compression: int = 0
    batch_bytes: int = 1_000_000
    idempotent: bool = False


@dataclass(slots=True)
class Batch:
    """The records on their way to one partition, encoded once so that a retry is the same bytes."""

    partition: int
    count: int
    data: bytes


@dataclass(slots=True)
class Producer:
    """Sends to one topic. `records_sent` and `bytes_sent` count what was acknowledged (acks=0: sent)."""

    client: Client
    topic: str
    options: Options
    pending: dict[int, list[Record]] = field(default_factory=dict)
    pending_bytes: int = 0
    records_sent: int = 0
    bytes_sent: int = 0
    batches_sent: int = 0
    producer_id: int = -1
    producer_epoch: int = -1
    sequences: dict[int, int] = field(default_factory=dict)

    def open(self) -> None:
        """Get a producer id if the producer is to be idempotent."""
        if self.options.idempotent:
            self.producer_id, self.producer_epoch = admin.init_producer_id(self.client)

    def add(self, partition: int, record: Record) -> bool:
        """Queue a record; True if a batch went out."""
        size = len(record.key or b"") + len(record.value or b"") + 16
        size += sum(len(name) + len(value or b"") + 4 for name, value in record.headers)
        sent = self.pending_bytes > 0 and self.pending_bytes + size > self.options.batch_bytes
        if sent:
            self.flush()
        self.pending.setdefault(partition, []).append(record)
        self.pending_bytes += size
        return sent

    def flush(self) -> None:
        """Send what is queued and wait for the answers. Raises BrokerError or CommandFailed when it cannot
        be done.
        """
        if not self.pending:
            return
        batches = {partition: self._encode(partition, queued) for partition, queued in self.pending.items()}
        self.pending.clear()
        self.pending_bytes = 0
        deadline = time.monotonic() + self.client.timeout_s
        while batches:
            failure = self._send_all(batches)
            if not batches:
                break
            assert failure is not None
            if time.monotonic() > deadline:
                raise failure
            time.sleep(_RETRY_PAUSE_S)
            self.client.topic(self.topic, refresh=True)

    def _encode(self, partition: int, queued: list[Record]) -> Batch:
        sequence = self.sequences.get(partition, 0) if self.options.idempotent else -1
        data = records.build(
            queued,
            compression=self.options.compression,
            producer_id=self.producer_id,
            producer_epoch=self.producer_epoch,
            base_sequence=sequence,
        )
        self.sequences[partition] = (sequence + len(queued)) & _MAX_SEQUENCE
        return Batch(partition, len(queued), bytes(data))

    def _send_all(self, batches: dict[int, Batch]) -> CommandFailed | None:
        # Takes what was acknowledged out of `batches`; returns the last failure of what is left.
        failure: CommandFailed | None = None
        for node_id, group in self.client.by_leader(self.topic, batches).items():
            connection = self.client.broker(node_id)
            try:
                answers = self._send(connection, list(group.values()))
            except ConnectionLost as error:
                self.client.forget(connection)
                if not self.options.idempotent:
                    raise ConnectionLost(
                        f"{error.message} Whether the last {sum(b.count for b in group.values())} records "
                        f"were written is unknown; {self.records_sent} before them were.",
                        "With --idempotent they are sent again without the risk of doubling.",
                    ) from error
                failure = error
                continue
            for partition, (code, detail) in answers.items():
                error_of_partition = self._judge(batches, partition, code, detail)
                failure = error_of_partition or failure
        return failure

    def _judge(
        self, batches: dict[int, Batch], partition: int, code: int, detail: str | None
    ) -> BrokerError | None:
        batch = batches[partition]
        if code in (0, ErrorCode.DUPLICATE_SEQUENCE_NUMBER):  # a duplicate: an earlier try did arrive
            self.records_sent += batch.count
            self.bytes_sent += len(batch.data)
            self.batches_sent += 1
            del batches[partition]
            return None
        error = BrokerError(code, f"Cannot write to {self.topic}-{partition}", detail, self._hint(code))
        # A time-out may have written the batch already (Kafka's clients repeat it; we only do when that is
        # safe).
        is_safe = self.options.idempotent or code != ErrorCode.REQUEST_TIMED_OUT
        if not (error.code.retriable and is_safe) or code == ErrorCode.CORRUPT_MESSAGE:
            raise error
        return error

    def _hint(self, code: int) -> str:
        sent = f"{self.records_sent} records were written before."
        if code == ErrorCode.MESSAGE_TOO_LARGE:
            return f"{sent} Send less at once with --batch-bytes, or raise the topic's max.message.bytes."
        return sent

    def _send(self, connection: Connection, batches: list[Batch]) -> dict[int, tuple[int, str | None]]:
        version = connection.version(ApiKey.PRODUCE)
        by_index = [PartitionProduceData(index=b.partition, records=_fit(b.data, version)) for b in batches]
        topic = TopicProduceData(partition_data=by_index)
        if version >= 13:  # KIP-516
            topic.topic_id = bytes(self.client.topic(self.topic).topic_id)
        else:
            topic.name = self.topic
        timeout_ms = int(self.client.timeout_s * 1000)
        request = ProduceRequest(acks=self.options.acks, timeout_ms=timeout_ms, topic_data=[topic])
        connection.send(ApiKey.PRODUCE, request, version)
        if self.options.acks == 0:
            connection.in_flight.pop()  # there will be no response
            return {batch.partition: (0, None) for batch in batches}
        response = connection.receive()
        answers: dict[int, tuple[int, str | None]] = {}
        for answer in response.responses[0].partition_responses:
            details = [entry.batch_index_error_message for entry in answer.record_errors or ()]
            text = "; ".join(filter(None, [answer.error_message, *details])) or None
            answers[answer.index] = answer.error_code, text
        return answers


def _fit(data: bytes, version: int) -> bytes:
    # Brokers before 0.11 know message formats 0 and 1 only (KIP-98).
    if version >= _FIRST_MAGIC_2_VERSION:
        return data
    from protocol import legacy

    return bytes(
        legacy.down_convert(
            memoryview(data),
            records.parse_batches(data),
            1 if version == 2 else 0,
            first_offset=0,
            max_decompressed_bytes=1 << 30,
            max_bytes=1 << 30,
        )
    )
