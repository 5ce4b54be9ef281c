from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from broker.tiering.reading import AbortedRange, Damaged, LogRange, read
from protocol.records import Record, build, end_transaction_marker, iterate, parse_batches
from wal.errors import StorageFailed
from wal.flusher import Flusher
from wal.log import Log, LogConfig
from wal.storage import FileStorage

NOW_MS = 1_700_000_000_000
Made = tuple[Log, FileStorage]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Made]:
    def make(**config: int) -> Made:
        storage = FileStorage(str(tmp_path))

        def fail(failure: StorageFailed) -> None:
            raise failure

        flusher = Flusher(storage, lambda durables: [durable.apply() for durable in durables] and None, fail)
        return Log(storage, flusher, f"{tmp_path}/t-0", LogConfig(**config)), storage  # type: ignore[arg-type]

    return make


def append(log: Log, *values: bytes, **fields: int | bool) -> None:
    records = [Record(timestamp=NOW_MS, value=value) for value in values]
    data = memoryview(build(records, **fields))  # type: ignore[arg-type]
    log.append(data, parse_batches(data), NOW_MS, check_producers=False)


def mark(log: Log, producer_id: int, commit: bool) -> None:
    marker = end_transaction_marker(
        commit, producer_id=producer_id, producer_epoch=0, coordinator_epoch=0, timestamp=NOW_MS
    )
    log.append(memoryview(marker), parse_batches(marker), NOW_MS, check_producers=False)


def sync(log: Log) -> None:
    while log.flusher.is_dirty:
        log.flusher.run_round()


def offsets(
    made: Made, start: int = 0, end: int | None = None, max_bytes: int = 1 << 30, chunk_bytes: int = 1000
) -> list[int]:
    """Offsets of the records that are read; the chunks have to end where the range does."""
    log, storage = made
    sync(log)
    end = log.last_stable_offset if end is None else end
    aborted = [
        AbortedRange(entry.producer_id, entry.first_offset, entry.last_offset)
        for entry in log.aborted_transactions(start, end)
    ]
    found, reached = [], start
    for chunk in read(storage, LogRange(log.directory, start, end, aborted), max_bytes, chunk_bytes):
        assert chunk.next_offset > reached
        reached = chunk.next_offset
        view = memoryview(chunk.data)
        for batch in parse_batches(view) if chunk.data else ():
            assert batch.next_offset <= reached
            found += [record.offset for record in iterate(view, batch, 1 << 20)]
    assert max_bytes < 1 << 30 or reached == end
    return found


def test_every_offset_once_over_many_segments(make: Callable[..., Made]) -> None:
    log, _ = made = make(segment_bytes=4_000, index_interval_bytes=200)
    for index in range(100):
        append(log, *[b"x" * (index * 7 % 300)] * (index % 3 + 1))
    assert len(log.segments) > 3
    end = log.log_end_offset
    assert offsets(made) == list(range(end))
    for start in range(0, end, 17):
        found = offsets(made, start)
        assert [offset for offset in found if offset >= start] == list(range(start, end))
        assert start - found[0] < 3, "at most the batch that holds it"
    assert offsets(made, end) == []


def test_nothing_from_the_end_on(make: Callable[..., Made]) -> None:
    log, _ = made = make()
    for _ in range(10):
        append(log, b"a", b"b")
    assert offsets(made, 4, 12) == list(range(4, 12))


def test_a_batch_larger_than_a_chunk(make: Callable[..., Made]) -> None:
    log, _ = made = make()
    append(log, b"small")
    append(log, b"x" * 50_000)
    append(log, b"small")
    assert offsets(made) == [0, 1, 2]


def test_a_limit_ends_the_reading_at_a_batch(make: Callable[..., Made]) -> None:
    log, _ = made = make(segment_bytes=3_000)
    for _ in range(50):
        append(log, b"x" * 200)
    found = offsets(made, max_bytes=2_000)
    assert found == list(range(len(found))) and 5 < len(found) < 20


def test_aborted_transactions_and_markers_are_left_out(make: Callable[..., Made]) -> None:
    log, _ = made = make()
    append(log, b"plain")  # 0
    append(log, b"a", b"b", producer_id=1, producer_epoch=0, base_sequence=0, is_transactional=True)  # 1, 2
    append(log, b"c", producer_id=2, producer_epoch=0, base_sequence=0, is_transactional=True)  # 3
    mark(log, 1, commit=False)  # 4
    append(log, b"d", producer_id=1, producer_epoch=0, base_sequence=2, is_transactional=True)  # 5
    mark(log, 2, commit=True)  # 6
    append(log, b"e")  # 7
    sync(log)
    assert log.last_stable_offset == 5
    assert offsets(made) == [0, 3]
    mark(log, 1, commit=True)  # 8
    assert offsets(made) == [0, 3, 5, 7]
    assert offsets(made, 4) == [5, 7]


