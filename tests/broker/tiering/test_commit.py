"""Exactly once: what a catalog answers, what somebody else does meanwhile, and where the process dies."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyiceberg.exceptions import CommitFailedException

from broker.tiering.commit import CommitRefused, CommitUnknown, Fenced, TableMoved
from tests.broker.tiering.tables_of_tests import (
    IDENTIFIER,
    Crash,
    Faults,
    FaultyCatalog,
    ManualTime,
    catalog,
    catch_up,
    contents,
    files,
    once,
    open_table,
    put,
)


def test_a_commit_is_there_when_its_answer_is_lost(tmp_path: Path) -> None:
    faults = Faults()
    made = catalog(tmp_path, faults)
    table = open_table(made)
    put(table, {0: range(10)})
    faults.plan = ["lost"]
    put(table, {0: range(10, 20), 1: range(5)})
    assert table.marks() == {0: 20, 1: 5}
    assert contents(made) == once({0: 20, 1: 5})


def test_a_commit_that_failed_is_made_again(tmp_path: Path) -> None:
    faults = Faults()
    made = catalog(tmp_path, faults)
    table = open_table(made)
    faults.plan = ["refused", "refused", "lost"]
    put(table, {0: range(10)})
    assert contents(made) == once({0: 10})
    faults.plan = ["refused"] * 100
    with pytest.raises(CommitRefused):
        put(table, {0: range(10, 20)})
    faults.plan = []
    table.reopen()
    catch_up(table, {0: 20})
    assert contents(made) == once({0: 20})


class _GoneCatalog(FaultyCatalog):
    """Commits, and is unreachable from then on."""

    gone = False

    def commit_table(self, *arguments: object) -> object:  # type: ignore[override]
        super().commit_table(*arguments)  # type: ignore[arg-type]
        self.gone = True
        raise ConnectionError

    def load_table(self, identifier: object) -> object:  # type: ignore[override]
        if self.gone:
            raise ConnectionError
        return super().load_table(identifier)  # type: ignore[arg-type]


def test_a_catalog_that_cannot_be_asked_leaves_the_question_to_the_next_job(tmp_path: Path) -> None:
    sound = catalog(tmp_path)
    table = open_table(_GoneCatalog("floe", **sound.properties))
    with pytest.raises(CommitUnknown):
        put(table, {0: range(10)})
    table = open_table(sound, epoch=2)
    assert table.marks() == {0: 10}
    catch_up(table, {0: 12})
    assert contents(sound) == once({0: 12})


@pytest.mark.parametrize("fault", ["died-before", "died"])
def test_a_process_that_dies_at_the_commit(tmp_path: Path, fault: str) -> None:
    faults = Faults()
    made = catalog(tmp_path, faults)
    table = open_table(made)
    put(table, {0: range(10)})
    faults.plan = [fault]
    with pytest.raises(Crash):
        put(table, {0: range(10, 20)})
    table = open_table(catalog(tmp_path), epoch=2)
    assert table.marks() == {0: 10 if fault == "died-before" else 20}
    catch_up(table, {0: 25})
    assert contents(made) == once({0: 25})


def test_files_of_a_range_that_another_wrote_meanwhile_are_not_committed(tmp_path: Path) -> None:
    """A commit of a worker that was thought dead lands late."""
    made = catalog(tmp_path)
    table, late = open_table(made), open_table(made)
    written = files(table.target(), {0: range(10)})
    put(late, {0: range(12)})
    with pytest.raises(TableMoved):
        table.commit(written, {0: 10})
    table.reopen()
    catch_up(table, {0: 20})
    assert contents(made) == once({0: 20})


def test_foreign_commits_are_built_upon(tmp_path: Path) -> None:
    faults = Faults()
    made = catalog(tmp_path, faults)
    table = open_table(made)
    put(table, {0: range(10)})
    other = catalog(tmp_path).load_table("floe.orders")

    def delete() -> None:
        other.delete("kafka_offset < 3")

    faults.between = delete
    put(table, {0: range(10, 20)})
    assert sorted(offset for _, offset in contents(made)) == list(range(3, 20))
    assert table.marks() == {0: 20}


def test_an_older_writer_is_fenced(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    old, new = open_table(made, epoch=1), open_table(made, epoch=2)
    put(old, {0: range(10)})
    new.reopen()
    put(new, {0: range(10, 20)})
    with pytest.raises(Fenced, match="two brokers"):
        put(old, {0: range(10, 20)})
    with pytest.raises(Fenced):
        open_table(made, epoch=1)
    assert contents(made) == once({0: 20})


def test_waits_between_attempts_grow_and_end(tmp_path: Path) -> None:
    faults = Faults()
    clock = ManualTime()
    started_ms = clock.now_ms
    table = open_table(catalog(tmp_path, faults), clock=clock.clock())
    faults.plan = ["refused"] * 100
    with pytest.raises(CommitRefused):
        put(table, {0: range(1)})
    assert 2_000 < clock.now_ms - started_ms < 20_000


def test_a_commit_that_lost_the_race_is_no_loss(tmp_path: Path) -> None:
    """The catalog's own answer to a lost race is one more reason to look and try again."""
    faults = Faults()
    made = catalog(tmp_path, faults)
    table = open_table(made)
    raised = []

    def refuse_once() -> None:
        raised.append(True)
        raise CommitFailedException("somebody was faster")

    faults.between = refuse_once
    put(table, {0: range(10)})
    assert raised
    assert contents(made) == once({0: 10})


def test_nothing_new_is_no_commit(tmp_path: Path) -> None:
    table = open_table(catalog(tmp_path))
    put(table, {0: range(10)})
    before = table.metadata_location
    assert table.commit([], {0: 10}).metadata_location == before
    assert table.commit([], {0: 11}).marks == {0: 11}  # a marker, or records that nobody may see
    assert table.metadata_location != before


def test_history_goes_forward_when_the_clock_goes_back(tmp_path: Path) -> None:
    made = catalog(tmp_path)
    time = ManualTime()
    table = open_table(made, clock=time.clock())
    for first in range(4):
        put(table, {0: range(first, first + 1)})
        time.now_ms -= 60_000
    metadata = made.load_table(IDENTIFIER).metadata
    history = [entry.timestamp_ms for entry in metadata.metadata_log] + [metadata.last_updated_ms]
    assert len(history) >= 5 and history == sorted(history)
    times = [snapshot.timestamp_ms for snapshot in metadata.snapshots]
    assert times == sorted(set(times))
