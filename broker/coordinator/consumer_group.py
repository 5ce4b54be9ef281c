"""A consumer group of the new protocol (KIP-848): its state, the tables of its transitions, the records that change it.

Nobody is a leader: the coordinator assigns. Three epochs say how far it has come.

    group epoch        counts changes of who is in the group and what they read; a new one asks for a new target
    assignment epoch   the group epoch the target assignment was made for
    member epoch       the assignment epoch a member has come to

Members come to the target one by one, by their heartbeats, while the others go on reading. What is to leave a member
is taken from it first; it says by what it owns that it has let go; only then can another be given it:

    Stable ──new target──► UnrevokedPartitions ──let go of──► UnreleasedPartitions ──all free──► Stable
                           (holds what it is to give up)      (waits for what others hold)

Every change is a record, so that what a crash leaves is all there was (of members that moved on meanwhile the last
word: the answers to their heartbeats wait for it). The state of the group follows from the epochs and the members.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from broker.coordinator.assignors.spec import NOTHING, Assignment, TopicPartition
from broker.coordinator.outcome import Record
from protocol.messages.internal.consumer_group_records import (
    ClassicMemberMetadata,
    ClassicProtocol,
    ConsumerGroupCurrentMemberAssignmentKey,
    ConsumerGroupCurrentMemberAssignmentValue,
    ConsumerGroupMemberMetadataKey,
    ConsumerGroupMemberMetadataValue,
    ConsumerGroupMetadataKey,
    ConsumerGroupPartitionMetadataKey,
    ConsumerGroupRegularExpressionKey,
    ConsumerGroupTargetAssignmentMemberKey,
    ConsumerGroupTargetAssignmentMetadataKey,
    TopicPartitions,
)
from protocol.messages.list_groups import ListedGroup

GROUP_TYPE: Final = "consumer"
"""Kafka's name for these groups, as it stands in ListGroups."""

JOIN_EPOCH: Final = 0
LEAVE_EPOCH: Final = -1
LEAVE_FOR_A_WHILE_EPOCH: Final = -2
"""A static member's: it will be back, and keeps what it has until its session is over."""


class GroupState(Enum):
    """Kafka's names, as they stand in ConsumerGroupDescribe and ListGroups."""

    EMPTY = "Empty"
    ASSIGNING = "Assigning"
    RECONCILING = "Reconciling"
    STABLE = "Stable"
    DEAD = "Dead"


class MemberState(Enum):
    STABLE = "Stable"
    UNREVOKED_PARTITIONS = "UnrevokedPartitions"
    UNRELEASED_PARTITIONS = "UnreleasedPartitions"
    UNKNOWN = "Unknown"
    """Of a later version; such a member has to begin anew."""


STATE_NUMBERS: Final = {
    MemberState.STABLE: 0,
    MemberState.UNREVOKED_PARTITIONS: 1,
    MemberState.UNRELEASED_PARTITIONS: 2,
    MemberState.UNKNOWN: 127,
}
"""Kafka's numbers, as they stand in ConsumerGroupCurrentMemberAssignmentValue."""

_STATES: Final = {number: state for state, number in STATE_NUMBERS.items()}


GROUP_TRANSITIONS: Final[dict[tuple[GroupState, GroupState], str]] = {
    (GroupState.EMPTY, GroupState.STABLE): "a first member joins and has everything",
    (GroupState.EMPTY, GroupState.RECONCILING): "taken over from the classic protocol with its members",
    (GroupState.EMPTY, GroupState.DEAD): "deleted, or its last offset expired",
    (
        GroupState.STABLE,
        GroupState.RECONCILING,
    ): "a member joins or is away for a while, or what they read changes",
    (GroupState.STABLE, GroupState.ASSIGNING): "a member leaves, falls silent, or joins right after another",
    (GroupState.STABLE, GroupState.EMPTY): "the last member leaves or falls silent",
    (GroupState.RECONCILING, GroupState.STABLE): "the last member has come to its target",
    (
        GroupState.RECONCILING,
        GroupState.ASSIGNING,
    ): "a member leaves, falls silent, does not let go in time, or joins right after another",
    (GroupState.RECONCILING, GroupState.EMPTY): "the last member leaves or falls silent",
    (
        GroupState.ASSIGNING,
        GroupState.RECONCILING,
    ): "the next heartbeat, once the last target is old enough, brings a new one",
    (GroupState.ASSIGNING, GroupState.STABLE): "the same, and nobody has to do anything",
    (GroupState.ASSIGNING, GroupState.EMPTY): "the last member leaves or falls silent",
}

