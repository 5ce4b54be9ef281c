"""Members of one consumer group (KIP-848) on a network that loses and delays, against a coordinator that crashes.

Everything is drawn from a seed: who joins when and as what, who leaves, crashes, freezes, changes what it reads, how
long it takes to let go of a partition, which requests and answers are lost, when topics grow or are deleted, when the
broker is killed and how much of what was not durable it finds again. Members do what real clients do: one heartbeat at
a time, all they know again after an answer that did not come (some only when the broker was gone: librdkafka),
partitions given up first and taken after, everything dropped and joined anew when they are fenced or have not been
answered for too long.

Checked all along: no partition is read by two members, and what `positions` says of the offsets they commit. At the
end, with the faults switched off: within a session and a few heartbeats the group is stable, every partition is read by
exactly one member that is there, and the partitions are spread evenly.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

from broker.coordinator.assignors.spec import TopicPartition
from broker.coordinator.classic_rebalance import ClassicLimits
from broker.coordinator.consumer_draft import ConsumerLimits
from broker.coordinator.consumer_group import ConsumerGroup, GroupState, pairs
from broker.coordinator.consumer_members import ConsumerHeartbeat
from broker.coordinator.coordinator import GroupCoordinator
from broker.coordinator.outcome import NOBODY
from broker.coordinator.settings import GroupSettings
from protocol.errors import ErrorCode
from protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatResponse
from tests.broker.coordinator.consumer_harness import GROUP, FakeTopics
from tests.broker.coordinator.fakes import FakeLog
from tests.simulation.group_schedule import Schedule
from tests.simulation.positions import Ledger, Positions

SESSION_MS: Final = 15_000
HEARTBEAT_MS: Final = 2_000
REBALANCE_MS: Final = 30_000
REQUEST_TIMEOUT_MS: Final = 3_000
SLOWEST_REVOCATION_MS: Final = 4_000
RESTART_MS: Final = 300
ASSIGNMENT_INTERVALS_MS: Final = (0, 1_000, 5_000)
SETTLING_MS: Final = SESSION_MS + 2 * (SLOWEST_REVOCATION_MS + ASSIGNMENT_INTERVALS_MS[-1]) + 8 * HEARTBEAT_MS
"""When everything must be in order after the last fault: silent members' sessions are over, the last target is old
enough, one round to hear of the new one, the time to let go, and rounds to say and hear so; twice over, for a target
that came in the middle."""


class World(Schedule):
    """One schedule."""

    settling_ms = SETTLING_MS

    def __init__(self, seed: int, log: type[FakeLog] = FakeLog) -> None:
        super().__init__(log)
        self.random = random = Random(seed)
        self.static_share = random.choice((0, 0.3, 1))
        self.topics = FakeTopics(topic=random.choice((1, 2, 3, 10, 50, 200)), other=random.choice((1, 7)))
        self.reads_alike = random.random() < 0.6
        self.forgetful_share = random.choice((0, 0, 0.5, 1))
        self.assignment_interval_ms = random.choice(ASSIGNMENT_INTERVALS_MS)
        self.members: list[SimulatedMember] = []
        self.readers: dict[TopicPartition, SimulatedMember] = {}
        self.is_faulty = True
        self.handovers = 0
        self.ledger = Ledger(self)
        self._start()

    def _start(self) -> None:
        limits = ConsumerLimits(SESSION_MS, HEARTBEAT_MS, assignment_interval_ms=self.assignment_interval_ms)
        settings = GroupSettings(ClassicLimits(initial_rebalance_delay_ms=100), consumer=limits)
        self.groups = GroupCoordinator(self.log, self.host, settings, topics=self.topics)
        self.groups.load()

    @property
    def group(self) -> ConsumerGroup | None:
        group = self.groups.groups.find(GROUP)
        return group if isinstance(group, ConsumerGroup) else None

    def named(self, partition: TopicPartition) -> tuple[str, int]:
        """The partition as offsets are kept: by its topic's name."""
        topic = self.topics.by_id(partition[0])
        assert topic is not None
        return topic.name, partition[1]

    def new_member(self) -> SimulatedMember:
        return SimulatedMember(self, len(self.members))

    # --- the network and the disk ---------------------------------------------------------------------------------

    def beat(self, member: SimulatedMember, beat: ConsumerHeartbeat, answered: Callable[[Any], None]) -> None:
        self.ask(member, lambda groups: groups.consumer_heartbeat(beat), answered)

    def ask(
        self,
        member: SimulatedMember,
        request: Callable[[GroupCoordinator], Any],
        answered: Callable[[Any], None],
    ) -> None:
        """Send a request, after those before. It, or the answer, may be lost; nothing comes late then."""
        random = self.random
        if self.is_faulty and random.random() < 0.05:
            return
        member.arrives_ms = max(member.arrives_ms, self.host.now_ms + random.randrange(1, 30))
        self.later(member.arrives_ms - self.host.now_ms, lambda: self._arrive(request, answered))

    def _arrive(self, request: Callable[[GroupCoordinator], Any], answered: Callable[[Any], None]) -> None:
        if not self.is_up:
            return
        life = self.lives

        def back(response: Any) -> None:
            is_lost = self.is_faulty and self.random.random() < 0.05
            if life == self.lives and self.is_up and not is_lost:
                self.later(self.random.randrange(1, 30), lambda: answered(response))

        request(self.groups).then(back)
        self.written()

    def written(self) -> None:
        """What may have been written is synced before long."""
        self.sync_within(self.random.randrange(5))

    def kill(self) -> None:
        """The broker is gone; it comes back with what was durable, and some of what was not."""
        if not self.is_up:
            return
        self.is_up = False
        self.groups.close()
        self.log.crash(lambda count: self.random.randrange(count + 1))
        self.later(RESTART_MS, self._restart)

    def _restart(self) -> None:
        self.lives += 1
        self.is_up = True
        self._start()
        self.ledger.check_kept()

    # --- what must hold -------------------------------------------------------------------------------------------

    def reads(self, member: SimulatedMember, partitions: set[TopicPartition]) -> None:
        """A member reads these partitions from now on, and no others."""
        for partition in member.owned - partitions:
            del self.readers[partition]
        for partition in partitions - member.owned:
            reader = self.readers.get(partition)
            if reader is not None and not reader.is_reading:
                reader.owned.discard(partition)  # it is frozen or dead, and will know that it was
                reader = None
            assert reader is None, f"{partition} is read by {reader} and {member}: {self.group}"
            self.readers[partition] = member
            self.handovers += 1
        member.owned = set(partitions)
        member.positions.follow(member.owned)

    def check_settled(self) -> None:
        """Everything is in order."""
        group = self.group
        alive = [member for member in self.members if member.is_alive]
        assert group is not None
        assert group.members.keys() == {member.member_id for member in alive}, group.members.keys()
        if not alive:
            return
        assert group.state is GroupState.STABLE, group
        read = self.topics.partitions(*{name for member in alive for name in member.topic_names})
        assert {partition for partition in self.readers if self.readers[partition].is_alive} == read
        for member in alive:
            assert member.owned == group.target.get(member.member_id, frozenset()), member
        if self.reads_alike:
            sizes = [len(member.owned) for member in alive]
            assert max(sizes) - min(sizes) <= 1, sizes

    def check_replay(self) -> None:
        """What is in the log is what the coordinator knows."""
        live, again = self.groups.groups.by_id.get(GROUP), self.replayed().by_id.get(GROUP)
        assert isinstance(live, ConsumerGroup) and isinstance(again, ConsumerGroup)
        for name in ConsumerGroup.__slots__:
            if name not in ("topics_version", "asked_to_rejoin", "untold"):
                assert getattr(live, name) == getattr(again, name), name


