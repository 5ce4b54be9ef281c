"""What is clean, dirty and due, over logs with known segments."""

from __future__ import annotations

from broker.compacting.planning import Candidate, choose, is_due, job, measure
from broker.config import BrokerConfig, TopicConfig
from protocol.records import Record
from tests.simulation.memory_storage import MemoryStorage
from tests.wal.compacting import append
from wal.checkpoint import TopicPartition
from wal.compaction import Round
from wal.errors import StorageFailed
from wal.flusher import Flusher
from wal.log import Log, LogConfig

KEY = TopicPartition("t", 0)
NOW_MS = 1_700_000_000_000


def _fail(failure: StorageFailed) -> None:
    raise failure


def config(**settings: str) -> TopicConfig:
    values = {name.replace("_", "."): value for name, value in settings.items()}
    return BrokerConfig().topic_config({"cleanup.policy": "compact", **values})


def log_of(segments: int, step_ms: int = 1000) -> Log:
    """Sealed segments of ten records each, `step_ms` apart, and an active one with one record; all durable."""
    storage = MemoryStorage("/d")
    flusher = Flusher(storage, lambda durables: [durable.apply() for durable in durables] and None, _fail)
    log = Log(storage, flusher, "/d/t-0", LogConfig(preallocate_bytes=0))
    for number in range(segments):
        timestamp = NOW_MS - (segments - number) * step_ms
        append(
            log, [Record(timestamp=timestamp, key=b"%d" % index, value=b"v") for index in range(10)], NOW_MS
        )
        log.roll(NOW_MS)
    append(log, [Record(timestamp=NOW_MS, key=b"k", value=b"v")], NOW_MS)
    flusher.run_round()
    return log


def test_everything_below_the_active_segment_is_dirty_at_first() -> None:
    log = log_of(4)
    found = measure(KEY, log, config(), None, NOW_MS)
    assert (found.first_dirty_offset, found.end_offset, found.clean_bytes) == (0, 40, 0)
    assert found.dirty_bytes == sum(segment.size for segment in log.segments[:-1])
    assert found.dirty_ratio == 1.0 and found.held_by is None
    assert is_due(found, config())


def test_the_ratio_decides() -> None:
    log = log_of(4)
    found = measure(KEY, log, config(), 30, NOW_MS)
    assert found.dirty_ratio == 0.25 and not is_due(found, config())
    assert is_due(found, config(min_cleanable_dirty_ratio="0.2"))
    assert not is_due(measure(KEY, log, config(), 40, NOW_MS), config(min_cleanable_dirty_ratio="0"))


def test_a_checkpoint_outside_the_log_is_not_believed() -> None:
    log = log_of(4)
    assert measure(KEY, log, config(), 1000, NOW_MS).first_dirty_offset == 0
    log.delete_records_before(20)
    assert measure(KEY, log, config(), 10, NOW_MS).first_dirty_offset == 20


def test_what_is_young_waits() -> None:
    found = measure(KEY, log_of(4), config(min_compaction_lag_ms="2500"), None, NOW_MS)
    assert (found.end_offset, found.held_by) == (20, "lag")


def test_what_is_old_does_not_wait_for_the_ratio() -> None:
    settings = config(max_compaction_lag_ms="3500")
    assert is_due(measure(KEY, log_of(4), settings, None, NOW_MS), settings)
    late = measure(KEY, log_of(4), settings, 30, NOW_MS)
    assert not late.is_overdue and not is_due(late, settings)
    assert is_due(measure(KEY, log_of(4), settings, 30, NOW_MS + 3000), settings)


def test_what_is_not_in_its_table_waits() -> None:
    found = measure(KEY, log_of(4), config(), None, NOW_MS, keep_from=25)
    assert (found.end_offset, found.held_by) == (20, "table")


def test_what_a_transaction_may_still_abort_waits() -> None:
    log = log_of(2)
    record = [Record(timestamp=NOW_MS, key=b"k", value=b"v")]
    append(log, record, NOW_MS, producer_id=1, producer_epoch=0, base_sequence=0, is_transactional=True)
    log.roll(NOW_MS)
    append(log, record, NOW_MS)
    log.flusher.run_round()
    found = measure(KEY, log, config(), None, NOW_MS)
    assert (found.end_offset, found.held_by) == (20, "transaction")


def test_an_empty_log_is_nothing_to_do() -> None:
    storage = MemoryStorage("/d")
    flusher = Flusher(storage, lambda durables: None, _fail)
    found = measure(KEY, Log(storage, flusher, "/d/t-0", LogConfig()), config(), None, NOW_MS)
    assert found.dirty_bytes == 0 and not is_due(found, config())


def test_the_overdue_come_first_then_the_dirtiest() -> None:
    def candidate(number: int, dirty: int, overdue: bool) -> Candidate:
        return Candidate(TopicPartition("t", number), 0, 1, 100 - dirty, dirty, overdue, None)

    assert choose([]) is None
    dirtiest = [candidate(1, 60, False), candidate(2, 90, False), candidate(3, 70, False)]
    assert choose(dirtiest) == dirtiest[1]
    assert choose([*dirtiest, candidate(4, 10, True)]) == candidate(4, 10, True)


def test_the_job_is_a_round_the_worker_understands() -> None:
    log = log_of(3)
    found = measure(KEY, log, config(delete_retention_ms="77"), None, NOW_MS)
    order = job(found, log, config(delete_retention_ms="77"), BrokerConfig(), NOW_MS, [1, 2, 3, 4])
    parsed = Round.from_json(order["round"])  # type: ignore[arg-type]
    assert [segment.base_offset for segment in parsed.segments] == [0, 10, 20]
    assert (parsed.end_offset, parsed.delete_retention_ms, parsed.now_ms) == (30, 77, NOW_MS)
