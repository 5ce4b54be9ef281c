"""Committed offsets: what a group has stored for a partition, when it may be forgotten, and who may change it.

Offsets of a group that has members belong to the members: a commit names a member and its generation. A group that
never had any ("simple": it only commits) and an empty one take commits from anybody who names neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from broker.coordinator.classic_group import COMPLETING, EMPTY, PREPARING, STABLE, ClassicGroup
from broker.coordinator.classic_members import generation_refusal
from broker.coordinator.consumer_draft import group_tombstones
from broker.coordinator.consumer_group import ConsumerGroup
from broker.coordinator.consumer_offsets import consumer_commit_refusal
from broker.coordinator.outcome import Outcome, Record, Reply, TimerChange, TimerKey, TimerKind
from broker.coordinator.transactional_offsets import PendingOffsets, Producer
from protocol.errors import ErrorCode
from protocol.messages.internal.offset_records import GroupMetadataKey, OffsetCommitKey, OffsetCommitValue
from protocol.schema import ZERO_UUID

NO_EXPIRY: Final = -1
MAX_TIMESTAMP_MS: Final = 2**63 - 1
MAX_METADATA_BYTES: Final = 32767
"""What the record has room for, whatever offset.metadata.max.bytes (which counts characters, as in Kafka) says."""

GROUP_ID_NOT_FOUND_VERSION: Final = 9
"""From OffsetCommit v9 on, a member of a group that is gone is told so; before, that its generation is over."""


class Committed(NamedTuple):
    """What a group has stored for one partition."""

    offset: int
    leader_epoch: int
    metadata: str
    commit_timestamp_ms: int
    expire_timestamp_ms: int = NO_EXPIRY
    """When it may go, if the client chose (OffsetCommit v2 to v4)."""


class CommitOffset(NamedTuple):
    """One partition of an OffsetCommit request."""

    topic: str
    partition: int
    offset: int
    leader_epoch: int = -1
    metadata: str = ""
    commit_timestamp_ms: int = -1
    """-1 is now; only v1 of the request can say something else."""
    topic_id: bytes = ZERO_UUID


class Commit(NamedTuple):
    """An OffsetCommit request. `retention_ms` is -1 where the broker's own applies."""

    group_id: str
    generation_id: int
    member_id: str
    group_instance_id: str | None
    offsets: Sequence[CommitOffset]
    retention_ms: int = -1
    version: int = GROUP_ID_NOT_FOUND_VERSION
    producer: Producer | None = None
    """Whose transaction it is part of (TxnOffsetCommit)."""


class Offsets:
    """The committed offsets of all groups: group id → topic → partition. Changed by `apply` only."""

    def __init__(self) -> None:
        self.by_group: dict[str, dict[str, dict[int, Committed]]] = {}
        self.pending = PendingOffsets()

    def __contains__(self, group_id: str) -> bool:
        """Whether a group has stored an offset, or is about to."""
        return group_id in self.by_group or self.pending.has_group(group_id)

    def groups(self) -> Iterator[str]:
        """Every group that has stored an offset, or is about to."""
        yield from self.by_group
        yield from (group_id for group_id in self.pending.groups() if group_id not in self.by_group)

    def get(self, group_id: str, topic: str, partition: int) -> Committed | None:
        topics = self.by_group.get(group_id)
        return topics.get(topic, {}).get(partition) if topics is not None else None

    def all_of(self, group_id: str) -> Iterator[tuple[str, int, Committed]]:
        """(topic, partition, committed) of a group."""
        for topic, partitions in self.by_group.get(group_id, {}).items():
            for partition, committed in partitions.items():
                yield topic, partition, committed

    def groups_with(self, topic: str) -> list[str]:
        """The groups that have stored an offset for a topic, or are about to."""
        found = {group_id: None for group_id, topics in self.by_group.items() if topic in topics}
        found.update((group_id, None) for _, _, (group_id, name, _), _ in self.pending if name == topic)
        return list(found)

    def partitions_of(self, group_id: str) -> list[tuple[str, int]]:
        """Topics and partitions a group has stored an offset for, or is about to."""
        stored = [(topic, partition) for topic, partition, _ in self.all_of(group_id)]
        return list(dict.fromkeys((*stored, *sorted(self.pending.of_group(group_id)))))

    def topics(self) -> set[str]:
        """Every topic anybody has stored an offset for."""
        return {topic for topics in self.by_group.values() for topic in topics}

    def apply(self, key: OffsetCommitKey, value: OffsetCommitValue | None) -> None:
        group_id, topic, partition = key.group, key.topic, key.partition
        if self.pending:
            self.pending.superseded(key)
        if value is not None:
            topics = self.by_group.get(group_id)
            if topics is None:
                topics = self.by_group[group_id] = {}
            partitions = topics.get(topic)
            if partitions is None:
                partitions = topics[topic] = {}
            partitions[partition] = Committed(
                value.offset,
                value.leader_epoch,
                value.metadata,
                value.commit_timestamp,
                value.expire_timestamp,
            )
            return
        topics = self.by_group.get(group_id)
        if topics is None or partition not in topics.get(topic, {}):
            return
        del topics[topic][partition]
        if not topics[topic]:
            del topics[topic]
        if not topics:
            del self.by_group[group_id]


