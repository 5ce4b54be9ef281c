from __future__ import annotations

import os
from itertools import pairwise

import pytest
from hypothesis import given, settings
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


def test_where_commits_take_long_they_begin_sooner(planner: Planner) -> None:
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
    assert planner.waiting_since_ms(A) == 10_002, "nothing has waited before somebody asked"
    assert planner.take(10_003) == A, "asked during a commit: another one"
    planner.progressed(A, 1, PACE, 10_003)
    planner.committed(A, False, 10_004)
    assert planner.next_due_ms() == 20_002, "and one only"


def test_a_topic_that_was_configured_anew_does_not_wait_after_a_failure(planner: Planner) -> None:
    planner.progressed(A, 1, PACE, 0)
    planner.reconfigured(A, 1)
    assert planner.next_due_ms() == 10_000, "nothing has failed: its interval holds"
    planner.take(10_000)
    planner.failed(A, 10_000, chance=1.0)
    planner.reconfigured(A, 10_001)
    assert planner.take(10_001) == A
    planner.reconfigured(A, 10_002)
    assert planner.failed(A, 10_003, chance=1.0) == 0, "that attempt had the settings of before"
    assert planner.take(10_003) == A
    assert planner.failed(A, 10_004, chance=1.0) == 4 * FIRST_BACK_OFF_MS
    planner.reconfigured(B, 10_005)
    assert B not in planner


def test_a_shorter_interval_counts_from_the_first_record(planner: Planner) -> None:
    planner.progressed(A, 1, PACE._replace(interval_ms=3_600_000), 0)
    planner.progressed(A, 0, PACE, 4_000)
    assert planner.next_due_ms() == 10_000
    planner.progressed(A, 0, PACE._replace(interval_ms=1_000), 5_000)
    assert planner.take(5_000) == A
    planner.failed(A, 5_000, chance=1.0)
    planner.progressed(A, 0, PACE._replace(interval_ms=1), 5_001)
    assert planner.next_due_ms() == 6_000, "a failure makes it wait all the same"


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


class Plant:
    """One worker and a planner, as the supervisor uses them, in steps of STEP_MS of simulated time."""

    STEP_MS = 250

    def __init__(self, topics: dict[bytes, Pace], durations_ms: dict[bytes, int]) -> None:
        self.planner = Planner()
        self.now_ms = 0
        self.paces = topics
        self.durations_ms = durations_ms
        self.waiting: dict[bytes, list[int]] = {topic: [] for topic in topics}  # when each record came
        self.running: tuple[bytes, int, int] | None = None  # topic, since, how many records
        self.starts: dict[bytes, list[int]] = {topic: [] for topic in topics}
        self.latencies: dict[bytes, list[int]] = {topic: [] for topic in topics}

    def step(self, arriving: set[bytes], fails: bool = False) -> None:
        self.now_ms += self.STEP_MS
        for topic in arriving:
            self.waiting[topic].append(self.now_ms)
        if self.running is not None:
            topic, since_ms, count = self.running
            if self.now_ms - since_ms < self.durations_ms[topic]:
                return
            self.running = None
            if fails:
                self.planner.failed(topic, self.now_ms, 1.0)
            else:
                self.latencies[topic] += [self.now_ms - came for came in self.waiting[topic][:count]]
                del self.waiting[topic][:count]
                self.planner.committed(topic, False, self.now_ms, bool(self.waiting[topic]))
        for topic, waiting in self.waiting.items():  # the look, which there is none of during a job
            if waiting:
                self.planner.progressed(topic, 1, self.paces[topic], self.now_ms)
        taken = self.planner.take(self.now_ms)
        if taken is not None:
            assert self.waiting[taken], "no commit of nothing"
            self.starts[taken].append(self.now_ms)
            self.running = (taken, self.now_ms, len(self.waiting[taken]))


plants = st.lists(st.tuples(st.integers(1_000, 30_000), st.integers(250, 8_000)), min_size=1, max_size=6).map(
    lambda drawn: Plant(
        {bytes([index]): Pace(interval_ms, 1 << 40) for index, (interval_ms, _) in enumerate(drawn)},
        {bytes([index]): duration_ms for index, (_, duration_ms) in enumerate(drawn)},
    )
)


@settings(max_examples=1_000 if os.environ.get("FLOE_SOAK") else 30, deadline=None)
@given(plants, st.data())
def test_topics_are_committed_neither_too_often_nor_too_late(plant: Plant, data: st.DataObject) -> None:
    """By interval alone, whatever comes when, however long commits take."""
    everybody = list(plant.paces)
    for _ in range(data.draw(st.integers(10, 150))):
        plant.step(data.draw(st.sets(st.sampled_from(everybody))))
    # Others that were due before it have their turn once, the one under way maybe again.
    turns_ms = sum(plant.durations_ms.values()) + max(plant.durations_ms.values())
    for topic, pace in plant.paces.items():
        starts = plant.starts[topic]
        gaps = [later - sooner for sooner, later in pairwise(starts)]
        assert all(gap >= pace.interval_ms // 2 for gap in gaps), "half an interval apart at the least"
        steps_ms = (len(everybody) + 3) * plant.STEP_MS  # each turn is rounded up, and so is a look
        latest_ms = pace.interval_ms + plant.durations_ms[topic] + turns_ms + steps_ms
        assert all(latency <= latest_ms for latency in plant.latencies[topic])
        if plant.waiting[topic] and plant.running is None:
            assert plant.now_ms - plant.waiting[topic][0] <= latest_ms


@settings(max_examples=1_000 if os.environ.get("FLOE_SOAK") else 30, deadline=None)
@given(plants, st.data())
def test_a_topic_whose_commits_fail_holds_up_nobody_and_catches_up(plant: Plant, data: st.DataObject) -> None:
    everybody = list(plant.paces)
    for _ in range(data.draw(st.integers(10, 100))):
        plant.step(data.draw(st.sets(st.sampled_from(everybody))), fails=data.draw(st.booleans()))
    limit_ms = MAX_BACK_OFF_MS + max(pace.interval_ms for pace in plant.paces.values())
    limit_ms += 2 * sum(plant.durations_ms.values()) + len(everybody) * 2 * plant.STEP_MS
    for _ in range(limit_ms // plant.STEP_MS + 1):
        plant.step(set())
    assert not any(plant.waiting.values()) and len(plant.planner) == 0
    assert all(plant.planner.failures(topic) == 0 for topic in everybody)


def test_under_a_steady_load_a_commit_is_as_long_as_its_share(planner: Planner) -> None:
    """Commits of 6 s at an interval of 10 s follow one another; of 2 s they begin every 8 s, to be done in time."""
    for duration_ms, gap_ms in ((6_000, 6_000), (2_000, 8_000), (250, 9_750)):
        plant = Plant({A: PACE._replace(commit_bytes=1 << 40)}, {A: duration_ms})
        for _ in range(1_000):
            plant.step({A})
        gaps = {later - sooner for sooner, later in pairwise(plant.starts[A][2:])}
        assert gaps == {gap_ms}
        assert max(plant.latencies[A][200:]) <= max(PACE.interval_ms, 2 * duration_ms) + 2 * plant.STEP_MS
