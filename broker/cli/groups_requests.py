"""What the commands ask brokers about groups, as plain functions over `Client`: classic, consumer (KIP-848) and
groups of which there are offsets only look the same to the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from broker.cli.client import Address, BrokerError, Client, Connection, TopicPartition, check
from broker.cli.errors import CommandFailed
from protocol.api import ApiKey
from protocol.errors import ErrorCode, Malformed

if TYPE_CHECKING:
    from protocol.messages import consumer_group_describe, describe_groups

Value = TypeVar("Value")
Assignment = dict[str, list[int]]  # topic -> partitions

CLASSIC: Final = "Classic"
CONSUMER: Final = "Consumer"
EMPTY: Final = "Empty"
DEAD: Final = "Dead"  # how brokers that cannot say "not found" describe a group that does not exist

_CONSUMER_PROTOCOL_TYPE: Final = "consumer"
_GROUP_KEY_TYPE: Final = 0
TRANSACTION: Final = 1
# Later versions name topics by their ids, which a deleted topic no longer has (KIP-848).
_LAST_VERSION_WITH_NAMES: Final = 9
_VERSION_SIZE: Final = 2  # the int16 before an assignment
_MEMBER_TYPES: Final = {0: CLASSIC, 1: CONSUMER}
_MOVING: Final = (
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode.COORDINATOR_NOT_AVAILABLE,
    ErrorCode.NOT_COORDINATOR,
)


@dataclass(slots=True)
class ListedGroup:
    """One line of ListGroups. State and type are None where the broker does not say."""

    group_id: str
    group_type: str | None
    protocol_type: str
    state: str | None


@dataclass(slots=True)
class Member:
    """A member of a group. Epochs and the target are of consumer groups only."""

    member_id: str
    instance_id: str | None
    client_id: str
    host: str
    assignment: Assignment
    target: Assignment | None = None
    epoch: int | None = None
    member_type: str | None = None

    @property
    def partition_count(self) -> int:
        """How many partitions it has."""
        return sum(map(len, self.assignment.values()))


@dataclass(slots=True)
class Group:
    """A group as its coordinator describes it."""

    group_id: str
    group_type: str
    state: str
    protocol_type: str
    assignor: str
    coordinator: str
    epoch: int | None = None
    target_epoch: int | None = None
    members: list[Member] = field(default_factory=list)

    @property
    def is_inactive(self) -> bool:
        """Whether nobody is in it, so that its offsets may be changed from outside."""
        return self.state in (EMPTY, DEAD)


def at_coordinator(
    client: Client, group_id: str, ask: Callable[[Connection], Value], key_type: int = _GROUP_KEY_TYPE
) -> Value:
    """Return `ask(connection to the group's coordinator)`, looking again while the coordinator moves or loads.

    With the key type TRANSACTION it is the coordinator of a transactional id.
    """
    return client.retrying(
        lambda: ask(client.connect(_find_coordinator(client, group_id, key_type))), _MOVING
    )


def _find_coordinator(client: Client, group_id: str, key_type: int) -> Address:
    from protocol.messages.find_coordinator import FindCoordinatorRequest

    connection = client.any_broker()
    version = connection.version(ApiKey.FIND_COORDINATOR)
    request = FindCoordinatorRequest()
    if version >= 4:
        request.coordinator_keys = [group_id]
    else:
        request.key = group_id
    if version >= 1:
        request.key_type = key_type
    response = connection.request(ApiKey.FIND_COORDINATOR, request, version)
    found = response.coordinators[0] if version >= 4 else response
    kind = "group" if key_type == _GROUP_KEY_TYPE else "transactional id"
    check(found.error_code, f"Coordinator of {kind} {group_id}", found.error_message)
    return found.host, found.port


def list_groups(client: Client, states: Sequence[str] = (), types: Sequence[str] = ()) -> list[ListedGroup]:
    """Return the groups of all brokers by name; only those of `states` and `types` if there are any."""
    client.refresh_metadata([])
    found: dict[str, ListedGroup] = {}
    for node_id in sorted(client.brokers):

        def ask(node_id: int = node_id) -> list[ListedGroup]:
            return _groups_of(client.broker(node_id), states, types)

        found.update((group.group_id, group) for group in client.retrying(ask, _MOVING))
    return [found[group_id] for group_id in sorted(found)]


def _groups_of(connection: Connection, states: Sequence[str], types: Sequence[str]) -> list[ListedGroup]:
    from protocol.messages.list_groups import ListGroupsRequest

    version = connection.version(ApiKey.LIST_GROUPS)
    for wanted, option, since in ((states, "--state", 4), (types, "--type", 5)):
        if wanted and version < since:
            raise CommandFailed(
                f"The broker at {connection.name} is too old to select groups by {option}.",
                "List all of them instead.",
            )
    request = ListGroupsRequest(states_filter=list(states), types_filter=list(types))
    response = connection.request(ApiKey.LIST_GROUPS, request, version)
    check(response.error_code, f"Groups of {connection.name}")
    # Types are "classic" in a response and "Classic" wherever Kafka shows them.
    return [
        ListedGroup(
            entry.group_id,
            (entry.group_type.capitalize() or None) if version >= 5 else None,
            entry.protocol_type,
            (entry.group_state or None) if version >= 4 else None,
        )
        for entry in response.groups
    ]


def describe_group(client: Client, group_id: str) -> Group | None:
    """Return the group, or None if there is none of that name. Raises BrokerError."""
    return at_coordinator(client, group_id, lambda connection: _describe(connection, group_id))


def _describe(connection: Connection, group_id: str) -> Group | None:
    # A broker tells by GROUP_ID_NOT_FOUND that the group is not of the new protocol; the old request finds it then.
    if connection.supports(ApiKey.CONSUMER_GROUP_DESCRIBE):
        group = _describe_consumer_group(connection, group_id)
        if group is not None:
            return group
    return _describe_classic_group(connection, group_id)


def _describe_consumer_group(connection: Connection, group_id: str) -> Group | None:
    from protocol.messages.consumer_group_describe import ConsumerGroupDescribeRequest

    request = ConsumerGroupDescribeRequest(group_ids=[group_id])
    found = connection.request(ApiKey.CONSUMER_GROUP_DESCRIBE, request).groups[0]
    if found.error_code in (ErrorCode.GROUP_ID_NOT_FOUND, ErrorCode.UNSUPPORTED_VERSION):
        return None
    check(found.error_code, f"Group {group_id}", found.error_message)
    return Group(
        group_id,
        CONSUMER,
        found.group_state,
        _CONSUMER_PROTOCOL_TYPE,
        found.assignor_name,
        connection.name,
        found.group_epoch,
        found.assignment_epoch,
        [_consumer_member(member) for member in found.members],
    )


def _consumer_member(member: consumer_group_describe.Member) -> Member:
    return Member(
        member.member_id,
        member.instance_id,
        member.client_id,
        member.client_host,
        _named(member.assignment),
        _named(member.target_assignment),
        member.member_epoch,
        _MEMBER_TYPES.get(member.member_type),
    )


def _named(assignment: consumer_group_describe.Assignment) -> Assignment:
    return {topic.topic_name: sorted(topic.partitions) for topic in assignment.topic_partitions}


def _describe_classic_group(connection: Connection, group_id: str) -> Group | None:
    from protocol.messages.describe_groups import DescribeGroupsRequest

    found = connection.request(ApiKey.DESCRIBE_GROUPS, DescribeGroupsRequest(groups=[group_id])).groups[0]
    if found.error_code == ErrorCode.GROUP_ID_NOT_FOUND:
        return None
    check(found.error_code, f"Group {group_id}", found.error_message)
    if found.group_state == DEAD and not found.members:
        return None
    members = [_classic_member(member, found.protocol_type) for member in found.members]
    return Group(
        group_id,
        CLASSIC,
        found.group_state,
        found.protocol_type,
        found.protocol_data,
        connection.name,
        members=members,
    )


def _classic_member(member: describe_groups.DescribedGroupMember, protocol_type: str) -> Member:
    assignment: Assignment = {}
    if (
        protocol_type == _CONSUMER_PROTOCOL_TYPE
    ):  # others, Connect's workers for one, have formats of their own
        assignment = decode_assignment(bytes(member.member_assignment))
    return Member(
        member.member_id, member.group_instance_id, member.client_id, member.client_host, assignment
    )


def decode_assignment(data: bytes) -> Assignment:
    """The bytes a leader hands out -> {topic: partitions}. Empty where they are not a consumer's."""
    from protocol.compiler import decoder
    from protocol.messages.internal.consumer_protocol import ConsumerProtocolAssignment

    if len(data) <= _VERSION_SIZE:
        return {}
    try:
        # Every version begins as version 0 does, and a reader ignores what is newer.
        assignment, _ = decoder(ConsumerProtocolAssignment, 0)(memoryview(data), _VERSION_SIZE)
    except Malformed:
        return {}
    return {topic.topic: sorted(topic.partitions) for topic in assignment.assigned_partitions}


