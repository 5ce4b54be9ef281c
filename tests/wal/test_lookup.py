"""ListOffsets' questions: to the record, across segments, within the bounds asked for."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from protocol.records import Record, build, parse_batches
from tests.wal.conftest import NOW_MS, append
from wal.flusher import Flusher
from wal.log import Log

OpenLog = Callable[..., Log]


def write(log: Log, records: list[list[int]], compression: int = 0) -> list[int]:
    """Batches of records with these timestamps; all timestamps in order."""
    for timestamps in records:
        view = memoryview(
            build(
                [Record(timestamp=timestamp, value=bytes(40)) for timestamp in timestamps],
                compression=compression,
            )
        )
        log.append(view, parse_batches(view), NOW_MS)
    return [timestamp for batch in records for timestamp in batch]


@pytest.mark.parametrize("seed", range(6))
def test_the_first_record_that_is_new_enough(open_log: OpenLog, flusher: Flusher, seed: int) -> None:
    chance = random.Random(seed)
    settings = {"segment_bytes": 2000, "index_interval_bytes": chance.choice((1, 300, 5000))}
    log = open_log(**settings)
    clock = 1000
    batches = []
    for _ in range(80):
        clock += chance.choice((0, 3, 10))
        batches.append([clock - chance.randrange(20) for _ in range(chance.choice((1, 2, 5)))])
    times = write(log, batches, compression=seed % 5)
    flusher.run_round()
    for step in range(2):
        for target in range(970, clock + 5, 7):
            wanted = next(((t, offset) for offset, t in enumerate(times) if t >= target), None)
            assert log.find_by_timestamp(target, len(times)) == wanted
        newest = max(times)
        assert log.find_max_timestamp(len(times)) == (newest, times.index(newest))
        if step == 0:
            log.close()
            log = open_log(**settings)


def test_nothing_at_or_past_the_end_offset_is_found(open_log: OpenLog) -> None:
    log = open_log()
    write(log, [[10], [20, 25], [30]])
    assert log.find_by_timestamp(25, 2) is None
    assert log.find_by_timestamp(25, 3) == (25, 2)
    assert log.find_max_timestamp(3) == (25, 2)
    assert log.find_max_timestamp(1) == (10, 0)
    assert log.find_max_timestamp(0) is None
    assert log.find_by_timestamp(31, 4) is None


def test_nothing_below_the_log_start_is_found(open_log: OpenLog, flusher: Flusher) -> None:
    log = open_log()
    write(log, [[50, 40, 30], [20]])
    flusher.run_round()
    log.delete_records_before(1)
    assert log.find_by_timestamp(0, 4) == (40, 1)
    assert log.find_max_timestamp(4) == (40, 1)
    log.delete_records_before(3)
    assert log.find_max_timestamp(4) == (20, 3)


def test_an_empty_log_and_records_without_time(open_log: OpenLog, flusher: Flusher) -> None:
    log = open_log()
    assert log.find_by_timestamp(0, 0) is None and log.find_max_timestamp(0) is None
    assert log.offsets_before(-1, 5) == [0]
    write(log, [[-1], [-1]])
    flusher.run_round()
    assert log.find_by_timestamp(0, 2) is None and log.find_max_timestamp(2) is None


def test_a_batch_that_lies_inside_is_answered_by_its_header(open_log: OpenLog) -> None:
    log = open_log()
    append(log, b"a", timestamp=10)
    view = memoryview(build([Record(timestamp=20, value=b"b"), Record(timestamp=30, value=b"c")]))
    batches = parse_batches(view)
    view[61:66] = b"\xff" * 5
    log.append(view, batches, NOW_MS)
    assert log.find_by_timestamp(15, 3) == (30, 1)


def test_offsets_before(open_log: OpenLog, flusher: Flusher) -> None:
    log = open_log(segment_bytes=300, segment_ms=10**9)
    write(log, [[1000], [2000], [3000], [4000], [5000]])
    flusher.run_round()
    assert log.bases == [0, 2, 4]
    assert log.offsets_before(-1, 10) == [5, 4, 2, 0]
    assert log.offsets_before(-1, 1) == [5]
    assert log.offsets_before(-2, 10) == [0]
    assert log.offsets_before(4500, 10) == [2, 0]
    assert log.offsets_before(500, 10) == []
