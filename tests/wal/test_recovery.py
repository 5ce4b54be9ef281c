"""Opening after a crash: the decision table, torn tails, damage below the recovery point, rebuilt state."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from protocol.errors import ApiError, ErrorCode
from protocol.records import end_transaction_marker, parse_batches, parse_header
from tests.wal.conftest import NOW_MS, append, batch, read_all
from wal.flusher import Flusher
from wal.layout import LOG_SUFFIX, OFFSET_INDEX_SUFFIX
from wal.log import Log
from wal.storage import File, Storage
from wal.walk import DECISIONS, Action, Finding

OpenLog = Callable[..., Log]

SMALL = {"segment_bytes": 1000, "index_interval_bytes": 100}


def test_every_case_has_one_decision() -> None:
    assert set(DECISIONS) == set(product(Finding, (False, True), (False, True)))
    assert set(DECISIONS.values()) == set(Action)


def test_nothing_below_the_recovery_point_ends_the_log() -> None:
    for (_, is_below, _), action in DECISIONS.items():
        assert not (is_below and action is Action.FINISH)
        assert is_below or action is not Action.REPORT


def crash(log: Log, flusher: Flusher) -> None:
    """End the log as a kill -9 would, with all that it wrote."""
    flusher.run_round()
    for segment in log.segments:
        segment.close()


def filled(open_log: OpenLog, flusher: Flusher, count: int = 20, **settings: int) -> Log:
    log = open_log(**settings)
    for number in range(count):
        append(log, b"%02d" % number + bytes(150))
    crash(log, flusher)
    return log


def log_file(storage: Storage, log: Log, index: int) -> File:
    return storage.open(log.segments[index].path(LOG_SUFFIX))


def values(log: Log) -> list[int]:
    return [int((value or b"").rstrip(b"\0")) for _, value in read_all(log)]


def test_reserved_space_is_cut_off(open_log: OpenLog, flusher: Flusher) -> None:
    filled(open_log, flusher)
    log = open_log(is_clean=False)
    assert log.log_end_offset == log.durable_offset == 20
    assert log.segments[-1].file.size() == log.segments[-1].size
    assert log.recovered is not None and log.recovered.cuts == [] and log.recovered.batches_walked == 20
    assert append(log, b"20") == 20
    flusher.run_round()
    assert values(log) == list(range(21))


@pytest.mark.parametrize("lost", [1, 5, 60, 61, 100, 211])
def test_a_torn_tail_is_cut_at_the_first_bad_batch(
    open_log: OpenLog, flusher: Flusher, storage: Storage, lost: int
) -> None:
    log = filled(open_log, flusher, preallocate_bytes=0)
    file = log_file(storage, log, 0)
    file.truncate(file.size() - lost)
    log = open_log(is_clean=False, recovery_point=10)
    assert log.log_end_offset == 19 and values(log) == list(range(19))
    assert log.recovered is not None and len(log.recovered.cuts) == 1
    assert log.damage == []


def test_a_flipped_bit_in_the_tail_cuts_it(open_log: OpenLog, flusher: Flusher, storage: Storage) -> None:
    log = filled(open_log, flusher)
    file = log_file(storage, log, 0)
    size = log.segments[0].size // 20
    file.write_at(b"\xff", size * 15 + 100)
    log = open_log(is_clean=False, recovery_point=15)
    assert log.log_end_offset == 15 and values(log) == list(range(15))
    assert append(log, b"15") == 15


def test_segments_behind_the_cut_are_removed(open_log: OpenLog, flusher: Flusher, storage: Storage) -> None:
    log = filled(open_log, flusher, **SMALL)
    assert len(log.segments) == 5
    log_file(storage, log, 2).write_at(b"\xff", 300)
    names = set(storage.list(log.directory))
    log = open_log(is_clean=False, **SMALL)
    assert log.bases == [0, 4, 8] and log.log_end_offset == 9
    gone = names - set(storage.list(log.directory))
    assert {name[18:] for name in gone if name.endswith(".log")} == {"12.log", "16.log"}
    assert {name[18:] for name in gone if name.endswith(".snapshot")} == {"12.snapshot", "16.snapshot"}


def test_only_segments_past_the_recovery_point_are_walked(open_log: OpenLog, flusher: Flusher) -> None:
    filled(open_log, flusher, **SMALL)
    log = open_log(is_clean=False, recovery_point=13, **SMALL)
    assert log.recovered is not None
    assert log.recovered.segments_walked == 2 and log.recovered.batches_walked == 8
    assert values(log) == list(range(20))


@pytest.mark.parametrize("where", [0, 7, 8, 11, 16, 20, 100])
def test_damage_below_the_recovery_point_is_reported_and_the_rest_served(
    open_log: OpenLog, flusher: Flusher, storage: Storage, where: int
) -> None:
    log = filled(open_log, flusher)
    size = log.segments[0].size // 20
    file = log_file(storage, log, 0)
    broken = file.read_at(5 * size + where, 1)[0] ^ 0xFF
    file.write_at(bytes([broken]), 5 * size + where)
    before = file.read_at(0, 20 * size)
    log = open_log(is_clean=False, recovery_point=20)
    (damage,) = log.damage
    assert (damage.start_offset, damage.end_offset) == (5, 6)
    assert (damage.start_position, damage.end_position) == (5 * size, 6 * size)
    assert damage.file == log.segments[0].path(LOG_SUFFIX) and damage.directory == log.directory
    assert file.read_at(0, 20 * size) == before  # nothing was cut or changed
    assert log.log_end_offset == 20
    with pytest.raises(ApiError) as refused:
        log.read(5, 1000, 20, True)
    assert refused.value.code is ErrorCode.CORRUPT_MESSAGE
    piece = log.read(0, 1 << 20, 20, True)
    assert piece is not None and piece.length == 5 * size
    piece = log.read(6, 1 << 20, 20, True)
    assert piece is not None and piece.length == 14 * size
    assert append(log, b"20") == 20


@pytest.mark.parametrize("settings", [{"compact_is_enabled": True}, {}])
def test_gaps_that_compaction_left_are_no_damage(
    open_log: OpenLog, flusher: Flusher, storage: Storage, settings: dict[str, bool]
) -> None:
    log = filled(open_log, flusher, preallocate_bytes=0)
    size = log.segments[0].size // 20
    file = log_file(storage, log, 0)
    rest = file.read_at(8 * size, 12 * size)
    file.truncate(3 * size)
    file.write_at(rest, 3 * size)
    log = open_log(is_clean=False, recovery_point=20, **settings)
    assert log.damage == [] and log.log_end_offset == 20
    piece = log.read(3, 100, 20, True)
    assert piece is not None and parse_header(piece.read(), 0).base_offset == 8


def test_a_gap_in_the_tail_ends_the_log(open_log: OpenLog, flusher: Flusher, storage: Storage) -> None:
    log = filled(open_log, flusher)
    size = log.segments[0].size // 20
    log_file(storage, log, 0).write_at((9).to_bytes(8, "big"), 8 * size)
    log = open_log(is_clean=False, recovery_point=5)
    assert log.log_end_offset == 8 and log.damage == []


def test_a_missing_end_below_the_recovery_point_never_gives_offsets_out_twice(
    open_log: OpenLog, flusher: Flusher, storage: Storage
) -> None:
    log = filled(open_log, flusher)
    size = log.segments[0].size // 20
    log_file(storage, log, 0).truncate(12 * size + 7)
    log = open_log(is_clean=False, recovery_point=18)
    (damage,) = log.damage
    assert (damage.start_offset, damage.end_offset) == (12, 18)
    assert log.log_end_offset == 18
    assert append(log, b"18") == 18
    assert log.bases == [0, 18]
    flusher.run_round()
    assert log.read(18, 1000, 19, True) is not None
    assert log.read(11, 1 << 20, 19, True).length == size  # type: ignore[union-attr]
    with pytest.raises(ApiError):
        log.read(12, 1000, 19, True)


def test_a_missing_folder_below_the_recovery_point_is_damage(open_log: OpenLog) -> None:
    log = open_log(is_clean=False, recovery_point=7)
    assert [(d.start_offset, d.end_offset) for d in log.recovered.damage] == [(0, 7)]  # type: ignore[union-attr]
    assert (log.log_start_offset, log.log_end_offset) == (7, 7)
    assert append(log, b"7") == 7


def test_a_missing_segment_past_the_recovery_point_ends_the_log(
    open_log: OpenLog, flusher: Flusher, storage: Storage
) -> None:
    log = filled(open_log, flusher, **SMALL)
    storage.unlink(log.segments[3].path(LOG_SUFFIX))
    log = open_log(is_clean=False, recovery_point=10, **SMALL)
    assert log.bases == [0, 4, 8]  # past the recovery point a hole ends the log
    assert log.log_end_offset == 12


def test_a_missing_segment_below_the_recovery_point_is_damage(
    open_log: OpenLog, flusher: Flusher, storage: Storage
) -> None:
    log = filled(open_log, flusher, **SMALL)
    storage.unlink(log.segments[3].path(LOG_SUFFIX))
    log = open_log(is_clean=False, recovery_point=14, **SMALL)
    (damage,) = log.damage
    assert (damage.start_offset, damage.end_offset) == (12, 16)
    assert log.log_end_offset == 20
    assert log.read(16, 100, 20, True) is not None


def test_indexes_that_are_gone_or_broken_are_rebuilt(
    open_log: OpenLog, flusher: Flusher, storage: Storage
) -> None:
    log = filled(open_log, flusher, **SMALL)
    expected = [segment.offset_index.entries() for segment in log.segments[:-1]]
    storage.unlink(log.segments[0].path(".index"))
    storage.open(log.segments[1].path(".timeindex")).write_at(b"123", 0)
    storage.open(log.segments[2].path(".index")).write_at(bytes(80), 0)
    log = open_log(is_clean=False, recovery_point=20, **SMALL)
    assert values(log) == list(range(20))
    assert [segment.offset_index.entries() for segment in log.segments[:-1]] == expected
    assert log.damage == []


@pytest.mark.parametrize("suffix", [".index", ".timeindex", ".snapshot", "epochs"])
def test_a_clean_folder_that_misses_something_is_walked(
    open_log: OpenLog, flusher: Flusher, storage: Storage, suffix: str
) -> None:
    log = open_log()
    append(log, b"0", producer_id=3, producer_epoch=0, base_sequence=0)
    append(log, b"1", producer_id=3, producer_epoch=0, base_sequence=1)
    log.close()
    names = [name for name in storage.list(log.directory) if name.endswith(suffix)]
    for name in names or ["leader-epoch-checkpoint"]:
        storage.unlink(f"{log.directory}/{name}")
    log = open_log(recovery_point=2)
    assert log.recovered is not None and len(log.recovered.rebuilt) == 1
    assert log.log_end_offset == 2 and values(log) == [0, 1]
    assert log.append(*batch(b"1", producer_id=3, producer_epoch=0, base_sequence=1), NOW_MS).duplicate
    assert log.epochs.latest_epoch == 0
    log.close()
    assert open_log().recovered is None


def test_producers_and_epochs_are_rebuilt(open_log: OpenLog, flusher: Flusher, storage: Storage) -> None:
    log = open_log(**SMALL)
    for number in range(20):
        if number == 10:
            log.begin_leader_epoch(4, NOW_MS)
        append(log, b"%02d" % number + bytes(150), producer_id=3, producer_epoch=1, base_sequence=number)
    crash(log, flusher)
    for name in storage.list(log.directory):
        if name.endswith((".snapshot", "-checkpoint")):
            storage.unlink(f"{log.directory}/{name}")
    log = open_log(is_clean=False, **SMALL)
    (producer,) = log.active_producers()
    assert (producer.producer_id, producer.producer_epoch, producer.last_sequence) == (3, 1, 19)
    assert log.epochs.entries == ((0, 0), (4, 10))
    assert log.leader_epoch == 4
    for number in range(15, 20):
        fields = {"producer_id": 3, "producer_epoch": 1, "base_sequence": number}
        assert log.append(*batch(b"%02d" % number + bytes(150), **fields), NOW_MS).base_offset == number


def test_leftovers_are_swept(open_log: OpenLog, flusher: Flusher, storage: Storage) -> None:
    log = filled(open_log, flusher)
    for name in ("leader-epoch-checkpoint.tmp", "00000000000000000000.log.cleaned"):
        storage.open(f"{log.directory}/{name}", create=True)
    storage.open(f"{log.directory}/00000000000000000005.log.deleted", create=True)
    log = open_log(is_clean=False)
    assert not any(name.endswith((".tmp", ".cleaned")) for name in storage.list(log.directory))
    assert log.delete_due_files(NOW_MS) == 1
    assert not any(name.endswith(".deleted") for name in storage.list(log.directory))


def test_recovery_may_run_again_and_again(open_log: OpenLog, flusher: Flusher) -> None:
    filled(open_log, flusher, **SMALL)
    for _ in range(3):
        log = open_log(is_clean=False, recovery_point=6, **SMALL)
        assert values(log) == list(range(20))


def test_records_below_the_log_start_stay_deleted(open_log: OpenLog, flusher: Flusher) -> None:
    filled(open_log, flusher, **SMALL)
    log = open_log(is_clean=False, log_start_offset=9, **SMALL)
    assert log.log_start_offset == 9
    assert values(log) == list(range(9, 20))
    assert log.enforce_retention(NOW_MS) > 0
    assert log.bases[0] == 8 and values(log) == list(range(9, 20))
    assert {path.rpartition(".")[2] for _, path in log.pending_deletions} == {"deleted"}


def test_a_compacted_log_is_walked_past_its_first_segment(
    open_log: Callable[..., Log], flusher: Flusher
) -> None:
    """Nothing was compacted yet and no recovery point saved: segments that end where the next begins go on."""
    log = open_log(segment_bytes=500, compact_is_enabled=True)
    for number in range(30):
        append(log, b"%d" % number * 10)
    flusher.run_round()
    assert len(log.segments) > 3
    recovered = open_log(is_clean=False, recovery_point=0, segment_bytes=500, compact_is_enabled=True)
    assert recovered.log_end_offset == 30 and not recovered.damage


def abort(log: Log, producer_id: int, commit: bool = False) -> None:
    marker = memoryview(
        end_transaction_marker(
            commit, producer_id=producer_id, producer_epoch=0, coordinator_epoch=1, timestamp=NOW_MS
        )
    )
    log.append(marker, parse_batches(marker), NOW_MS, check_producers=False)


@pytest.mark.parametrize("kept", [0, 1])
@pytest.mark.parametrize("ends", ["closed", "rolled"])
def test_aborted_transactions_that_a_crash_took_back_stay_gone(
    open_log: OpenLog, flusher: Flusher, storage: Storage, kept: int, ends: str
) -> None:
    """Else a read_committed consumer would be told to leave out what was committed at their offsets since."""
    log = open_log(preallocate_bytes=0)
    for number in range(kept):
        append(log, b"kept", producer_id=9 + number, producer_epoch=0, base_sequence=0, is_transactional=True)
        abort(log, 9 + number)
    size = log.segments[0].size if log.segments else 0
    append(log, b"lost", producer_id=1, producer_epoch=0, base_sequence=0, is_transactional=True)
    abort(log, 1)
    log.roll(NOW_MS)  # writes the index; the crash keeps it, and not what it is about
    append(log, b"lost, too")
    crash(log, flusher)
    log_file(storage, log, 0).truncate(size)
    storage.unlink(log.segments[1].path(LOG_SUFFIX))
    log = open_log(is_clean=False)
    assert log.log_end_offset == 2 * kept
    append(log, b"committed", producer_id=1, producer_epoch=0, base_sequence=0, is_transactional=True)
    abort(log, 1, commit=True)
    flusher.run_round()
    recovery_point = log.log_end_offset
    if ends == "closed":
        log.close()
        log = open_log()
    else:
        log.roll(NOW_MS)
        append(log, b"next")
        crash(log, flusher)
        log = open_log(is_clean=False, recovery_point=recovery_point)
    assert [aborted.producer_id for aborted in log.aborted_transactions(0, log.log_end_offset)] == [9][:kept]


def test_an_index_that_is_rebuilt_leaves_that_of_transactions(
    open_log: OpenLog, flusher: Flusher, storage: Storage
) -> None:
    log = open_log()
    append(log, b"t", producer_id=9, producer_epoch=0, base_sequence=0, is_transactional=True)
    abort(log, 9)
    log.roll(NOW_MS)
    append(log, b"next")
    log.close()
    storage.unlink(log.segments[0].path(OFFSET_INDEX_SUFFIX))
    log = open_log()
    assert [value for _, value in read_all(log)][
        -1
    ] == b"next"  # loads the sealed segment, and rebuilds its index
    log.close()
    log = open_log()
    assert [aborted.producer_id for aborted in log.aborted_transactions(0, 3)] == [9]
