"""A topic's table, and beside it the one for what did not fit (`<table>__dlq`).

Two tables are two commits. The dead letters land first: the topic's table, with the marks, is what says how far the
topic is. Dead letters beyond its marks are from an attempt that did not finish; they are deleted when the table is
opened, and the records they were made of are read again. So every record is in one of the two, once.

Which table is whose. A table carries the ids of its cluster and topic. Another topic's table, another cluster's, or
one that Floe did not make is refused with `TableTaken`. A table of the same topic name but another topic id belongs
to a deleted topic: it is renamed to `<table>__<start of its topic id>` and kept, and the new topic gets a new table.
Offsets of the two are never mixed. Each table has a folder of its own, named with the topic id, wherever the
warehouse is a URL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pyiceberg.catalog import MetastoreCatalog
from pyiceberg.exceptions import NamespaceAlreadyExistsError, NoSuchTableError, TableAlreadyExistsError
from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec
from pyiceberg.table.sorting import SortField, SortOrder
from pyiceberg.transforms import IdentityTransform

from broker.tiering import local_files, marks, names, partitioning, schemas
from broker.tiering.catalogs import warehouse_url
from broker.tiering.commit import Clock, CommitUnknown
from broker.tiering.marked_table import Committed, FileTarget, Layout, MarkedTable, Writer
from broker.tiering.marks import Offsets
from broker.tiering.orphans import OWN_FOLDER

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table

__all__ = ["Committed", "FileTarget", "Layout", "TableTaken", "TopicTable", "Writer"]

Identifier = tuple[str, ...]

PROPERTIES: Final[Mapping[str, str]] = {
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "100",  # at a commit every 10 s a pasted location is good for 16 min
    "commit.manifest-merge.enabled": "true",
}
DEAD_LETTERS: Final = "dead-letters"
KIND: Final = "floe.kind"


class TableTaken(Exception):
    """The name belongs to something else. `str()` says to what, and which setting gives another name."""


class TopicTable:
    """What the worker writes to. After an exception other than IncompatibleSchema: `reopen`, read on from `marks()`."""

    def __init__(
        self, catalog: Catalog, identifier: Identifier, writer: Writer, layout: Layout, clock: Clock
    ) -> None:
        self._catalog = catalog
        self._identifier = identifier
        self._writer = writer
        self._layout = layout
        self._clock = clock
        self._main: MarkedTable
        self._dead_letters: MarkedTable | None = None

    @classmethod
    def open(
        cls,
        catalog: Catalog,
        identifier: Identifier,
        writer: Writer,
        initial: pa.Schema,
        layout: Layout | None = None,
        clock: Clock | None = None,
    ) -> TopicTable:
        """Finds or makes the table. `initial`: the columns of a new one; the `kafka_*` ones may be left out.

        Raises TableTaken, Fenced, CommitUnknown, InvalidPartitioning, and what the catalog raises.
        """
        opened = cls(catalog, identifier, writer, layout or Layout(), clock or Clock())
        opened._main = opened._open(identifier, initial, {})
        opened._reconcile()
        return opened

    @property
    def main(self) -> MarkedTable:
        return self._main

    def tables(self) -> list[MarkedTable]:
        """The topic's table and, if there is one, that of its dead letters."""
        return [self._main] if self._dead_letters is None else [self._main, self._dead_letters]

    @property
    def name(self) -> str:
        return self._main.name

    @property
    def metadata_location(self) -> str:
        return self._main.iceberg.metadata_location

    def marks(self) -> Offsets:
        """The next offset by partition; partitions that never had a record are missing."""
        return self._main.marks()

    def arrow_schema(self) -> pa.Schema:
        return self._main.arrow_schema()

    def evolve(self, wanted: pa.Schema) -> None:
        """Stages new and widened columns for the next commit. Raises IncompatibleSchema."""
        self._main.evolve(wanted)

    def target(self) -> FileTarget:
        return self._main.target()

    def dead_letters(self, initial: pa.Schema) -> MarkedTable:
        """The table for what does not fit, made at the first call. Its `target` is where dead letters are written."""
        if self._dead_letters is None:
            identifier = names.dead_letters_identifier(self._identifier)
            self._dead_letters = self._open(identifier, initial, {KIND: DEAD_LETTERS})
            self._dead_letters.rewind(self.marks())
        return self._dead_letters

    def commit(
        self, files: Sequence[DataFile], offsets: Offsets, dead_letters: Sequence[DataFile] = ()
    ) -> Committed:
        """The rows and dead letters of the records up to `offsets`, exactly once.

        Raises TableMoved, Fenced, CommitUnknown, CommitRefused.
        """
        if dead_letters:
            assert self._dead_letters is not None, "dead letters are written to dead_letters().target()"
            self._dead_letters.commit(dead_letters, {**self.marks(), **offsets})
        return self._main.commit(files, offsets)

    def reopen(self) -> None:
        """To what is in the tables now. Raises as `open`."""
        self._main.refresh()
        self._dead_letters = None
        self._reconcile()

    def rewind(self, offsets: Offsets) -> Committed:
        """Takes back what was tabled from these offsets on, so that it is tabled again. Raises as `commit`.

        The topic's table goes first: what is left of the dead letters is then beyond its marks. Who rolls the table
        back to a snapshot from before a rewind has to roll back the dead letters' table as well.
        """
        self._main.rewind(offsets)
        self._reconcile()
        return self._main.committed()

    def drop(self) -> None:
        """As `drop_tables`."""
        drop_tables(self._catalog, self._identifier, self._writer)

    def _reconcile(self) -> None:
        identifier = names.dead_letters_identifier(self._identifier)
        if self._dead_letters is None:
            try:
                table = self._catalog.load_table(identifier)
            except NoSuchTableError:
                return
            if not _is_of(table, self._writer):
                return
            self._dead_letters = MarkedTable(
                table, self._writer, replace(self._layout, partition_by=""), self._clock
            )
        ahead = {one: self.marks().get(one, 0) for one in self._dead_letters.marks()}
        self._dead_letters.rewind(ahead)

    def _open(self, identifier: Identifier, initial: pa.Schema, extra: Mapping[str, str]) -> MarkedTable:
        layout = replace(self._layout, partition_by="") if extra else self._layout
        table = self._find(identifier)
        if table is None:
            table = self._create(identifier, initial, layout, extra)
        return MarkedTable(table, self._writer, layout, self._clock)

    def _find(self, identifier: Identifier) -> Table | None:
        """The table, if it is this topic's; one of a deleted topic is moved away."""
        try:
            table = self._catalog.load_table(identifier)
        except NoSuchTableError:
            return None
        if _is_of(table, self._writer):
            return table
        _check_owner(table, self._writer)
        retired = names.retired_identifier(identifier, table.properties[marks.TOPIC_ID])
        try:
            self._catalog.rename_table(identifier, retired)
        except NotImplementedError as error:
            raise TableTaken(
                f"{'.'.join(identifier)} belongs to a deleted topic of this name and its catalog cannot rename tables: "
                "rename or drop it, or set floe.table.name.template"
            ) from error
        return None

    def _create(
        self, identifier: Identifier, initial: pa.Schema, layout: Layout, extra: Mapping[str, str]
    ) -> Table:
        namespace = identifier[:-1]
        if not self._catalog.namespace_exists(namespace):
            with suppress(NamespaceAlreadyExistsError):  # somebody was faster
                self._catalog.create_namespace(namespace)
        schema = schemas.with_kafka_columns(initial)
        writer = self._writer
        location = self._location(identifier)
        properties = {
            **PROPERTIES,
            **layout.properties,
            **extra,
            **({OWN_FOLDER: "true"} if location else {}),
            marks.CLUSTER_ID: writer.cluster_id,
            marks.TOPIC: writer.topic,
            marks.TOPIC_ID: writer.topic_id,
        }
        with suppress(TableAlreadyExistsError):  # by this call, if its answer was lost, or by another
            return self._catalog.create_table(
                identifier, schema, location, _spec(layout, schema), _sort_order(schema), properties
            )
        table = self._find(identifier)
        if table is None:
            raise CommitUnknown(f"{'.'.join(identifier)} was there and is not")
        return table

    def _location(self, identifier: Identifier) -> str | None:
        """A folder that no other table has; None where the catalog decides, as REST catalogs do."""
        warehouse = warehouse_url(self._catalog.properties)
        if warehouse is None or not isinstance(self._catalog, MetastoreCatalog):
            return None
        short = re.sub(r"[^0-9A-Za-z_-]", "", self._writer.topic_id)
        return "/".join([warehouse, *identifier[:-1], f"{identifier[-1]}-{short}"])


