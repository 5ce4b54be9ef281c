"""The state of the coordinator: all groups and their committed offsets, and the one place that changes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from broker.coordinator import classic_group
from broker.coordinator.classic_group import DEAD, EMPTY, ClassicGroup
from broker.coordinator.offsets import Offsets
from broker.coordinator.outcome import Outcome, Record
from protocol.messages.internal.offset_records import GroupMetadataKey, OffsetCommitKey


class Groups:
    """Every group there is, by id. Read by everybody, changed by `apply` only.

    A group that only commits offsets has no record but those, and no entry until somebody joins it.
    """

    def __init__(self) -> None:
        self.by_id: dict[str, ClassicGroup] = {}
        self.offsets = Offsets()

    def find(self, group_id: str) -> ClassicGroup | None:
        """The group, or None if there is no such group."""
        group = self.by_id.get(group_id)
        if group is None and group_id in self.offsets:
            return ClassicGroup(group_id)
        return group

    def ids(self) -> Iterator[str]:
        yield from self.by_id
        yield from (group_id for group_id in self.offsets.by_group if group_id not in self.by_id)

    def apply_outcome(self, outcome: Outcome) -> None:
        """Apply all events of a decision."""
        for event in outcome.events:
            self.apply(outcome.group_id, event)

    def apply(self, group_id: str, event: Any) -> None:
        """Apply one event of a group: a record, live or at recovery, or a volatile one."""
        if event.__class__ is Record:
            applier = _APPLY.get(event.key.__class__)
            if applier is not None:
                applier(self, event)
            return
        classic_group.apply(self._group(group_id), event)

    def _group(self, group_id: str) -> ClassicGroup:
        group = self.by_id.get(group_id)
        if group is None:
            group = self.by_id[group_id] = ClassicGroup(group_id)
        return group


def _offset(groups: Groups, record: Record) -> None:
    groups.offsets.apply(record.key, record.value)


def _classic_metadata(groups: Groups, record: Record) -> None:
    group_id = record.key.group
    if record.value is not None:
        classic_group.apply(groups._group(group_id), record)
        return
    group = groups.by_id.pop(group_id, None)
    if group is not None:
        if group.state is EMPTY:
            assert (EMPTY, DEAD) in classic_group.TRANSITIONS
        group.state = DEAD


_APPLY: Final[dict[type, Callable[[Groups, Record], None]]] = {
    OffsetCommitKey: _offset,
    GroupMetadataKey: _classic_metadata,
}
"""What a record changes, by the class of its key. Records of other kinds of groups are entered here."""
