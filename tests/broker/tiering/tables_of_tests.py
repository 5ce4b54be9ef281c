"""Tables to try things on: a catalog that fails when told to, rows that are numbered, and what is in a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.manifest import DataFile
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.table.update import TableRequirement, TableUpdate

from broker.tiering import catalogs, data_files, local_files
from broker.tiering.commit import Clock
from broker.tiering.maintenance import Maintenance, MaintenanceSettings
from broker.tiering.marked_table import FileTarget, Layout, Writer
from broker.tiering.tables import TopicTable

HOUR_US = 3_600_000_000
START_US = 4_000_000_000_000_000 // HOUR_US * HOUR_US
IDENTIFIER = ("floe", "orders")
WRITER = Writer("cluster-1", "orders", "id-of-orders", 1)
VALUE = pa.schema([pa.field("kafka_key", pa.binary()), pa.field("value", pa.binary())])
FOLDER_LAYOUT = Layout()


class Crash(BaseException):
    """The process dies here: nothing may catch it."""


@dataclass
class Faults:
    """What the next commits of a catalog do; an empty list is a sound catalog."""

    plan: list[str] = field(default_factory=list)
    between: Callable[[], None] | None = None
    """Run once before the next commit: somebody else is faster."""


class FaultyCatalog(SqlCatalog):
    """`lost`: commits, then says it failed. `refused`: fails. `died` and `died-before`: the process ends."""

    faults = Faults()

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        if (between := self.faults.between) is not None:
            self.faults.between = None
            between()
        fault = self.faults.plan.pop(0) if self.faults.plan else ""
        if fault == "died-before":
            raise Crash
        if fault == "refused":
            raise ConnectionError("no answer, and nothing done")
        response = super().commit_table(table, requirements, updates)
        if fault == "died":
            raise Crash
        if fault == "lost":
            raise ConnectionError("no answer, but done")
        return response


def catalog(folder: Path, faults: Faults | None = None) -> FaultyCatalog:
    folder.mkdir(exist_ok=True)
    properties = catalogs.properties({}, str(folder))
    made = FaultyCatalog(catalogs.NAME, **{"py-io-impl": local_files.IMPLEMENTATION, **properties})
    made.faults = faults or Faults()
    return made


class ManualTime:
    """Time that passes when somebody sleeps."""

    def __init__(self, now_ms: int = START_US // 1000) -> None:
        self.now_ms = now_ms

    def clock(self) -> Clock:
        return Clock(now_ms=lambda: self.now_ms, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)


def open_table(made: SqlCatalog, epoch: int = 1, **given: Any) -> TopicTable:
    writer = given.pop("writer", Writer(WRITER.cluster_id, WRITER.topic, WRITER.topic_id, epoch))
    clock = given.pop("clock", ManualTime().clock())
    layout = given.pop("layout", FOLDER_LAYOUT)
    return TopicTable.open(
        made, given.pop("identifier", IDENTIFIER), writer, given.pop("initial", VALUE), layout, clock
    )


def rows(offsets: dict[int, range], timestamp_us: int = START_US) -> pa.Table:
    """Records of these offsets, whose values say where they are from; one a second."""
    pairs = [(partition, offset) for partition, span in sorted(offsets.items()) for offset in span]
    texts = [f"{partition}:{offset}".encode() for partition, offset in pairs]
    return pa.table(
        {
            "kafka_partition": pa.array([partition for partition, _ in pairs], pa.int32()),
            "kafka_offset": pa.array([offset for _, offset in pairs], pa.int64()),
            "kafka_timestamp": pa.array([timestamp_us] * len(pairs), pa.timestamp("us", tz="UTC")),
            "kafka_timestamp_type": pa.array([0] * len(pairs), pa.int32()),
            "kafka_key": pa.array(texts, pa.binary()),
            "value": pa.array(texts, pa.binary()),
        }
    )


def files(target: FileTarget, offsets: dict[int, range], timestamp_us: int = START_US) -> list[DataFile]:
    return data_files.write(target, rows(offsets, timestamp_us))


def put(table: TopicTable, offsets: dict[int, range], timestamp_us: int = START_US) -> None:
    """One commit of these records."""
    reached = {partition: span.stop for partition, span in offsets.items()}
    table.commit(files(table.target(), offsets, timestamp_us), reached)


def catch_up(table: TopicTable, ends: dict[int, int], timestamp_us: int = START_US) -> None:
    """What the worker does: from the marks to the ends of the log."""
    marks = table.marks()
    put(table, {one: range(marks.get(one, 0), end) for one, end in ends.items()}, timestamp_us)


def contents(made: SqlCatalog, identifier: Iterable[str] = IDENTIFIER) -> Counter[tuple[int, int]]:
    """How often each (partition, offset) is in the table, as somebody else reads it."""
    read = (
        made.load_table(tuple(identifier))
        .scan(selected_fields=("kafka_partition", "kafka_offset"))
        .to_arrow()
    )
    return Counter(zip(read["kafka_partition"].to_pylist(), read["kafka_offset"].to_pylist(), strict=True))


def once(ends: dict[int, int]) -> Counter[tuple[int, int]]:
    return Counter((partition, offset) for partition, end in ends.items() for offset in range(end))


def live(made: Catalog) -> None:
    """The whole life of a table in it."""
    table = TopicTable.open(made, IDENTIFIER, WRITER, VALUE)
    for index in range(3):
        put(table, {0: range(index * 10, index * 10 + 10)})
    again = TopicTable.open(made, IDENTIFIER, WRITER, VALUE)
    assert again.marks() == {0: 30}
    done = Maintenance(again, MaintenanceSettings(snapshot_keep=1, snapshot_expire_ms=0)).run(
        START_US // 1000 + (1 << 41), force=True
    )
    assert (done.files_before, done.files_after, done.snapshots_expired) == (3, 1, 3)
    assert again.rewind({0: 15}).marks == {0: 15}
    put(again, {0: range(15, 40)})
    assert contents(made) == once({0: 40})
