"""The state of the coordinator: all groups and their committed offsets, and the one place that changes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from broker.coordinator import classic_group, consumer_group
from broker.coordinator.classic_group import DEAD, EMPTY, ClassicGroup
from broker.coordinator.consumer_group import ConsumerGroup
from broker.coordinator.offsets import Offsets
from broker.coordinator.outcome import Outcome, Record
from protocol.messages.internal.consumer_group_records import ConsumerGroupMetadataKey
from protocol.messages.internal.offset_records import GroupMetadataKey, OffsetCommitKey

Group = ClassicGroup | ConsumerGroup


class Groups:
    """Every group there is, by id. Read by everybody, changed by `apply` only.

    A group that only commits offsets has no record but those, and no entry until somebody joins it.
    """

    def __init__(self) -> None:
        self.by_id: dict[str, Group] = {}
        self.offsets = Offsets()

    def find(self, group_id: str) -> Group | None:
        """The group, or None if there is no such group."""
        group = self.by_id.get(group_id)
        if group is None and group_id in self.offsets:
            return ClassicGroup(group_id)
        return group

    def ids(self) -> Iterator[str]:
        yield from self.by_id
        yield from (group_id for group_id in self.offsets.groups() if group_id not in self.by_id)

    def apply_outcome(self, outcome: Outcome, index: int = 0, offset: int = 0) -> None:
        """Apply all events of a decision, whose records stand from `offset` on in partition `index`."""
        if outcome.producer is not None:
            for place, record in enumerate(outcome.records, offset):
                self.offsets.pending.add(index, outcome.producer.producer_id, place, record)
            return
        for event in outcome.events:
            self.apply(outcome.group_id, event)

    def end_transaction(self, index: int, producer_id: int, is_committed: bool) -> list[Record]:
        """A marker stands in a partition: the offsets that count from now on."""
        records = self.offsets.pending.end(index, producer_id, is_committed)
        for record in records:
            self.apply(record.key.group, record)
        return records

    def apply(self, group_id: str, event: Any) -> None:
        """Apply one event of a group: a record, live or at recovery, or a volatile one."""
        if event.__class__ is Record:
            applier = _APPLY.get(event.key.__class__)
            if applier is not None:
                applier(self, event)
            return
        group = self.by_id.get(group_id)
        if isinstance(group, ConsumerGroup):
            consumer_group.apply(group, event)
        else:
            classic_group.apply(self._classic(group_id), event)

    def _classic(self, group_id: str) -> ClassicGroup:
        group = self.by_id.get(group_id)
        if not isinstance(group, ClassicGroup):
            assert group is None or group.is_empty
            group = self.by_id[group_id] = ClassicGroup(group_id)
        return group

    def _consumer(self, group_id: str) -> ConsumerGroup:
        group = self.by_id.get(group_id)
        if not isinstance(group, ConsumerGroup):
            assert group is None or group.is_empty
            group = self.by_id[group_id] = ConsumerGroup(group_id)
        return group


def _offset(groups: Groups, record: Record) -> None:
    groups.offsets.apply(record.key, record.value)


def _classic_metadata(groups: Groups, record: Record) -> None:
    group_id = record.key.group
    if record.value is not None:
        classic_group.apply(groups._classic(group_id), record)
        return
    group = groups.by_id.get(group_id)
    if isinstance(group, ClassicGroup):
        del groups.by_id[group_id]
        if group.state is EMPTY:
            assert (EMPTY, DEAD) in classic_group.TRANSITIONS
        group.state = DEAD


def _consumer(groups: Groups, record: Record) -> None:
    group_id = record.key.group_id
    if record.value is None and not isinstance(groups.by_id.get(group_id), ConsumerGroup):
        return  # what it unmakes is gone already: its records have been compacted away
    group = groups._consumer(group_id)
    consumer_group.apply(group, record)
    if record.value is None and record.key.__class__ is ConsumerGroupMetadataKey:
        del groups.by_id[group_id]


_APPLY: Final[dict[type, Callable[[Groups, Record], None]]] = {
    OffsetCommitKey: _offset,
    GroupMetadataKey: _classic_metadata,
    **dict.fromkeys(consumer_group.RECORD_KEYS, _consumer),
}
"""What a record changes, by the class of its key. Records of other kinds of groups are entered here."""
