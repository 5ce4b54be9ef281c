"""A classic group: its state, the table of its transitions, and the events that change it (KIP-62, KIP-345, KIP-394).

Members elect protocols, the coordinator elects a leader among them, and the leader assigns. A generation begins when
everybody has joined (or the time for it is over) and is settled when the leader's assignment is durable:

    Empty ──join──► PreparingRebalance ──all joined──► CompletingRebalance ──leader's sync──► Stable
      ▲                 │       ▲                              │                                │
      └──nobody joined──┘       └──────── a member joins, leaves, falls silent or changes ──────┘

What a crash leaves is what the last `GroupMetadataValue` says: Stable with its members and their assignments, or
Empty. A rebalance under way is forgotten, as it is in Kafka; its members learn so by ILLEGAL_GENERATION or
UNKNOWN_MEMBER_ID and join again.

`apply` is the only thing that changes a group; decisions are in `classic_rebalance`, `classic_join` and
`classic_members`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from broker.coordinator.outcome import NOBODY, Record
from protocol.compiler import decoder
from protocol.errors import Malformed
from protocol.messages.describe_groups import DescribedGroup, DescribedGroupMember
from protocol.messages.internal.consumer_protocol import ConsumerProtocolSubscription
from protocol.messages.internal.offset_records import GroupMetadataKey, GroupMetadataValue, MemberMetadata
from protocol.messages.list_groups import ListedGroup

CONSUMER_PROTOCOL_TYPE: Final = "consumer"
"""The protocol type whose metadata the coordinator can read; Connect's is "connect"."""

GROUP_TYPE: Final = "classic"
"""Kafka's name for these groups, as it stands in ListGroups."""

NO_GENERATION: Final = 0
"""The generation before the first."""


class ClassicState(Enum):
    """Kafka's names, as they stand in DescribeGroups and ListGroups."""

    EMPTY = "Empty"
    PREPARING_REBALANCE = "PreparingRebalance"
    COMPLETING_REBALANCE = "CompletingRebalance"
    STABLE = "Stable"
    DEAD = "Dead"


EMPTY: Final = ClassicState.EMPTY
PREPARING: Final = ClassicState.PREPARING_REBALANCE
COMPLETING: Final = ClassicState.COMPLETING_REBALANCE
STABLE: Final = ClassicState.STABLE
DEAD: Final = ClassicState.DEAD

TRANSITIONS: Final[dict[tuple[ClassicState, ClassicState], str]] = {
    (EMPTY, PREPARING): "a first member joins",
    (PREPARING, COMPLETING): "all have joined, or the join phase is over",
    (PREPARING, EMPTY): "nobody is left, or nobody joined",
    (COMPLETING, STABLE): "the leader's assignment arrives",
    (COMPLETING, PREPARING): "a member joins anew, leaves, falls silent, or does not sync",
    (STABLE, PREPARING): "a member joins, leaves, falls silent, changes, or the leader joins again",
    (EMPTY, DEAD): "deleted, or its last offset expired",
}


class Member(NamedTuple):
    """A member. `join_token` and `sync_token` are the requests it waits with, or NOBODY."""

    member_id: str
    group_instance_id: str | None
    client_id: str
    client_host: str
    rebalance_timeout_ms: int
    session_timeout_ms: int
    protocols: tuple[tuple[str, bytes], ...]
    """(name, metadata), preferred first."""
    assignment: bytes = b""
    is_new: bool = False
    """It has not been through a join phase yet: it cannot send heartbeats, having just got its id."""
    join_token: int = NOBODY
    sync_token: int = NOBODY

    @property
    def is_static(self) -> bool:
        return self.group_instance_id is not None

    def metadata(self, protocol_name: str | None) -> bytes | None:
        """What the member says for a protocol; None if it does not speak it."""
        for name, metadata in self.protocols:
            if name == protocol_name:
                return metadata
        return None


# --- volatile events ------------------------------------------------------------------------------------------------


class MemberNamed(NamedTuple):
    """An id was given out and is to be joined with (KIP-394)."""

    member_id: str


class MemberAdded(NamedTuple):
    protocol_type: str
    member: Member


class MemberUpdated(NamedTuple):
    """A member with the same id in place of the old."""

    member: Member


class MemberReplaced(NamedTuple):
    """A static member has come back under a new id."""

    old_member_id: str
    member: Member


class MemberRemoved(NamedTuple):
    """A member, or an id that was given out, is gone."""

    member_id: str


class LeaderElected(NamedTuple):
    member_id: str


class RebalanceBegun(NamedTuple):
    """The join phase begins. What is left of the time to wait for more first members is `initial_remaining_ms`."""

    now_ms: int
    initial_remaining_ms: int