MEMBER_TRANSITIONS: Final[dict[tuple[MemberState, MemberState], str]] = {
    (MemberState.STABLE, MemberState.UNREVOKED_PARTITIONS): "it has to give something up",
    (MemberState.STABLE, MemberState.UNRELEASED_PARTITIONS): "it is to have what another still holds",
    (MemberState.UNREVOKED_PARTITIONS, MemberState.STABLE): "it has let go, and has all it is to have",
    (
        MemberState.UNREVOKED_PARTITIONS,
        MemberState.UNRELEASED_PARTITIONS,
    ): "it has let go, and waits for others",
    (MemberState.UNRELEASED_PARTITIONS, MemberState.STABLE): "others have let go",
    (
        MemberState.UNRELEASED_PARTITIONS,
        MemberState.UNREVOKED_PARTITIONS,
    ): "a new target takes something away",
}


class ClassicPart(NamedTuple):
    """What a member says beside, that speaks the classic protocol to this group."""

    session_timeout_ms: int
    protocols: tuple[tuple[str, bytes], ...]
    """(name, metadata), preferred first."""


class ConsumerMember(NamedTuple):
    """A member. Of its partitions each comes with the epoch it was given at (KIP-1251)."""

    member_id: str
    instance_id: str | None = None
    rack_id: str | None = None
    client_id: str = ""
    client_host: str = ""
    rebalance_timeout_ms: int = -1
    topic_names: frozenset[str] = frozenset()
    topic_regex: str = ""
    """Empty for none."""
    assignor: str | None = None
    member_epoch: int = JOIN_EPOCH
    previous_member_epoch: int = JOIN_EPOCH
    state: MemberState = MemberState.STABLE
    assigned: Mapping[TopicPartition, int] = {}
    revoking: Mapping[TopicPartition, int] = {}
    """Not its own any more, but not known to be let go of."""
    classic: ClassicPart | None = None
    """None for a member of the new protocol."""

    def is_reconciled_to(self, assignment_epoch: int) -> bool:
        return self.state is MemberState.STABLE and self.member_epoch == assignment_epoch


class ResolvedRegex(NamedTuple):
    """The topics a regular expression stands for, as of a version of the catalog."""

    topics: frozenset[str]
    version: int
    timestamp_ms: int


class TopicsSeen(NamedTuple):
    """Volatile: the group has been checked against this version of the catalog."""

    version: int


class RejoinAsked(NamedTuple):
    """Volatile: a member that speaks the classic protocol has been told to join again, and has a time to do so."""

    member_id: str


class Rejoined(NamedTuple):
    """Volatile: it has."""

    member_id: str


class Untold(NamedTuple):
    """Volatile: what a member has was changed within its epoch, by an answer that it may not have got."""

    member_id: str


class Heard(NamedTuple):
    """Volatile: it has got it."""

    member_id: str


