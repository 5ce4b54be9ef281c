"""The pictures show every row of the tables they are drawn from."""

from __future__ import annotations

from broker.coordinator.classic_group import TRANSITIONS
from broker.coordinator.diagrams import draw
from wal.walk import DECISIONS


def test_every_transition_and_decision_is_drawn() -> None:
    text = "\n".join(draw())
    for (source, target), cause in TRANSITIONS.items():
        assert f"{source.value} --> {target.value}: {cause}" in text
    assert text.count("\n| ") >= len(DECISIONS)
    assert "[*] --> Empty" in text
    assert "Dead --> [*]" in text
