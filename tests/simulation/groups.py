"""Members of one classic group on a network that delays and doubles, against a coordinator that crashes.

Everything is drawn from a seed: who joins when, who leaves, crashes or freezes, how long each message takes, what is
delivered twice, when the broker is killed and how much of what was not durable it finds again. Members do what real
clients do (join, assign if they lead, sync, heartbeat, commit what they read, start over on an error).

Checked all along: no partition has two owners within a generation; a commit that was acknowledged is never forgotten
and never goes back; an offset a new owner starts at is at least what was acknowledged. At the end, with the faults
switched off: the group is stable, everybody alive has a part of it, and every partition has exactly one owner.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

from broker.coordinator.classic_group import STABLE, ClassicGroup
from broker.coordinator.classic_join import Join
from broker.coordinator.classic_members import Heartbeat, Leave, Sync
from broker.coordinator.classic_rebalance import ClassicLimits
from broker.coordinator.coordinator import GroupCoordinator
from broker.coordinator.offsets import Commit, CommitOffset
from broker.coordinator.outcome import NOBODY
from broker.coordinator.settings import GroupSettings
from protocol.errors import ErrorCode
from protocol.messages.leave_group import MemberIdentity
from tests.broker.coordinator.fakes import FakeLog
from tests.simulation.group_schedule import Schedule

GROUP: Final = "group"
TOPIC: Final = "topic"
SESSION_MS: Final = 6000
STATIC_SESSION_MS: Final = 15_000
"""Longer than a rebalance: the others go on while a static member is away, and it is still one of them."""
REBALANCE_MS: Final = 8000
HEARTBEAT_MS: Final = 2000
REQUEST_TIMEOUT_MS: Final = 4000
RESTART_MS: Final = 300
MOST_AT_ONCE: Final = 5
"""How many partitions a member reads on in at a time: more say no more, and take their time."""
SUBSCRIPTION: Final = b"\0\0" + b"\0\0\0\1" + b"\0\5topic" + b"\xff\xff\xff\xff"

SETTINGS: Final = GroupSettings(
    ClassicLimits(initial_rebalance_delay_ms=1000, new_member_join_timeout_ms=20_000)
)


class World(Schedule):
    """One schedule."""

    def __init__(self, seed: int, log: type[FakeLog] = FakeLog) -> None:
        super().__init__(log)
        self.random = random = Random(seed)
        self.static_share = random.choice((0, 0.3, 1))
        self.partition_count = random.choice((1, 2, 3, 10, 50, 200))
        self.groups = GroupCoordinator(self.log, self.host, SETTINGS)
        self.groups.load()
        self.members: list[SimulatedMember] = []
        self.owners: dict[tuple[int, int], str] = {}
        self.acknowledged: dict[int, int] = {}
        self.is_faulty = True
        self.completed_syncs = 0

    # --- the network and the disk ---------------------------------------------------------------------------------

    def deliver(
        self, ask: Callable[[GroupCoordinator], Any], answered: Callable[[Any], None], twice: bool
    ) -> None:
        """Send a request; the answer comes, if it comes. With `twice` it may arrive twice, much later."""
        random = self.random
        delay_ms = (
            random.randrange(1, 30) if not self.is_faulty or random.random() < 0.9 else random.randrange(2000)
        )
        self.later(delay_ms, lambda: self._arrive(ask, answered))
        if twice and self.is_faulty and random.random() < 0.15:
            self.later(delay_ms + random.randrange(5000), lambda: self._arrive(ask, lambda _response: None))

    def _arrive(self, ask: Callable[[GroupCoordinator], Any], answered: Callable[[Any], None]) -> None:
        if not self.is_up:
            return
        life = self.lives

        def back(response: Any) -> None:
            if life == self.lives and self.is_up:
                self.later(self.random.randrange(1, 30), lambda: answered(response))

        ask(self.groups).then(back)
        self.written()

    def written(self) -> None:
        """What may have been written is synced before long, unless the broker is killed just then."""
        self.sync_within(self.random.randrange(3))
        if self.is_faulty and self.has_unsynced and self.random.random() < 0.003:
            self.crash()

    @property
    def has_unsynced(self) -> bool:
        return any(len(batches) > durable for batches, durable in zip(self.log.batches, self.log.durable))

    def crash(self) -> None:
        """kill -9: what was not durable is there, or not, or in part."""
        if not self.is_up:
            return
        self.is_up = False
        self.groups.close()
        self.log.crash(lambda count: self.random.randint(0, count))
        self.later(RESTART_MS, self._restart)

    def _restart(self) -> None:
        self.lives += 1
        self.is_up = True
        self.groups = GroupCoordinator(self.log, self.host, SETTINGS)
        self.groups.load()
        for partition, offset in self.acknowledged.items():
            committed = self.groups.groups.offsets.get(GROUP, TOPIC, partition)
            assert committed is not None and committed.offset >= offset, f"commit of {partition} is lost"

    # --- what is checked ------------------------------------------------------------------------------------------

    def owns(self, member: SimulatedMember, generation_id: int, partitions: list[int]) -> None:
        for partition in partitions:
            owner = self.owners.setdefault((generation_id, partition), member.identity)
            assert owner == member.identity, (
                f"{partition} in generation {generation_id}: {owner}, {member.identity}"
            )
        self.completed_syncs += 1

    def commit_acknowledged(self, offsets: dict[int, int]) -> None:
        for partition, offset in offsets.items():
            before = self.acknowledged.get(partition, 0)
            assert offset >= before, f"{partition} went back from {before} to {offset}"
            self.acknowledged[partition] = offset

    def check_replay(self) -> None:
        """Replay of everything written gives the offsets there are, and the group if it is settled."""
        replayed = self.replayed()
        assert replayed.offsets.by_group == self.groups.groups.offsets.by_group
        live = self.groups.groups.by_id.get(GROUP)
        if live is not None and live.state.value in ("Stable", "Empty"):
            assert settled(replayed.find(GROUP)) == settled(live)


def settled(group: ClassicGroup | None) -> Any:
    """What a restart must find again of a group."""
    if group is None:
        return None
    record = group.metadata_record()
    return group.state, record.value, group.static_members


class SimulatedMember:
    """One consumer, as clients are."""

    def __init__(self, world: World, name: str, instance_id: str | None = None) -> None:
        self.world = world
        self.name = name
        self.instance_id = instance_id
        self.member_id = ""
        self.generation_id = -1
        self.owned: list[int] = []
        self.positions: dict[int, int] = {}
        self.is_alive = True
        self.is_frozen = False
        self._attempt = 0
        self.join()

    @property
    def identity(self) -> str:
        return self.instance_id or self.member_id

    def _ask(
        self,
        ask: Callable[[GroupCoordinator], Any],
        answered: Callable[[Any], None],
        wait_ms: int = REQUEST_TIMEOUT_MS,
        may_come_twice: bool = True,
    ) -> None:
        """Send a request, and start over if no answer comes in time."""
        self._attempt += 1
        attempt = self._attempt
        self.world.deliver(
            ask, lambda response: self._run(attempt, lambda: answered(response)), may_come_twice
        )
        self._after(wait_ms, self.join)

    def _after(self, delay_ms: int, action: Callable[[], None]) -> None:
        attempt = self._attempt
        self.world.later(delay_ms, lambda: self._run(attempt, action))

    def _run(self, attempt: int, action: Callable[[], None]) -> None:
        """Go on, unless something else has been begun since; who is frozen goes on later."""
        if not self.is_alive or attempt != self._attempt:
            return
        if self.is_frozen:
            self.world.later(500, lambda: self._run(attempt, action))
        else:
            action()

    # --- join and sync ---

    def join(self) -> None:
        self.owned = []
        join = Join(
            token=NOBODY,
            group_id=GROUP,
            member_id=self.member_id,
            group_instance_id=self.instance_id,
            client_id=self.name,
            client_host="/127.0.0.1",
            session_timeout_ms=SESSION_MS if self.instance_id is None else STATIC_SESSION_MS,
            rebalance_timeout_ms=REBALANCE_MS,
            protocol_type="consumer",
            protocols=(("range", SUBSCRIPTION),),
            new_member_id=self.name,
        )
        # A copy of a static member's first join would fence the member itself, in Kafka too.
        is_safe = self.instance_id is None or bool(self.member_id)
        self._ask(lambda groups: groups.join(join), self._joined, REBALANCE_MS + 8000, is_safe)

    def _joined(self, response: Any) -> None:
        code = response.error_code
        if code == ErrorCode.MEMBER_ID_REQUIRED:
            self.member_id = response.member_id
            self.join()
        elif code in (ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.FENCED_INSTANCE_ID):
            self.member_id = ""
            self.join()
        elif code:
            self._after(100, self.join)
        else:
            self.member_id = response.member_id
            self.generation_id = response.generation_id
            assigned = []
            if response.leader == self.member_id:
                assigned = self._assign([member.member_id for member in response.members])
            self._sync(assigned)

    def _assign(self, member_ids: list[str]) -> list[tuple[str, bytes]]:
        shares: dict[str, list[str]] = {member_id: [] for member_id in sorted(member_ids)}
        for partition, member_id in zip(range(self.world.partition_count), self._forever(list(shares))):
            shares[member_id].append(str(partition))
        return [(member_id, ",".join(share).encode()) for member_id, share in shares.items()]

    @staticmethod
    def _forever(values: list[str]) -> Any:
        while True:
            yield from values

    def _sync(self, assignments: list[tuple[str, bytes]]) -> None:
        sync = Sync(
            NOBODY,
            GROUP,
            self.generation_id,
            self.member_id,
            self.instance_id,
            "consumer",
            "range",
            assignments,
        )
        self._ask(lambda groups: groups.sync(sync), self._synced, REBALANCE_MS + 8000)

    def _synced(self, response: Any) -> None:
        if response.error_code:
            self._start_over(response.error_code)
            return
        self.owned = [int(text) for text in response.assignment.decode().split(",") if text]
        self.world.owns(self, self.generation_id, self.owned)
        wanted = [(TOPIC, partition) for partition in self.owned]
        self._ask(lambda groups: groups.committed(GROUP, wanted), self._fetched)

    def _fetched(self, found: Any) -> None:
        self.positions = {}
        for partition, committed in zip(self.owned, found):
            offset = committed.offset if committed is not None else 0
            self.positions[partition] = offset
        self._wait_for_next()

    # --- heartbeat and commit ---

    def _heartbeat(self) -> None:
        heartbeat = Heartbeat(NOBODY, GROUP, self.generation_id, self.member_id, self.instance_id)
        self._ask(lambda groups: groups.heartbeat(heartbeat), self._beaten)

    def _beaten(self, response: Any) -> None:
        if response.error_code == ErrorCode.REBALANCE_IN_PROGRESS:
            self._commit(self.join)
        elif response.error_code:
            self._start_over(response.error_code)
        else:
            # Who freezes in between commits as a zombie.
            self._after(self.world.random.randrange(HEARTBEAT_MS), lambda: self._commit(self._wait_for_next))

    def _wait_for_next(self) -> None:
        self._after(self.world.random.randrange(HEARTBEAT_MS), self._heartbeat)

    def _commit(self, then: Callable[[], None]) -> None:
        if not self.owned:
            then()
            return
        random = self.world.random
        chosen = random.sample(self.owned, min(len(self.owned), MOST_AT_ONCE))
        offsets = {partition: self.positions[partition] + random.randrange(10) for partition in chosen}
        commit = Commit(
            GROUP,
            self.generation_id,
            self.member_id,
            self.instance_id,
            [CommitOffset(TOPIC, partition, offset) for partition, offset in offsets.items()],
        )

        def committed(codes: Any) -> None:
            if codes[0]:
                self._start_over(codes[0])
                return
            self.positions.update(offsets)
            then()

        def ask(groups: GroupCoordinator) -> Any:
            # Acknowledged is what the coordinator has said, whether or not the answer arrives.
            answer = groups.commit(commit)
            return _Watched(
                answer, lambda codes: None if codes[0] else self.world.commit_acknowledged(offsets)
            )

        # Commits go over one connection, in order: a copy cannot arrive after the next.
        self._ask(ask, committed, may_come_twice=False)

    def _start_over(self, code: int) -> None:
        if code in (ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.FENCED_INSTANCE_ID):
            self.member_id = ""
        if code == ErrorCode.NOT_COORDINATOR:
            self._after(100, self.join)
        else:
            self.join()

    # --- ends ---

    def leave(self) -> None:
        """A clean close: dynamic members say so, static ones do not."""
        self.is_alive = False
        if self.instance_id is None and self.member_id:
            leave = Leave(NOBODY, GROUP, [MemberIdentity(member_id=self.member_id)])
            self.world.deliver(lambda groups: groups.leave(leave), lambda _response: None, True)

    def crash(self) -> None:
        self.is_alive = False


class _Watched:
    """A deferred whose value somebody else sees first."""

    def __init__(self, deferred: Any, see: Callable[[Any], None]) -> None:
        self._deferred = deferred
        self._see = see

    def then(self, callback: Callable[[Any], None]) -> None:
        def arrived(value: Any) -> None:
            self._see(value)
            callback(value)

        self._deferred.then(arrived)


# --- a schedule -----------------------------------------------------------------------------------------------------


def play(seed: int, log: type[FakeLog] = FakeLog) -> World:
    """Run one schedule to its end; AssertionError says what broke."""
    world = World(seed, log)
    random = world.random
    member_count = random.choice((1, 2, 3, 5, 8, 13)) if seed % 20 else 50
    for number in range(member_count):
        _add(world, number)
        world.run(random.randrange(300))
    for number in range(member_count, member_count + random.randrange(5, 30)):
        world.run(random.choice((10, 300, 1000, 3000, 9000)))
        _disturb(world, number)
        if world.is_up:
            world.check_replay()
    _calm(world)
    return world


def _add(world: World, number: int) -> None:
    instance_id = f"instance-{number}" if world.random.random() < world.static_share else None
    world.members.append(SimulatedMember(world, f"member-{number}", instance_id))


def _disturb(world: World, number: int) -> None:
    random = world.random
    alive = [member for member in world.members if member.is_alive]
    what = random.choice(("join", "leave", "crash", "freeze", "freeze", "return", "kill broker"))
    if what == "join" or not alive:
        _add(world, number)
        return
    member = random.choice(alive)
    if what == "kill broker":
        world.crash()
    elif what == "leave":
        member.leave()
    elif what == "crash":
        member.crash()
    elif what == "return" and member.instance_id is not None:
        member.crash()  # a static member is restarted
        world.members.append(SimulatedMember(world, f"member-{number}", member.instance_id))
    elif what in ("freeze", "return"):
        member.is_frozen = True
        world.later(random.randrange(18_000), lambda: setattr(member, "is_frozen", False))


def _calm(world: World) -> None:
    """Faults end; within the time-outs the protocol allows, everything is as it should be."""
    world.is_faulty = False
    world.run(18_000)
    if not any(member.is_alive for member in world.members):
        _add(world, 10_000)
    world.run(4 * (REBALANCE_MS + STATIC_SESSION_MS) + 30_000)
    alive = [member for member in world.members if member.is_alive]
    group = world.groups.groups.find(GROUP)
    assert group is not None and group.state is STABLE, group
    assert set(group.members) == {member.member_id for member in alive}, (
        "who is in the group is not who is alive"
    )
    owned = sorted(partition for member in alive for partition in member.owned)
    assert owned == list(range(world.partition_count)), "a partition has no owner, or more than one"
    for partition, offset in world.acknowledged.items():
        committed = world.groups.groups.offsets.get(GROUP, TOPIC, partition)
        assert committed is not None and committed.offset >= offset
    world.check_replay()
