"""Seeded schedules of consumer groups: 150 of them, or 10,000 with FLOE_SOAK=1.

A failure names its seed; `python -m tests.simulation.test_consumer_groups SEED [mixed]` runs one again.
"""

from __future__ import annotations

import os
import sys

import pytest

from tests.broker.coordinator.fakes import FakeLog
from tests.simulation.consumer_groups import World, play
from tests.simulation.mixed_groups import MixedWorld

SEEDS = 10_000 if os.environ.get("FLOE_SOAK") == "1" else 150
SEEDS_PER_TEST = SEEDS // 10


@pytest.mark.parametrize("first_seed", range(0, SEEDS, SEEDS_PER_TEST))
def test_every_partition_has_one_reader(first_seed: int) -> None:
    handovers = 0
    for seed in range(first_seed, first_seed + SEEDS_PER_TEST):
        try:
            handovers += play(seed).handovers
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    assert handovers > 10 * SEEDS_PER_TEST, "the schedules do next to nothing"


@pytest.mark.parametrize("first_seed", range(0, SEEDS, SEEDS_PER_TEST))
def test_members_of_both_protocols_share(first_seed: int) -> None:
    handovers = 0
    for seed in range(first_seed, first_seed + SEEDS_PER_TEST):
        try:
            handovers += play(seed, world_class=MixedWorld).handovers
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, mixed: {error}") from error
    assert handovers > 10 * SEEDS_PER_TEST, "the schedules do next to nothing"


class NeverSyncs(FakeLog):
    """Says that everything is durable, and nothing is."""

    def when_durable(self, index: int, waiter: object) -> bool:
        return False

    def sync(self) -> None:
        pass


def test_the_simulation_notices_a_log_that_lies() -> None:
    with pytest.raises(AssertionError, match=r"is read by|is lost"):
        for seed in range(300):
            play(seed, NeverSyncs)


if __name__ == "__main__":
    world = play(int(sys.argv[1]), world_class=MixedWorld if "mixed" in sys.argv else World)
    print(f"{world.handovers} handovers, {world.lives} restarts, {world.group}")
