"""What consumer groups need to know of the catalog: which topics there are, and what is set for a group."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

from broker.topics.state import GROUP

if TYPE_CHECKING:
    from collections.abc import Iterable

    from broker.topics.catalog import Catalog, Topic


class TopicLike(Protocol):
    """The part of a topic that matters here."""

    @property
    def name(self) -> str: ...
    @property
    def topic_id(self) -> bytes: ...
    @property
    def partition_count(self) -> int: ...


class Topics(Protocol):
    """The topics of the catalog, and what is set for groups."""

    @property
    def version(self) -> int:
        """Grows whenever a topic is created, grows or is deleted."""

    def by_name(self, name: str) -> TopicLike | None: ...

    def by_id(self, topic_id: bytes) -> TopicLike | None: ...

    def names(self) -> Collection[str]: ...

    def group_settings(self, group_id: str) -> Mapping[str, str]:
        """The group's dynamic settings (config resource type 32), by name."""


class CatalogTopics:
    """`Topics` of the catalog itself."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._seen_offset = -1
        self._seen: list[tuple[bytes, int]] = []
        self._version = 0

    @property
    def version(self) -> int:
        """The catalog's offset at which its topics were last seen to differ."""
        offset = self._catalog.next_offset
        if offset != self._seen_offset:
            self._seen_offset = offset
            topics = [(topic.topic_id, topic.partition_count) for topic in self._catalog.topics.values()]
            if topics != self._seen:
                self._seen = topics
                self._version = offset
        return self._version

    def by_name(self, name: str) -> Topic | None:
        return self._catalog.topics.get(name)

    def by_id(self, topic_id: bytes) -> Topic | None:
        return self._catalog.by_id.get(topic_id)

    def names(self) -> Collection[str]:
        return self._catalog.topics.keys()

    def group_settings(self, group_id: str) -> Mapping[str, str]:
        return self._catalog.state.settings_of(GROUP, group_id)


class NoTopics:
    """`Topics` of an empty catalog."""

    version = 0

    def by_name(self, name: str) -> None:
        return None

    def by_id(self, topic_id: bytes) -> None:
        return None

    def names(self) -> Collection[str]:
        return ()

    def group_settings(self, group_id: str) -> Mapping[str, str]:
        return {}


def topics_hash(topics: Topics, names: Iterable[str]) -> int:
    """A number that differs when topics that are read do: their ids, names or partition counts; 64 bits, signed.

    It is kept with the group epoch. Kafka's is another hash (XXH3 of a layout of its own); where the two meet, the
    group is assigned once more.
    """
    digest = blake2b(digest_size=8)
    for name in sorted(names):
        topic = topics.by_name(name)
        if topic is not None:
            digest.update(b"%s%d/%s\0" % (topic.topic_id, topic.partition_count, name.encode()))
    return int.from_bytes(digest.digest(), "big", signed=True)
