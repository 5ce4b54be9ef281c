"""A decision on one consumer group in the making, and the steps that several decisions share.

As with classic groups, the draft's group is a copy as soon as anything is decided, and every event is applied to the
copy at once, so that the next step of the same decision sees what the ones before it came to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from broker.coordinator.assignors import ASSIGNORS, preferred
from broker.coordinator.assignors.spec import NOTHING, Assignment, MemberSpec
from broker.coordinator.classic_rebalance import ClassicLimits
from broker.coordinator.consumer_catalog import Topics, topics_hash
from broker.coordinator.consumer_group import (
    GROUP_TRANSITIONS,
    LEAVE_FOR_A_WHILE_EPOCH,
    MEMBER_TRANSITIONS,
    ConsumerGroup,
    ConsumerMember,
    MemberState,
    TopicsSeen,
    apply,
    by_topic,
    current_assignment_record,
    member_record,
)
from broker.coordinator.consumer_regex import matching
from broker.coordinator.outcome import NEVER, NOBODY, Outcome, Record, Reply, TimerChange, TimerKey, TimerKind
from protocol.messages.internal.consumer_group_records import (
    ConsumerGroupCurrentMemberAssignmentKey,
    ConsumerGroupMemberMetadataKey,
    ConsumerGroupMetadataKey,
    ConsumerGroupMetadataValue,
    ConsumerGroupRegularExpressionKey,
    ConsumerGroupRegularExpressionValue,
    ConsumerGroupTargetAssignmentMemberKey,
    ConsumerGroupTargetAssignmentMemberValue,
    ConsumerGroupTargetAssignmentMetadataKey,
    ConsumerGroupTargetAssignmentMetadataValue,
    TopicPartition,
)

MEMBER_TIMERS: Final = (TimerKind.SESSION, TimerKind.REBALANCE, TimerKind.JOIN, TimerKind.SYNC)
"""The timers a member may have."""


class ConsumerLimits(NamedTuple):
    """What the settings say of consumer groups: the broker's, or a group's own where it has any."""

    session_timeout_ms: int = 45_000
    heartbeat_interval_ms: int = 5_000
    max_size: int = 2**31 - 1
    assignors: tuple[str, ...] = ("uniform", "range")
    """Those that may be asked for; the first is the default."""
    migration: str = "bidirectional"
    """Whether groups with members change their protocol: disabled, upgrade, downgrade or bidirectional."""
    assignment_interval_ms: int = 1_000
    """How long a target stays at least (KIP-1263): who joins or leaves meanwhile is seen to in one go."""

    @property
    def can_upgrade(self) -> bool:
        return self.migration in ("upgrade", "bidirectional")

    @property
    def can_downgrade(self) -> bool:
        return self.migration in ("downgrade", "bidirectional")

    def of_group(self, settings: Mapping[str, str]) -> ConsumerLimits:
        """With a group's own settings (KIP-848) in place of the broker's."""
        if not settings:
            return self
        return self._replace(
            session_timeout_ms=int(settings.get("consumer.session.timeout.ms", self.session_timeout_ms)),
            heartbeat_interval_ms=int(
                settings.get("consumer.heartbeat.interval.ms", self.heartbeat_interval_ms)
            ),
            assignment_interval_ms=int(
                settings.get("consumer.assignment.interval.ms", self.assignment_interval_ms)
            ),
        )


class World(NamedTuple):
    """What a decision depends on beside the group and the request."""

    topics: Topics
    limits: ConsumerLimits
    now_ms: int
    classic_limits: ClassicLimits = ClassicLimits()


class ConsumerDraft:
    """A decision on one group in the making."""

    __slots__ = ("_is_copy", "_state_before", "aftermath", "events", "group", "replies", "timers", "world")

    def __init__(self, group: ConsumerGroup, world: World) -> None:
        assert world.now_ms >= 0
        self.group = group
        self.world = world
        self.events: list[Any] = []
        self.replies: list[Reply] = []
        self.timers: list[TimerChange] = []
        self.aftermath: Outcome | None = None
        """What follows for the classic group that takes this one's place."""
        self._is_copy = False

    def do(self, event: Any) -> None:
        """Decide an event."""
        if not self._is_copy:
            self._state_before = self.group.state
            self.group = self.group.copy()
            self._is_copy = True
        self.events.append(event)
        apply(self.group, event)

    def reply(self, token: int, response: Any) -> None:
        if token != NOBODY:
            self.replies.append(Reply(token, response))

    def start(self, kind: TimerKind, delay_ms: int, member_id: str) -> None:
        """Start a timer, or move it if it runs."""
        assert delay_ms >= 0
        key = TimerKey(kind, self.group.group_id, member_id)
        self.timers.append(TimerChange(key, self.world.now_ms + delay_ms))

    def cancel(self, kind: TimerKind, member_id: str) -> None:
        self.timers.append(TimerChange(TimerKey(kind, self.group.group_id, member_id), NEVER))

    def start_session(self, member: ConsumerMember) -> None:
        classic = member.classic
        delay_ms = self.world.limits.session_timeout_ms if classic is None else classic.session_timeout_ms
        self.start(TimerKind.SESSION, delay_ms, member.member_id)

    def outcome(self) -> Outcome:
        after = self.aftermath
        if after is not None:
            return Outcome(
                self.group.group_id,
                [*self.events, *after.events],
                [*self.replies, *after.replies],
                [*self.timers, *after.timers],
            )
        if self._is_copy:
            step = self._state_before, self.group.state
            assert step[0] is step[1] or step in GROUP_TRANSITIONS, f"{step} of {self.group}"
        return Outcome(self.group.group_id, self.events, self.replies, self.timers)

    # --- members ------------------------------------------------------------------------------------------------

    def settle(self, before: ConsumerMember, member: ConsumerMember) -> None:
        """Write down how far a member has come; it has a time to let go of what it is to give up."""
        if member is before:
            return
        step = before.state, member.state
        assert step[0] is step[1] or step in MEMBER_TRANSITIONS or before.state is MemberState.UNKNOWN
        for partition in (*member.assigned, *member.revoking):
            owner = self.group.owners.get(partition, member.member_id)
            assert owner == member.member_id, f"{partition} is {owner}'s, and now {member.member_id}'s"
        self.do(current_assignment_record(self.group.group_id, member))
        if member.classic is not None:
            return  # its times are those to join and to sync
        if member.state is MemberState.UNREVOKED_PARTITIONS:
            self.start(TimerKind.REBALANCE, max(member.rebalance_timeout_ms, 0), member.member_id)
        elif before.state is MemberState.UNREVOKED_PARTITIONS:
            self.cancel(TimerKind.REBALANCE, member.member_id)

    def remove(self, member: ConsumerMember) -> None:
        """Take a member out: what it had is free at once."""
        member_id = member.member_id
        for key in _member_keys(self.group.group_id, member_id):
            self.do(Record(key, None))
        for kind in MEMBER_TIMERS:
            self.cancel(kind, member_id)

    def replace_static(self, old: ConsumerMember, new: ConsumerMember) -> None:
        """A static member has come back under a new id: it takes over what the old one was, had, and was to have."""
        assert old.instance_id is not None and old.instance_id == new.instance_id
        group_id = self.group.group_id
        target = self.group.target.get(old.member_id, NOTHING)
        self.remove(old)
        self.do(member_record(group_id, new))
        if target:
            self.do(_target_record(group_id, new.member_id, target))
        self.do(current_assignment_record(group_id, new))

    # --- subscriptions ------------------------------------------------------------------------------------------

    def drop_unused_regexes(self) -> None:
        """Forget the regular expressions that no member subscribes by any more."""
        used = {member.topic_regex for member in self.group.members.values()}
        for pattern in [pattern for pattern in self.group.regexes if pattern not in used]:
            key = ConsumerGroupRegularExpressionKey(group_id=self.group.group_id, regular_expression=pattern)
            self.do(Record(key, None))

    def resolve(self, pattern: str) -> None:
        """Find the topics of a regular expression. Raises INVALID_REGULAR_EXPRESSION."""
        topics = matching(pattern, self.world.topics.names())
        known = self.group.regexes.get(pattern)
        if known is not None and known.topics == topics:
            return
        value = ConsumerGroupRegularExpressionValue(
            topics=sorted(topics), version=self.world.topics.version, timestamp=self.world.now_ms
        )
        key = ConsumerGroupRegularExpressionKey(group_id=self.group.group_id, regular_expression=pattern)
        self.do(Record(key, value))

    def look_at_topics(self) -> bool:
        """Check the group against the catalog if that has changed; True if what it reads is not what it was."""
        group, topics = self.group, self.world.topics
        version = topics.version
        if group.topics_version == version:
            return False
        for pattern in list(group.regexes):
            self.resolve(pattern)
        self.do(TopicsSeen(version))
        return topics_hash(topics, self.group.subscribed_topics()) != self.group.metadata_hash

    def next_epoch(self) -> None:
        """Who is in the group, or what they read, has changed: ask for a new target."""
        group = self.group
        value = ConsumerGroupMetadataValue(
            epoch=group.group_epoch + 1,
            metadata_hash=topics_hash(self.world.topics, group.subscribed_topics()),
        )
        self.do(Record(ConsumerGroupMetadataKey(group_id=group.group_id), value))

    # --- the target ---------------------------------------------------------------------------------------------

    def subscribed_ids(self, member: ConsumerMember) -> frozenset[bytes]:
        """The ids of the topics a member reads, of those that exist."""
        by_name = self.world.topics.by_name
        found = (by_name(name) for name in self.group.topics_of(member))
        return frozenset(topic.topic_id for topic in found if topic is not None)

    def target_wait_ms(self) -> int:
        """How long the group still goes by its target although it is not of the group epoch; 0 if it does not.

        A target that gives nobody anything is not kept: the first who joins is not to wait.
        """
        group = self.group
        if group.group_epoch == group.assignment_epoch or not group.target:
            return 0
        interval_ms = self.world.limits.assignment_interval_ms
        age_ms = self.world.now_ms - group.assignment_timestamp_ms
        return interval_ms - age_ms if 0 <= age_ms < interval_ms else 0

    def assign(self) -> None:
        """Make the target assignment of the group epoch; only what changes is written."""
        group = self.group
        assert group.group_epoch > group.assignment_epoch and group.members
        ids_of: dict[tuple[frozenset[str], str], frozenset[bytes]] = {}
        specs = {}
        for member in group.members.values():
            subscription = member.topic_names, member.topic_regex
            if subscription not in ids_of:
                ids_of[subscription] = self.subscribed_ids(member)
            specs[member.member_id] = MemberSpec(
                ids_of[subscription], group.target.get(member.member_id, NOTHING)
            )
        counts = {}
        for topic_id in frozenset().union(*ids_of.values()):
            topic = self.world.topics.by_id(topic_id)
            assert topic is not None
            counts[topic_id] = topic.partition_count
        name = self.assignor_name()
        for member_id, partitions in ASSIGNORS[name](specs, counts).items():
            if partitions != specs[member_id].assigned:
                self.do(_target_record(group.group_id, member_id, partitions))
        self.target_is_made()

    def begin_at(self, epoch: int, target: Mapping[str, Assignment]) -> None:
        """Be at this epoch, with this target made for it: what a group of the classic protocol leaves behind.

        Without a hash: whoever looks at the topics next finds them changed, and asks for a target of our own.
        """
        group_id = self.group.group_id
        self.do(Record(ConsumerGroupMetadataKey(group_id=group_id), ConsumerGroupMetadataValue(epoch=epoch)))
        for member_id, partitions in target.items():
            if partitions:
                self.do(_target_record(group_id, member_id, partitions))
        self.target_is_made(timestamp_ms=0)

    def target_is_made(self, timestamp_ms: int | None = None) -> None:
        """The target assignment is that of the group epoch; as of now, or 0 for one that is not to be kept."""
        value = ConsumerGroupTargetAssignmentMetadataValue(
            assignment_epoch=self.group.group_epoch,
            assignment_timestamp=self.world.now_ms if timestamp_ms is None else timestamp_ms,
        )
        self.do(Record(ConsumerGroupTargetAssignmentMetadataKey(group_id=self.group.group_id), value))

    def assignor_name(self) -> str:
        return assignor_of(self.group, self.world.limits)


