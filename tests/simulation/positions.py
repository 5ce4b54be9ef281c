"""What members of a simulated group have read and committed, and what must hold of it.

A commit that was acknowledged is never forgotten and never goes back; whoever takes a partition begins at what was
acknowledged, or further on. A member commits on the connection its heartbeats go by, so that they arrive in order, and
one that was frozen commits what it had read as the first thing it does when it is thawed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from broker.coordinator.answers import mapped
from broker.coordinator.assignors.spec import TopicPartition
from broker.coordinator.coordinator import GroupCoordinator
from broker.coordinator.offsets import Commit, CommitOffset
from broker.request import Deferred
from protocol.errors import ErrorCode
from tests.broker.coordinator.consumer_harness import GROUP

if TYPE_CHECKING:
    from tests.simulation.consumer_groups import SimulatedMember, World

MOST_AT_ONCE: Final = 5
"""How many partitions a member reads on in at a time: more say no more, and take their time."""


class Ledger:
    """What was acknowledged of a group's offsets."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.acknowledged: dict[TopicPartition, int] = {}
        self.commits = 0
        self.refused = 0

    def commit_answered(self, member: SimulatedMember, offsets: dict[TopicPartition, int], code: int) -> None:
        if code:
            self.refused += 1
            return
        self.commits += 1
        for partition, offset in offsets.items():
            before = self.acknowledged.get(partition, 0)
            assert offset >= before, f"{partition} went back from {before} to {offset} by {member}"
            self.acknowledged[partition] = offset

    def check_start(self, member: SimulatedMember, partition: TopicPartition, offset: int) -> None:
        before = self.acknowledged.get(partition, 0)
        assert offset >= before, f"{member} begins {partition} at {offset}, {before} is committed"

    def check_kept(self) -> None:
        for partition, offset in self.acknowledged.items():
            committed = self._world.groups.groups.offsets.get(GROUP, *self._world.named(partition))
            assert committed is not None and committed.offset >= offset, f"commit of {partition} is lost"


class Positions:
    """How far one member has read what it has."""

    def __init__(self, world: World, member: SimulatedMember) -> None:
        self._world = world
        self._member = member
        self._read: dict[TopicPartition, int] = {}

    def follow(self, partitions: set[TopicPartition]) -> None:
        """The member reads these from now on: of those that are new to it, from what is committed."""
        self._read = {
            partition: offset for partition, offset in self._read.items() if partition in partitions
        }
        missing = sorted(partitions - self._read.keys())
        member = self._member
        member_id, epoch, ledger = member.member_id, member.generation, self._world.ledger
        if not missing or epoch <= 0:
            return

        def fetch(groups: GroupCoordinator) -> Deferred[Any]:
            if groups.fetch_refusal(GROUP, member_id, epoch):
                refused: Deferred[Any] = Deferred()
                refused.resolve([])
                return refused
            return mapped(groups.committed(GROUP, [self._world.named(each) for each in missing]), told)

        def told(found: list[Any]) -> list[int]:
            offsets = [committed.offset if committed is not None else 0 for committed in found]
            for partition, offset in zip(missing, offsets):
                if self._world.readers.get(partition) is member:
                    ledger.check_start(member, partition, offset)
            return offsets

        def answered(offsets: list[int]) -> None:
            if member.is_alive and not member.is_frozen and member.generation > 0:
                for partition, offset in zip(missing, offsets):
                    if partition in member.owned and partition not in self._read:
                        self._read[partition] = offset

        self._world.ask(member, fetch, answered)

    def commit(self) -> None:
        """Read on, and commit that; begin to read what it could not find the committed offset of so far."""
        world, member = self._world, self._member
        if member.generation <= 0:
            return
        self.follow(member.owned | self._read.keys() if member.is_reading else set(self._read))
        if not self._read:
            return
        chosen = sorted(self._read)
        if len(chosen) > MOST_AT_ONCE:
            chosen = world.random.sample(chosen, MOST_AT_ONCE)
        for partition in chosen:
            self._read[partition] += world.random.randrange(4)
        offsets = {partition: self._read[partition] for partition in chosen}
        entries = []
        for partition, offset in offsets.items():
            name, index = world.named(partition)
            entries.append(CommitOffset(name, index, offset, topic_id=partition[0]))
        commit = Commit(GROUP, member.generation, member.member_id, member.instance_id, entries)

        def answered(codes: list[ErrorCode]) -> list[ErrorCode]:
            world.ledger.commit_answered(member, offsets, codes[0])
            return codes

        world.ask(member, lambda groups: mapped(groups.commit(commit), answered), lambda _codes: None)
