"""One Iceberg table that carries marks: opened, evolved, committed to, set back."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pyiceberg.table import Transaction
from pyiceberg.table.locations import load_location_provider
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update import (
    AddSchemaUpdate,
    AssertCurrentSchemaId,
    AssertDefaultSpecId,
    AssertLastAssignedFieldId,
    SetCurrentSchemaUpdate,
    SetPropertiesUpdate,
    update_table_metadata,
)

from broker.tiering import marks, partitioning, schemas
from broker.tiering.commit import Attempt, Clock, Fenced, TableMoved, land, refresh
from broker.tiering.manifests import FilesGone, Place
from broker.tiering.marks import Mark, Offsets
from broker.tiering.rewinding import without
from broker.tiering.snapshots import Change, draft

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import DataFile
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.update import TableRequirement, TableUpdate

log = logging.getLogger("floe.tables")

DEFAULT_PARTITION_BY: Final = "hour(kafka_timestamp)"


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes. A higher epoch fences lower ones: it grows with every start of the broker."""

    cluster_id: str
    topic: str
    topic_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How the table is made and kept, from the topic's settings."""

    partition_by: str = DEFAULT_PARTITION_BY
    properties: Mapping[str, str] = field(default_factory=dict)
    """Table properties that a new table gets beside Floe's own."""


@dataclass(frozen=True, slots=True)
class FileTarget:
    """What a writer of data files needs to know about the table."""

    schema: Schema
    spec: PartitionSpec
    sort_order_id: int
    io: FileIO
    properties: Mapping[str, str]
    new_path: Callable[[str, str], str]
    """From a partition's path (`kafka_timestamp_hour=2026-11-21-13`, maybe empty) and a file's name to a URL."""


@dataclass(frozen=True, slots=True)
class Committed:
    snapshot_id: int | None
    metadata_location: str
    marks: Offsets