def test_a_range_of_nothing_but_what_is_left_out_is_passed(make: Callable[..., Made]) -> None:
    log, _ = made = make()
    append(log, b"a", producer_id=1, producer_epoch=0, base_sequence=0, is_transactional=True)
    mark(log, 1, commit=False)
    assert offsets(made) == []


def test_files_deleted_meanwhile_are_a_gap(make: Callable[..., Made]) -> None:
    log, storage = make(segment_bytes=1_000)
    for _ in range(40):
        append(log, b"x" * 100)
    sync(log)
    end = log.last_stable_offset
    chunks = read(storage, LogRange(log.directory, 0, end), 1 << 30, 300)
    first = next(chunks)
    second_base, third_base = log.bases[1], log.bases[2]
    for base in (0, second_base):
        storage.rename(f"{log.directory}/{base:020d}.log", f"{log.directory}/{base:020d}.log.deleted")
    rest = [batch.base_offset for chunk in chunks for batch in parse_batches(memoryview(chunk.data))]
    assert rest == [*range(first.next_offset, second_base), *range(third_base, end)], (
        "the open file is read on"
    )


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_folder_that_was_taken_away_is_no_gap(make: Callable[..., Made], has_begun: bool) -> None:
    """That of a topic which is deleted while a job reads it: its records are somewhere else."""
    log, storage = make(segment_bytes=1_000)
    for _ in range(40):
        append(log, b"x" * 100)
    sync(log)
    chunks = read(storage, LogRange(log.directory, 0, log.last_stable_offset), 1 << 30, 300)
    reached = next(chunks).next_offset if has_begun else 0
    storage.rename(log.directory, f"{log.directory}.gone-delete")
    with pytest.raises(Damaged, match="no segment") as damaged:
        for chunk in chunks:
            reached = chunk.next_offset
    assert damaged.value.offset == reached < log.bases[2]


def test_all_segments_of_a_range_deleted_are_a_gap(make: Callable[..., Made]) -> None:
    log, storage = make(segment_bytes=1_000)
    for _ in range(40):
        append(log, b"x" * 100)
    sync(log)
    for base in log.bases[:-1]:
        storage.unlink(f"{log.directory}/{base:020d}.log")
    [chunk] = read(storage, LogRange(log.directory, 0, log.bases[-1]), 1 << 30, 300)
    assert (bytes(chunk.data), chunk.next_offset) == (b"", log.bases[-1])


def test_a_segment_swapped_meanwhile_is_read_anew(make: Callable[..., Made]) -> None:
    """As compaction does: one file takes the place of two, its batches elsewhere."""
    log, storage = make(segment_bytes=1_000)
    for _ in range(40):
        append(log, b"x" * 100)
    sync(log)
    end = log.last_stable_offset
    chunks = read(storage, LogRange(log.directory, 0, end), 1 << 30, 300)
    first = next(chunks)
    one, two = (Path(f"{log.directory}/{log.bases[index]:020d}.log") for index in (1, 2))
    data = one.read_bytes() + two.read_bytes()
    kept = [batch for batch in parse_batches(data) if batch.base_offset % 2]
    one.write_bytes(b"".join(data[batch.position : batch.position + batch.size] for batch in kept))
    Path(f"{log.directory}/{log.bases[1]:020d}.index").write_bytes(b"")
    two.unlink()
    rest = [batch.base_offset for chunk in chunks for batch in parse_batches(memoryview(chunk.data))]
    expected = [
        *range(first.next_offset, log.bases[1]),
        *(batch.base_offset for batch in kept),
        *range(log.bases[3], end),
    ]
    assert rest == expected


def test_damage_is_said_and_what_is_before_it_is_read(make: Callable[..., Made]) -> None:
    log, storage = make()
    for _ in range(10):
        append(log, b"x" * 100)
    sync(log)
    position = log.segments[0].locate(6)
    assert position is not None
    path = Path(f"{log.directory}/{0:020d}.log")
    data = bytearray(path.read_bytes())
    data[position + 80] ^= 1
    path.write_bytes(data)
    found = []
    with pytest.raises(Damaged, match=r"offset 6.*CRC") as damaged:
        for chunk in read(storage, LogRange(log.directory, 0, 10), 1 << 30, 200):
            found += [batch.base_offset for batch in parse_batches(memoryview(chunk.data))]
    assert found == list(range(6)) and damaged.value.offset == 6
