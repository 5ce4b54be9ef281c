"""The assignor `uniform`: everybody has as many partitions as everybody else, and as few as possible change hands.

Where all subscribe to the same topics, sizes differ by one at most, and whoever has most keeps the odd ones: no
assignment that is as balanced moves fewer partitions.

Where subscriptions differ, that may be out of reach. Then an assignment is as balanced as it can be exactly if no
chain of handovers (a gives b a partition, b gives c one, ...) leads from a member to one that has at least two fewer:
the theorem on semi-matchings in bipartite graphs of Harvey, Ladner, Lovász and Tamir (2003). So what was assigned is
kept, the rest goes to whoever has least, and then partitions are handed down such chains until there is none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush, heapreplace

from broker.coordinator.assignors.spec import Assignment, MemberSpec, TopicPartition


def assign_uniform(
    members: Mapping[str, MemberSpec], partition_counts: Mapping[bytes, int]
) -> dict[str, Assignment]:
    """What each member is to have. `partition_counts` has every topic somebody subscribes to."""
    if not members:
        return {}
    kept = {
        member_id: sorted(
            partition for partition in member.assigned if _is_for(partition, member, partition_counts)
        )
        for member_id, member in sorted(members.items())
    }
    topic_ids = {topic_id for member in members.values() for topic_id in member.subscribed}
    taken = {partition for partitions in kept.values() for partition in partitions}
    free = [
        (topic_id, index)
        for topic_id in sorted(topic_ids)
        for index in range(partition_counts[topic_id])
        if (topic_id, index) not in taken
    ]
    if len({member.subscribed for member in members.values()}) == 1:
        assigned = _same_topics(kept, free)
    else:
        assigned = _different_topics(members, kept, free)
    assert sum(map(len, assigned.values())) == sum(partition_counts[topic_id] for topic_id in topic_ids)
    return {member_id: frozenset(partitions) for member_id, partitions in assigned.items()}


def _is_for(partition: TopicPartition, member: MemberSpec, partition_counts: Mapping[bytes, int]) -> bool:
    topic_id, index = partition
    return topic_id in member.subscribed and index < partition_counts[topic_id]


def _same_topics(
    kept: dict[str, list[TopicPartition]], free: list[TopicPartition]
) -> dict[str, list[TopicPartition]]:
    total = len(free) + sum(map(len, kept.values()))
    quota, extra = divmod(total, len(kept))
    unfilled: deque[tuple[str, int]] = deque()
    by_size = sorted(kept, key=lambda member_id: -len(kept[member_id]))
    for position, member_id in enumerate(by_size):
        size = quota + (position < extra)
        free.extend(kept[member_id][size:])
        del kept[member_id][size:]
        if len(kept[member_id]) < size:
            unfilled.append((member_id, size))
    for partition in sorted(free):
        # In turns, so that a topic's partitions spread over the members.
        member_id, size = unfilled.popleft()
        kept[member_id].append(partition)
        if len(kept[member_id]) < size:
            unfilled.append((member_id, size))
    assert not unfilled
    return kept


def _different_topics(
    members: Mapping[str, MemberSpec], kept: dict[str, list[TopicPartition]], free: list[TopicPartition]
) -> dict[str, list[TopicPartition]]:
    readers: dict[bytes, list[str]] = {}
    for member_id in kept:
        for topic_id in members[member_id].subscribed:
            readers.setdefault(topic_id, []).append(member_id)
    by_topic: dict[bytes, list[TopicPartition]] = {}
    for partition in free:
        by_topic.setdefault(partition[0], []).append(partition)
    # The topics fewest read come first: the others even out what they leave uneven.
    for topic_id in sorted(by_topic, key=lambda topic_id: (len(readers[topic_id]), topic_id)):
        least = [(len(kept[member_id]), member_id) for member_id in readers[topic_id]]
        heapify(least)
        for partition in by_topic[topic_id]:
            size, member_id = least[0]
            kept[member_id].append(partition)
            heapreplace(least, (size + 1, member_id))
    held: dict[str, dict[bytes, list[int]]] = {member_id: {} for member_id in kept}
    for member_id, partitions in kept.items():
        for topic_id, index in sorted(partitions):
            held[member_id].setdefault(topic_id, []).append(index)
    _hand_down(held, {member_id: len(partitions) for member_id, partitions in kept.items()}, readers)
    return {member_id: list(_flat(topics)) for member_id, topics in held.items()}


def _flat(topics: dict[bytes, list[int]]) -> Iterable[TopicPartition]:
    return ((topic_id, index) for topic_id, indexes in topics.items() for index in indexes)


def _hand_down(
    held: dict[str, dict[bytes, list[int]]], sizes: dict[str, int], readers: Mapping[bytes, list[str]]
) -> None:
    """Hand partitions down chains until no chain leads from a member to one that has at least two fewer."""
    settled: set[str] = set()
    largest = [(-size, member_id) for member_id, size in sizes.items()]
    heapify(largest)
    while largest:
        size, giver = heappop(largest)
        if giver in settled or -size != sizes[giver]:
            continue  # seen to, or queued again with its present size
        came_by: dict[str, tuple[str, bytes]] = {}
        receiver = _find_receiver(held, sizes, readers, giver, came_by, settled)
        if receiver is None:
            # All it reaches have as many, or one fewer, and reach nobody else: none of them ever gives or takes.
            settled.add(giver)
            settled.update(came_by)
            continue
        for from_id, topic_id, to_id in _way_back(came_by, giver, receiver):
            index = held[from_id][topic_id].pop()
            if not held[from_id][topic_id]:
                del held[from_id][topic_id]
            held[to_id].setdefault(topic_id, []).append(index)
        for member_id, by in ((giver, -1), (receiver, 1)):
            sizes[member_id] += by
            heappush(largest, (-sizes[member_id], member_id))


def _find_receiver(
    held: dict[str, dict[bytes, list[int]]],
    sizes: dict[str, int],
    readers: Mapping[bytes, list[str]],
    giver: str,
    came_by: dict[str, tuple[str, bytes]],
    settled: set[str],
) -> str | None:
    """The nearest member with at least two fewer that a chain leads to; `came_by` says how each was reached."""
    seen_topics: set[bytes] = set()
    queue = deque([giver])
    while queue:
        member_id = queue.popleft()
        for topic_id in held[member_id]:
            if topic_id in seen_topics:
                continue
            seen_topics.add(topic_id)
            for reader in readers[topic_id]:
                if reader == giver or reader in came_by or reader in settled:
                    continue
                came_by[reader] = (member_id, topic_id)
                if sizes[reader] <= sizes[giver] - 2:
                    return reader
                queue.append(reader)
    return None


def _way_back(
    came_by: dict[str, tuple[str, bytes]], giver: str, receiver: str
) -> list[tuple[str, bytes, str]]:
    chain = []
    to_id = receiver
    while to_id != giver:
        from_id, topic_id = came_by[to_id]
        chain.append((from_id, topic_id, to_id))
        to_id = from_id
    return chain[::-1]
