"""Seeded lives of compacted topics: crashes at any call of rounds, swaps and everything beside them.

FLOE_SOAK=1 runs 10,000 lives instead of 400.
"""

from __future__ import annotations

import os

import pytest

from tests.simulation.compaction import CompactingWorld
from tests.simulation.world import Broken

LIVES_PER_SEED = 10
SEEDS = 1000 if os.environ.get("FLOE_SOAK") == "1" else 40
SEEDS_PER_TEST = max(1, SEEDS // 5)


def live(seed: int) -> CompactingWorld:
    world = CompactingWorld(seed)
    try:
        for _ in range(LIVES_PER_SEED):
            world.cycle()
        world.finish()
    except AssertionError as error:
        raise Broken(f"seed {seed}, life {world.restarts}: {error}") from error
    return world


@pytest.mark.parametrize("first_seed", range(0, SEEDS, SEEDS_PER_TEST))
def test_every_key_keeps_its_last_value(first_seed: int) -> None:
    worlds = [live(seed) for seed in range(first_seed, first_seed + SEEDS_PER_TEST)]
    assert sum(world.swaps for world in worlds) > SEEDS_PER_TEST
