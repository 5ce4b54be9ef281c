"""Frames to start mutating from: every advertised API at every version, filled so that handlers find something.

Values come from the field's name where a random one would be refused at the door: topics that exist, partition 0,
short waits, well-formed batches. Everything is drawn from one seeded source of chance.
"""

from __future__ import annotations

import random
from typing import Any, Final, NamedTuple

from broker.handlers import HANDLERS
from protocol.api import ApiKey
from protocol.compiler import message_class
from protocol.framing import request_frame
from protocol.layout import Layout, Part, layout
from protocol.legacy import build_message_set
from protocol.records import Record, build
from tests.faults.wire import NOW_MS

TOPICS: Final = ("fuzz", "fuzz-compacted", "fuzz-validating")
GROUP: Final = "fuzz-group"
_CODECS: Final = (0, 0, 0, 1, 2, 3, 4)


class Frame(NamedTuple):
    """A frame, and where in it the record batch lies (0, 0 if there is none)."""

    api: ApiKey
    version: int
    data: bytes
    batch_start: int
    batch_end: int


class Sampler:
    """Fills messages. `topic_ids` are those of TOPICS, as the broker gave them."""

    def __init__(self, chance: random.Random, topic_ids: tuple[bytes, ...]) -> None:
        self._chance = chance
        self._topic_ids = topic_ids
        self._batch = b""

    def frame(self, api: ApiKey, version: int) -> Frame:
        """One request of an API at a version."""
        self._batch = b""
        message = self._struct(layout(message_class(api, response=False), version), api, version)
        client_id = self._chance.choice((None, "fuzz", "fuzz", "f" * 300))
        data = request_frame(api, version, self._chance.getrandbits(31), client_id, message)
        start = data.find(self._batch) if self._batch else -1
        return Frame(api, version, data, max(start, 0), start + len(self._batch) if start >= 0 else 0)

    def _struct(self, shape: Layout, api: ApiKey, version: int) -> Any:
        made = shape.cls()
        for part in shape.parts:
            setattr(made, part.name, self._part(part, api, version))
        for _, part in shape.tagged:
            if self._chance.random() < 0.3:
                setattr(made, part.name, self._part(part, api, version))
        return made

    def _part(self, part: Part, api: ApiKey, version: int) -> Any:
        chance = self._chance
        if part.kind == "records":
            return self._records(version)
        if part.nullable and chance.random() < 0.15:
            return None
        if part.struct is not None:
            return self._struct(part.struct, api, version)
        if part.element is not None:
            element = part.element._replace(name=part.name.removesuffix("s"))
            return [self._part(element, api, version) for _ in range(chance.choice((0, 1, 1, 1, 2, 3)))]
        return self._value(part, api)

    def _value(self, part: Part, api: ApiKey) -> Any:
        chance, kind, name = self._chance, part.kind, part.name
        if api == ApiKey.DELETE_TOPICS and kind in ("string", "uuid"):
            return chance.choice(("doomed", "absent", "")) if kind == "string" else b"d" * 16
        if kind == "string":
            return self._string(name)
        if kind == "uuid":
            return chance.choice((*self._topic_ids, *self._topic_ids, bytes(16), b"u" * 16))
        if kind == "bool":
            return name == "validate_only" or chance.random() < 0.5
        if kind == "bytes":
            return chance.randbytes(chance.choice((0, 1, 20, 200)))
        if kind == "float64":
            return chance.choice((0.0, -1.0, float("nan"), float("inf"), 1e308))
        return self._integer(name, kind)

    def _integer(self, name: str, kind: str) -> int:
        chance = self._chance
        if name in ("index", "partition", "partition_index"):
            return chance.choice((0, 0, 0, 1, 2))
        if name == "acks":
            return chance.choice((-1, -1, 1, 0))
        if name.endswith("_ms") and name != "timestamp_ms":
            return chance.choice((0, 1, 10))
        if name in ("max_bytes", "partition_max_bytes"):
            return chance.choice((0, 100, 100_000))
        if name in ("num_partitions", "replication_factor", "count"):
            return chance.choice((1, 1, 2, -1))
        if name in ("fetch_offset", "offset", "timestamp"):
            return chance.choice((0, 0, 1, -1, -2, -3, 5, NOW_MS))
        if name.endswith("epoch"):
            return chance.choice((-1, -1, 0, 1))
        if name.startswith("uint") or kind.startswith("uint"):
            return chance.choice((0, 1, 9092, 65535))
        return chance.choice((-1, 0, 0, 1, 2, 3, 100))

    def _string(self, name: str) -> str:
        chance = self._chance
        if name in ("name", "topic", "topic_name", "resource_name", "topic_names"):
            return chance.choice((*TOPICS, *TOPICS, *TOPICS, "doomed", "absent", "", "a/b", "1"))
        if name in ("group_id", "key", "coordinator_key", "group", "groups_name"):
            return chance.choice((GROUP, GROUP, "", "other-group"))
        if name in ("member_id", "transactional_id"):
            return chance.choice(("", "", "member-1"))
        if name.startswith("protocol"):
            return chance.choice(("consumer", "range", "roundrobin"))
        if name in ("config_name", "value", "config_value"):
            return chance.choice(("retention.ms", "compression.type", "1000", "lz4", "x"))
        return chance.choice(("", "x", "fuzz", "1.0", "é" * 20))

    def _records(self, version: int) -> bytes:
        chance = self._chance
        records = [
            Record(
                timestamp=NOW_MS + index,
                key=chance.choice((None, b"k", b"key" * 9)),
                value=chance.choice((None, b"", b"value" * 20)),
                headers=[("h", b"v")] if version >= 3 and chance.random() < 0.3 else (),
            )
            for index in range(chance.choice((1, 1, 3, 20)))
        ]
        if version < 3 and chance.random() < 0.8:
            made = build_message_set(records, chance.choice((0, 1)), chance.choice((0, 0, 1, 2, 3)))
        elif chance.random() < 0.3:
            producer_id, sequence = chance.choice((1, 2, 3)), chance.choice((0, 1, 20, 2**31 - 2))
            made = build(records, producer_id=producer_id, producer_epoch=0, base_sequence=sequence)
        else:
            made = build(records, compression=chance.choice(_CODECS))
        self._batch = bytes(made)
        return self._batch


def corpus(chance: random.Random, topic_ids: tuple[bytes, ...], per_version: int = 3) -> list[Frame]:
    """Frames of every advertised API and version; the APIs that carry records more often."""
    sampler = Sampler(chance, topic_ids)
    frames = []
    for spec in HANDLERS:
        lowest, highest = spec.versions
        weight = 5 if spec.api in (ApiKey.PRODUCE, ApiKey.FETCH) else 1
        for version in range(lowest, highest + 1):
            frames += [sampler.frame(spec.api, version) for _ in range(per_version * weight)]
    return frames
