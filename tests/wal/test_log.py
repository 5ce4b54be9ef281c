"""Appending and reading: offsets, durability, rolls, duplicates, full disks."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from protocol.errors import ApiError, ErrorCode
from protocol.records import end_transaction_marker, parse_batches, parse_header
from tests.simulation.memory_storage import MemoryStorage
from tests.wal.conftest import NOW_MS, append, batch, read_all
from wal.errors import DiskFull, StorageFailed, SyncFailed
from wal.flusher import Flusher
from wal.log import Log, LogConfig
from wal.segment import TAIL_BATCHES
from wal.storage import File, Storage

OpenLog = Callable[..., Log]


def test_a_log_without_a_folder_is_empty_and_makes_none(
    open_log: OpenLog, root: str, storage: Storage
) -> None:
    log = open_log()
    assert (log.log_start_offset, log.durable_offset, log.log_end_offset) == (0, 0, 0)
    assert log.read(0, 100, 0, True) is None
    log.close()
    assert storage.list(root) == []


def test_offsets_follow_one_another(open_log: OpenLog, flusher: Flusher) -> None:
    log = open_log()
    assert append(log, b"a", b"b") == 0
    assert append(log, b"c") == 2
    flusher.run_round()
    assert read_all(log) == [(0, b"a"), (1, b"b"), (2, b"c")]


def test_several_batches_in_one_append(open_log: OpenLog, flusher: Flusher) -> None:
    log = open_log()
    view = memoryview(b"".join(batch(b"%d" % number)[0] for number in range(5)))
    view = memoryview(bytearray(view))
    appended = log.append(view, parse_batches(view), NOW_MS)
    assert (appended.base_offset, appended.last_offset) == (0, 4)
    flusher.run_round()
    assert [value for _, value in read_all(log)] == [b"0", b"1", b"2", b"3", b"4"]


def test_batches_that_fill_only_part_of_the_buffer(open_log: OpenLog, flusher: Flusher) -> None:
    log = open_log()
    view = memoryview(bytearray(b"".join(batch(value)[0] for value in (b"x", b"y", b"z"))))
    log.append(view, parse_batches(view)[1:], NOW_MS)
    flusher.run_round()
    assert [value for _, value in read_all(log)] == [b"y", b"z"]


def test_nothing_is_visible_before_it_is_synced(open_log: OpenLog, flusher: Flusher) -> None:
    log = open_log()
    moves: list[int] = []
    log.on_durable = moves.append
    append(log, b"a")
    assert log.high_watermark == 0 and log.log_end_offset == 1
    assert log.read(0, 100, log.high_watermark, True) is None
    append(log, b"b")
    flusher.run_round()
    append(log, b"c")
    assert moves == [2] and log.durable_offset == 2
    assert read_all(log) == [(0, b"a"), (1, b"b")]


def test_the_leader_epoch_is_placed(open_log: OpenLog, flusher: Flusher) -> None:
    log = open_log()
    append(log, b"a")
    log.begin_leader_epoch(3, NOW_MS)
    append(log, b"b")
    flusher.run_round()
    piece = log.read(0, 1000, 2, True)
    assert piece is not None
    assert [header.partition_leader_epoch for header in parse_batches(piece.read())] == [0, 3]
    assert log.epoch_end_offset(0) == (0, 1)
    assert log.epoch_end_offset(3) == (3, 2)
    assert (log.epoch_at(0), log.epoch_at(1)) == (0, 3)


def test_a_read_out_of_range_is_refused(open_log: OpenLog) -> None:
    log = open_log()
    append(log, b"a")
    for offset in (-1, 2):
        with pytest.raises(ApiError) as refused:
            log.read(offset, 100, 1, True)
        assert refused.value.code is ErrorCode.OFFSET_OUT_OF_RANGE
    assert log.read(1, 100, 1, True) is None


def test_reads_begin_with_the_batch_that_holds_the_offset(open_log: OpenLog, flusher: Flusher) -> None:
    log = open_log(index_interval_bytes=300, segment_bytes=5000)
    for number in range(0, 300, 3):
        append(log, *(b"%d" % (number + index) for index in range(3)))
    flusher.run_round()
    assert len(log.segments) > 1
    for offset in range(300):
        piece = log.read(offset, 1, 300, True)
        assert piece is not None
        header = parse_header(piece.read(), 0)
        assert header.base_offset <= offset <= header.last_offset
        assert piece.length == header.size


def test_reads_hold_whole_batches_up_to_a_limit(open_log: OpenLog, flusher: Flusher) -> None:
    log = open_log()
    for _ in range(50):
        append(log, bytes(100))
    flusher.run_round()
    size = log.size_bytes() // 50
    assert log.read(0, size - 1, 50, False) is None
    one = log.read(0, size - 1, 50, True)
    assert one is not None and one.length == size
    three = log.read(10, 4 * size - 1, 50, True)
    assert three is not None and three.length == 3 * size


def test_reads_end_below_the_end_offset_wherever_that_is(open_log: OpenLog, flusher: Flusher) -> None:
    log = open_log(index_interval_bytes=500, segment_bytes=3000)
    for _ in range(100):
        append(log, bytes(50), bytes(50))
    flusher.run_round()
    for end_offset in range(2, 200, 7):
        read = 0
        while (piece := log.read(read, 10_000, end_offset, True)) is not None:
            last = parse_batches(piece.read())[-1]
            read = last.next_offset
            assert last.base_offset < end_offset
            if read >= end_offset - 1:
                break
        assert read >= end_offset - 1


@pytest.mark.parametrize("max_bytes", [1, 333, 5000, 1 << 20])
def test_a_sequential_reader_sees_everything(open_log: OpenLog, flusher: Flusher, max_bytes: int) -> None:
    chance = random.Random(max_bytes)
    log = open_log(index_interval_bytes=400, segment_bytes=8000)
    values = [b"%d" % number + bytes(chance.randrange(300)) for number in range(400)]
    for value in values:
        append(log, value)
    flusher.run_round()
    assert read_all(log, max_bytes) == list(enumerate(values))


class Unread:
    """A file that must not be read, only handed out."""

    def __init__(self, file: File) -> None:
        self.open_file = file.open_file

    def read_at(self, position: int, length: int) -> bytes:
        raise AssertionError(f"read {length} bytes at {position}")


def test_tail_reads_search_no_file(open_log: OpenLog, flusher: Flusher) -> None:
    log = open_log()
    for _ in range(2000):
        append(log, b"x")
    flusher.run_round()
    segment = log.segments[-1]
    assert len(segment.tail_offsets) <= 2 * TAIL_BATCHES
    segment.file = Unread(segment.file)  # type: ignore[assignment]
    for offset in range(1995, 2000):
        assert log.read(offset, 1 << 20, 2000, True) is not None


def test_segments_roll_by_size(open_log: OpenLog, flusher: Flusher, storage: Storage) -> None:
    log = open_log(segment_bytes=1000, index_interval_bytes=100)
    for _ in range(20):
        append(log, bytes(200))
    flusher.run_round()
    assert log.bases == [3 * number for number in range(7)]
    assert all(segment.size <= 1000 for segment in log.segments)
    names = storage.list(log.directory)
    assert "00000000000000000003.index" in names
    assert "00000000000000000003.timeindex" in names
    assert "00000000000000000003.snapshot" in names
    assert "leader-epoch-checkpoint" in names and "partition.metadata" in names
    sealed = log.segments[0]
    assert sealed.file.size() == sealed.size  # nothing reserved is left


def test_segments_roll_by_the_records_own_time(open_log: OpenLog) -> None:
    log = open_log(segment_ms=1000)
    append(log, b"a", timestamp=5000)
    append(log, b"b", timestamp=6000)
    append(log, b"c", timestamp=6001)
    assert log.bases == [0, 2]


def test_segments_roll_by_the_clock_where_records_have_no_time(open_log: OpenLog) -> None:
    log = open_log(segment_ms=1000)
    for now_ms in (NOW_MS, NOW_MS + 1000, NOW_MS + 1001):
        view, batches = batch(b"a", timestamp=-1)
        log.append(view, batches, now_ms)
    assert log.bases == [0, 2]


def test_segments_roll_when_their_index_is_full(open_log: OpenLog) -> None:
    log = open_log(segment_index_bytes=24, index_interval_bytes=1)
    for _ in range(10):
        append(log, b"x")
    assert log.bases == [0, 4, 8]


def test_a_batch_larger_than_a_segment_is_refused(open_log: OpenLog) -> None:
    log = open_log(segment_bytes=500)
    with pytest.raises(ApiError) as refused:
        append(log, bytes(1000))
    assert refused.value.code is ErrorCode.RECORD_LIST_TOO_LARGE
    assert append(log, b"fits") == 0


def test_a_duplicate_gets_its_first_offset(open_log: OpenLog) -> None:
    log = open_log()
    fields = {"producer_id": 7, "producer_epoch": 0}
    for number in range(6):
        append(log, b"%d" % number, base_sequence=number, **fields)
    again = log.append(*batch(b"3", base_sequence=3, **fields), NOW_MS)
    assert again.duplicate and again.base_offset == again.last_offset == 3
    assert log.log_end_offset == 6
    with pytest.raises(ApiError) as refused:
        append(log, b"x", base_sequence=9, **fields)
    assert refused.value.code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_any_of_the_last_five_batches_is_known_after_a_clean_restart(
    open_log: OpenLog, flusher: Flusher
) -> None:
    fields = {"producer_id": 7, "producer_epoch": 0}
    log = open_log(segment_bytes=400)
    for number in range(12):
        append(log, bytes(50), base_sequence=number, **fields)
    log.close()
    log = open_log(segment_bytes=400)
    assert log.recovered is None
    for number in (7, 8, 9, 10, 11):
        again = log.append(*batch(bytes(50), base_sequence=number, **fields), NOW_MS)
        assert again.duplicate and again.base_offset == number
    with pytest.raises(ApiError):
        append(log, bytes(50), base_sequence=3, **fields)


def test_the_last_stable_offset_is_not_before_the_log_start(open_log: OpenLog, flusher: Flusher) -> None:
    """DeleteRecords has taken the first records of a transaction that is still open."""
    log = open_log()
    append(log, b"t", producer_id=9, producer_epoch=0, base_sequence=0, is_transactional=True)
    append(log, b"plain")
    flusher.run_round()
    assert log.delete_records_before(1) == 1
    assert log.last_stable_offset == 1


def test_an_open_transaction_holds_back_the_last_stable_offset(open_log: OpenLog, flusher: Flusher) -> None:
    log = open_log()
    append(log, b"plain")
    append(log, b"t", producer_id=9, producer_epoch=0, base_sequence=0, is_transactional=True)
    append(log, b"plain")
    flusher.run_round()
    assert (log.last_stable_offset, log.high_watermark) == (1, 3)
    marker = memoryview(
        end_transaction_marker(False, producer_id=9, producer_epoch=0, coordinator_epoch=1, timestamp=NOW_MS)
    )
    log.append(marker, parse_batches(marker), NOW_MS, check_producers=False)
    assert log.last_stable_offset == 1
    flusher.run_round()
    assert log.last_stable_offset == 4
    (aborted,) = log.aborted_transactions(0, 4)
    assert (aborted.producer_id, aborted.first_offset, aborted.last_offset) == (9, 1, 3)
    log.close()
    log = open_log()
    assert log.aborted_transactions(0, 4) == [aborted]
    assert log.recovered is None


def test_a_clean_restart_finds_everything_and_walks_nothing(open_log: OpenLog, flusher: Flusher) -> None:
    log = open_log(segment_bytes=2000, index_interval_bytes=200)
    values = [b"%d" % number + bytes(100) for number in range(60)]
    for value in values:
        append(log, value)
    log.close()
    assert log.durable_offset == 60
    with pytest.raises(StorageFailed):
        append(log, b"late")
    log = open_log(segment_bytes=2000, index_interval_bytes=200, recovery_point=60)
    assert log.recovered is None
    assert (log.log_start_offset, log.durable_offset, log.log_end_offset) == (0, 60, 60)
    assert read_all(log) == list(enumerate(values))
    assert append(log, b"next") == 60
    log.close()
    log = open_log(segment_bytes=2000)
    assert log.recovered is None and log.log_end_offset == 61


def test_an_untouched_log_closes_without_writing(open_log: OpenLog, storage: Storage) -> None:
    log = open_log()
    append(log, b"a")
    log.close()
    before = storage.calls if isinstance(storage, MemoryStorage) else 0
    open_log().close()
    assert not isinstance(storage, MemoryStorage) or storage.calls == before


def test_preallocation_grows_in_steps_and_is_cut_off(open_log: OpenLog, flusher: Flusher) -> None:
    log = open_log(preallocate_bytes=1 << 20)
    append(log, b"a")
    segment = log.segments[0]
    assert segment.file.size() == 64 << 10
    while segment.size < 64 << 10:
        append(log, bytes(10_000))
    assert segment.file.size() == 128 << 10
    flusher.run_round()
    assert log.read(0, 1 << 30, log.log_end_offset, True).length == segment.size  # type: ignore[union-attr]
    log.close()
    assert segment.file.size() == segment.size


def test_without_preallocation_a_file_is_as_long_as_its_batches(open_log: OpenLog) -> None:
    log = open_log(preallocate_bytes=0)
    append(log, b"a")
    assert log.segments[0].file.size() == log.segments[0].size


# --- a disk that fails ---


class Disk:
    """A log on a disk in memory."""

    def __init__(self, **settings: int) -> None:
        self.storage = MemoryStorage("/r")
        self.failures: list[StorageFailed] = []
        self.flusher = Flusher(
            self.storage,
            lambda durables: [durable.apply() for durable in durables] and None,
            self.failures.append,
        )
        self.log = Log(self.storage, self.flusher, "/r/t-0", LogConfig(**settings), topic_id=bytes(16))


@pytest.mark.parametrize("room", range(0, 3000, 130))
def test_a_full_disk_refuses_writes_keeps_reading_and_recovers_by_itself(room: int) -> None:
    disk = Disk(segment_bytes=1500, index_interval_bytes=1)
    log = disk.log
    for number in range(3):
        append(log, b"%d" % number + bytes(150))
    disk.flusher.run_round()
    disk.storage.capacity = (
        disk.storage.used_bytes() - log.segments[-1].allocated + log.segments[-1].size + room
    )
    written = 3
    for _ in range(30):
        try:
            append(log, b"%d" % written + bytes(150))
            written += 1
        except DiskFull:
            disk.flusher.run_round()
            assert [value[:1] for _, value in read_all(log)][:3] == [b"0", b"1", b"2"]  # type: ignore[index]
    assert written < 33
    disk.storage.capacity = None
    for _ in range(10):
        append(log, b"%d" % written + bytes(150))
        written += 1
    disk.flusher.run_round()
    assert [value.rstrip(b"\0") for _, value in read_all(log)] == [b"%d" % n for n in range(written)]  # type: ignore[union-attr]
    log.close()
    again = Log(disk.storage, disk.flusher, "/r/t-0", LogConfig(), topic_id=bytes(16))
    assert again.recovered is None and again.log_end_offset == written


def test_a_refused_write_does_not_advance_sequences() -> None:
    disk = Disk(preallocate_bytes=0)
    append(disk.log, b"0", producer_id=1, producer_epoch=0, base_sequence=0)
    disk.storage.capacity = 0
    with pytest.raises(DiskFull):
        append(disk.log, b"1", producer_id=1, producer_epoch=0, base_sequence=1)
    disk.storage.capacity = None
    appended = disk.log.append(*batch(b"1", producer_id=1, producer_epoch=0, base_sequence=1), NOW_MS)
    assert not appended.duplicate and appended.base_offset == 1


def test_a_failed_sync_is_final() -> None:
    disk = Disk()
    append(disk.log, b"a")
    disk.storage.can_sync_everything = False
    disk.storage.fail_sync_at = 0
    disk.flusher.run_round()
    assert len(disk.failures) == 1 and isinstance(disk.failures[0], SyncFailed)
    assert disk.log.durable_offset == 0
    with pytest.raises(SyncFailed):
        disk.flusher.drain()
    with pytest.raises(SyncFailed):
        disk.flusher.stop()


def test_a_log_that_is_abandoned_forgets_its_syncs(open_log: OpenLog, flusher: Flusher) -> None:
    log = open_log()
    moves: list[int] = []
    log.on_durable = moves.append
    append(log, b"a")
    log.abandon()
    flusher.run_round()
    assert moves == []
    with pytest.raises(StorageFailed):
        append(log, b"b")