class ConsumerGroup:
    """One group. Read by everybody, changed by `apply` only."""

    __slots__ = (
        "asked_to_rejoin",
        "assignment_epoch",
        "assignment_timestamp_ms",
        "group_epoch",
        "group_id",
        "is_dead",
        "members",
        "metadata_hash",
        "owners",
        "regexes",
        "static_members",
        "target",
        "topics_version",
        "untold",
    )

    protocol_type: Final = "consumer"
    uses_consumer_protocol: Final = True

    def __init__(self, group_id: str) -> None:
        self.group_id = group_id
        self.group_epoch = 0
        self.metadata_hash = 0
        """Of the topics its members read, as they were at the group epoch."""
        self.assignment_epoch = 0
        self.assignment_timestamp_ms = 0
        self.is_dead = False
        self.members: dict[str, ConsumerMember] = {}
        self.static_members: dict[str, str] = {}
        """Instance id to member id."""
        self.target: dict[str, Assignment] = {}
        """What each member is to have; nothing for who is not in it."""
        self.owners: dict[TopicPartition, str] = {}
        """Who has a partition, or has not been heard to let go of it."""
        self.regexes: dict[str, ResolvedRegex] = {}
        self.topics_version = -1
        """Volatile: as of which version of the catalog the hash and the regular expressions are."""
        self.asked_to_rejoin: dict[str, None] = {}
        """Volatile: members that speak the classic protocol and are to join again."""
        self.untold: dict[str, None] = {}
        """Volatile: members that have not said that they own what they were given last."""

    def copy(self) -> ConsumerGroup:
        """A draft that a decision may change."""
        other = ConsumerGroup.__new__(ConsumerGroup)
        for name in ConsumerGroup.__slots__:
            value = getattr(self, name)
            setattr(other, name, value.copy() if value.__class__ is dict else value)
        return other

    def __repr__(self) -> str:
        return (
            f"ConsumerGroup({self.group_id!r}, {self.state.value}, epoch {self.group_epoch}, "
            f"assignment {self.assignment_epoch}, {len(self.members)} members)"
        )

    @property
    def state(self) -> GroupState:
        if self.is_dead:
            return GroupState.DEAD
        if not self.members:
            return GroupState.EMPTY
        if self.group_epoch > self.assignment_epoch:
            return GroupState.ASSIGNING
        epoch = self.assignment_epoch
        if all(member.is_reconciled_to(epoch) for member in self.members.values()):
            return GroupState.STABLE
        return GroupState.RECONCILING

    @property
    def is_empty(self) -> bool:
        return not self.members

    @property
    def is_classic(self) -> bool:
        """Whether all members, and there are some, speak the classic protocol."""
        return bool(self.members) and all(member.classic for member in self.members.values())

    def supports_protocols(self, protocol_type: str, names: list[str]) -> bool:
        """Whether a member that speaks the classic protocol, with these assignors, can be one of the group."""
        classic = [member.classic for member in self.members.values() if member.classic is not None]
        return protocol_type == self.protocol_type and any(
            all(name in dict(part.protocols) for part in classic) for name in names
        )

    @property
    def emptied_ms(self) -> int | None:
        """When the last member went, if none is left and it is known: that is when the last target was made."""
        return self.assignment_timestamp_ms or None if not self.members else None

    def topics_of(self, member: ConsumerMember) -> frozenset[str]:
        """The names of the topics a member reads."""
        resolved = self.regexes.get(member.topic_regex) if member.topic_regex else None
        return member.topic_names | resolved.topics if resolved is not None else member.topic_names

    def subscribed_topics(self) -> frozenset[str]:
        """The names of the topics anybody reads; some may not exist."""
        names = {member.topic_names for member in self.members.values()}  # most groups': one set
        names.update(regex.topics for regex in self.regexes.values())
        return frozenset().union(*names)

    def is_subscribed_to(self, topic: str) -> bool:
        return topic in self.subscribed_topics()

    def listed(self) -> ListedGroup:
        """The group as ListGroups shows it."""
        return ListedGroup(
            group_id=self.group_id,
            protocol_type=self.protocol_type,
            group_state=self.state.value,
            group_type=GROUP_TYPE,
        )


# --- apply ----------------------------------------------------------------------------------------------------------


def apply(group: ConsumerGroup, event: Any) -> None:
    """Apply one record of the group, live or at recovery, or the volatile event above."""
    if event.__class__ is not Record:
        _VOLATILE[event.__class__](group, event)
        return
    assert event.key.group_id == group.group_id
    _APPLY[event.key.__class__](group, event.key, event.value)
    assert len(group.static_members) <= len(group.members), group


def _group_metadata(group: ConsumerGroup, _key: Any, value: Any) -> None:
    if value is None:
        group.is_dead = True
    else:
        group.group_epoch = value.epoch
        group.metadata_hash = value.metadata_hash