class InitialDelayExtended(NamedTuple):
    """Members came while an empty group was waiting for more."""

    remaining_ms: int


class GenerationBegun(NamedTuple):
    """The join phase is over. Without members there is no protocol and the group is empty."""

    protocol_name: str | None
    now_ms: int


class SyncReceived(NamedTuple):
    """A member asked for its assignment; `token` is NOBODY where the answer is there already."""

    member_id: str
    token: int


class ClassicGroup:
    """One group. Read by everybody, changed by `apply` only."""

    __slots__ = (
        "_topics",
        "generation_id",
        "group_id",
        "initial_remaining_ms",
        "joined_count",
        "leader_id",
        "members",
        "named_members",
        "new_member_added",
        "previous_state",
        "protocol_name",
        "protocol_type",
        "state",
        "state_timestamp_ms",
        "static_members",
        "unsynced_members",
        "votes",
    )

    def __init__(self, group_id: str) -> None:
        self.group_id = group_id
        self.state = EMPTY
        self.previous_state = EMPTY
        self.state_timestamp_ms = -1
        self.generation_id = NO_GENERATION
        self.protocol_type: str | None = None
        """None for a group that only commits offsets."""
        self.protocol_name: str | None = None
        self.leader_id: str | None = None
        self.members: dict[str, Member] = {}
        self.static_members: dict[str, str] = {}
        """Instance id to member id (KIP-345)."""
        self.named_members: dict[str, None] = {}
        """Ids given out and not joined with yet; a dictionary for its order."""
        self.unsynced_members: dict[str, None] = {}
        """Members of this generation that have not asked for their assignment."""
        self.votes: dict[str, int] = {}
        """How many members speak a protocol."""
        self.joined_count = 0
        """How many members wait with a JoinGroup."""
        self.new_member_added = False
        self.initial_remaining_ms = 0
        self._topics: frozenset[str] | bool | None = False

    def copy(self) -> ClassicGroup:
        """A draft that a decision may change."""
        other = ClassicGroup.__new__(ClassicGroup)
        for name in ClassicGroup.__slots__:
            value = getattr(self, name)
            setattr(other, name, value.copy() if value.__class__ is dict else value)
        return other

    def __repr__(self) -> str:
        return (
            f"ClassicGroup({self.group_id!r}, {self.state.value}, generation {self.generation_id}, "
            f"{len(self.members)} members, leader {self.leader_id!r})"
        )

    @property
    def is_empty(self) -> bool:
        return self.state is EMPTY

    @property
    def uses_consumer_protocol(self) -> bool:
        return self.protocol_type == CONSUMER_PROTOCOL_TYPE

    @property
    def has_all_joined(self) -> bool:
        return self.joined_count == len(self.members) and not self.named_members

    @property
    def is_initial_rebalance(self) -> bool:
        """The group was empty and waits for more first members."""
        return self.state is PREPARING and self.previous_state is EMPTY

    @property
    def rebalance_timeout_ms(self) -> int:
        # A client may send a negative one, and a group's log may hold it: it is no time at all, as in Kafka.
        return max((0, *(member.rebalance_timeout_ms for member in self.members.values())))

    def supports_protocols(self, protocol_type: str, names: list[str]) -> bool:
        """Whether a member with these protocols can be one of the group."""
        if self.state is EMPTY:
            return bool(protocol_type and names)
        everybody = len(self.members)
        return self.protocol_type == protocol_type and any(
            self.votes.get(name, 0) == everybody for name in names
        )

    def select_protocol(self) -> str:
        """The protocol all members speak and most prefer; the first member's preference decides a tie."""
        assert self.members
        everybody = len(self.members)
        candidates = {name for name, count in self.votes.items() if count == everybody}
        assert candidates, "no member is let in that shares no protocol with the others"
        ballots: dict[str, int] = {}
        for member in self.members.values():
            choice = next(name for name, _ in member.protocols if name in candidates)
            ballots[choice] = ballots.get(choice, 0) + 1
        return max(ballots, key=ballots.__getitem__)

    def subscribed_topics(self) -> frozenset[str] | None:
        """The topics the members of this generation subscribe to; None where that cannot be known."""
        if isinstance(self._topics, bool):
            self._topics = self._read_subscriptions()
        return self._topics

    def _read_subscriptions(self) -> frozenset[str] | None:
        if not self.uses_consumer_protocol:
            return None
        if not self.members:
            return frozenset()
        if self.protocol_name is None:
            return None
        topics: set[str] = set()
        decode = decoder(ConsumerProtocolSubscription, 0)  # version 0 is how every version begins
        try:
            for member in self.members.values():
                metadata = member.metadata(self.protocol_name) or b""
                topics.update(decode(memoryview(metadata), 2)[0].topics)
        except Malformed:
            return None
        return frozenset(topics)

    def is_subscribed_to(self, topic: str) -> bool:
        """Whether the group reads a topic. Where its consumers' subscriptions are unknown: maybe, so yes."""
        topics = self.subscribed_topics()
        return self.uses_consumer_protocol if topics is None else topic in topics

    def metadata_record(self, assignments: Mapping[str, bytes] | None = None) -> Record:
        """The group as it is, in Kafka's form; with new assignments if given (nothing for who has none)."""
        members = [
            MemberMetadata(
                member_id=member.member_id,
                group_instance_id=member.group_instance_id,
                client_id=member.client_id,
                client_host=member.client_host,
                rebalance_timeout=member.rebalance_timeout_ms,
                session_timeout=member.session_timeout_ms,
                subscription=member.metadata(self.protocol_name) or b"",
                assignment=member.assignment
                if assignments is None
                else assignments.get(member.member_id, b""),
            )
            for member in self.members.values()
        ]
        value = GroupMetadataValue(
            protocol_type=self.protocol_type or "",
            generation=self.generation_id,
            protocol=self.protocol_name,
            leader=self.leader_id,
            current_state_timestamp=self.state_timestamp_ms,
            members=members,
        )
        return Record(GroupMetadataKey(group=self.group_id), value)

    def described(self) -> DescribedGroup:
        """The group as DescribeGroups shows it: metadata and assignments only where they are settled."""
        is_stable = self.state is STABLE
        return DescribedGroup(
            group_id=self.group_id,
            group_state=self.state.value,
            protocol_type=self.protocol_type or "",
            protocol_data=(self.protocol_name or "") if is_stable else "",
            members=[
                DescribedGroupMember(
                    member_id=member.member_id,
                    group_instance_id=member.group_instance_id,
                    client_id=member.client_id,
                    client_host=member.client_host,
                    member_metadata=(member.metadata(self.protocol_name) or b"") if is_stable else b"",
                    member_assignment=member.assignment if is_stable else b"",
                )
                for member in self.members.values()
            ],
        )

    def listed(self) -> ListedGroup:
        """The group as ListGroups shows it."""
        return ListedGroup(
            group_id=self.group_id,
            protocol_type=self.protocol_type or "",
            group_state=self.state.value,
            group_type=GROUP_TYPE,
        )


