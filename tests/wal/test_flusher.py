"""Group commit: what a round covers, in which order, and how the thread sleeps and wakes."""

from __future__ import annotations

import threading

import pytest

from tests.simulation.memory_storage import MemoryStorage
from tests.wal.conftest import append
from wal.errors import StorageFailed, SyncFailed
from wal.flusher import Durable, Flusher
from wal.log import Log, LogConfig

WAIT_SECONDS = 30  # only ever reached by a test that fails


class Rounds:
    """Collects what rounds report."""

    def __init__(self) -> None:
        self.reported: list[list[Durable]] = []
        self.failures: list[StorageFailed] = []
        self.changed = threading.Condition()

    def complete(self, durables: list[Durable]) -> None:
        with self.changed:
            self.reported.append(durables)
            self.changed.notify_all()

    def failed(self, failure: StorageFailed) -> None:
        with self.changed:
            self.failures.append(failure)
            self.changed.notify_all()

    def end_offset(self) -> int:
        return max((durable.end_offset for round_ in self.reported for durable in round_), default=0)

    def wait_for(self, end_offset: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.end_offset() >= end_offset, WAIT_SECONDS)


@pytest.fixture
def rounds() -> Rounds:
    return Rounds()


def make(rounds: Rounds, **settings: int) -> tuple[MemoryStorage, Flusher]:
    storage = MemoryStorage("/r")
    return storage, Flusher(storage, rounds.complete, rounds.failed, **settings)


def new_log(storage: MemoryStorage, flusher: Flusher, name: str = "t-0") -> Log:
    return Log(storage, flusher, f"/r/{name}", LogConfig(), topic_id=bytes(16))


def test_a_round_reports_everything_that_was_marked_once(rounds: Rounds) -> None:
    storage, flusher = make(rounds)
    logs = [new_log(storage, flusher, f"t-{number}") for number in range(3)]
    for _ in range(5):
        for log in logs:
            append(log, b"x")
    flusher.run_round()
    (reported,) = rounds.reported
    assert [durable.end_offset for durable in reported] == [5, 5, 5]
    assert not flusher.is_dirty
    assert [log.durable_offset for log in logs] == [
        0,
        0,
        0,
    ]  # only `apply`, on the owner's thread, moves them
    for durable in reported:
        durable.apply()
    assert [log.durable_offset for log in logs] == [5, 5, 5]


def test_folders_and_small_files_come_before_what_relies_on_them(rounds: Rounds) -> None:
    storage, flusher = make(rounds, sync_everything_files=1000)
    log = new_log(storage, flusher)
    append(log, b"x")
    storage.trace.clear()
    flusher.run_round()
    synced = [path for operation, path in storage.trace if operation.startswith("sync")]
    assert synced[-1].endswith(".log")
    assert {"/r", "/r/t-0", "/r/t-0/partition.metadata", "/r/t-0/leader-epoch-checkpoint"} == set(synced[:-1])
    assert len(synced) == len(set(synced))


def test_many_dirty_files_are_one_sync(rounds: Rounds) -> None:
    storage, flusher = make(rounds)
    for number in range(50):
        append(new_log(storage, flusher, f"t-{number}"), b"x")
    flusher.run_round()
    assert (flusher.rounds, flusher.syncs) == (1, 1)
    assert len(rounds.reported[0]) == 50


def test_without_syncfs_every_file_is_synced(rounds: Rounds) -> None:
    storage, flusher = make(rounds)
    storage.can_sync_everything = False
    for number in range(10):
        append(new_log(storage, flusher, f"t-{number}"), b"x")
    flusher.run_round()
    logs = [path for operation, path in storage.trace if operation == "sync" and path.endswith(".log")]
    assert len(logs) == 10


def test_older_reports_do_not_move_offsets_back(rounds: Rounds) -> None:
    storage, flusher = make(rounds)
    log = new_log(storage, flusher)
    append(log, b"x")
    flusher.run_round()
    append(log, b"y")
    flusher.run_round()
    second, first = rounds.reported[1][0], rounds.reported[0][0]
    second.apply()
    first.apply()
    assert log.durable_offset == 2


def test_the_thread_syncs_what_is_kicked(rounds: Rounds) -> None:
    storage, flusher = make(rounds)
    flusher.start()
    log = new_log(storage, flusher)
    for number in range(200):
        append(log, b"x")
        flusher.kick()
        flusher.kick()
        if number % 10 == 0:
            rounds.wait_for(number + 1)
    rounds.wait_for(200)
    flusher.stop()
    assert flusher.rounds <= 201


def test_a_kick_with_nothing_to_do_wakes_nobody(rounds: Rounds) -> None:
    _, flusher = make(rounds)
    flusher.start()
    for _ in range(100):
        flusher.kick()
    flusher.stop()
    assert flusher.rounds == 0


def test_what_nobody_kicked_gets_no_round_of_its_own(rounds: Rounds) -> None:
    storage, flusher = make(rounds)
    append(new_log(storage, flusher), b"a")
    report = rounds.complete

    def complete(durables: list[Durable]) -> None:
        flusher.mark_directory("/r")  # while the round still runs
        report(durables)

    def wait_until_asleep() -> None:
        assert flusher._running.acquire(timeout=WAIT_SECONDS)
        flusher._running.release()

    flusher._on_round_complete = complete
    flusher.start()
    flusher.kick()
    rounds.wait_for(1)
    wait_until_asleep()
    assert flusher.rounds == 1 and flusher.is_dirty
    flusher.kick()
    wait_until_asleep()
    assert flusher.rounds == 2 and not flusher.is_dirty
    flusher.stop()


def test_stop_syncs_what_nobody_kicked(rounds: Rounds) -> None:
    storage, flusher = make(rounds)
    flusher.start()
    append(new_log(storage, flusher), b"x")
    flusher.stop()
    assert rounds.end_offset() == 1


def test_drain_works_beside_the_thread(rounds: Rounds) -> None:
    storage, flusher = make(rounds)
    flusher.start()
    log = new_log(storage, flusher)
    for number in range(100):
        append(log, b"x")
        if number % 2:
            flusher.kick()
        flusher.drain()
        assert rounds.end_offset() == number + 1
    flusher.stop()


def test_a_failed_sync_ends_the_thread_and_is_told_once(rounds: Rounds) -> None:
    storage, flusher = make(rounds)
    flusher.start()
    log = new_log(storage, flusher)
    append(log, b"x")
    storage.fail_sync_at = 0
    flusher.kick()
    with rounds.changed:
        assert rounds.changed.wait_for(lambda: rounds.failures, WAIT_SECONDS)
    append(log, b"y")
    flusher.kick()
    with pytest.raises(SyncFailed):
        flusher.stop()
    assert len(rounds.failures) == 1 and rounds.reported == []
