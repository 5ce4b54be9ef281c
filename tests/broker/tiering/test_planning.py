from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.tiering.planning import FIRST_BACK_OFF_MS, MAX_BACK_OFF_MS, Pace, Planner

PACE = Pace(interval_ms=10_000, commit_bytes=1_000)
A, B = b"a", b"b"


@pytest.fixture
def planner() -> Planner:
    return Planner()


def test_nothing_is_planned_for_idle_topics(planner: Planner) -> None:
    assert planner.next_due_ms() is None
    assert planner.take(1 << 60) is None


def test_a_topic_is_due_an_interval_after_its_first_record(planner: Planner) -> None:
    planner.progressed(A, 1, PACE, 100)
    planner.progressed(A, 1, PACE, 9_000)
    assert planner.next_due_ms() == 10_100
    assert planner.take(10_099) is None
    assert planner.take(10_100) == A
    assert planner.take(1 << 60) is None, "it is being committed"
    planner.committed(A, False, 10_200)
    assert len(planner) == 0 and planner.next_due_ms() is None


def test_bytes_bring_it_forward(planner: Planner) -> None:
    planner.progressed(A, 999, PACE, 0)
    assert planner.take(1) is None
    planner.progressed(A, 1, PACE, 2)
    assert planner.take(2) == A


def test_what_comes_during_a_commit_waits_its_own_interval(planner: Planner) -> None:
    planner.progressed(A, 1, PACE, 0)
    assert planner.take(10_000) == A
    planner.progressed(A, 1, PACE, 10_300)
    assert planner.waiting_since_ms(A) == 0, "until the commit is known to have worked"
    planner.committed(A, False, 10_500)
    assert planner.next_due_ms() == 20_300 - 500, "what the last commit took"
    assert planner.waiting_since_ms(A) == 10_300


def test_where_commits_take_long_they_begin_sooner_but_never_follow_one_another(planner: Planner) -> None:
    planner.progressed(A, 1, PACE, 0)
    assert planner.take(10_000) == A
    planner.progressed(A, 1, PACE, 10_000)
    planner.committed(A, False, 13_000)
    assert planner.next_due_ms() == 17_000, "to be done at 20,000"
    assert planner.take(17_000) == A
    planner.progressed(A, 1, PACE, 17_000)
    planner.committed(A, False, 31_000)
    assert planner.next_due_ms() == 22_000
    assert planner.take(31_000) == A
    planner.progressed(A, 1, PACE, 39_000)
    planner.committed(A, False, 40_000)
    assert planner.next_due_ms() == 44_000, "half the interval later at the least"


def test_what_nobody_told_of_counts_from_the_beginning_of_the_commit(planner: Planner) -> None:
    planner.progressed(A, 1, PACE, 0)
    assert planner.take(10_000) == A
    planner.committed(A, False, 13_000, has_newer=True)
    assert planner.next_due_ms() == 17_000 and planner.waiting_since_ms(A) == 10_000
    assert planner.take(17_000) == A
    planner.committed(A, False, 18_000)
    assert A not in planner


def test_much_that_comes_during_a_commit_is_committed_at_once(planner: Planner) -> None:
    planner.progressed(A, 1, PACE, 0)
    assert planner.take(10_000) == A
    planner.progressed(A, 5_000, PACE, 10_300)
    planner.committed(A, False, 10_500)
    assert planner.take(10_500) == A


def test_a_backfill_takes_turns(planner: Planner) -> None:
    planner.progressed(A, 1 << 40, PACE, 0)
    planner.progressed(B, 1, PACE, 0)
    taken = []
    now_ms = 0
    for _ in range(30):
        now_ms += 1_000
        topic = planner.take(now_ms)
        assert topic is not None
        taken.append(topic)
        planner.committed(topic, topic == A, now_ms)
        planner.progressed(B, 1, PACE, now_ms)
    assert taken.count(B) == 2, "every ten seconds and one step of the backfill"
    assert taken.index(B) <= 11
    assert taken.count(A) == 28


def test_failures_make_it_wait_longer_and_longer_but_not_for_ever(planner: Planner) -> None:
    planner.progressed(A, 1 << 40, PACE, 0)
    now_ms, waits = 0, []
    for _ in range(12):
        assert planner.take(now_ms) == A
        wait_ms = planner.failed(A, now_ms, chance=1.0)
        planner.progressed(A, 1 << 40, PACE, now_ms)
        assert planner.take(now_ms + wait_ms - 1) is None, "bytes do not shorten it"
        waits.append(wait_ms)
        now_ms += wait_ms
    assert waits[:3] == [FIRST_BACK_OFF_MS, 2 * FIRST_BACK_OFF_MS, 4 * FIRST_BACK_OFF_MS]
    assert waits[-1] == MAX_BACK_OFF_MS
    assert planner.waiting_since_ms(A) == 0
    assert planner.take(now_ms) == A
    planner.committed(A, True, now_ms)
    assert planner.take(now_ms) == A, "what helped once needs no more waiting"


def test_jitter_never_shortens_the_wait_by_more_than_a_quarter(planner: Planner) -> None:
    planner.progressed(A, 1, PACE, 0)
    planner.take(10_000)
    assert planner.failed(A, 10_000, chance=0.0) == FIRST_BACK_OFF_MS * 3 // 4


def test_somebody_who_asks_does_not_wait(planner: Planner) -> None:
    planner.progressed(A, 1, PACE, 0)
    planner.take(10_000)
    planner.failed(A, 10_000, chance=1.0)
    planner.ask(A, PACE, 10_001)
    assert planner.take(10_001) == A
    planner.ask(A, PACE, 10_002)
    planner.committed(A, False, 10_003)
    assert planner.take(10_003) == A, "asked during a commit: another one"


def test_a_forgotten_topic_is_not_taken(planner: Planner) -> None:
    planner.progressed(A, 1, PACE, 0)
    planner.forget(A)
    assert planner.take(1 << 60) is None
    planner.progressed(A, 1, PACE, 0)
    assert planner.take(10_000) == A
    planner.forget(A)
    planner.committed(A, True, 10_000)
    assert planner.failed(A, 10_000, 1.0) == 0
    assert A not in planner


@given(
    st.lists(st.tuples(st.sampled_from("pcfat"), st.sampled_from([A, B]), st.integers(0, 5_000)), max_size=60)
)
def test_whatever_happens_a_dirty_topic_is_due_or_under_way(steps: list[tuple[str, bytes, int]]) -> None:
    planner = Planner()
    now_ms = 0
    running: bytes | None = None
    for step, topic, amount in steps:
        now_ms += amount
        if step == "p":
            planner.progressed(topic, amount, PACE, now_ms)
        elif step == "a":
            planner.ask(topic, PACE, now_ms)
        elif step == "t" and running is None:
            running = planner.take(now_ms)
        elif step in "cf" and running is not None:
            if step == "c":
                planner.committed(running, amount % 2 == 1, now_ms)
            else:
                planner.failed(running, now_ms, 1.0)
            running = None
    waiting = len(planner) - (1 if running is not None and running in planner else 0)
    due_ms = planner.next_due_ms()
    assert (due_ms is not None) == (waiting > 0)
    assert due_ms is None or due_ms <= now_ms + MAX_BACK_OFF_MS