# --- apply ----------------------------------------------------------------------------------------------------------


def apply(group: ClassicGroup, event: Any) -> None:
    """Apply one event: a record of the group's metadata, or one of the volatile events above."""
    if event.__class__ is Record:
        _load(group, event.value)
    else:
        _APPLY[event.__class__](group, event)
    assert 0 <= group.joined_count <= len(group.members), group
    assert (group.leader_id is None) == (not group.members), group


def _enter(group: ClassicGroup, state: ClassicState, now_ms: int) -> None:
    assert (group.state, state) in TRANSITIONS, f"{group} cannot become {state.value}"
    group.previous_state, group.state = group.state, state
    group.state_timestamp_ms = now_ms


def _count_votes(group: ClassicGroup, member: Member, by: int) -> None:
    votes = group.votes
    for name in {name for name, _ in member.protocols}:  # one vote each, however often it is named
        votes[name] = votes.get(name, 0) + by
        if not votes[name]:
            del votes[name]
    if member.join_token != NOBODY:
        group.joined_count += by


def _named(group: ClassicGroup, event: MemberNamed) -> None:
    assert event.member_id not in group.members
    group.named_members[event.member_id] = None


def _added(group: ClassicGroup, event: MemberAdded) -> None:
    member = event.member
    assert member.member_id not in group.members
    if not group.members:
        group.protocol_type = event.protocol_type
    assert group.protocol_type == event.protocol_type
    if group.is_initial_rebalance:
        group.new_member_added = True
    if member.group_instance_id is not None:
        assert member.group_instance_id not in group.static_members
        group.static_members[member.group_instance_id] = member.member_id
    if group.leader_id is None:
        group.leader_id = member.member_id
    group.members[member.member_id] = member
    group.named_members.pop(member.member_id, None)
    _count_votes(group, member, 1)


def _updated(group: ClassicGroup, event: MemberUpdated) -> None:
    member = event.member
    _count_votes(group, group.members[member.member_id], -1)
    group.members[member.member_id] = member
    _count_votes(group, member, 1)


def _replaced(group: ClassicGroup, event: MemberReplaced) -> None:
    member = event.member
    assert member.group_instance_id is not None
    assert group.static_members[member.group_instance_id] == event.old_member_id
    _count_votes(group, group.members.pop(event.old_member_id), -1)
    group.members[member.member_id] = member
    group.static_members[member.group_instance_id] = member.member_id
    group.unsynced_members.pop(event.old_member_id, None)
    if group.leader_id == event.old_member_id:
        group.leader_id = member.member_id
    _count_votes(group, member, 1)


