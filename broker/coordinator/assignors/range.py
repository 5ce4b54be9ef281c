"""The assignor `range`: of every topic each member gets a run of neighbouring partitions.

What one chooses it for is that topics with the same number of partitions and the same readers are divided alike, so
that a consumer that joins two streams by key has both sides of a key. That needs one order of the members for all
topics; ranges that stick to where they were, topic by topic, would break it as soon as the topics' histories differ.
So there is one order for the group: by the first partition a member has, and those who have nothing come last. A
newcomer then moves only borders, and nobody changes places.
"""

from __future__ import annotations

from collections.abc import Mapping

from broker.coordinator.assignors.spec import Assignment, MemberSpec, TopicPartition


def assign_range(
    members: Mapping[str, MemberSpec], partition_counts: Mapping[bytes, int]
) -> dict[str, Assignment]:
    """What each member is to have. `partition_counts` has every topic somebody subscribes to."""
    order = sorted(members, key=lambda member_id: (_first_partition(members[member_id]), member_id))
    assigned: dict[str, set[TopicPartition]] = {member_id: set() for member_id in order}
    for topic_id, reader_ids in _readers(members, order).items():
        count = partition_counts[topic_id]
        quota, extra = divmod(count, len(reader_ids))
        start = 0
        for position, member_id in enumerate(reader_ids):
            if start == count:
                break  # of a topic with fewer partitions than readers the others get nothing
            end = start + quota + (position < extra)
            assigned[member_id].update((topic_id, index) for index in range(start, end))
            start = end
        assert start == count
    return {member_id: frozenset(partitions) for member_id, partitions in assigned.items()}


def _readers(members: Mapping[str, MemberSpec], order: list[str]) -> dict[bytes, list[str]]:
    """The members that read each topic, in order."""
    subscriptions = {member.subscribed for member in members.values()}
    if len(subscriptions) == 1:
        return dict.fromkeys(subscriptions.pop(), order)
    readers: dict[bytes, list[str]] = {}
    for member_id in order:
        for topic_id in members[member_id].subscribed:
            readers.setdefault(topic_id, []).append(member_id)
    return readers


def _first_partition(member: MemberSpec) -> float:
    return min((index for _, index in member.assigned), default=float("inf"))
