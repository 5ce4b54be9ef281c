"""Transactions under crashes, delays and doubled requests, by seed; and that the checker finds what it looks for."""

from __future__ import annotations

from typing import Any

import pytest

from broker.coordinator.outcome import Outcome
from broker.coordinator.transaction import PREPARED
from broker.coordinator.transaction_coordinator import TransactionCoordinator
from broker.coordinator.transaction_ports import Marker
from tests.conftest import SOAK
from tests.simulation.histories import End, History, Poll, Transaction, anomalies
from tests.simulation.transactions import SimulatedMarkers, World, problems

SEEDS = 10_000 if SOAK else 200
SEEDS_PER_TEST = 50


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_PER_TEST))
def test_seeds(first: int) -> None:
    found = {seed: wrong for seed in range(first, first + SEEDS_PER_TEST) if (wrong := problems(seed))}
    assert not found


class ForgetsToWait(SimulatedMarkers):
    """A transaction is complete before its markers are durable."""

    def when_durable(self, topic: str, partition: int, waiter: Any) -> bool:
        return False


class CompletesEarly(World):
    MARKERS = ForgetsToWait


class AdoptsNothing(TransactionCoordinator):
    """What a crash has left in the partitions alone is nobody's."""

    def adopt(self, producer_id: int, producer_epoch: int, topic: str, partition: int) -> None:
        pass


class LeavesLying(World):
    COORDINATOR = AdoptsNothing


class ForgetsTheNext(TransactionCoordinator):
    """What a crash has left of the transaction after one whose completion it has undone is nobody's."""

    def adopt(self, producer_id: int, producer_epoch: int, topic: str, partition: int) -> None:
        known = self.transactions.of_producer(producer_id)
        if known is None or known.state not in PREPARED:
            super().adopt(producer_id, producer_epoch, topic, partition)


class LeavesTheNext(World):
    COORDINATOR = ForgetsTheNext


class MarksWhateverIsThere(SimulatedMarkers):
    """Partitions take a marker as version 1 writes it: of the epoch that its transaction has."""

    def append(self, topic: str, partition: int, marker: Marker, now_ms: int) -> bool:
        return super().append(topic, partition, marker._replace(transaction_version=1), now_ms)


class EndsTheNext(World):
    MARKERS = MarksWhateverIsThere


class MarksBeforeItIsDecided(TransactionCoordinator):
    """Markers are written before the decision they carry out is durable."""

    def _commit(self, outcome: Outcome) -> bool:
        is_written = super()._commit(outcome)
        transaction = self.transactions.get(outcome.group_id)
        if outcome.events and transaction is not None and transaction.state in PREPARED:
            self._write_markers(transaction)
        return is_written


class MarksEarly(World):
    COORDINATOR = MarksBeforeItIsDecided


class AnswersAtOnce(TransactionCoordinator):
    """Answers do not wait for what they tell to be durable."""

    def _commit(self, outcome: Outcome) -> bool:
        is_written = super()._commit(outcome)
        self._requests.answer(outcome.replies)
        return is_written


class AnswersEarly(World):
    COORDINATOR = AnswersAtOnce


@pytest.mark.parametrize(
    "world_class", [CompletesEarly, LeavesLying, LeavesTheNext, EndsTheNext, MarksEarly, AnswersEarly]
)
def test_the_simulation_notices(world_class: type[World]) -> None:
    """Within as many seeds as are looked at always."""
    assert any(problems(seed, world_class) for seed in range(200))


def history(
    *transactions: tuple[End, dict[str, int | None]],
    final: list[tuple[int, str]],
    polls: list[Poll] | None = None,
) -> History:
    """Everything in partition 0: values with the offsets they were acknowledged at."""
    return History(
        [
            Transaction({value: (0, offset) for value, offset in writes.items()}, end)
            for end, writes in transactions
        ],
        polls or [],
        {0: final},
    )


def kinds(history: History) -> set[str]:
    return {anomaly.partition(":")[0] for anomaly in anomalies(history)}


def test_a_history_as_it_should_be() -> None:
    good = history(
        (End.COMMITTED, {"a": 0, "b": 1}),
        (End.ABORTED, {"c": 3}),
        (End.UNKNOWN, {"d": 5, "e": None}),
        (End.UNKNOWN, {"f": 9}),
        final=[(0, "a"), (1, "b"), (9, "f")],
        polls=[Poll("r", [(0, 0, "a")]), Poll("r", [(0, 1, "b")]), Poll("other", [(0, 0, "a")])],
    )
    assert kinds(good) == set()


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (history((End.COMMITTED, {"a": 0}), final=[]), "lost write"),
        (history((End.COMMITTED, {"a": 0}), final=[(0, "a"), (4, "a")]), "duplicate"),
        (history((End.ABORTED, {"a": 0}), final=[(0, "a")]), "aborted read"),
        (history(final=[(0, "a")]), "aborted read"),
        (
            history((End.ABORTED, {"a": 0}), final=[], polls=[Poll("r", [(0, 0, "a")])]),
            "aborted read",
        ),
        (history((End.UNKNOWN, {"a": 0, "b": 1}), final=[(1, "b")]), "torn transaction"),
        (
            history(
                (End.COMMITTED, {"a": 0}),
                (End.COMMITTED, {"b": 1}),
                final=[(0, "a"), (1, "b")],
                polls=[Poll("r", [(0, 0, "b")])],
            ),
            "inconsistent offset",
        ),
        (
            history(
                (End.COMMITTED, {"a": 1}),
                (End.COMMITTED, {"b": 0}),
                final=[(0, "a"), (1, "b")],
            ),
            "inconsistent offset",
        ),
        (
            history(
                (End.COMMITTED, {"a": 0, "b": 1}),
                final=[(0, "a"), (1, "b")],
                polls=[Poll("r", [(0, 1, "b")]), Poll("r", [(0, 0, "a")])],
            ),
            "non-monotonic poll",
        ),
    ],
)
def test_the_checker_finds(wrong: History, expected: str) -> None:
    assert expected in kinds(wrong)
