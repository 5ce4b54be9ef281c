"""Rounds of compaction: what stays, with which offsets, sequences and horizons, and what finds it afterwards."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocol.records import DELETE_HORIZON_BIT, Record
from tests.wal.compacting import DAY_MS, Writer, append, batches_of, compact, mark, order, records_of
from tests.wal.conftest import NOW_MS
from wal.compaction import CannotCompact, Compaction
from wal.flusher import Flusher
from wal.log import Log
from wal.storage import Storage

Open = Callable[..., Log]

SMALL = {
    "segment_bytes": 3000,
    "index_interval_bytes": 200,
    "compact_is_enabled": True,
    "preallocate_bytes": 0,
}


def seal(log: Log, flusher: Flusher) -> None:
    log.roll(NOW_MS)
    append(log, [Record(timestamp=NOW_MS, key=b"active", value=b"")], NOW_MS)
    flusher.run_round()


def put(log: Log, *pairs: tuple[bytes | None, bytes | None], **fields: int | bool) -> int:
    return append(
        log, [Record(timestamp=NOW_MS, key=key, value=value) for key, value in pairs], NOW_MS, **fields
    )


def test_of_every_key_the_last_value_stays_at_its_offset(open_log: Open, flusher: Flusher) -> None:
    log = open_log(**SMALL)
    for number in range(300):
        keys = [b"k%d" % ((number * 7 + index) % 40) for index in range(5)]
        append(
            log,
            [
                Record(timestamp=NOW_MS + number, key=key, value=b"%d" % number, headers=[("h", key)])
                for key in keys
            ],
            NOW_MS,
            compression=number % 5,
        )
    seal(log, flusher)
    before = records_of(log)
    segments = len(log.segments)
    newest = {record.key: record for record in before}
    totals = compact(log, NOW_MS)
    assert records_of(log) == sorted(newest.values(), key=lambda record: record.offset)
    assert totals.end_offset == log.bases[-1]
    assert totals.records_after == len(newest) - 1  # without the active segment's
    compact(log, NOW_MS, first_dirty_offset=totals.end_offset - 1)
    assert len(log.segments) < segments / 3, "small neighbours become one"
    assert not log.damage


def test_the_same_again_changes_no_record(open_log: Open, flusher: Flusher) -> None:
    log = open_log(**SMALL)
    writer = Writer(log, 1, NOW_MS)
    writer.write(200, NOW_MS)
    writer.end_all(NOW_MS)
    seal(log, flusher)
    end = compact(log, NOW_MS).end_offset
    once = records_of(log)
    for _ in range(3):
        compact(log, NOW_MS, first_dirty_offset=end - 1)
        assert records_of(log) == once


@pytest.mark.parametrize("codec", range(5))
def test_a_batch_that_loses_records_keeps_its_codec_and_times(
    open_log: Open, flusher: Flusher, codec: int
) -> None:
    log = open_log(**SMALL)
    records = [Record(timestamp=NOW_MS - index, key=b"k%d" % index, value=b"v" * 50) for index in range(20)]
    append(log, records, NOW_MS, compression=codec)
    put(log, (b"k0", b"new"), (b"k7", b"new"))
    seal(log, flusher)
    compact(log, NOW_MS)
    (batch, left), *_ = batches_of(log)
    assert batch.compression == codec
    assert (batch.base_offset, batch.last_offset, batch.record_count) == (0, 19, 18)
    assert batch.max_timestamp == NOW_MS - 1
    assert [(record.offset, record.timestamp, record.key) for record in left] == [
        (index, NOW_MS - index, b"k%d" % index) for index in range(20) if index not in (0, 7)
    ]


def test_records_without_a_key_go(open_log: Open, flusher: Flusher) -> None:
    """A topic may have been compacted only later in its life."""
    log = open_log(**SMALL)
    put(log, (None, b"1"), (b"k", b"2"), (None, b"3"))
    seal(log, flusher)
    compact(log, NOW_MS)
    assert [record.key for record in records_of(log)] == [b"k", b"active"]


@pytest.mark.parametrize("append_time", [False, True])
def test_a_tombstone_stays_until_its_horizon(open_log: Open, flusher: Flusher, append_time: bool) -> None:
    log = open_log(**SMALL)
    fields = {"timestamp_type": 1, "append_time": NOW_MS} if append_time else {}
    put(log, (b"k", b"value"), (b"other", b"value"))
    put(log, (b"k", None), (b"third", b"value"), **fields)
    seal(log, flusher)
    compact(log, NOW_MS)
    _, (batch, left), *_ = batches_of(log)
    assert batch.attributes & DELETE_HORIZON_BIT and batch.base_timestamp == NOW_MS + DAY_MS
    assert [(record.key, record.value, record.timestamp) for record in left] == [
        (b"k", None, NOW_MS),
        (b"third", b"value", NOW_MS),
    ]
    compact(log, NOW_MS + DAY_MS - 1)
    assert [record.key for record in records_of(log)] == [b"other", b"k", b"third", b"active"]
    compact(log, NOW_MS + DAY_MS)
    assert [record.key for record in records_of(log)] == [b"other", b"third", b"active"]
    (_, _), (batch, left), *_ = batches_of(log)
    assert [record.timestamp for record in left] == [NOW_MS]
    assert batch.max_timestamp == NOW_MS


def transactional(log: Log, producer_id: int, sequence: int, *pairs: tuple[bytes, bytes]) -> int:
    fields = {"producer_id": producer_id, "producer_epoch": 0, "base_sequence": sequence}
    return put(log, *pairs, is_transactional=True, **fields)


def test_aborted_records_go_and_shadow_nothing(open_log: Open, flusher: Flusher) -> None:
    log = open_log(**SMALL)
    put(log, (b"a", b"committed"), (b"b", b"committed"))
    transactional(log, 1, 0, (b"a", b"aborted"), (b"c", b"aborted"))
    transactional(log, 2, 0, (b"b", b"in a transaction"))
    mark(log, 1, False, NOW_MS)
    mark(log, 2, True, NOW_MS)
    seal(log, flusher)
    compact(log, NOW_MS)
    values = {record.key: record.value for record in records_of(log)}
    assert values == {b"a": b"committed", b"b": b"in a transaction", b"active": b""}


def test_a_marker_goes_after_its_data_and_its_horizon(open_log: Open, flusher: Flusher) -> None:
    log = open_log(**SMALL)
    transactional(log, 1, 0, (b"a", b"aborted"))
    mark(log, 1, False, NOW_MS)
    transactional(log, 2, 0, (b"a", b"committed"))
    mark(log, 2, True, NOW_MS)
    put(log, (b"a", b"last"), (b"z", b"keeps the end"))
    transactional(log, 1, 1, (b"x", b"later"))  # they are not the last of their producers
    mark(log, 1, True, NOW_MS)
    transactional(log, 2, 1, (b"x", b"later"))
    mark(log, 2, True, NOW_MS)
    seal(log, flusher)

    def markers() -> list[int]:
        return [batch.base_offset for batch, records in batches_of(log) if batch.is_control and records]

    assert markers() == [1, 3, 7, 9]
    compact(log, NOW_MS)
    assert markers() == [1, 3, 7, 9], "their data was still there"
    assert log.aborted_transactions(0, 5)[0].last_offset == 1
    compact(log, NOW_MS + 1)
    assert markers() == [1, 3, 7, 9], "the horizon is set now"
    assert log.aborted_transactions(0, 5) == []
    compact(log, NOW_MS + DAY_MS)
    assert markers() == [1, 3, 7, 9]
    compact(log, NOW_MS + 1 + DAY_MS)
    assert markers() == [7, 9], "the last batch of a producer stays, be it empty, and so does its marker"


def test_producers_keep_their_sequences(open_log: Open, flusher: Flusher, storage: Storage) -> None:
    log = open_log(**SMALL)
    for sequence in range(40):
        put(log, (b"k", b"%d" % sequence), producer_id=7, producer_epoch=3, base_sequence=sequence)
    seal(log, flusher)
    for sequence in range(3):
        put(log, (b"k", b""), producer_id=8, producer_epoch=0, base_sequence=sequence)
    flusher.run_round()
    compact(log, NOW_MS)
    put(log, (b"k", b"next"), producer_id=7, producer_epoch=3, base_sequence=40)
    flusher.run_round()
    for name in storage.list(log.directory):
        if name.endswith(".snapshot"):
            storage.unlink(f"{log.directory}/{name}")
    recovered = open_log(is_clean=False, recovery_point=log.bases[-1], **SMALL)
    assert not recovered.damage
    state = {entry.producer_id: entry.last_sequence for entry in recovered.active_producers()}
    assert state == {7: 40, 8: 2}


def test_a_small_map_takes_several_rounds(open_log: Open, flusher: Flusher) -> None:
    log = open_log(**SMALL)
    writer = Writer(log, 3, NOW_MS, keys=300)
    writer.write(300, NOW_MS)
    writer.end_all(NOW_MS)
    seal(log, flusher)
    expected = {record.key: record.offset for record in records_of(log)}
    end, rounds = 0, 0
    while end < order(log, NOW_MS).end_offset:
        totals = compact(log, NOW_MS, first_dirty_offset=end, dedupe_buffer_bytes=24 * 100)
        assert totals.end_offset > end
        end, rounds = totals.end_offset, rounds + 1
    assert rounds > 2
    found = [(record.key, record.offset) for record in records_of(log) if record.offset < end]
    assert len({key for key, _ in found}) == len(found)
    assert all(expected[key] >= offset for key, offset in found)


def test_a_map_without_room_for_one_batch_says_so(open_log: Open, flusher: Flusher) -> None:
    log = open_log(**SMALL)
    put(log, *((b"%d" % number, b"") for number in range(50)))
    seal(log, flusher)
    with pytest.raises(CannotCompact, match=r"log\.cleaner\.dedupe\.buffer\.size"):
        compact(log, NOW_MS, dedupe_buffer_bytes=24 * 20)


def test_damaged_bytes_are_not_compacted(open_log: Open, flusher: Flusher, storage: Storage) -> None:
    log = open_log(**SMALL)
    for number in range(100):
        put(log, (b"k%d" % (number % 3), b"v" * 50))
    seal(log, flusher)
    storage.open(f"{log.directory}/{log.bases[1]:020d}.log").write_at(b"\xff\xff", 100)
    before = {name: storage.open(f"{log.directory}/{name}").size() for name in storage.list(log.directory)}
    with pytest.raises(CannotCompact, match="CRC"):
        list(Compaction(log.storage, order(log, NOW_MS)).run())
    after = {name: storage.open(f"{log.directory}/{name}").size() for name in storage.list(log.directory)}
    assert after == before


def test_what_finds_records_finds_those_that_are_left(open_log: Open, flusher: Flusher) -> None:
    log = open_log(**SMALL)
    writer = Writer(log, 5, NOW_MS)
    writer.write(400, NOW_MS)
    writer.end_all(NOW_MS)
    seal(log, flusher)
    compact(log, NOW_MS)
    left = [record for _, records in batches_of(log) for record in records]
    for record in left:
        timestamps = (record.timestamp, record.timestamp - 1)
        for timestamp in timestamps:
            found = log.find_by_timestamp(timestamp, log.high_watermark)
            first = next(other for other in left if other.timestamp >= timestamp)
            assert found is not None and (found.offset, found.timestamp) == (first.offset, first.timestamp)
    for offset in range(0, log.high_watermark, 7):
        piece = log.read(offset, 1, log.high_watermark, True)
        assert piece is not None
        assert int.from_bytes(piece.read()[:8], "big") <= max(
            offset, min(r.offset for r in left if r.offset >= offset)
        )


def test_a_reader_in_the_middle_is_not_disturbed(open_log: Open, flusher: Flusher) -> None:
    log = open_log(file_delete_delay_ms=1000, **SMALL)
    Writer(log, 6, NOW_MS).write(200, NOW_MS)
    seal(log, flusher)
    held = log.read(log.bases[1] + 5, 2000, log.high_watermark, True)
    assert held is not None
    expected = held.read()
    offset = log.bases[1] + 5
    log.read(offset, 500, log.high_watermark, True)  # its end is remembered as a place in a file
    compact(log, NOW_MS)
    assert held.read() == expected
    assert log.delete_due_files(NOW_MS + 999) == 0
    assert log.delete_due_files(NOW_MS + 1000) > 0
    assert held.read() == expected
    for start in range(offset, log.high_watermark, 3):
        piece = log.read(start, 500, log.high_watermark, True)
        assert piece is not None
        batch = piece.read()
        assert int.from_bytes(batch[:8], "big") + int.from_bytes(batch[23:27], "big") >= start


def test_retention_took_the_segments_meanwhile(open_log: Open, flusher: Flusher, storage: Storage) -> None:
    log = open_log(retention_bytes=1000, **SMALL)
    Writer(log, 7, NOW_MS).write(200, NOW_MS)
    seal(log, flusher)
    from wal.compaction_swap import swap

    cleaned = list(Compaction(log.storage, order(log, NOW_MS)).run())
    log.enforce_retention(NOW_MS)
    assert not any(
        swap(log, segment.replaced, NOW_MS) for segment in cleaned if segment.base_offset not in log.bases
    )
    names = storage.list(log.directory)
    left = [segment for segment in cleaned if segment.base_offset in log.bases]
    assert sum(name.endswith(".log.cleaned") for name in names) == len(left)


def test_the_last_durable_batch_of_a_producer_stays(
    open_log: Open, flusher: Flusher, storage: Storage
) -> None:
    """The one behind it may be lost in a crash; its retry must follow what is left."""
    log = open_log(**SMALL)
    for sequence in range(5):
        put(log, (b"k", b"%d" % sequence), producer_id=7, producer_epoch=0, base_sequence=sequence)
    put(log, (b"k", b"other"))
    seal(log, flusher)
    put(log, (b"k", b"not synced"), producer_id=7, producer_epoch=0, base_sequence=5)
    compact(log, NOW_MS)
    kept = [batch.last_sequence for batch, _ in batches_of(log) if batch.producer_id == 7]
    assert kept == [4]


def test_all_batches_of_a_producer_stay_while_its_last_is_not_known(open_log: Open, flusher: Flusher) -> None:
    log = open_log(**SMALL)
    for sequence in range(5):
        put(log, (b"k", b"%d" % sequence), producer_id=7, producer_epoch=0, base_sequence=sequence)
    put(log, (b"k", b"other"))
    seal(log, flusher)
    put(log, (b"k", b"not synced"), producer_id=7, producer_epoch=1, base_sequence=0)
    compact(log, NOW_MS)
    kept = [batch.last_sequence for batch, _ in batches_of(log) if batch.producer_id == 7]
    assert kept == [0, 1, 2, 3, 4]