class SimulatedMember:
    """A consumer, as clients are: librdkafka and Java's do the same."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.instance_id = f"instance-{number}" if world.random.random() < world.static_share else None
        self.incarnation = 0
        self.member_id = f"member-{number}"
        self.topic_names = _topic_names(world)
        self.owned: set[TopicPartition] = set()
        self.epoch = 0
        self.positions = Positions(world, self)
        self.arrives_ms = 0
        """When the last request it has sent arrives; none overtakes another."""
        self.is_alive = True
        self.is_frozen = False
        self.round = 0
        self.reconciliation = 0
        self.answered_ms = world.host.now_ms
        self.is_forgetful = world.random.random() < world.forgetful_share
        """An answer that did not come is to it as if there had been no news in it."""
        self._begin()

    def __repr__(self) -> str:
        return f"{self.member_id} in epoch {self.epoch} with {len(self.owned)} partitions"

    @property
    def generation(self) -> int:
        """What it says in its commits."""
        return self.epoch

    @property
    def is_reading(self) -> bool:
        return self.is_alive and not self.is_frozen and self.world.host.now_ms < self.answered_ms + SESSION_MS

    def _begin(self) -> None:
        """Join (anew), with nothing."""
        self.world.reads(self, set())
        self.epoch = 0
        self.is_in_flight = False
        self.told: set[TopicPartition] = set()
        self.is_reconciling = False
        self.said: frozenset[TopicPartition] | None = None
        """What it last said to own; None makes the next heartbeat say everything."""
        self.said_topics: frozenset[str] | None = None
        self.answered_ms = self.world.host.now_ms
        self.round += 1
        self.reconciliation += 1
        self._heartbeat()

    def _heartbeat(self) -> None:
        """One request; the next goes out after its answer, or when none has come for too long."""
        world = self.world
        if not self.is_alive or self.is_frozen:
            return
        if self.epoch and world.host.now_ms >= self.answered_ms + SESSION_MS:
            self._begin()
            return
        self.round += 1
        this_round, sent_ms = self.round, world.host.now_ms
        is_full = self.said is None
        owned = frozenset(self.owned)
        beat = ConsumerHeartbeat(
            token=NOBODY,
            group_id=GROUP,
            member_id=self.member_id,
            member_epoch=self.epoch,
            instance_id=self.instance_id,
            rebalance_timeout_ms=REBALANCE_MS if is_full else -1,
            topic_names=self.topic_names if is_full or self.said_topics != self.topic_names else None,
            owned=owned if is_full or owned != self.said else None,
            needs_member_id=True,
        )
        said_before, life = (self.said, self.said_topics), world.lives
        self.said, self.said_topics = owned, self.topic_names
        self.is_in_flight = True
        self.positions.commit()

        def answered(response: ConsumerGroupHeartbeatResponse) -> None:
            if self.round == this_round and self.is_alive and not self.is_frozen:
                self.answered_ms = sent_ms
                self._answered(response)

        def gave_up() -> None:
            if self.round == this_round and self.is_alive:
                self.is_in_flight = False
                self.said = None
                if self.is_forgetful and life == world.lives and world.is_up:
                    self.said, self.said_topics = said_before
                self._heartbeat()

        world.beat(self, beat, answered)
        world.later(REQUEST_TIMEOUT_MS, gave_up)

    def _answered(self, response: ConsumerGroupHeartbeatResponse) -> None:
        code = ErrorCode(response.error_code)
        self.round += 1  # nobody waits for the answer any more
        self.is_in_flight = False
        if code in (ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.FENCED_MEMBER_EPOCH, ErrorCode.GROUP_ID_NOT_FOUND):
            self._begin()
            return
        if code is ErrorCode.UNRELEASED_INSTANCE_ID:
            self.said = None
        else:
            assert code is ErrorCode.NONE, code
            self.epoch = response.member_epoch
            if response.assignment is not None:
                self.told = set(pairs(response.assignment.topic_partitions))
            self._reconcile()
        has_news = self.said is not None and self.owned != self.said
        interval_ms = response.heartbeat_interval_ms if code is ErrorCode.NONE else HEARTBEAT_MS
        assert 0 < interval_ms <= HEARTBEAT_MS
        self._next_heartbeat(0 if has_news else interval_ms)

    def _next_heartbeat(self, delay_ms: int) -> None:
        this_round = self.round
        self.world.later(delay_ms, lambda: self._heartbeat() if self.round == this_round else None)

    def _reconcile(self) -> None:
        """Let go of what is to go, which takes its time; then take what is new, and say so at once."""
        if self.is_reconciling or self.told == self.owned:
            return
        self.is_reconciling = True
        random = self.world.random
        slow = random.randrange(SLOWEST_REVOCATION_MS) if self.owned - self.told else random.randrange(50)
        self.reconciliation += 1
        this = self.reconciliation
        self.world.later(slow, lambda: self._reconciled() if self.reconciliation == this else None)

    def _reconciled(self) -> None:
        if not self.is_reconciling or not self.is_alive or self.is_frozen:
            return
        self.is_reconciling = False
        told = set(self.told)
        if self.epoch <= 0 or told == self.owned:
            return
        if self.is_in_flight:
            # What it owns has just been said: it takes nothing that was not in that until it is answered. (Java's
            # client would, and reads a little longer than it may if the answer takes that away.)
            self.world.reads(self, self.owned & told)
            return
        self.positions.commit()
        self.world.reads(self, told)
        self.round += 1
        self._heartbeat()

    # --- what happens to it ---------------------------------------------------------------------------------------

    def freeze(self, duration_ms: int) -> None:
        if self.is_alive and not self.is_frozen:
            self.is_frozen = True
            self.world.later(duration_ms, self._thaw)

    def _thaw(self) -> None:
        if not self.is_alive:
            return
        self.is_frozen = False
        self.is_in_flight = False
        self.round += 1
        self.positions.commit()
        if self.world.host.now_ms >= self.answered_ms + SESSION_MS:
            self._begin()  # it knows by its own clock that it has been out for too long
        else:
            self.said = None
            self.is_reconciling = False
            self._reconcile()
            self._heartbeat()

    def crash(self) -> None:
        self.world.reads(self, set())
        self.is_alive = False
        self.round += 1

    def leave(self) -> None:
        """Say goodbye, which may be lost; a static member will be back."""
        if not self.is_alive or self.is_frozen or not self.epoch:
            return
        world = self.world
        self.positions.commit()
        self.crash()
        epoch = -1 if self.instance_id is None else world.random.choice((-1, -2))
        beat = ConsumerHeartbeat(
            NOBODY, GROUP, self.member_id, epoch, instance_id=self.instance_id, needs_member_id=True
        )
        world.beat(self, beat, lambda _response: None)

    def come_back(self) -> None:
        """A new process with the same instance id."""
        if self.is_alive:
            return
        self.incarnation += 1
        self.member_id = f"member-{self.number}-{self.incarnation}"
        self.is_alive, self.is_frozen = True, False
        self._begin()

    def change_topics(self) -> None:
        if self.is_alive and not self.world.reads_alike:
            self.topic_names = _topic_names(self.world)


def _topic_names(world: World) -> frozenset[str]:
    if world.reads_alike:
        return frozenset(["topic", "other"])
    return frozenset(world.random.choice((["topic"], ["other"], ["topic", "other"], ["topic", "missing"])))


def _disturb(world: World) -> None:
    """Something happens."""
    random = world.random
    what = random.random()
    member = random.choice(world.members) if world.members else None
    if member is None or (what < 0.25 and len(world.members) < 12):
        world.members.append(world.new_member())
    elif what < 0.35:
        member.leave()
    elif what < 0.45:
        if member.is_alive:
            member.crash()
    elif what < 0.6:
        member.freeze(random.choice((500, 3000, SESSION_MS // 2, 2 * SESSION_MS)))
    elif what < 0.75:
        member.come_back()
    elif what < 0.82:
        member.change_topics()
    elif what < 0.88:
        name = random.choice(("topic", "other"))
        topic = world.topics.by_name(name)
        assert topic is not None
        world.topics.grow(name, topic.partition_count + random.randrange(1, 4))
    else:
        world.kill()


def play(seed: int, log: type[FakeLog] = FakeLog, world_class: type[World] = World) -> World:
    """A schedule from its seed, to its end. Raises AssertionError where a promise is broken."""
    world = world_class(seed, log)
    random = world.random
    for _ in range(random.randrange(5, 40)):
        _disturb(world)
        world.run(random.choice((10, 100, 1000, 5000, SESSION_MS)))
    world.is_faulty = False
    for member in world.members:
        if member.is_frozen:
            member._thaw()
    world.members.append(SimulatedMember(world, len(world.members)))
    world.run(RESTART_MS + REQUEST_TIMEOUT_MS)
    world.run(world.settling_ms)
    world.check_settled()
    world.ledger.check_kept()
    world.log.sync()
    world.check_replay()
    return world