def _member_metadata(group: ConsumerGroup, key: Any, value: Any) -> None:
    member_id = key.member_id
    old = group.members.get(member_id)
    if old is not None and group.static_members.get(old.instance_id or "") == member_id:
        del group.static_members[old.instance_id or ""]
    if value is None:
        if old is not None:
            _give_up(group, old)
            del group.members[member_id]
            group.asked_to_rejoin.pop(member_id, None)
            group.untold.pop(member_id, None)
        return
    if value.instance_id is not None:
        group.static_members[value.instance_id] = member_id
    group.members[member_id] = (old or ConsumerMember(member_id))._replace(
        instance_id=value.instance_id,
        rack_id=value.rack_id,
        client_id=value.client_id,
        client_host=value.client_host,
        rebalance_timeout_ms=value.rebalance_timeout_ms,
        topic_names=frozenset(value.subscribed_topic_names),
        topic_regex=value.subscribed_topic_regex or "",
        assignor=value.server_assignor,
        classic=_classic_part(value.classic_member_metadata),
    )


def _classic_part(metadata: ClassicMemberMetadata | None) -> ClassicPart | None:
    if metadata is None:
        return None
    protocols = tuple((protocol.name, protocol.metadata) for protocol in metadata.supported_protocols)
    return ClassicPart(metadata.session_timeout_ms, protocols)


def _target_metadata(group: ConsumerGroup, _key: Any, value: Any) -> None:
    if value is None:
        group.assignment_epoch = group.assignment_timestamp_ms = 0
    else:
        group.assignment_epoch = value.assignment_epoch
        group.assignment_timestamp_ms = value.assignment_timestamp


def _target_member(group: ConsumerGroup, key: Any, value: Any) -> None:
    partitions = NOTHING if value is None else frozenset(pairs(value.topic_partitions))
    if partitions:
        group.target[key.member_id] = partitions
    else:
        group.target.pop(key.member_id, None)


def _current_assignment(group: ConsumerGroup, key: Any, value: Any) -> None:
    member = group.members.get(key.member_id)
    if member is None:
        if value is None:
            return
        member = ConsumerMember(key.member_id)  # its own record has been compacted away, and comes later
    _give_up(group, member)
    if value is None:
        group.members[key.member_id] = member._replace(
            member_epoch=LEAVE_EPOCH, previous_member_epoch=LEAVE_EPOCH, assigned={}, revoking={}
        )
        return
    member = member._replace(
        member_epoch=value.member_epoch,
        previous_member_epoch=value.previous_member_epoch,
        state=_STATES.get(value.state, MemberState.UNKNOWN),
        assigned=_with_epochs(value.assigned_partitions, value.member_epoch),
        revoking=_with_epochs(value.partitions_pending_revocation, value.member_epoch),
    )
    group.members[key.member_id] = member
    # While old records are compacted, two may be seen to have a partition: the later word counts.
    group.owners.update(dict.fromkeys(member.assigned, member.member_id))
    group.owners.update(dict.fromkeys(member.revoking, member.member_id))


def _give_up(group: ConsumerGroup, member: ConsumerMember) -> None:
    for partitions in (member.assigned, member.revoking):
        for partition in partitions:
            if group.owners.get(partition) == member.member_id:
                del group.owners[partition]


def _regular_expression(group: ConsumerGroup, key: Any, value: Any) -> None:
    if value is None:
        group.regexes.pop(key.regular_expression, None)
    else:
        resolved = ResolvedRegex(frozenset(value.topics), value.version, value.timestamp)
        group.regexes[key.regular_expression] = resolved


def _nothing(_group: ConsumerGroup, _key: Any, _value: Any) -> None:
    """Kafka kept the topics' partition counts here until 4.0; their hash has taken the place."""


def _topics_seen(group: ConsumerGroup, event: TopicsSeen) -> None:
    group.topics_version = event.version


def _rejoin_asked(group: ConsumerGroup, event: RejoinAsked) -> None:
    assert event.member_id in group.members
    group.asked_to_rejoin[event.member_id] = None