class MarkedTable:
    """State: the pyiceberg table as last seen, the offsets it was seen with, and what is staged for the next commit."""

    def __init__(self, table: Table, writer: Writer, layout: Layout, clock: Clock) -> None:
        self.iceberg = table
        self.writer = writer
        self.clock = clock
        self._wanted = partitioning.parse(layout.partition_by)
        self._offsets: Offsets = {}
        self._staged: tuple[TableUpdate, ...] = ()
        self._base = self._metadata = table.metadata
        self.refresh(read=False)

    @property
    def name(self) -> str:
        return ".".join(self.iceberg.name())

    def marks(self) -> Offsets:
        return dict(self._offsets)

    def refresh(self, read: bool = True) -> None:
        """To the table as it is; what was staged is dropped. Raises CommitUnknown, TableMoved and Fenced."""
        if read:
            refresh(self.iceberg)
        self._unstage()
        mark = self._mark_of(self.iceberg.metadata)
        self._refuse_if_fenced(mark)
        self._offsets = dict(mark.offsets) if mark is not None else {}
        self._stage_spec()

    # -- columns

    def arrow_schema(self) -> pa.Schema:
        return schemas.arrow_schema(self._metadata.schema())

    def evolve(self, wanted: pa.Schema) -> None:
        """Stages what `wanted` has more than the table, for the next commit. Raises IncompatibleSchema."""
        new_id = 1 + max(one.schema_id for one in self._base.schemas)
        schema = schemas.evolved(self._metadata.schema(), wanted, self._metadata.last_column_id, new_id)
        if schema is self._metadata.schema():
            return
        self._unstage()
        self._stage(AddSchemaUpdate(schema=schema), SetCurrentSchemaUpdate.model_validate({"schema-id": -1}))
        self._stage_spec()

    def _stage_spec(self) -> None:
        schema, spec = self._metadata.schema(), self._metadata.spec()
        here = partitioning.applicable(self._wanted, schema)
        if not partitioning.differs(spec, here, schema):
            return
        transaction = Transaction(self.iceberg)
        transaction._updates = self._staged
        with transaction.update_spec() as change:
            partitioning.update(spec, here, change)
        self._unstage()
        self._stage(*transaction._updates)

    def _stage(self, *updates: TableUpdate) -> None:
        self._staged += updates
        self._metadata = update_table_metadata(self._metadata, updates)

    def _unstage(self) -> None:
        self._staged = ()
        self._base = self._metadata = self.iceberg.metadata

    def target(self) -> FileTarget:
        """For the files of the next commit: with the staged columns and partitions."""
        metadata = self._metadata
        provider = load_location_provider(metadata.location, metadata.properties)

        def new_path(partition_path: str, name: str) -> str:
            return provider.new_data_location(f"{partition_path}/{name}" if partition_path else name)

        return FileTarget(
            schema=metadata.schema(),
            spec=metadata.spec(),
            sort_order_id=metadata.default_sort_order_id,
            io=self.iceberg.io,
            properties=metadata.properties,
            new_path=new_path,
        )

    # -- commits

    def commit(self, files: Sequence[DataFile], offsets: Offsets) -> Committed:
        """Adds `files` and moves the marks to `offsets` (those of other partitions stay), with what is staged.

        Raises TableMoved, Fenced, CommitUnknown, CommitRefused.
        """
        reached = {**self._offsets, **offsets}
        if files or self._staged or reached != self._offsets:
            self.apply(Change(Operation.APPEND, files), reached)
        return self.committed()

    def committed(self) -> Committed:
        current = self.iceberg.metadata.current_snapshot_id
        return Committed(current, self.iceberg.metadata_location, dict(self._offsets))

    def apply(self, change: Change, reached: Offsets) -> None:
        """One snapshot with this change and these marks. Raises as `commit`, and FilesGone."""
        snapshot_id = self.iceberg.metadata.new_snapshot_id()
        mark = self._mark(reached)

        def build(metadata: TableMetadata) -> Attempt:
            self._check(metadata)
            based = update_table_metadata(metadata, self._staged) if self._staged else metadata
            drafted = draft(based, change, mark.summary(), self._place(), snapshot_id, self.clock.now_ms())
            updates = (
                *self._staged,
                *drafted.updates,
                self._properties(mark, drafted.snapshot.snapshot_id, based),
            )
            return Attempt(updates, (*drafted.requirements, *self._same_columns()))

        self._land(build, snapshot_id, mark)

    def settle(self) -> None:
        """After a change to `iceberg` that left marks, columns and partitions as they were."""
        if not self._staged:
            self._unstage()

    def rewind(self, offsets: Offsets) -> None:
        """Deletes the rows from these offsets on and sets the marks back, in one commit. Raises as `commit`.

        Partitions that are not behind their offset stay as they are.
        """
        back = {one: offset for one, offset in offsets.items() if offset < self._offsets.get(one, 0)}
        if not back:
            return
        self._unstage()
        change = without(self.iceberg, self.target(), back)
        try:
            self.apply(change, {**self._offsets, **back})
        except FilesGone as error:
            raise TableMoved(f"{self.name}: {error}") from error

    def _land(self, build: Callable[[TableMetadata], Attempt], snapshot_id: int, mark: Mark) -> None:
        land(self.iceberg, build, lambda metadata: self._has(metadata, mark, {snapshot_id}), self.clock)
        self._after(mark)

    def _after(self, mark: Mark) -> None:
        self._offsets = dict(mark.offsets)
        self._unstage()

    def _has(self, metadata: TableMetadata, mark: Mark, snapshot_ids: set[int]) -> bool:
        if any(one.snapshot_id in snapshot_ids for one in marks.ancestors(metadata)):
            return True
        found = self._mark_of(metadata)
        return found is not None and found.commit_id == mark.commit_id

    def _mark(self, reached: Offsets) -> Mark:
        return Mark(
            self.writer.cluster_id, self.writer.topic_id, self.writer.epoch, uuid.uuid4().hex, dict(reached)
        )

    def _properties(self, mark: Mark, snapshot_id: int, based: TableMetadata) -> SetPropertiesUpdate:
        written = mark.property(snapshot_id, based.next_sequence_number())
        return SetPropertiesUpdate(updates={marks.MARK: written})

    def _place(self) -> Place:
        metadata = self._metadata
        provider = load_location_provider(metadata.location, metadata.properties)
        return Place(self.iceberg.io, provider.new_metadata_location, uuid.uuid4().hex)

    def _check(self, metadata: TableMetadata) -> None:
        """That this table is the one our files were made for."""
        mark = self._mark_of(metadata)
        self._refuse_if_fenced(mark)
        found = mark.offsets if mark is not None else {}
        if found != self._offsets:
            raise TableMoved(
                f"{self.name}: marked {marks.format_offsets(found)}, not what was read from the log"
            )
        if self._staged and not self._is_base(metadata):
            raise TableMoved(f"{self.name}: its columns or partitions were changed by another writer")

    def _is_base(self, metadata: TableMetadata) -> bool:
        """What is staged numbers its columns and partitions after those of the table as it was."""
        ids = (
            (one.current_schema_id, one.last_column_id, one.default_spec_id) for one in (metadata, self._base)
        )
        return len(set(ids)) == 1

    def _same_columns(self) -> tuple[TableRequirement, ...]:
        if not self._staged:
            return ()
        base = self._base
        values: list[tuple[Any, dict[str, int]]] = [
            (AssertCurrentSchemaId, {"current-schema-id": base.current_schema_id}),
            (AssertLastAssignedFieldId, {"last-assigned-field-id": base.last_column_id}),
            (AssertDefaultSpecId, {"default-spec-id": base.default_spec_id}),
        ]
        return tuple(kind.model_validate(value) for kind, value in values)

    def _refuse_if_fenced(self, mark: Mark | None) -> None:
        if mark is not None and mark.writer_epoch > self.writer.epoch:
            raise Fenced(
                f"{self.name}: a writer that started later (epoch {mark.writer_epoch}, here {self.writer.epoch}) "
                "owns it: two brokers with the same data folder?"
            )

    def _mark_of(self, metadata: TableMetadata) -> Mark | None:
        try:
            return marks.current(metadata)
        except (marks.Unknown, ValueError, KeyError):
            log.warning("%s: its marks are gone; they are taken from its rows", self.name)
            return self._mark(offsets_in_rows(self.iceberg))


def offsets_in_rows(table: Table) -> Offsets:
    """One more than the highest offset by partition, by reading the two columns of every file.

    A topic's records are tabled in order, so that whatever is below is in the table, unless it was a dead letter.
    """
    found: Offsets = {}
    for batch in table.scan(selected_fields=schemas.SORTED_BY).to_arrow_batch_reader():
        partitions, offsets = (
            batch.column(name).to_numpy(zero_copy_only=False) for name in schemas.SORTED_BY
        )
        for partition in np.unique(partitions).tolist():
            highest = int(offsets[partitions == partition].max())
            found[partition] = max(found.get(partition, 0), highest + 1)
    return found