def drop_tables(catalog: Catalog, identifier: Identifier, writer: Writer) -> None:
    """Deletes the tables of a topic that is deleted with them from the catalog, and their files.

    They may have another name by now, and theirs be that of a new topic's tables, which stay. Raises what the catalog
    raises.
    """
    for name in (names.dead_letters_identifier(identifier), identifier):
        for one in (name, names.retired_identifier(name, writer.topic_id)):
            try:
                table = catalog.load_table(one)
            except NoSuchTableError:
                continue
            if _is_of(table, writer):
                catalog.purge_table(one)
                _remove_folder(table)


def _remove_folder(table: Table) -> None:
    """What is left of a local table whose files are deleted: its folders, and its namespace's if they are empty."""
    location, warehouse = table.location(), warehouse_url(table.catalog.properties)
    if (
        warehouse is not None
        and table.properties.get(OWN_FOLDER) == "true"
        and location.startswith("file://")
    ):
        local_files.remove_empty_folders(location.removeprefix("file://"), warehouse.removeprefix("file://"))


def _is_of(table: Table, writer: Writer) -> bool:
    ids = (table.properties.get(marks.CLUSTER_ID), table.properties.get(marks.TOPIC_ID))
    return ids == (writer.cluster_id, writer.topic_id)


def _check_owner(table: Table, writer: Writer) -> None:
    """Raises TableTaken unless the table is of this cluster and a topic of this name."""
    name, properties = ".".join(table.name()), table.properties
    if marks.TOPIC_ID not in properties:
        raise TableTaken(
            f"{name} is there and was not made by Floe: set floe.table.namespace or floe.table.name.template"
        )
    if properties.get(marks.CLUSTER_ID) != writer.cluster_id:
        raise TableTaken(
            f"{name} belongs to another Floe (cluster id {properties.get(marks.CLUSTER_ID)}): set floe.table.namespace"
        )
    if properties.get(marks.TOPIC) != writer.topic:
        raise TableTaken(
            f"{name} is the table of topic {properties.get(marks.TOPIC)}, and topic {writer.topic} maps to the same: "
            "set floe.table.name.template for one of them"
        )


def _spec(layout: Layout, schema: Schema) -> PartitionSpec:
    wanted = partitioning.applicable(partitioning.parse(layout.partition_by), schema)
    return PartitionSpec(
        *(
            PartitionField(
                source_id=schema.find_field(item.column).field_id,
                field_id=PARTITION_FIELD_ID_START + index,
                transform=item.transform,
                name=item.name,
            )
            for index, item in enumerate(wanted)
        )
    )


def _sort_order(schema: Schema) -> SortOrder:
    return SortOrder(
        *(SortField(schema.find_field(name).field_id, IdentityTransform()) for name in schemas.SORTED_BY),
        order_id=1,
    )