# --- OffsetCommit -----------------------------------------------------------------------------------------------


def commit_refusal(group: ClassicGroup | ConsumerGroup | None, commit: Commit) -> ErrorCode:
    """Why a commit is not let in; NONE if it is."""
    if commit.producer is not None:
        return _transactional_refusal(group, commit)
    if isinstance(group, ConsumerGroup):
        return consumer_commit_refusal(group, commit)
    if group is None:
        if commit.generation_id < 0:
            return ErrorCode.NONE
        is_new = commit.version >= GROUP_ID_NOT_FOUND_VERSION
        return ErrorCode.GROUP_ID_NOT_FOUND if is_new else ErrorCode.ILLEGAL_GENERATION
    if commit.generation_id < 0 and group.state is EMPTY:
        return ErrorCode.NONE
    if commit.generation_id < 0 and not commit.member_id and commit.group_instance_id is None:
        return ErrorCode.UNKNOWN_MEMBER_ID
    refusal = generation_refusal(group, commit.member_id, commit.group_instance_id, commit.generation_id)
    if not refusal and group.state is COMPLETING:
        # It has joined this generation, so it cannot have read anything in it yet.
        return ErrorCode.REBALANCE_IN_PROGRESS
    return refusal


def _transactional_refusal(group: ClassicGroup | ConsumerGroup | None, commit: Commit) -> ErrorCode:
    """As `commit_refusal`: whoever names no member is not held to be one, as older producers know of none (KIP-447)."""
    names_member = commit.generation_id >= 0 or bool(commit.member_id) or commit.group_instance_id is not None
    if not names_member:
        return ErrorCode.NONE
    if group is None:
        return ErrorCode.NONE if commit.generation_id < 0 else ErrorCode.ILLEGAL_GENERATION
    if commit.generation_id < 0 and group.is_empty:
        return ErrorCode.NONE
    if isinstance(group, ClassicGroup):
        return generation_refusal(group, commit.member_id, commit.group_instance_id, commit.generation_id)
    refusal = consumer_commit_refusal(group, commit)
    return ErrorCode.ILLEGAL_GENERATION if refusal is ErrorCode.STALE_MEMBER_EPOCH else refusal


def decide_commit(
    group: ClassicGroup | ConsumerGroup | None,
    commit: Commit,
    token: int,
    max_metadata_length: int,
    now_ms: int,
) -> Outcome:
    """What an OffsetCommit comes to. The answer is an error code for each of its offsets, in order."""
    refusal = commit_refusal(group, commit)
    if refusal:
        codes = [refusal] * len(commit.offsets)
        return Outcome(commit.group_id, replies=[Reply(token, codes)])
    expire_timestamp = (
        NO_EXPIRY if commit.retention_ms < 0 else min(now_ms + commit.retention_ms, MAX_TIMESTAMP_MS)
    )
    codes, events = [], []
    for topic, partition, offset, leader_epoch, metadata, timestamp_ms, _ in commit.offsets:
        if metadata and (len(metadata) > max_metadata_length or len(metadata.encode()) > MAX_METADATA_BYTES):
            codes.append(ErrorCode.OFFSET_METADATA_TOO_LARGE)
            continue
        codes.append(ErrorCode.NONE)
        value = OffsetCommitValue(
            offset=offset,
            # The one version that has an expiry has no leader epoch.
            leader_epoch=leader_epoch if expire_timestamp == NO_EXPIRY else -1,
            metadata=metadata,
            commit_timestamp=now_ms if timestamp_ms == -1 else timestamp_ms,
            expire_timestamp=expire_timestamp,
        )
        stored = OffsetCommitKey(group=commit.group_id, topic=topic, partition=partition)
        events.append(Record(stored, value))
    timers: list[TimerChange] = []
    if isinstance(group, ClassicGroup) and group.state in (STABLE, PREPARING):
        member = group.members.get(commit.member_id)
        if member is not None:  # a commit is a sign of life
            key = TimerKey(TimerKind.SESSION, commit.group_id, commit.member_id)
            timers.append(TimerChange(key, now_ms + member.session_timeout_ms))
    return Outcome(commit.group_id, events, [Reply(token, codes)], timers, commit.producer)