def committed_offsets(client: Client, group_id: str) -> dict[TopicPartition, int]:
    """Return all offsets that a group has committed. Raises BrokerError."""
    return at_coordinator(client, group_id, lambda connection: _fetch_offsets(client, connection, group_id))


def _fetch_offsets(client: Client, connection: Connection, group_id: str) -> dict[TopicPartition, int]:
    from protocol.messages.offset_fetch import (
        OffsetFetchRequest,
        OffsetFetchRequestGroup,
        OffsetFetchRequestTopic,
    )

    version = min(connection.version(ApiKey.OFFSET_FETCH), _LAST_VERSION_WITH_NAMES)
    request = OffsetFetchRequest(group_id=group_id, topics=None)
    if version >= 8:
        request = OffsetFetchRequest(groups=[OffsetFetchRequestGroup(group_id=group_id, topics=None)])
    elif version < 2:  # before KIP-88 one had to know what to ask for
        request.topics = [
            OffsetFetchRequestTopic(
                name=topic.name or "",
                partition_indexes=[partition.partition_index for partition in topic.partitions],
            )
            for topic in client.refresh_metadata(None).topics
        ]
    response = connection.request(ApiKey.OFFSET_FETCH, request, version)
    found = response.groups[0] if version >= 8 else response
    what = f"Offsets of group {group_id}"
    check(found.error_code, what)
    offsets: dict[TopicPartition, int] = {}
    for topic in found.topics:
        for partition in topic.partitions:
            check(partition.error_code, f"{what} in {topic.name}-{partition.partition_index}")
            if partition.committed_offset >= 0:
                offsets[topic.name, partition.partition_index] = partition.committed_offset
    return offsets


