"""Every offset is in the table or among the dead letters exactly once, whatever happens in between.

Rounds by seed: a worker that tables what is new, with a catalog that loses answers and a process that dies at any
commit, among foreign compactions, appends of nothing, rollbacks and expiries, our own maintenance, and rewinds. Which
records are dead letters is drawn anew each time a range is read, so that what an attempt left is never right by chance.
"""

from __future__ import annotations

import os
import random
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation

from broker.tiering.commit import CommitRefused, TableMoved
from broker.tiering.maintenance import Maintenance, MaintenanceSettings
from broker.tiering.marks import ancestors
from broker.tiering.tables import TopicTable
from tests.broker.tiering.tables_of_tests import (
    VALUE,
    Crash,
    Faults,
    ManualTime,
    catalog,
    contents,
    files,
    once,
    open_table,
)

IS_SOAK = bool(os.environ.get("FLOE_SOAK"))
ROUNDS = 200 if IS_SOAK else 12
SEEDS = range(10) if IS_SOAK else range(2)
PARTITIONS = 3
DEAD = ("floe", "orders__dlq")
FAULTS = ["", "", "", "lost", "refused", "died", "died-before"]


class _World:
    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.faults = Faults()
        self.time = ManualTime()
        self.ends = dict.fromkeys(range(PARTITIONS), 0)
        self.epoch = 0
        self.rewound_at = 0
        self.table = self._start()

    def _start(self) -> TopicTable:
        self.faults.plan = []
        self.epoch += 1
        return open_table(catalog(self.folder, self.faults), self.epoch, clock=self.time.clock())

    def produce(self) -> None:
        for partition in self.ends:
            self.ends[partition] += self.random.randrange(6)

    def work(self) -> None:
        """One job of the worker, and what follows from how it ends."""
        self.faults.plan = [self.random.choice(FAULTS) for _ in range(self.random.randrange(4))]
        try:
            self._commit()
        except Crash:
            self.table = self._start()
        except (TableMoved, CommitRefused):
            self.faults.plan = []
            self.table.reopen()

    def _commit(self) -> None:
        marks = self.table.marks()
        good, dead = {}, {}
        for partition, end in self.ends.items():
            start = marks.get(partition, 0)
            cut = self.random.randrange(start, end + 1)
            good[partition], dead[partition] = range(start, cut), range(cut, end)
            if self.random.random() < 0.7:
                good[partition], dead[partition] = range(start, end), range(0)
        written = files(self.table.target(), good, self.time.now_ms * 1000)
        letters = []
        if any(dead.values()):
            letters = files(self.table.dead_letters(VALUE).target(), dead, self.time.now_ms * 1000)
        self.table.commit(written, dict(self.ends), letters)

    def _foreign(self) -> Table | None:
        try:
            return catalog(self.folder).load_table(self.random.choice([("floe", "orders"), DEAD]))
        except NoSuchTableError:
            return None

    def interfere(self) -> None:
        self.time.now_ms += 60_000
        action = self.random.choice(
            ["compact", "append", "roll back", "expire", "maintain", "rewind", "restart", ""]
        )
        foreign = self._foreign()
        if action == "restart":
            self.table = self._start()
        elif action in ("maintain", "rewind"):
            self._own(action)
        elif foreign is not None and foreign.current_snapshot() is not None:
            self._by_another(action, foreign)

    def _own(self, action: str) -> None:
        self.faults.plan = [self.random.choice(FAULTS) for _ in range(self.random.randrange(4))]
        try:
            if action == "rewind":
                marks = self.table.marks()
                self.rewound_at = self.table.main.iceberg.metadata.next_sequence_number()
                self.table.rewind({one: self.random.randrange(offset + 1) for one, offset in marks.items()})
            else:
                settings = MaintenanceSettings(snapshot_keep=1, snapshot_expire_ms=600_000)
                Maintenance(self.table, settings).run(self.time.now_ms, force=True)
        except Crash:
            self.table = self._start()
        except (TableMoved, CommitRefused):
            self.faults.plan = []
            self.table.reopen()

    def _by_another(self, action: str, foreign: Table) -> None:
        if action == "compact":
            foreign.overwrite(foreign.scan().to_arrow())
        elif action == "append":
            foreign.append(pa.Table.from_pylist([], schema=foreign.schema().as_arrow()))
        elif action == "expire":
            foreign.maintenance.expire_snapshots().older_than(datetime(2100, 1, 1, tzinfo=UTC)).commit()
        elif action == "roll back" and foreign.name() != DEAD:  # what is lost there, nobody writes again
            # Behind a rewind there are rows whose dead letters were taken back. And PyIceberg's compaction is a delete
            # and an append: a table rolled back to between them is one whose rows somebody deleted.
            line = [
                one
                for one in ancestors(foreign.metadata)
                if (one.sequence_number or 0) >= self.rewound_at
                and one.summary is not None
                and one.summary.operation != Operation.DELETE
            ]
            if line:
                foreign.manage_snapshots().rollback_to_snapshot(self.random.choice(line).snapshot_id).commit()

    def check(self) -> None:
        """After the last word of the worker everything is there once."""
        self.faults.plan = []
        for _ in range(
            3
        ):  # a rollback is noticed by the next commit that has something to say, or by opening
            with suppress(TableMoved):
                self._commit()
            self.table.reopen()
        assert self.table.marks() == self.ends
        made = catalog(self.folder)
        found = contents(made)
        if made.table_exists(DEAD):
            found += contents(made, DEAD)
        assert found == once(self.ends)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_offset_is_there_once(tmp_path: Path, seed: int) -> None:
    world = _World(tmp_path, seed)
    for number in range(ROUNDS):
        world.produce()
        world.work()
        world.interfere()
        if number % 4 == 3:
            world.check()
    world.produce()
    world.check()