def _removed(group: ClassicGroup, event: MemberRemoved) -> None:
    member_id = event.member_id
    group.named_members.pop(member_id, None)
    group.unsynced_members.pop(member_id, None)
    member = group.members.pop(member_id, None)
    if member is None:
        return
    _count_votes(group, member, -1)
    if member.group_instance_id is not None:
        del group.static_members[member.group_instance_id]
    if group.leader_id == member_id:
        group.leader_id = next(iter(group.members), None)


def _elected(group: ClassicGroup, event: LeaderElected) -> None:
    assert event.member_id in group.members
    group.leader_id = event.member_id


def _rebalance_begun(group: ClassicGroup, event: RebalanceBegun) -> None:
    if group.state is COMPLETING:
        for member_id, member in group.members.items():
            group.members[member_id] = member._replace(assignment=b"", sync_token=NOBODY)
    group.unsynced_members = {}
    group.new_member_added = False
    group.initial_remaining_ms = event.initial_remaining_ms
    _enter(group, PREPARING, event.now_ms)


def _initial_delay_extended(group: ClassicGroup, event: InitialDelayExtended) -> None:
    assert group.is_initial_rebalance
    group.new_member_added = False
    group.initial_remaining_ms = event.remaining_ms


def _generation_begun(group: ClassicGroup, event: GenerationBegun) -> None:
    assert (event.protocol_name is None) == (not group.members)
    group.generation_id += 1
    group.protocol_name = event.protocol_name
    for member_id, member in group.members.items():
        group.members[member_id] = member._replace(is_new=False, join_token=NOBODY)
    group.joined_count = 0
    group.unsynced_members = dict.fromkeys(group.members)
    group.new_member_added = False
    group.initial_remaining_ms = 0
    group._topics = False
    _enter(group, COMPLETING if group.members else EMPTY, event.now_ms)


def _sync_received(group: ClassicGroup, event: SyncReceived) -> None:
    group.unsynced_members.pop(event.member_id, None)
    member = group.members[event.member_id]
    group.members[event.member_id] = member._replace(sync_token=event.token)


def _load(group: ClassicGroup, value: GroupMetadataValue) -> None:
    """Take the group's metadata from a record: the settled state of a generation, live or at recovery."""
    members = {}
    for metadata in value.members:
        members[metadata.member_id] = _member(metadata, value.protocol, group.members.get(metadata.member_id))
    group.generation_id = value.generation
    group.protocol_type = value.protocol_type or None
    group.protocol_name = value.protocol
    group.leader_id = value.leader if members else None
    group.members = members
    group.static_members = {
        member.group_instance_id: member.member_id
        for member in members.values()
        if member.group_instance_id is not None
    }
    group.votes = {}
    group.joined_count = 0
    for member in members.values():
        _count_votes(group, member, 1)
    if group.leader_id not in members and members:
        group.leader_id = next(iter(members))
    group._topics = False
    state = STABLE if members else EMPTY
    if group.state is COMPLETING:
        _enter(group, state, value.current_state_timestamp)
    assert group.state in (EMPTY, STABLE), "no record is written in the middle of a join phase"
    group.state = state
    group.state_timestamp_ms = value.current_state_timestamp


def _member(metadata: MemberMetadata, protocol: str | None, known: Member | None) -> Member:
    protocols: tuple[tuple[str, bytes], ...] = ((protocol or "", metadata.subscription),)
    if known is not None and known.metadata(protocol) == metadata.subscription:
        protocols = known.protocols  # the record holds the elected protocol only
    rebalance_timeout_ms = metadata.rebalance_timeout
    return Member(
        member_id=metadata.member_id,
        group_instance_id=metadata.group_instance_id,
        client_id=metadata.client_id,
        client_host=metadata.client_host,
        rebalance_timeout_ms=metadata.session_timeout if rebalance_timeout_ms == -1 else rebalance_timeout_ms,
        session_timeout_ms=metadata.session_timeout,
        protocols=protocols,
        assignment=metadata.assignment,
    )


_APPLY: Final[dict[type, Any]] = {
    MemberNamed: _named,
    MemberAdded: _added,
    MemberUpdated: _updated,
    MemberReplaced: _replaced,
    MemberRemoved: _removed,
    LeaderElected: _elected,
    RebalanceBegun: _rebalance_begun,
    InitialDelayExtended: _initial_delay_extended,
    GenerationBegun: _generation_begun,
    SyncReceived: _sync_received,
}