def commit_offsets(client: Client, group_id: str, offsets: Mapping[TopicPartition, int]) -> None:
    """Commit for a group in which nobody is. Raises BrokerError, naming the first partition that was refused."""
    from protocol.messages.offset_commit import (
        OffsetCommitRequest,
        OffsetCommitRequestPartition,
        OffsetCommitRequestTopic,
    )

    request = OffsetCommitRequest(
        group_id=group_id,
        topics=[
            OffsetCommitRequestTopic(
                name=topic,
                partitions=[
                    OffsetCommitRequestPartition(
                        partition_index=index, committed_offset=offsets[topic, index]
                    )
                    for index in indexes
                ],
            )
            for topic, indexes in by_topic(offsets).items()
        ],
    )

    def ask(connection: Connection) -> None:
        version = min(connection.version(ApiKey.OFFSET_COMMIT), _LAST_VERSION_WITH_NAMES)
        for topic in connection.request(ApiKey.OFFSET_COMMIT, request, version).topics:
            for partition in topic.partitions:
                what = f"Cannot reset {topic.name}-{partition.partition_index} of group {group_id}"
                check(partition.error_code, what)

    at_coordinator(client, group_id, ask)


def delete_group(client: Client, group_id: str) -> None:
    """Delete a group and its offsets. Raises BrokerError."""
    from protocol.messages.delete_groups import DeleteGroupsRequest

    def ask(connection: Connection) -> None:
        request = DeleteGroupsRequest(groups_names=[group_id])
        for result in connection.request(ApiKey.DELETE_GROUPS, request).results:
            hint = ""
            if result.error_code == ErrorCode.NON_EMPTY_GROUP:
                hint = f"Stop its members first. See who they are with: floe groups describe {group_id} --members"
            check(result.error_code, f"Cannot delete group {group_id}", hint=hint)

    at_coordinator(client, group_id, ask)


def is_missing_group(error: BrokerError) -> bool:
    """Whether the error says that the group does not exist."""
    return error.code == ErrorCode.GROUP_ID_NOT_FOUND


def by_topic(partitions: Iterable[TopicPartition]) -> Assignment:
    """[(topic, partition)] -> {topic: sorted partitions}, topics sorted."""
    grouped: Assignment = {}
    for topic, index in sorted(partitions):
        grouped.setdefault(topic, []).append(index)
    return grouped


def existing_partitions(client: Client, partitions: Iterable[TopicPartition]) -> Assignment:
    """Return those of `partitions` that exist and have a leader, by topic: only they can be asked for offsets."""
    wanted = by_topic(partitions)
    found: Assignment = {}
    for topic in client.refresh_metadata(wanted).topics if wanted else ():
        led = {p.partition_index for p in topic.partitions if topic.error_code == 0 and p.leader_id >= 0}
        indexes = [index for index in wanted.get(topic.name or "", ()) if index in led]
        if indexes:
            found[topic.name or ""] = indexes
    return found


def offsets_at(client: Client, partitions: Assignment, timestamp: int) -> dict[TopicPartition, int]:
    """Return the offset of each partition at `timestamp` (ms, or admin.LATEST or EARLIEST); -1 if there is none."""
    from broker.cli import admin

    found: dict[TopicPartition, int] = {}
    for topic, indexes in partitions.items():
        offsets: dict[int, Any] = admin.list_offsets(client, topic, indexes, timestamp)
        found.update(((topic, index), offset) for index, offset in offsets.items())
    return found
