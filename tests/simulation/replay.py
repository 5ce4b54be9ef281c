"""Run one seed again and say what each life did: `python -m tests.simulation.replay SEED [CYCLES]`."""

from __future__ import annotations

import sys

from tests.simulation.world import World
from wal.checkpoint import TopicPartition
from wal.log import Log


class Narrated(World):
    """A world that prints what it does."""

    def log(self, key: TopicPartition) -> Log:
        is_new = key not in self.logs
        opened = super().log(key)
        if is_new:
            print(f"  {opened} segments {opened.bases} {opened.recovered or 'opened cleanly'}")
        return opened

    def end_of_life(self) -> None:
        before = self.storage
        super().end_of_life()
        how = "the process ended" if before.tree is self.storage.tree else "the machine stopped"
        last_call = " ".join(before.trace[-1]) if before.trace else "nothing"
        print(f"  {how} after {before.calls} calls, the last: {last_call}")


def main(seed: int, cycles: int) -> None:
    world = Narrated(seed)
    print(world.config)
    for number in range(cycles):
        print(f"life {number}")
        world.cycle()
    world.finish()
    print("everything held")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10)
