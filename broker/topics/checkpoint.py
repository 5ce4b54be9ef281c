"""The catalog's state in LevelDB, so that a start need not replay the whole metadata log.

It holds nothing the log does not: it may be deleted at any time, and one that does not fit the log (another cluster's,
ahead of it, damaged, of another format) is thrown away with a log line. What changed since the last write goes in as
one atomic batch, together with the offset up to which it is applied; it is not synced, as an older state is as good.

    "!format"          uint32 FORMAT
    "!cluster"         the cluster id
    "!offset"          int64, the first offset of the log that is not applied
    "!producer.ids"    int64, the first producer id not handed out
    "!broker.epoch"    int64
    "f" feature        int16 level
    "r" type name      settings of a resource that is no topic; type is one byte
    "t" name           topic id (16), uint32 partitions, settings
    "e" name           leader epochs that are not 0: uint32 partition, int32 epoch, in turn

Settings are strings, names and values in turn, each after its length in bytes as uint32. Integers are big-endian.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import plyvel

from broker.topics.state import TOPIC, State
from protocol.errors import StorageFailed
from protocol.messages.internal.cluster_records import (
    FeatureLevelRecord,
    ProducerIdsRecord,
    RegisterBrokerRecord,
)
from protocol.messages.internal.topic_records import ConfigRecord, TopicRecord

log = logging.getLogger("floe.catalog")

FORMAT: Final = 2

_TOPIC: Final = struct.Struct(">16sI")
_INT64: Final = struct.Struct(">q")
_INT16: Final = struct.Struct(">h")
_LEADER_EPOCH: Final = struct.Struct(">Ii")
_UINT32: Final = struct.Struct(">I")
assert _TOPIC.size == 20

_FORMAT_KEY: Final = b"!format"
_CLUSTER_KEY: Final = b"!cluster"
_OFFSET_KEY: Final = b"!offset"
_PRODUCER_IDS_KEY: Final = b"!producer.ids"
_BROKER_EPOCH_KEY: Final = b"!broker.epoch"


class UnusableCheckpoint(Exception):
    """Why a checkpoint cannot be used. Nothing is lost with it."""


class Checkpoint:
    """The checkpoint in the folder `path`, of the cluster `cluster_id`. One owner. Raises StorageFailed."""

    def __init__(self, path: str, cluster_id: str) -> None:
        self._path = path
        self._cluster_id = cluster_id.encode()
        self._dirty: set[bytes] = set()
        try:
            self._db = plyvel.DB(path, create_if_missing=True)
        except plyvel.Error as error:
            self._throw_away(str(error))

    def load(self, state: State, log_start_offset: int, log_end_offset: int) -> int:
        """Fill the empty `state`; the first offset of the log that is not in it.

        Raises UnusableCheckpoint; `state` is then spoilt, and the checkpoint empty.
        """
        try:
            offset = self._check(log_start_offset, log_end_offset)
            if offset > 0:
                self._load(state)
        except (UnusableCheckpoint, plyvel.Error, struct.error, UnicodeDecodeError, ValueError) as error:
            self._throw_away(str(error))
            raise UnusableCheckpoint(str(error)) from error
        return offset

    def mark(self, record: Any) -> None:
        """Note what an applied record has changed, for the next write."""
        if isinstance(record, ConfigRecord):
            key = _resource_key(record.resource_type, record.resource_name)
        elif isinstance(record, TopicRecord):
            key = b"t" + record.name.encode()
        elif isinstance(record, FeatureLevelRecord):
            key = b"f" + record.name.encode()
        elif isinstance(record, ProducerIdsRecord):
            key = _PRODUCER_IDS_KEY
        elif isinstance(record, RegisterBrokerRecord):
            key = _BROKER_EPOCH_KEY
        else:
            return
        self._dirty.add(key)

    def mark_topic(self, name: str) -> None:
        """Note that the topic has changed or gone."""
        self._dirty.update((b"t" + name.encode(), b"e" + name.encode()))

    def write(self, state: State, offset: int) -> None:
        """Bring the checkpoint up to `offset`, all or nothing. It only saves work: a failure is a log line."""
        assert offset >= 0
        try:
            with self._db.write_batch(transaction=True) as batch:
                for key in self._dirty:
                    value = _value(state, key)
                    if value is None:
                        batch.delete(key)
                    else:
                        batch.put(key, value)
                batch.put(_FORMAT_KEY, _UINT32.pack(FORMAT))
                batch.put(_CLUSTER_KEY, self._cluster_id)
                batch.put(_OFFSET_KEY, _INT64.pack(offset))
        except plyvel.Error as error:
            log.warning("the catalog's checkpoint is not written: %s", error)
            return
        self._dirty.clear()

    def mark_all(self, state: State) -> None:
        """Note everything: for a checkpoint that begins empty."""
        for name in state.topics:
            self.mark_topic(name)
        self._dirty.update(_resource_key(*key) for key in state.settings)
        self._dirty.update(b"f" + name.encode() for name in state.features)
        self._dirty.update((_PRODUCER_IDS_KEY, _BROKER_EPOCH_KEY))

    def close(self) -> None:
        self._db.close()

    def _throw_away(self, reason: str) -> None:
        log.warning("the catalog's checkpoint is thrown away and made again from its log: %s", reason)
        if hasattr(self, "_db"):
            self._db.close()
        try:
            plyvel.destroy_db(self._path)
            self._db = plyvel.DB(self._path, create_if_missing=True)
        except plyvel.Error as error:
            raise StorageFailed(f"no checkpoint can be made in {self._path}: {error}") from error

    def _check(self, log_start_offset: int, log_end_offset: int) -> int:
        raw = self._db.get(_OFFSET_KEY)
        if raw is None:
            if next(iter(self._db), None) is not None:
                raise UnusableCheckpoint("it has no offset")
            return 0
        (offset,) = _INT64.unpack(raw)
        if self._db.get(_FORMAT_KEY) != _UINT32.pack(FORMAT):
            raise UnusableCheckpoint("it is of another format")
        if self._db.get(_CLUSTER_KEY) != self._cluster_id:
            raise UnusableCheckpoint("it belongs to another cluster")
        if not log_start_offset <= offset <= log_end_offset:
            raise UnusableCheckpoint(
                f"it is at offset {offset}, the log has {log_start_offset} to {log_end_offset}"
            )
        return int(offset)

    def _load(self, state: State) -> None:
        # Brokers' settings first: the topics' are resolved against them.
        for key, value in self._db.iterator(prefix=b"r"):
            state.set_resource(key[1], key[2:].decode(), _read_settings(value, 0))
        for key, value in self._db.iterator(prefix=b"f"):
            state.features[key[1:].decode()] = _INT16.unpack(value)[0]
        state.next_producer_id = _INT64.unpack(self._db.get(_PRODUCER_IDS_KEY, _INT64.pack(0)))[0]
        state.broker_epoch = _INT64.unpack(self._db.get(_BROKER_EPOCH_KEY, _INT64.pack(-1)))[0]
        for key, value in self._db.iterator(prefix=b"t"):
            topic_id, partition_count = _TOPIC.unpack_from(value)
            settings = _read_settings(value, _TOPIC.size) if len(value) > _TOPIC.size else {}
            state.add_topic(key[1:].decode(), topic_id, partition_count, settings)
        for key, value in self._db.iterator(prefix=b"e"):
            state.topics[key[1:].decode()].leader_epochs = dict(_LEADER_EPOCH.iter_unpack(value))


def _resource_key(resource_type: int, name: str) -> bytes:
    return b"t" + name.encode() if resource_type == TOPIC else b"r" + bytes((resource_type,)) + name.encode()


def _value(state: State, key: bytes) -> bytes | None:
    """What the checkpoint holds under `key`; None for nothing."""
    kind, name = key[:1], key[1:]
    if kind == b"t":
        topic = state.topics.get(name.decode())
        if topic is None:
            return None
        head = _TOPIC.pack(topic.topic_id, topic.partition_count)
        return head + _write_settings(state.settings_of(TOPIC, topic.name))
    if kind == b"e":
        topic = state.topics.get(name.decode())
        if topic is None or not topic.leader_epochs:
            return None
        return b"".join(_LEADER_EPOCH.pack(*pair) for pair in topic.leader_epochs.items())
    if kind == b"r":
        settings = state.settings_of(key[1], key[2:].decode())
        return _write_settings(settings) if settings else None
    if kind == b"f":
        level = state.features.get(name.decode())
        return None if level is None else _INT16.pack(level)
    assert key in (_PRODUCER_IDS_KEY, _BROKER_EPOCH_KEY)
    return _INT64.pack(state.next_producer_id if key == _PRODUCER_IDS_KEY else state.broker_epoch)


def _write_settings(settings: Mapping[str, str]) -> bytes:
    out = bytearray()
    for text in _flat(settings.items()):
        data = text.encode()
        out += _UINT32.pack(len(data))
        out += data
    return bytes(out)


def _flat(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, value in pairs:
        yield name
        yield value


def _read_settings(data: bytes, position: int) -> dict[str, str]:
    texts = []
    while position < len(data):
        (length,) = _UINT32.unpack_from(data, position)
        position += 4 + length
        if position > len(data):
            raise UnusableCheckpoint("a setting is cut short")
        texts.append(data[position - length : position].decode())
    if len(texts) % 2:
        raise UnusableCheckpoint("a setting has no value")
    return dict(zip(texts[::2], texts[1::2], strict=True))
