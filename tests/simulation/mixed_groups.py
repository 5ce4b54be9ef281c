"""A group whose members speak the classic and the consumer protocol, and which is taken over and given back as they
come and go: the world of `consumer_groups`, with classic members in it.

They do what eager clients do: let go of everything, join, assign if they lead, sync, send heartbeats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker.coordinator.assignors.spec import TopicPartition
from broker.coordinator.classic_join import Join
from broker.coordinator.classic_members import Heartbeat, Leave, Sync
from broker.coordinator.consumer_migration import named_partitions, subscription_of
from broker.coordinator.outcome import NOBODY
from protocol.compiler import decoder, encoder
from protocol.errors import ErrorCode
from protocol.messages.internal.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolAssignmentTopicPartition,
    ConsumerProtocolSubscription,
)
from protocol.messages.leave_group import MemberIdentity
from protocol.primitives import Output
from tests.broker.coordinator.consumer_harness import GROUP
from tests.simulation.consumer_groups import (
    REBALANCE_MS,
    REQUEST_TIMEOUT_MS,
    SESSION_MS,
    SETTLING_MS,
    SLOWEST_REVOCATION_MS,
    SimulatedMember,
    World,
)

HEARTBEAT_MS = 1500
RETRY_MS = 200


class MixedWorld(World):
    """Half of the members speak the classic protocol."""

    settling_ms = SETTLING_MS + REBALANCE_MS + SESSION_MS
    """Who has joined without hearing of it is out when its time to sync is over; and then once more."""

    def new_member(self) -> SimulatedMember:
        kind = SimulatedClassicMember if self.random.random() < 0.5 else SimulatedMember
        return kind(self, len(self.members))


def _encode(cls: type, message: Any) -> bytes:
    out = Output(b"\0\1")
    encoder(cls, 1)(message, out)
    return bytes(out)


class SimulatedClassicMember(SimulatedMember):
    """A consumer of the classic protocol."""

    generation: int = -1  # type: ignore[assignment]

    def _begin(self) -> None:
        self.world.reads(self, set())
        self.member_id = ""
        self._join()

    def _send(
        self,
        request: Callable[[Any], Any],
        answered: Callable[[Any], None],
        again: Callable[[], None],
        limit_ms: int,
    ) -> None:
        """One request; `again` if no answer has come for too long."""
        world = self.world
        self.round += 1
        this_round, sent_ms = self.round, world.host.now_ms

        def is_current() -> bool:
            return self.round == this_round and self.is_alive and not self.is_frozen

        def arrived(response: Any) -> None:
            if is_current():
                self.answered_ms = max(self.answered_ms, sent_ms)
                self.round += 1
                answered(response)

        world.ask(self, request, arrived)
        world.later(limit_ms, lambda: again() if is_current() else None)

    def _soon(self, delay_ms: int, action: Callable[[], None]) -> None:
        this_round = self.round
        self.world.later(
            delay_ms,
            lambda: action() if self.round == this_round and self.is_alive and not self.is_frozen else None,
        )

    # --- joining --------------------------------------------------------------------------------------------------

    def _join(self) -> None:
        assert not self.owned, "it lets go of everything first"
        self.generation = -1
        message = ConsumerProtocolSubscription(topics=sorted(self.topic_names), user_data=None)
        join = Join(
            NOBODY, GROUP, self.member_id, self.instance_id, "c", "/h", SESSION_MS, REBALANCE_MS, "consumer",
            (("range", _encode(ConsumerProtocolSubscription, message)),), f"classic-{self.number}",
        )  # fmt: skip
        self._send(
            lambda groups: groups.join(join), self._joined, self._join, REBALANCE_MS + REQUEST_TIMEOUT_MS
        )

    def _joined(self, response: Any) -> None:
        code = ErrorCode(response.error_code)
        if code is ErrorCode.MEMBER_ID_REQUIRED:
            self.member_id = response.member_id
            self._join()
        elif code is not ErrorCode.NONE:
            if code in (ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.FENCED_INSTANCE_ID):
                self.member_id = ""
            self._soon(RETRY_MS, self._join)
        else:
            self.member_id, self.generation = response.member_id, response.generation_id
            is_leader = response.leader == self.member_id
            self._sync(self._assign(response.members) if is_leader else [])

    def _assign(self, members: list[Any]) -> list[tuple[str, bytes]]:
        """The leader deals out what everybody reads."""
        parts: dict[str, dict[str, list[int]]] = {member.member_id: {} for member in members}
        for name in ("topic", "other"):
            readers = [
                member.member_id for member in members if name in subscription_of(member.metadata).topics
            ]
            topic = self.world.topics.by_name(name)
            assert topic is not None
            for index in range(topic.partition_count if readers else 0):
                parts[readers[index % len(readers)]].setdefault(name, []).append(index)
        return [(member_id, _assignment(topics)) for member_id, topics in parts.items()]

    def _sync(self, assignments: list[tuple[str, bytes]]) -> None:
        sync = Sync(
            NOBODY, GROUP, self.generation, self.member_id, self.instance_id, "consumer", "range", assignments
        )
        self._send(lambda groups: groups.sync(sync), self._synced, self._join, REBALANCE_MS)

    def _synced(self, response: Any) -> None:
        if self._is_told_to_join(ErrorCode(response.error_code)):
            return
        told: set[TopicPartition] = set()
        if response.assignment:
            message = decoder(ConsumerProtocolAssignment, 1)(memoryview(response.assignment), 2)[0]
            told = set(named_partitions(self.world.topics, message.assigned_partitions))
        self.world.reads(self, told)
        self._soon(HEARTBEAT_MS, self._heartbeat)

    def _is_told_to_join(self, code: ErrorCode) -> bool:
        """Whether it has to join again, which it does when it has let go of everything."""
        if code is ErrorCode.NONE:
            return False
        if code in (ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.FENCED_INSTANCE_ID, ErrorCode.ILLEGAL_GENERATION):
            self.world.reads(self, set())
            if code is not ErrorCode.ILLEGAL_GENERATION:
                self.member_id = ""
            self._soon(RETRY_MS, self._join)
            return True
        slow = self.world.random.randrange(SLOWEST_REVOCATION_MS) if self.owned else 1

        def let_go() -> None:
            self.positions.commit()
            self.world.reads(self, set())
            self._join()

        self._soon(slow, let_go)
        return True

    # --- staying --------------------------------------------------------------------------------------------------

    def _heartbeat(self) -> None:
        if self.world.host.now_ms >= self.answered_ms + SESSION_MS:
            self._begin()
            return
        self.positions.commit()
        beat = Heartbeat(NOBODY, GROUP, self.generation, self.member_id, self.instance_id)
        self._send(lambda groups: groups.heartbeat(beat), self._beaten, self._heartbeat, REQUEST_TIMEOUT_MS)

    def _beaten(self, response: Any) -> None:
        if not self._is_told_to_join(ErrorCode(response.error_code)):
            self._soon(HEARTBEAT_MS, self._heartbeat)

    # --- what happens to it ---------------------------------------------------------------------------------------

    def _thaw(self) -> None:
        if not self.is_alive or not self.is_frozen:
            return
        self.is_frozen = False
        self.round += 1
        self.positions.commit()
        if self.generation == -1 or not self.owned or self.world.host.now_ms >= self.answered_ms + SESSION_MS:
            self._begin()
        else:
            self._heartbeat()

    def leave(self) -> None:
        if not self.is_alive or self.is_frozen:
            return
        identity = MemberIdentity(member_id=self.member_id, group_instance_id=self.instance_id)
        self.crash()
        leave = Leave(NOBODY, GROUP, [identity])
        self.world.ask(self, lambda groups: groups.leave(leave), lambda _response: None)

    def come_back(self) -> None:
        if not self.is_alive:
            self.is_alive, self.is_frozen = True, False
            self._begin()


def _assignment(topics: dict[str, list[int]]) -> bytes:
    entries = [
        ConsumerProtocolAssignmentTopicPartition(topic=topic, partitions=indexes)
        for topic, indexes in topics.items()
    ]
    message = ConsumerProtocolAssignment(assigned_partitions=entries, user_data=None)
    return _encode(ConsumerProtocolAssignment, message)
