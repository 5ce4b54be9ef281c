"""The child's side of tables: one job is one commit of one topic, from log files to a snapshot.

    chunks of the log ─► columns ─► rows ─► Parquet files ─► one commit with the offsets reached

Whatever the backlog, what is in memory is one chunk, its rows, and the open files' buffers: a job reads `max_bytes` of
log at the most, shared among the partitions so that none waits for another's backlog. Where to begin is said by the
marks in the table, not by the broker. The process may end at any point: what was not committed are files nobody names.
"""

from __future__ import annotations

import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from broker.tiering import catalogs, dead_letters, names
from broker.tiering.commit import TableMoved
from broker.tiering.data_files import DataFiles
from broker.tiering.maintenance import Maintenance, MaintenanceSettings
from broker.tiering.reading import AbortedRange, Damaged, LogRange, read
from broker.tiering.rows import RowBuilder, initial_schema
from broker.tiering.settings import CatalogSettings, TableSettings
from broker.tiering.tables import Layout, TopicTable, Writer, drop_tables
from broker.worker.child import Handler, Progress
from protocol.columns import RecordColumns, decode
from protocol.compression import READER_LIMIT_BYTES
from protocol.records import Buffer, CorruptBatch, RecordBatch, parse_batches
from wal.storage import FileStorage

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

log = logging.getLogger("floe.tables")

KEPT_TABLES: Final = 256
"""Tables kept open between jobs: opening one asks the catalog and reads its metadata."""

KEPT_SNAPSHOTS: Final = 40_000
"""Of all tables that are kept open, as each takes about 5 kB of memory: a hundred tables with an hour of them."""

ATTEMPTS: Final = 5
"""How often a job begins again because somebody else has changed the table meanwhile."""

LEAST_SHARE_BYTES: Final = 256 << 10
"""What a partition gets of `max_bytes` at least: a job of ten thousand partitions must not go batch by batch."""

MAX_FILES: Final = 512
"""About how many files one commit makes, shared among the partitions: producers with wild timestamps would make one
for each record. The rest goes on with the next commit."""

LEAST_FILES: Final = 4
"""What a partition gets of MAX_FILES at least."""


def make_handler() -> Handler:
    """What `python -m broker.worker tiering` does jobs with."""
    pa.set_cpu_count(2)
    pa.set_io_thread_count(2)
    return TieringWorker().handle


