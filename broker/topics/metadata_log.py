"""`__cluster_metadata`: how the catalog's records stand in a log.

A record's key is null; its value is frame version (1), record type and message version, each an unsigned
varint, then the message (Kafka's MetadataRecordSerde). The records of one command are one batch: its CRC makes
them all or nothing. Kafka's own tools read it (`DumpLogSegments --cluster-metadata-decoder`).

The log here keeps everything. Where Apache Kafka has deleted its beginning, one of Kafka's snapshots stands for that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

from protocol.compiler import decoder, encoder
from protocol.messages.internal import cluster_records, security_records, topic_records
from protocol.messages.internal.cluster_records import (
    FeatureLevelRecord,
    ProducerIdsRecord,
    RegisterBrokerRecord,
)
from protocol.messages.internal.topic_records import (
    ConfigRecord,
    PartitionChangeRecord,
    PartitionRecord,
    RemoveTopicRecord,
    TopicRecord,
)
from protocol.primitives import Output, read_uvarint, uvarint
from protocol.records import Record, RecordBatch, build, crc_is_valid, iterate, parse_batches
from protocol.schema import Schema, schema_of

MetadataRecord = (
    TopicRecord
    | PartitionRecord
    | PartitionChangeRecord
    | RemoveTopicRecord
    | ConfigRecord
    | FeatureLevelRecord
    | ProducerIdsRecord
    | RegisterBrokerRecord
)
"""What the catalog is made of."""

FRAME_VERSION: Final = 1
READ_BYTES: Final = 1 << 20
MAX_DECOMPRESSED_BYTES: Final = 64 << 20
"""Kafka compresses nothing here; a batch that grows beyond this is no batch of ours or theirs."""


_SNAPSHOT_NAME: Final = re.compile(r"(\d{20})-\d{10}\.checkpoint")


class MetadataLog(Protocol):
    """What the catalog asks of wal.Log."""

    log_start_offset: int
    log_end_offset: int
    durable_offset: int

    @property
    def leader_epoch(self) -> int: ...

    def append(self, buffer: memoryview, batches: list[RecordBatch], now_ms: int) -> Any: ...

    def read(self, offset: int, max_bytes: int, end_offset: int, min_one_batch: bool) -> Any: ...


class UnreadableMetadata(Exception):
    """The metadata log holds what this version cannot take in; starting without it would forget topics."""


def _types() -> dict[int, type]:
    found = {}
    for module in (cluster_records, security_records, topic_records):
        for value in vars(module).values():
            schema = getattr(value, "__schema__", None)
            if isinstance(schema, Schema) and schema.kind == "metadata":
                found[schema.key] = value
    return found


_TYPES: Final = _types()


def frame(record: MetadataRecord) -> bytes:
    """A record's value."""
    schema = schema_of(type(record))
    version = schema.versions.last
    out = Output()
    out += uvarint(FRAME_VERSION)
    out += uvarint(schema.key)
    out += uvarint(version)
    encoder(type(record), version)(record, out)
    return bytes(out)


def unframe(value: bytes) -> Any:
    """The record a value holds; raises UnreadableMetadata and Malformed."""
    buffer = memoryview(value)
    try:
        frame_version, position = read_uvarint(buffer, 0)
        key, position = read_uvarint(buffer, position)
        version, position = read_uvarint(buffer, position)
    except (IndexError, ValueError) as error:
        raise UnreadableMetadata(f"a record of {len(buffer)} bytes has no header") from error
    cls = _TYPES.get(key)
    if frame_version != FRAME_VERSION or cls is None or version not in schema_of(cls).versions:
        raise UnreadableMetadata(
            f"a record of frame version {frame_version}, type {key}, version {version} is not known here"
        )
    record, end = decoder(cls, version)(buffer, position)
    if end != len(buffer):
        raise UnreadableMetadata(f"{len(buffer) - end} bytes follow a {cls.__name__}")
    return record


def append(log: MetadataLog, records: Sequence[MetadataRecord], now_ms: int) -> int:
    """Append records as one batch; the offset after them. Raises DiskFull, StorageFailed."""
    assert records
    batch = build([Record(timestamp=now_ms, value=frame(record)) for record in records])
    view = memoryview(batch)
    log.append(view, parse_batches(view), now_ms)
    return log.log_end_offset


def newest_snapshot(
    names: Iterable[str], log_start_offset: int, log_end_offset: int
) -> tuple[int, str] | None:
    """(offset, name) of the newest of Kafka's snapshots that the log goes on from; None where there is none.

    A snapshot `<offset>-<epoch>.checkpoint` holds the state before its offset.
    """
    matches = (_SNAPSHOT_NAME.fullmatch(name) for name in names)
    offsets = ((int(match[1]), match[0]) for match in matches if match is not None)
    return max((found for found in offsets if log_start_offset <= found[0] <= log_end_offset), default=None)


def records_of(data: bytes) -> Iterator[Any]:
    """The records of a snapshot: batches as in the log, between two of control records."""
    view = memoryview(data)
    for batch in parse_batches(view):
        if not crc_is_valid(view, batch):
            raise UnreadableMetadata(f"the snapshot's batch at offset {batch.base_offset} is damaged")
        if not batch.is_control:
            for record in iterate(view, batch, MAX_DECOMPRESSED_BYTES):
                yield unframe(record.value or b"")


def replay(log: MetadataLog, offset: int) -> Iterator[tuple[int, Any]]:
    """(offset, record) of everything durable from `offset` on. Control batches hold none of the catalog's."""
    while offset < log.durable_offset:
        piece = log.read(offset, READ_BYTES, log.durable_offset, True)
        if piece is None:
            return
        view = memoryview(piece.read())
        for batch in parse_batches(view):
            if not crc_is_valid(view, batch):
                raise UnreadableMetadata(f"the batch at offset {batch.base_offset} is damaged")
            if batch.is_control:
                continue
            for record in iterate(view, batch, MAX_DECOMPRESSED_BYTES):
                if record.offset >= offset:
                    yield record.offset, unframe(record.value or b"")
        offset = batch.next_offset
