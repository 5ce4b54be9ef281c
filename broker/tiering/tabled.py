"""How far each topic is in its table, as the broker remembers it: `table-checkpoint.json` in the data folder.

The truth is the marks in the tables. This file lets retention and the lag be known after a start without asking a
catalog; where it is old or gone, retention keeps more than it must until the next commit. Topics are known by id, so
that one created anew under an old name starts at nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from wal.checkpoint import replace_file
from wal.storage import read_file

if TYPE_CHECKING:
    from wal.storage import Storage

CHECKPOINT: Final = "table-checkpoint.json"
_VERSION: Final = 1


class TabledTopic:
    """One topic's table as of its last commit."""

    __slots__ = (
        "committed_ms",
        "dead_letters",
        "dead_letters_metadata_location",
        "metadata_location",
        "name",
        "offsets",
        "orphans_ms",
        "records",
        "snapshot_id",
        "table",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.offsets: dict[int, int] = {}
        """By partition: the first offset that is not in the table."""
        self.table: str | None = None
        """Identifier in the catalog, `namespace.name`."""
        self.metadata_location: str | None = None
        """Of the commit that `offsets` are of, as is the next."""
        self.dead_letters_metadata_location: str | None = None
        self.snapshot_id: int | None = None
        self.committed_ms: int | None = None
        self.orphans_ms: int | None = None
        """When files that nothing names were looked for, or when it was first thought of."""
        self.records = 0
        """Rows committed by this broker, over all its runs."""
        self.dead_letters = 0

    def to_json(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in self.__slots__ if name != "offsets"}
        return {**fields, "offsets": [[index, offset] for index, offset in sorted(self.offsets.items())]}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> TabledTopic:
        """Raises KeyError, TypeError, ValueError."""
        topic = cls(fields["name"])
        for name in cls.__slots__:
            if name != "offsets":
                setattr(topic, name, fields[name] if name != "orphans_ms" else fields.get(name))
        topic.offsets = {int(index): int(offset) for index, offset in fields["offsets"]}
        return topic


class Tabled:
    """All topics by id. `where` names the catalog: what was tabled in another one does not count."""

    def __init__(self, storage: Storage, root: str, where: str) -> None:
        self._storage = storage
        self._root = root
        self._where = where
        self.topics: dict[bytes, TabledTopic] = {}
        self.drops: list[dict[str, Any]] = []
        """Jobs that delete tables of deleted topics and are not done yet."""
        self.is_saved = True

    def load(self) -> str | None:
        """Take over the file; why it could not be, None if it could or there is none. Raises StorageFailed."""
        data = read_file(self._storage, f"{self._root}/{CHECKPOINT}")
        if data is None:
            return None
        try:
            content = json.loads(data)
            if content["version"] != _VERSION:
                return f"{CHECKPOINT} has version {content['version']}, not {_VERSION}"
            self.drops = list(content["drops"])
            if content["where"] == self._where:
                self.topics = {
                    bytes.fromhex(topic_id): TabledTopic.from_json(fields)
                    for topic_id, fields in content["topics"].items()
                }
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return f"{CHECKPOINT} cannot be read: {error}"
        return None

    def save(self) -> None:
        """Make the file durable, if anything has changed. Raises DiskFull, StorageFailed."""
        if self.is_saved:
            return
        content = {
            "version": _VERSION,
            "where": self._where,
            "drops": self.drops,
            "topics": {topic_id.hex(): topic.to_json() for topic_id, topic in self.topics.items()},
        }
        data = json.dumps(content, separators=(",", ":")).encode()
        replace_file(self._storage, self._root, CHECKPOINT, data)
        self.is_saved = True

    def of(self, topic_id: bytes, name: str) -> TabledTopic:
        """The topic's entry, made if there is none."""
        topic = self.topics.get(topic_id)
        if topic is None:
            topic = self.topics[topic_id] = TabledTopic(name)
        return topic

    def forget(self, topic_id: bytes) -> None:
        if self.topics.pop(topic_id, None) is not None:
            self.is_saved = False
