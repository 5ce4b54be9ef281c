"""Timers as data: whatever is set, moved and called off, each ends when it should, once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.coordinator.outcome import NEVER, TimerChange, TimerKey, TimerKind
from broker.coordinator.timers import Timers

KEYS = [TimerKey(TimerKind.SESSION, "group", str(number)) for number in range(4)]
changes = st.tuples(st.sampled_from(KEYS), st.one_of(st.just(NEVER), st.integers(0, 50)))
steps = st.lists(st.one_of(changes, st.integers(1, 20)), max_size=60)


@given(steps)
def test_each_ends_when_it_is_due_and_once(script: list[tuple[TimerKey, int] | int]) -> None:
    timers, expected, now_ms = Timers(), {}, 0
    for step in script:
        if isinstance(step, int):
            now_ms += step
            due = {key for key, due_ms in expected.items() if due_ms <= now_ms}
            assert set(timers.take_due(now_ms, 100)) == due
            for key in due:
                del expected[key]
            continue
        key, delay_ms = step
        due_ms = NEVER if delay_ms == NEVER else now_ms + delay_ms
        timers.change(TimerChange(key, due_ms))
        expected.pop(key, None)
        if due_ms != NEVER:
            expected[key] = due_ms
        assert timers.due_ms(key) == due_ms
        assert len(timers) == len(expected)
        if expected:
            assert 0 <= timers.earliest_ms() <= min(expected.values())


def test_what_is_moved_away_again_and_again_costs_one_entry() -> None:
    timers = Timers()
    for due_ms in range(1000):
        timers.change(TimerChange(KEYS[0], due_ms))
    assert timers.earliest_ms() == 0
    assert timers.take_due(500, 10) == []
    assert timers.earliest_ms() == 999


def test_no_more_are_taken_than_asked_for() -> None:
    timers = Timers()
    for key in KEYS:
        timers.change(TimerChange(key, 5))
    assert len(timers.take_due(5, 3)) == 3
    assert len(timers.take_due(5, 3)) == 1
    assert timers.earliest_ms() == NEVER
