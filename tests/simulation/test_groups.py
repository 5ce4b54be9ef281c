"""Seeded schedules of one classic group: joins, leaves, crashes, freezes, restarts, and a broker that is killed.

FLOE_SOAK=1 runs 10,000 schedules instead of 300. `python -m tests.simulation.test_groups SEED` runs one again.
"""

from __future__ import annotations

import os
import sys

import pytest

from tests.broker.coordinator.fakes import FakeLog
from tests.simulation.groups import play

SEEDS = 10_000 if os.environ.get("FLOE_SOAK") == "1" else 300
SEEDS_PER_TEST = SEEDS // 10


@pytest.mark.parametrize("first_seed", range(0, SEEDS, SEEDS_PER_TEST))
def test_every_partition_has_one_owner_and_offsets_only_grow(first_seed: int) -> None:
    syncs = 0
    for seed in range(first_seed, first_seed + SEEDS_PER_TEST):
        try:
            syncs += play(seed).completed_syncs
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    assert syncs > SEEDS_PER_TEST, "the schedules do next to nothing"


class AcknowledgesBeforeSync(FakeLog):
    def when_durable(self, index: int, waiter: object) -> bool:
        return False


def test_the_simulation_notices_a_log_that_lies() -> None:
    with pytest.raises(AssertionError, match="is lost"):
        for seed in range(200):
            play(seed, AcknowledgesBeforeSync)


if __name__ == "__main__":
    world = play(int(sys.argv[1]))
    print(f"{world.completed_syncs} syncs, {world.lives} restarts, {world.groups.groups.find('group')}")
