"""How far a table is: the mark that every commit carries, and which of several marks counts. Pure.

A mark says up to which offset each partition of the topic is in the table. It is in the summary of each snapshot that
Floe commits and, written by the same commit, in a property of the table. A table's mark is found in this order:

1. The newest marked snapshot among the *ancestors* of the current one. The current snapshot's rows are those of its
   ancestors, so that a commit by somebody else in front of ours (a compaction, a delete) changes nothing, and after a
   rollback the mark goes back together with the rows: what was rolled back is written again from the log.
2. Where the ancestors end without one because snapshots were expired: the property, unless the snapshot that it was
   written with is known not to be an ancestor (it is still there, or it is younger than the current one).
3. Otherwise nobody knows (`Unknown`): the caller looks at the rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot

CLUSTER_ID: Final = "floe.cluster-id"
TOPIC: Final = "floe.topic"
TOPIC_ID: Final = "floe.topic-id"
WRITER_EPOCH: Final = "floe.writer-epoch"
OFFSETS: Final = "floe.offsets"
COMMIT_ID: Final = "floe.commit-id"
MARK: Final = "floe.mark"
"""The property of the table; the others are properties of the table and keys of a snapshot's summary."""

Offsets = dict[int, int]
"""The next offset by partition: what is below it is in the table, or was never meant to be."""


@dataclass(frozen=True, slots=True)
class Mark:
    cluster_id: str
    topic_id: str
    writer_epoch: int
    commit_id: str
    offsets: Offsets

    def summary(self) -> dict[str, str]:
        """For a snapshot's summary."""
        return {
            CLUSTER_ID: self.cluster_id,
            TOPIC_ID: self.topic_id,
            WRITER_EPOCH: str(self.writer_epoch),
            COMMIT_ID: self.commit_id,
            OFFSETS: format_offsets(self.offsets),
        }

    def property(self, snapshot_id: int, sequence_number: int) -> str:
        """For the table's property, with the snapshot that it is written with."""
        place = {"snapshot-id": str(snapshot_id), "sequence-number": str(sequence_number)}
        return json.dumps({**place, **self.summary()}, separators=(",", ":"))


class Unknown(Exception):
    """The history with the marks is gone and the property belongs to another one: only the rows can tell."""


def format_offsets(offsets: Mapping[int, int]) -> str:
    return ",".join(f"{partition}:{offset}" for partition, offset in sorted(offsets.items()))


def parse_offsets(text: str) -> Offsets:
    """Raises ValueError."""
    pairs = (item.partition(":") for item in text.split(",") if item)
    return {int(partition): int(offset) for partition, _, offset in pairs}


def parse(summary: Mapping[str, str | None]) -> Mark | None:
    """None where the summary has no mark. Raises ValueError for one that somebody edited."""
    offsets = summary.get(OFFSETS)
    if offsets is None:
        return None
    return Mark(
        cluster_id=summary.get(CLUSTER_ID) or "",
        topic_id=summary.get(TOPIC_ID) or "",
        writer_epoch=int(summary.get(WRITER_EPOCH) or 0),
        commit_id=summary.get(COMMIT_ID) or "",
        offsets=parse_offsets(offsets),
    )


def ancestors(metadata: TableMetadata) -> Iterator[Snapshot]:
    """The current snapshot, its parent, and so on, as far as they were not expired."""
    by_id = {snapshot.snapshot_id: snapshot for snapshot in metadata.snapshots}
    snapshot = by_id.get(metadata.current_snapshot_id) if metadata.current_snapshot_id is not None else None
    while snapshot is not None:
        yield snapshot
        parent_id = snapshot.parent_snapshot_id
        snapshot = by_id.get(parent_id) if parent_id is not None else None


def newest_marked(metadata: TableMetadata) -> tuple[Snapshot, Mark] | None:
    """The youngest ancestor of the current snapshot (itself included) that carries a mark."""
    for snapshot in ancestors(metadata):
        mark = parse(snapshot.summary.additional_properties) if snapshot.summary is not None else None
        if mark is not None:
            return snapshot, mark
    return None


def current(metadata: TableMetadata) -> Mark | None:
    """The table's mark; None for a table without rows of ours. Raises Unknown and ValueError."""
    if (found := newest_marked(metadata)) is not None:
        return found[1]
    written = metadata.properties.get(MARK)
    newest = metadata.current_snapshot()
    if written is None or newest is None:
        return None
    values = json.loads(written)
    snapshot_id, sequence_number = int(values["snapshot-id"]), int(values["sequence-number"])
    if metadata.snapshot_by_id(snapshot_id) is not None or (newest.sequence_number or 0) < sequence_number:
        raise Unknown
    return parse(values)
