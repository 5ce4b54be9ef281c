"""Seeded lives and crashes of a data folder: nothing acknowledged is lost, doubled, moved or missing between.

A failing seed is in the test's name and message; `python -m tests.simulation.replay SEED` runs it again and prints
what every life found. FLOE_SOAK=1 runs 10,000 cycles instead of 300.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

from tests.simulation.world import Broken, World
from wal.flusher import Flusher

if TYPE_CHECKING:
    from wal.checkpoint import TopicPartition
    from wal.flusher import Durable, Mark

CYCLES_PER_SEED = 10
SEEDS = 1000 if os.environ.get("FLOE_SOAK") == "1" else 30
SEEDS_PER_TEST = max(1, SEEDS // 10)


def live(seed: int, flusher: type[Flusher] = Flusher, world_class: type[World] = World) -> None:
    world = world_class(seed, flusher)
    try:
        for _ in range(CYCLES_PER_SEED):
            world.cycle()
        world.finish()
    except AssertionError as error:
        raise Broken(f"seed {seed}, life {world.restarts}: {error}") from error


@pytest.mark.parametrize("first_seed", range(0, SEEDS, SEEDS_PER_TEST))
def test_nothing_acknowledged_is_lost(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + SEEDS_PER_TEST):
        live(seed)


class AcknowledgesBeforeSync(Flusher):
    def _sync(self, durables: list[Durable], marks: list[Mark]) -> None:
        return


class ForgetsFolders(Flusher):
    def mark_directory(self, path: str) -> None:
        return


@pytest.mark.parametrize("flusher", [AcknowledgesBeforeSync, ForgetsFolders])
def test_the_simulation_notices_a_flusher_that_lies(flusher: type[Flusher]) -> None:
    with pytest.raises((Broken, AssertionError)):
        for seed in range(20):
            live(seed, flusher)


class ForgetsLogStarts(World):
    def save_log_starts(self, starts: Mapping[TopicPartition, int]) -> None:
        return


def test_the_simulation_notices_retention_that_does_not_save_its_starts() -> None:
    with pytest.raises(Broken, match="deleted records are back"):
        for seed in range(60):
            live(seed, world_class=ForgetsLogStarts)