def _rejoined(group: ConsumerGroup, event: Rejoined) -> None:
    group.asked_to_rejoin.pop(event.member_id, None)


def _untold(group: ConsumerGroup, event: Untold) -> None:
    assert event.member_id in group.members
    group.untold[event.member_id] = None


def _heard(group: ConsumerGroup, event: Heard) -> None:
    group.untold.pop(event.member_id, None)


_VOLATILE: Final[dict[type, Any]] = {
    TopicsSeen: _topics_seen,
    RejoinAsked: _rejoin_asked,
    Rejoined: _rejoined,
    Untold: _untold,
    Heard: _heard,
}

_APPLY: Final[dict[type, Any]] = {
    ConsumerGroupMetadataKey: _group_metadata,
    ConsumerGroupPartitionMetadataKey: _nothing,
    ConsumerGroupMemberMetadataKey: _member_metadata,
    ConsumerGroupTargetAssignmentMetadataKey: _target_metadata,
    ConsumerGroupTargetAssignmentMemberKey: _target_member,
    ConsumerGroupCurrentMemberAssignmentKey: _current_assignment,
    ConsumerGroupRegularExpressionKey: _regular_expression,
}

RECORD_KEYS: Final = tuple(_APPLY)
"""The keys of the records that a consumer group is made of."""


# --- messages -------------------------------------------------------------------------------------------------------


def pairs(topics: Iterable[Any]) -> Iterable[TopicPartition]:
    """The partitions in a message's list of topics."""
    return ((topic.topic_id, index) for topic in topics for index in topic.partitions)


def by_topic(partitions: Iterable[TopicPartition]) -> dict[bytes, list[int]]:
    """The indexes of each topic, both in order."""
    topics: dict[bytes, list[int]] = {}
    for topic_id, index in sorted(partitions):
        topics.setdefault(topic_id, []).append(index)
    return topics


def _with_epochs(topics: Iterable[TopicPartitions], default_epoch: int) -> dict[TopicPartition, int]:
    found = {}
    for topic in topics:
        epochs = topic.assignment_epochs or [default_epoch] * len(topic.partitions)
        for index, epoch in zip(topic.partitions, epochs):
            found[topic.topic_id, index] = epoch
    return found


def _messages(partitions: Mapping[TopicPartition, int]) -> list[TopicPartitions]:
    return [
        TopicPartitions(
            topic_id=topic_id,
            partitions=indexes,
            assignment_epochs=[partitions[topic_id, index] for index in indexes],
        )
        for topic_id, indexes in by_topic(partitions).items()
    ]


def member_record(group_id: str, member: ConsumerMember) -> Record:
    """What the member says of itself."""
    classic = None
    if member.classic is not None:
        protocols = [
            ClassicProtocol(name=name, metadata=metadata) for name, metadata in member.classic.protocols
        ]
        classic = ClassicMemberMetadata(
            session_timeout_ms=member.classic.session_timeout_ms, supported_protocols=protocols
        )
    value = ConsumerGroupMemberMetadataValue(
        instance_id=member.instance_id,
        rack_id=member.rack_id,
        client_id=member.client_id,
        client_host=member.client_host,
        subscribed_topic_names=sorted(member.topic_names),
        subscribed_topic_regex=member.topic_regex or None,
        rebalance_timeout_ms=member.rebalance_timeout_ms,
        server_assignor=member.assignor,
        classic_member_metadata=classic,
    )
    return Record(ConsumerGroupMemberMetadataKey(group_id=group_id, member_id=member.member_id), value)


def current_assignment_record(group_id: str, member: ConsumerMember) -> Record:
    """How far the member has come."""
    value = ConsumerGroupCurrentMemberAssignmentValue(
        member_epoch=member.member_epoch,
        previous_member_epoch=member.previous_member_epoch,
        state=STATE_NUMBERS[member.state],
        assigned_partitions=_messages(member.assigned),
        partitions_pending_revocation=_messages(member.revoking),
    )
    return Record(
        ConsumerGroupCurrentMemberAssignmentKey(group_id=group_id, member_id=member.member_id), value
    )