# --- deletion and expiry ----------------------------------------------------------------------------------------


def tombstone(group_id: str, topic: str, partition: int) -> Record:
    return Record(OffsetCommitKey(group=group_id, topic=topic, partition=partition), None)


def decide_offset_delete(
    group: ClassicGroup | ConsumerGroup | None,
    offsets: Offsets,
    token: int,
    group_id: str,
    partitions: Sequence[tuple[str, int]],
) -> Outcome:
    """What an OffsetDelete comes to: (error for all, error for each), KIP-496."""
    code = ErrorCode.NONE
    if group is None:
        code = ErrorCode.GROUP_ID_NOT_FOUND
    elif not group.is_empty and not group.uses_consumer_protocol:
        code = ErrorCode.NON_EMPTY_GROUP
    if code or group is None:
        return Outcome(group_id, replies=[Reply(token, (code, []))])
    codes, events = [], []
    for topic, partition in partitions:
        if group.is_subscribed_to(topic):
            codes.append(ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC)
            continue
        codes.append(ErrorCode.NONE)
        is_pending = offsets.pending.is_pending(group_id, topic, partition)
        if is_pending or offsets.get(group_id, topic, partition) is not None:
            events.append(tombstone(group_id, topic, partition))
    return Outcome(group_id, events, [Reply(token, (code, codes))])


def decide_group_delete(
    group: ClassicGroup | ConsumerGroup | None, offsets: Offsets, token: int, group_id: str
) -> Outcome:
    """What DeleteGroups comes to for one group: an error code."""
    if group is None:
        return Outcome(group_id, replies=[Reply(token, ErrorCode.GROUP_ID_NOT_FOUND)])
    if not group.is_empty:
        return Outcome(group_id, replies=[Reply(token, ErrorCode.NON_EMPTY_GROUP)])
    events = [tombstone(group_id, topic, partition) for topic, partition in offsets.partitions_of(group_id)]
    if isinstance(group, ConsumerGroup):
        events.extend(group_tombstones(group))
        return Outcome(group_id, events, [Reply(token, ErrorCode.NONE)])
    events.append(Record(GroupMetadataKey(group=group_id), None))
    timers = [
        TimerChange(TimerKey(TimerKind.SESSION, group_id, member_id), -1) for member_id in group.named_members
    ]
    return Outcome(group_id, events, [Reply(token, ErrorCode.NONE)], timers)


def decide_expiry(
    group: ClassicGroup | ConsumerGroup, offsets: Offsets, retention_ms: int, now_ms: int
) -> Outcome:
    """Forget what has not been used for the retention time, and an empty group with nothing left (KIP-211).

    A simple group's offsets age from their commit. A consumer group's age from the moment the group became empty, or,
    while it has members, from their commit where nobody subscribes to the topic any more. Others' never age while
    there are members: what they read cannot be known.
    """
    base_ms = None
    if isinstance(group, ConsumerGroup):
        base_ms = group.emptied_ms
    elif group.protocol_type is not None and group.state is EMPTY:
        base_ms = group.state_timestamp_ms if group.state_timestamp_ms >= 0 else None
    elif group.protocol_type is not None:
        can_know = group.state is STABLE and group.uses_consumer_protocol
        if not can_know or group.subscribed_topics() is None:
            return Outcome(group.group_id)
    events, keeps_some = [], False
    for topic, partition, committed in offsets.all_of(group.group_id):
        if offsets.pending.is_pending(group.group_id, topic, partition):
            keeps_some = True
        elif not group.is_subscribed_to(topic) and _is_expired(committed, base_ms, retention_ms, now_ms):
            events.append(tombstone(group.group_id, topic, partition))
        else:
            keeps_some = True
    if keeps_some or not group.is_empty or offsets.pending.has_group(group.group_id):
        return Outcome(group.group_id, events)
    if isinstance(group, ConsumerGroup):
        events.extend(group_tombstones(group))
    elif not group.named_members:
        events.append(Record(GroupMetadataKey(group=group.group_id), None))
    return Outcome(group.group_id, events)


def _is_expired(committed: Committed, base_ms: int | None, retention_ms: int, now_ms: int) -> bool:
    if committed.expire_timestamp_ms != NO_EXPIRY:
        return now_ms >= committed.expire_timestamp_ms
    start_ms = committed.commit_timestamp_ms if base_ms is None else base_ms
    return now_ms - start_ms >= retention_ms


def decide_topic_deleted(offsets: Offsets, group_id: str, topic: str) -> Outcome:
    """The topic is gone, and with it what the group had stored for it: a new topic of that name starts afresh."""
    partitions = [partition for name, partition in offsets.partitions_of(group_id) if name == topic]
    return Outcome(group_id, [tombstone(group_id, topic, partition) for partition in partitions])
