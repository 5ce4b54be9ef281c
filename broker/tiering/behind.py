"""Which partitions have records that are not in their table, and where those are.

A partition tells of its progress once and is then not asked again until somebody has looked, so what is idle costs
nothing and what is busy costs one call per look.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from protocol.errors import ApiError
from wal.checkpoint import TopicPartition
from wal.layout import partition_directory
from wal.txn_index import CorruptTransactionIndex

if TYPE_CHECKING:
    from broker.runtime import Broker
    from broker.tiering.tabled import Tabled
    from broker.topics.catalog import Topic
    from broker.topics.partition import Partition
    from wal.data_folder import DataFolder
    from wal.log import Log

log = logging.getLogger("floe.tables")

MAX_ABORTED: Final = 50_000
"""Aborted transactions named in one job; a range with more of them takes several."""


class Behind:
    """All topics' partitions that are behind. Belongs to the loop."""

    def __init__(
        self, broker: Broker, folder: DataFolder, tabled: Tabled, wake: Callable[[], object]
    ) -> None:
        """`wake` is called when a partition tells of progress."""
        self._broker = broker
        self._folder = folder
        self._tabled = tabled
        self._wake = wake
        self.topics: dict[bytes, set[int]] = {}
        """Partitions with records that are not in the table, by topic; topics without any are left out."""
        self.held: dict[bytes, dict[int, str]] = {}
        """Partitions that cannot be read on, and why."""
        self.left_alone: set[bytes] = set()
        """Topics whose table another broker has taken over."""
        self._seen: dict[bytes, dict[int, tuple[int, int]]] = {}
        """What `_new_bytes` remembers, by topic and partition."""
        self._noted: list[Partition] = []

    def forget(self, topic_id: bytes) -> None:
        self.topics.pop(topic_id, None)
        self.held.pop(topic_id, None)
        self.left_alone.discard(topic_id)
        self._seen.pop(topic_id, None)

    def leave_alone(self, topic_id: bytes) -> None:
        """Until the next start."""
        self.topics.pop(topic_id, None)
        self.left_alone.add(topic_id)

    def tabled_offset(self, topic: Topic, index: int) -> int:
        """The first offset of a partition that is not known to be in the table."""
        tabled = self._tabled.topics.get(topic.topic_id)
        return tabled.offsets.get(index, 0) if tabled is not None else 0

    # --- finding them -----------------------------------------------------------------------------------------

    def progressed(self, partition: Partition) -> None:
        """Records of the partition have become durable: the first since the last look."""
        self._noted.append(partition)
        self._wake()

    def look(self) -> Iterator[tuple[Topic, int]]:
        """Take in which partitions have told of progress, and have them tell again; topics and their new bytes."""
        noted, self._noted = self._noted, []
        for partition in noted:
            topic = partition.topic
            opened = partition.opened_log
            if opened is None or topic.topic_id not in self._broker.catalog.by_id or not topic.has_table:
                continue
            if topic.topic_id in self.left_alone:
                continue
            partition.on_progress = self.progressed
            seen = self._seen.setdefault(topic.topic_id, {})
            byte_count, seen[partition.index] = _new_bytes(opened, seen.get(partition.index))
            if opened.last_stable_offset > self.tabled_offset(topic, partition.index):
                self._add(topic, partition.index)
                yield topic, byte_count

    def watch(self, topic: Topic) -> bool:
        """Have a topic's partitions tell of their progress, and find those that are behind already, without opening a
        log that is not; whether any is."""
        if not topic.has_table or topic.topic_id in self.left_alone:
            return False
        for partition in topic.made_partitions():
            partition.on_progress = self.progressed
        for index in range(topic.partition_count):
            key = TopicPartition(topic.name, index)
            if not self._folder.has_folder(key):
                continue
            end_offset = self._folder.known_end_offset(key)
            if end_offset is None or end_offset > self.tabled_offset(topic, index):
                self._add(topic, index)
        return topic.topic_id in self.topics

    def note_opened(self, topic: Topic) -> None:
        """Find what is behind among the logs that somebody opened, looked at lately or not."""
        for partition in topic.made_partitions():
            opened = partition.opened_log
            if opened is not None and opened.last_stable_offset > self.tabled_offset(topic, partition.index):
                self._add(topic, partition.index)

    def _add(self, topic: Topic, index: int) -> None:
        self.topics.setdefault(topic.topic_id, set()).add(index)

    def end_offsets(self, topic: Topic) -> dict[int, int]:
        """Up to where the partitions that are behind can be read now."""
        found = {}
        for index in self.topics.get(topic.topic_id, ()):
            partition = topic.partition(index)
            if partition is not None and self._broker.logs.has_records(topic, index):
                found[index] = partition.log.last_stable_offset
        return found

    def is_tabled(self, topic: Topic, end_offsets: Mapping[int, int]) -> bool:
        """Whether the partitions are in the table up to these offsets, as far as they can be read."""
        held = self.held.get(topic.topic_id, {})
        for index, end_offset in end_offsets.items():
            partition = topic.partition(index)
            if partition is None or index in held or self.tabled_offset(topic, index) >= end_offset:
                continue
            if partition.log.log_start_offset < end_offset:  # else they were deleted
                return False
        return True

    # --- a commit ---------------------------------------------------------------------------------------------

    def ranges(self, topic: Topic) -> list[dict[str, Any]]:
        """What there is to read of the topic's partitions that are behind, as a job has it."""
        ranges = []
        for index in sorted(self.topics.get(topic.topic_id, ())):
            partition = topic.partition(index)
            if partition is None or not self._broker.logs.has_records(topic, index):
                continue
            opened = partition.log
            partition.on_progress = self.progressed
            start_offset = max(self.tabled_offset(topic, index), opened.log_start_offset)
            end_offset = opened.last_stable_offset
            if end_offset <= start_offset:
                continue
            try:
                aborted, end_offset = _aborted(opened, start_offset, end_offset)
            except (ApiError, CorruptTransactionIndex) as error:
                self._hold(topic, index, str(error))
                continue
            ranges.append(
                {
                    "index": index,
                    "folder": partition_directory(self._folder.root, topic.name, index),
                    "log_start_offset": opened.log_start_offset,
                    "start_offset": start_offset,
                    "end_offset": end_offset,
                    "aborted": aborted,
                }
            )
        return ranges

    def committed(self, topic: Topic, result: dict[str, Any]) -> bool:
        """Take in how far a commit got; whether the topic is still behind, or behind again."""
        topic_id = topic.topic_id
        held = {int(index): reason for index, reason in result["held"].items()}
        for index in map(int, result["committed"]):
            if index in held:
                self._hold(topic, index, held[index])
            else:
                self.held.get(topic_id, {}).pop(index, None)
        behind = self.topics.get(topic_id, set())
        for index in list(behind):
            partition = topic.partition(index)
            opened = partition.opened_log if partition is not None else None
            is_tabled = opened is not None and opened.last_stable_offset <= self.tabled_offset(topic, index)
            if is_tabled or index in held:
                behind.discard(index)
        if not behind:
            self.topics.pop(topic_id, None)
        return bool(behind)

    def _hold(self, topic: Topic, index: int, reason: str) -> None:
        """A partition cannot be read on; it is looked at again when it has new records."""
        reasons = self.held.setdefault(topic.topic_id, {})
        if reasons.get(index) != reason:
            log.error("%s-%d: %s; its table waits, other partitions go on", topic.name, index, reason)
        reasons[index] = reason


def _new_bytes(opened: Log, seen: tuple[int, int] | None) -> tuple[int, tuple[int, int]]:
    """Bytes written since the last look, about, and what to remember: (base offset, size) of the last segment."""
    if not opened.segments:
        return 0, (0, 0)
    last = opened.segments[-1]
    now = (last.base_offset, last.size)
    if seen is None or seen[0] != last.base_offset:
        return last.size, now
    return max(0, last.size - seen[1]), now


def _aborted(opened: Log, start_offset: int, end_offset: int) -> tuple[list[list[int]], int]:
    """The aborted transactions of a range, and its end: nearer, where there are too many of them."""
    found = sorted(
        opened.aborted_transactions(start_offset, end_offset), key=lambda entry: entry.first_offset
    )
    if len(found) > MAX_ABORTED and found[MAX_ABORTED].first_offset > start_offset:
        end_offset = found[MAX_ABORTED].first_offset
        found = found[:MAX_ABORTED]
    return [[entry.producer_id, entry.first_offset, entry.last_offset] for entry in found], end_offset