class TieringWorker:
    """Keeps catalogs and tables open between jobs."""

    def __init__(self) -> None:
        self._catalogs: dict[str, Catalog] = {}
        self._tables: OrderedDict[str, _Open] = OrderedDict()

    def handle(self, job: dict[str, Any], progress: Progress) -> dict[str, Any]:
        """Do one job; see `README.md` for its form. What goes wrong is raised and leaves nothing half done."""
        do = {"commit": self._commit, "maintain": self._maintain, "rewind": self._rewind, "drop": self._drop}
        return do[job["kind"]](job)

    def _drop(self, job: Mapping[str, Any]) -> dict[str, Any]:
        self._tables.pop(_key(job), None)
        drop_tables(*self._place(job, TableSettings.from_json(job["settings"])))
        return {}

    def _commit(self, job: Mapping[str, Any]) -> dict[str, Any]:
        return self._with_table(job, lambda opened: _Commit(job, opened.table).run() | opened.upkeep())

    def _maintain(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """One step of what keeps the table small: of what is due, or of everything."""

        def maintain(opened: _Open) -> dict[str, Any]:
            now_ms = time.time_ns() // 1_000_000
            if job["force"] and not job.get("quiet_below"):
                opened.table.reopen()  # somebody looks: a rollback of an idle topic's table is noticed here
            done = opened.maintenance.step(now_ms, job["force"], job.get("parts"), job.get("quiet_below"))
            return asdict(done) | _where(opened.table) | opened.upkeep()

        return self._with_table(job, maintain)

    def _rewind(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Take back what was tabled from the given offsets on; the next commit reads it again."""
        offsets = {int(index): offset for index, offset in job["offsets"].items()}

        def rewind(opened: _Open) -> dict[str, Any]:
            opened.table.rewind(offsets)
            return _where(opened.table)

        return self._with_table(job, rewind)

    def _with_table(self, job: Mapping[str, Any], work: Callable[[_Open], dict[str, Any]]) -> dict[str, Any]:
        key = _key(job)
        for attempt in range(ATTEMPTS):
            is_sound = False
            try:
                result = work(self._opened(job, key))
                is_sound = True
                return result
            except TableMoved as moved:
                if attempt + 1 == ATTEMPTS:
                    raise
                log.info("topic %s is read again: %s", job["topic"], moved)
            finally:
                if not is_sound:  # whatever it was: the next job opens the table anew
                    self._tables.pop(key, None)
        raise AssertionError

    def _opened(self, job: Mapping[str, Any], key: str) -> _Open:
        opened = self._tables.pop(key, None)
        if opened is None:
            settings = TableSettings.from_json(job["settings"])
            table = self._open(job, settings)
            opened = _Open(table, Maintenance(table, _maintenance_settings(settings)))
        opened.maintenance.orphans_ms = job.get("orphans_ms")
        self._tables[key] = opened
        self._close_some()
        return opened

    def _close_some(self) -> None:
        snapshots = sum(opened.snapshot_count for opened in self._tables.values())
        while len(self._tables) > KEPT_TABLES or (len(self._tables) > 1 and snapshots > KEPT_SNAPSHOTS):
            snapshots -= self._tables.popitem(last=False)[1].snapshot_count

    def _open(self, job: Mapping[str, Any], settings: TableSettings) -> TopicTable:
        columns = initial_schema(settings.value, settings.key)
        return TopicTable.open(*self._place(job, settings), columns, Layout(settings.partition_by))

    def _place(
        self, job: Mapping[str, Any], settings: TableSettings
    ) -> tuple[Catalog, tuple[str, ...], Writer]:
        """The catalog, what the table is called there, and for whom it is."""
        where = CatalogSettings.from_json(job["catalog"])
        key = json.dumps(job["catalog"], sort_keys=True)
        catalog = self._catalogs.get(key)
        if catalog is None:
            catalog = self._catalogs[key] = catalogs.load(where.properties, where.name)
        identifier = names.table_identifier(job["topic"], where.namespace, settings.name_template)
        return (
            catalog,
            identifier,
            Writer(job["cluster_id"], job["topic"], job["topic_id"], job["writer_epoch"]),
        )


def _key(job: Mapping[str, Any]) -> str:
    """What makes an open table of no use for another job: topic, settings, catalog."""
    fields = ("topic_id", "writer_epoch", "settings", "catalog")
    return json.dumps([job[name] for name in fields], sort_keys=True)


class _Open:
    """A table that is kept open, and what is known of its need for maintenance."""

    def __init__(self, table: TopicTable, maintenance: Maintenance) -> None:
        self.table = table
        self.maintenance = maintenance

    @property
    def snapshot_count(self) -> int:
        return sum(len(one.iceberg.metadata.snapshots) for one in self.table.tables())

    def upkeep(self) -> dict[str, Any]:
        return {"maintenance_due": self.maintenance.is_due(time.time_ns() // 1_000_000)}


def _maintenance_settings(settings: TableSettings) -> MaintenanceSettings:
    return MaintenanceSettings(
        compact=settings.maintenance_compact,
        expire=settings.maintenance_expire,
        orphans=settings.maintenance_orphans,
        file_bytes=settings.maintenance_file_bytes,
        snapshot_expire_ms=settings.snapshot_expire_ms,
        snapshot_keep=settings.snapshot_keep,
        orphan_age_ms=settings.maintenance_orphan_age_ms,
    )


def _where(table: TopicTable) -> dict[str, Any]:
    """The table as of its last commit: what engines read it by, and the marks in it."""
    main, *others = table.tables()
    return {
        "table": table.name,
        "marks": {str(index): offset for index, offset in table.marks().items()},
        "snapshot_id": main.committed().snapshot_id,
        "metadata_location": table.metadata_location,
        "dead_letters_metadata_location": others[0].iceberg.metadata_location if others else None,
    }


class _FilesFull(Exception):
    """The partition's files of this commit are used up; `offset` is the first that is not in them."""

    def __init__(self, offset: int) -> None:
        super().__init__()
        self.offset = offset


class _Commit:
    """One attempt at one commit."""

    def __init__(self, job: Mapping[str, Any], table: TopicTable) -> None:
        settings = TableSettings.from_json(job["settings"])
        self._job = job
        self._table = table
        self._builder = RowBuilder(settings.value, settings.key)
        self._files = DataFiles()
        self._letter_files = DataFiles()
        self._marks = table.marks()
        self._schema = table.arrow_schema()
        self._reached: dict[int, int] = {}
        self._held: dict[int, str] = {}
        self._has_more = False
        self._file_limit = MAX_FILES
        self._records = self._letters = self._bytes = 0

    def run(self) -> dict[str, Any]:
        started_s = time.perf_counter()
        with closing(self._files), closing(self._letter_files):
            self._read_all()
            self._files.complete()
            self._letter_files.complete()
            files, letters = self._files.finish(), self._letter_files.finish()
        read_s = time.perf_counter()
        moved = {index: end for index, end in self._reached.items() if self._marks.get(index, 0) != end}
        if moved:
            self._table.commit(files, moved, letters)
        return _where(self._table) | {
            "committed": {str(index): offset for index, offset in self._reached.items()},
            "held": {str(index): reason for index, reason in self._held.items()},
            "more": self._has_more,
            "records": self._records,
            "dead_letters": self._letters,
            "bytes": self._bytes,
            "read_ms": round((read_s - started_s) * 1000),
            "commit_ms": round((time.perf_counter() - read_s) * 1000),
        }

    def _read_all(self) -> None:
        partitions = self._job["partitions"]
        left = self._job["max_bytes"]
        for done, fields in enumerate(partitions):
            share = max(LEAST_SHARE_BYTES, left // (len(partitions) - done))
            self._file_limit = self._files.opened + max(
                LEAST_FILES, (MAX_FILES - self._files.opened) // (len(partitions) - done)
            )
            left = max(0, left - self._read(fields, share))

    def _read(self, fields: Mapping[str, Any], max_bytes: int) -> int:
        """Turn a partition's range into rows, up to about `max_bytes` of its log; the bytes read."""
        index, end_offset = fields["index"], fields["end_offset"]
        start_offset = max(self._marks.get(index, 0), fields["log_start_offset"])
        self._reached[index] = start_offset
        aborted = [AbortedRange(*entry) for entry in fields["aborted"]]
        storage = FileStorage(fields["folder"], max_open_files=16)
        byte_count = 0
        try:
            for chunk in read(
                storage, LogRange(fields["folder"], start_offset, end_offset, aborted), max_bytes
            ):
                self._convert_chunk(chunk.data, index, start_offset)
                byte_count += len(chunk.data)
                self._reached[index] = chunk.next_offset
        except Damaged as error:
            self._held[index] = str(error)
        except _FilesFull as full:
            self._reached[index] = full.offset
        self._bytes += byte_count
        self._has_more |= self._reached[index] < end_offset and index not in self._held
        return byte_count

    def _convert_chunk(self, data: Buffer, index: int, start_offset: int) -> None:
        next_offset = start_offset
        try:
            for columns in decode(data, READER_LIMIT_BYTES):
                self._convert(columns, index, start_offset)
                if len(columns):
                    next_offset = int(columns.offsets[-1]) + 1
        except CorruptBatch:
            self._convert_by_batch(data, index, next_offset)

    def _convert_by_batch(self, data: Buffer, index: int, start_offset: int) -> None:
        """What comes from `start_offset` on; a batch that lies about its inside becomes one dead letter."""
        view = memoryview(data)
        for batch in parse_batches(data):
            if batch.last_offset < start_offset:
                continue
            content = view[batch.position : batch.position + batch.size]
            try:
                pieces = list(decode(content, READER_LIMIT_BYTES))
            except CorruptBatch as error:
                self._bury(batch, bytes(content), index, str(error))
            else:
                for columns in pieces:
                    self._convert(columns, index, start_offset)

    def _bury(self, batch: RecordBatch, content: bytes, index: int, reason: str) -> None:
        """A dead letter for a whole batch whose CRC is right and whose records cannot be read."""
        letter = {
            "kafka_partition": index,
            "kafka_offset": batch.base_offset,
            "kafka_timestamp_type": batch.timestamp_type,
            "value": content,
            "reason": f"the batch of offsets {batch.base_offset} to {batch.last_offset} cannot be read: {reason}",
        }
        self._add_letters(pa.Table.from_pylist([letter], dead_letters.initial_schema()))

    def _convert(self, columns: RecordColumns, index: int, start_offset: int) -> None:
        for converted in self._builder.convert_in_parts(columns, index, self._schema):
            if not converted.schema.equals(self._schema):
                self._table.evolve(converted.schema)
                self._schema = self._table.arrow_schema()
            rows, letters = converted.rows, converted.dead_letters
            if columns.offsets[0] < start_offset:
                rows, letters = _from(rows, start_offset), _from(letters, start_offset)
            end_offset = self._add_rows(rows)
            if end_offset is not None:
                letters = letters.filter(pc.field("kafka_offset") < end_offset)
            if len(letters):
                self._add_letters(letters)
            if end_offset is not None:
                raise _FilesFull(end_offset)

    def _add_rows(self, rows: pa.Table) -> int | None:
        """The offset of the first row that is left to the next commit, if any."""
        taken = 0
        if len(rows):
            taken = self._files.append(self._table.target(), rows, self._file_limit - self._files.opened)
        self._records += taken
        return int(rows["kafka_offset"][taken].as_py()) if taken < len(rows) else None

    def _add_letters(self, letters: pa.Table) -> None:
        self._letters += len(letters)
        target = self._table.dead_letters(dead_letters.initial_schema()).target()
        self._letter_files.append(target, letters)


def _from(rows: pa.Table, start_offset: int) -> pa.Table:
    return rows.filter(pc.field("kafka_offset") >= start_offset)