def assignor_of(group: ConsumerGroup, limits: ConsumerLimits) -> str:
    """The assignor most members ask for, of those that are allowed."""
    votes = (member.assignor for member in group.members.values())
    return preferred((name for name in votes if name in limits.assignors), limits.assignors[0])


def has_left_for_a_while(member: ConsumerMember) -> bool:
    return member.member_epoch == LEAVE_FOR_A_WHILE_EPOCH


def _target_record(group_id: str, member_id: str, partitions: Assignment) -> Record:
    value = ConsumerGroupTargetAssignmentMemberValue(
        topic_partitions=[
            TopicPartition(topic_id=topic_id, partitions=indexes)
            for topic_id, indexes in by_topic(partitions).items()
        ]
    )
    return Record(ConsumerGroupTargetAssignmentMemberKey(group_id=group_id, member_id=member_id), value)


def group_tombstones(group: ConsumerGroup) -> list[Record]:
    """What unmakes a group, in the order Kafka writes it; the last one is the group's own."""
    group_id = group.group_id
    keys: list[Any] = []
    for member_id in group.members:
        keys += _member_keys(group_id, member_id)
    keys.append(ConsumerGroupTargetAssignmentMetadataKey(group_id=group_id))
    keys += [
        ConsumerGroupRegularExpressionKey(group_id=group_id, regular_expression=pattern)
        for pattern in group.regexes
    ]
    keys.append(ConsumerGroupMetadataKey(group_id=group_id))
    return [Record(key, None) for key in keys]


def _member_keys(group_id: str, member_id: str) -> list[Any]:
    return [
        ConsumerGroupCurrentMemberAssignmentKey(group_id=group_id, member_id=member_id),
        ConsumerGroupTargetAssignmentMemberKey(group_id=group_id, member_id=member_id),
        ConsumerGroupMemberMetadataKey(group_id=group_id, member_id=member_id),
    ]
