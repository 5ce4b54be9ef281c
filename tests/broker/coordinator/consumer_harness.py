"""One coordinator with a catalog of the test's own, and members of consumer groups that say what they are told to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from broker.coordinator.assignors.spec import TopicPartition
from broker.coordinator.consumer_draft import ConsumerLimits
from broker.coordinator.consumer_group import ConsumerGroup, pairs
from broker.coordinator.consumer_members import ConsumerHeartbeat
from broker.coordinator.coordinator import GroupCoordinator
from broker.coordinator.outcome import NOBODY
from broker.coordinator.settings import GroupSettings
from protocol.errors import ErrorCode
from tests.broker.coordinator.fakes import FakeHost, FakeLog, value_of

GROUP = "group"
SESSION_MS = 45_000
HEARTBEAT_MS = 5_000
REBALANCE_MS = 20_000


class FakeTopic:
    def __init__(self, name: str, topic_id: bytes, partition_count: int) -> None:
        self.name = name
        self.topic_id = topic_id
        self.partition_count = partition_count


class FakeTopics:
    """A catalog: topics by name, and settings of groups."""

    def __init__(self, **counts: int) -> None:
        self.version = 0
        self.settings: dict[str, str] = {}
        self._by_name: dict[str, FakeTopic] = {}
        self._ids = 0
        for name, count in counts.items():
            self.create(name, count)

    def create(self, name: str, count: int) -> bytes:
        self._ids += 1
        self.version += 1
        topic = self._by_name[name] = FakeTopic(name, self._ids.to_bytes(16, "big"), count)
        return topic.topic_id

    def grow(self, name: str, count: int) -> None:
        assert count > self._by_name[name].partition_count
        self._by_name[name].partition_count = count
        self.version += 1

    def delete(self, name: str) -> None:
        del self._by_name[name]
        self.version += 1

    def by_name(self, name: str) -> FakeTopic | None:
        return self._by_name.get(name)

    def by_id(self, topic_id: bytes) -> FakeTopic | None:
        return next((topic for topic in self._by_name.values() if topic.topic_id == topic_id), None)

    def names(self) -> Collection[str]:
        return self._by_name.keys()

    def group_settings(self, group_id: str) -> Mapping[str, str]:
        return self.settings

    def partitions(self, *names: str) -> set[TopicPartition]:
        return {
            (topic.topic_id, index)
            for topic in self._by_name.values()
            if not names or topic.name in names
            for index in range(topic.partition_count)
        }


class Coordinated:
    """A coordinator of one group."""

    def __init__(self, **counts: int) -> None:
        self.log = FakeLog()
        self.host = FakeHost()
        self.topics = FakeTopics(**counts or {"topic": 6})
        self.limits = ConsumerLimits(SESSION_MS, HEARTBEAT_MS, assignment_interval_ms=0)
        self.start()

    def start(self) -> None:
        settings = GroupSettings(consumer=self.limits, retention_ms=3_600_000)
        self.groups = GroupCoordinator(self.log, self.host, settings, topics=self.topics)
        self.groups.load()

    def restart(self) -> None:
        """As after a crash: only what is durable is left."""
        self.groups.close()
        self.log.crash(lambda _count: 0)
        self.start()

    @property
    def group(self) -> ConsumerGroup:
        group = self.groups.groups.find(GROUP)
        assert isinstance(group, ConsumerGroup)
        return group

    @property
    def state(self) -> str:
        return self.group.state.value

    def beat(self, member_id: str, epoch: int, **exceptions: Any) -> Any:
        beat = ConsumerHeartbeat(NOBODY, GROUP, member_id, epoch, needs_member_id=True)
        return value_of(self.groups.consumer_heartbeat(beat._replace(**exceptions)))

    def member(self, member_id: str, *topics: str, **settings: Any) -> Member:
        return Member(self, member_id, topics or ("topic",), settings)


class Member:
    """A member that does what it is told to, one heartbeat at a time."""

    def __init__(
        self, coordinated: Coordinated, member_id: str, topics: Iterable[str], settings: dict[str, Any]
    ) -> None:
        self.it = coordinated
        self.member_id = member_id
        self.epoch = 0
        self.owned: set[TopicPartition] = set()
        self.told: set[TopicPartition] = set()
        self.settings = {
            "topic_names": frozenset(topics),
            "rebalance_timeout_ms": REBALANCE_MS,
            **settings,
        }

    @property
    def indexes(self) -> list[int]:
        return sorted(index for _, index in self.owned)

    def join(self) -> Any:
        self.epoch, self.owned = 0, set()
        return self.beat(owned=frozenset(), **self.settings)

    def beat(self, **exceptions: Any) -> Any:
        """A heartbeat; the member notes what it is told, and does nothing about it yet."""
        for name in ("instance_id", "client_id", "client_host"):  # these are in every request
            if name in self.settings:
                exceptions.setdefault(name, self.settings[name])
        response = self.it.beat(self.member_id, self.epoch, **exceptions)
        if not response.error_code:
            self.epoch = response.member_epoch
            if response.assignment is not None:
                self.told = set(pairs(response.assignment.topic_partitions))
        return response

    def obey(self) -> Any:
        """Own what it is told to, and say so."""
        self.owned = set(self.told)
        return self.beat(owned=frozenset(self.owned))

    def leave(self, epoch: int = -1) -> Any:
        self.owned, self.epoch = set(), epoch
        return self.beat()


def settle(*members: Member, rounds: int = 6) -> None:
    """Everybody sends heartbeats and does as told, until nothing changes any more."""
    for _ in range(rounds):
        for member in members:
            assert member.beat().error_code == ErrorCode.NONE
            if member.owned != member.told:
                member.obey()


def joined_by_a_second() -> tuple[Coordinated, Member, Member]:
    """A group of one topic with six partitions, all of which `a` has; `b` has just come."""
    it = Coordinated(topic=6)
    a, b = it.member("a"), it.member("b")
    a.join()
    a.obey()
    b.join()
    return it, a, b
