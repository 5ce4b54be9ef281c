"""One coordinator with a fake log and clock, and requests with everything filled in."""

from __future__ import annotations

from typing import Any

from broker.coordinator.classic_group import ClassicGroup
from broker.coordinator.classic_join import Join
from broker.coordinator.classic_members import Heartbeat, Leave, Sync
from broker.coordinator.classic_rebalance import ClassicLimits
from broker.coordinator.coordinator import GroupCoordinator
from broker.coordinator.offsets import Commit, CommitOffset
from broker.coordinator.outcome import NOBODY
from broker.coordinator.settings import GroupSettings
from broker.request import Deferred
from protocol.errors import ErrorCode
from protocol.messages.leave_group import MemberIdentity
from tests.broker.coordinator.fakes import FakeHost, FakeLog, value_of

GROUP = "group"
SESSION_MS = 10_000
REBALANCE_MS = 60_000
DELAY_MS = 3000


def subscription(*topics: str) -> bytes:
    """ConsumerProtocolSubscription version 0."""
    names = b"".join(len(topic).to_bytes(2, "big") + topic.encode() for topic in topics)
    return b"\0\0" + len(topics).to_bytes(4, "big") + names + b"\xff\xff\xff\xff"


RANGE = (("range", subscription("topic")),)


class Coordinated:
    """A coordinator, and what members say to it. Answers are deferred; `value_of` takes them out."""

    def __init__(self, **settings: Any) -> None:
        limits = {"initial_rebalance_delay_ms": DELAY_MS, **settings.pop("classic", {})}
        self.log = FakeLog()
        self.host = FakeHost()
        self.settings = GroupSettings(ClassicLimits(**limits), **settings)
        self.groups = GroupCoordinator(self.log, self.host, self.settings)
        self.groups.load()

    def restart(self) -> None:
        """As after a crash: only what is durable is left."""
        self.groups.close()
        self.log.crash(lambda _count: 0)
        self.groups = GroupCoordinator(self.log, self.host, self.settings)
        self.groups.load()

    @property
    def group(self) -> ClassicGroup:
        group = self.groups.groups.find(GROUP)
        assert group is not None
        return group

    @property
    def state(self) -> str:
        return self.group.state.value

    def join(self, member_id: str = "", **changes: Any) -> Deferred[Any]:
        values: dict[str, Any] = {
            "token": NOBODY,
            "group_id": GROUP,
            "member_id": member_id,
            "group_instance_id": None,
            "client_id": "client",
            "client_host": "/10.0.0.1",
            "session_timeout_ms": SESSION_MS,
            "rebalance_timeout_ms": REBALANCE_MS,
            "protocol_type": "consumer",
            "protocols": RANGE,
            "new_member_id": "client",
            "requires_member_id": False,
        }
        return self.groups.join(Join(**(values | changes)))

    def sync(self, joined: Any, assignments: Any = (), **changes: Any) -> Deferred[Any]:
        """SyncGroup of the member whose JoinGroup was answered with `joined`."""
        values: dict[str, Any] = {
            "token": NOBODY,
            "group_id": GROUP,
            "generation_id": joined.generation_id,
            "member_id": joined.member_id,
            "group_instance_id": None,
            "protocol_type": joined.protocol_type,
            "protocol_name": joined.protocol_name,
            "assignments": assignments,
        }
        return self.groups.sync(Sync(**(values | changes)))

    def heartbeat(
        self, joined: Any, generation_id: int | None = None, instance: str | None = None
    ) -> ErrorCode:
        generation_id = joined.generation_id if generation_id is None else generation_id
        heartbeat = Heartbeat(NOBODY, GROUP, generation_id, joined.member_id, instance)
        return ErrorCode(value_of(self.groups.heartbeat(heartbeat)).error_code)

    def leave(self, *members: tuple[str, str | None]) -> list[ErrorCode]:
        asked = [MemberIdentity(member_id=m, group_instance_id=i) for m, i in members]
        response = value_of(self.groups.leave(Leave(NOBODY, GROUP, asked)))
        return [ErrorCode(member.error_code) for member in response.members]

    def commit(
        self, offset: int, member_id: str = "", generation_id: int = -1, group: str = GROUP, **changes: Any
    ) -> ErrorCode:
        offsets = [CommitOffset("topic", 0, offset)]
        commit = Commit(group, generation_id, member_id, None, offsets)._replace(**changes)
        return value_of(self.groups.commit(commit))[0]

    def committed(self, partition: int = 0, group: str = GROUP) -> int | None:
        found = value_of(self.groups.committed(group, [("topic", partition)]))[0]
        return found.offset if found is not None else None

    # --- whole scenes ---

    def joined(self, count: int, **changes: Any) -> list[Any]:
        """`count` new members whose generation has begun; the first leads. Each has the answer to its JoinGroup."""
        waiting = [self.join(**changes) for _ in range(count)]
        self.host.advance(DELAY_MS if count == 1 else 2 * DELAY_MS)
        answers = [value_of(deferred) for deferred in waiting]
        assert not any(answer.error_code for answer in answers)
        return answers

    def settle(self, joined: list[Any], **changes: Any) -> list[Any]:
        """Everybody syncs; the leader assigns to each its own id."""
        leader = joined[0].leader
        waiting = [self.sync(answer, **changes) for answer in joined if answer.member_id != leader]
        assignments = [(answer.member_id, answer.member_id.encode()) for answer in joined]
        waiting += [
            self.sync(answer, assignments, **changes) for answer in joined if answer.member_id == leader
        ]
        return [value_of(deferred) for deferred in waiting]

    def stable(self, count: int, **changes: Any) -> list[Any]:
        """A stable group of `count` members."""
        joined = self.joined(count, **changes)
        assert not any(answer.error_code for answer in self.settle(joined))
        assert self.state == "Stable"
        return joined
