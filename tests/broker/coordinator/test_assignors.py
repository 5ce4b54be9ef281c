"""The assignors: every partition to one reader, as even as subscriptions allow, as little moved as that allows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.coordinator.assignors import ASSIGNORS, preferred
from broker.coordinator.assignors.range import assign_range
from broker.coordinator.assignors.spec import NOTHING, Assignment, MemberSpec, TopicPartition
from broker.coordinator.assignors.uniform import assign_uniform

TOPICS = [bytes([n]) * 16 for n in range(1, 5)]
counts = st.fixed_dictionaries({topic_id: st.integers(0, 20) for topic_id in TOPICS})
names = st.lists(st.text("abcdef", min_size=1, max_size=3), min_size=1, max_size=12, unique=True)
subscriptions = st.lists(st.sets(st.sampled_from(TOPICS)).map(frozenset), min_size=12, max_size=12)


def partitions(topics: dict[bytes, int], *topic_ids: bytes) -> list[TopicPartition]:
    return [(topic_id, index) for topic_id in topic_ids or topics for index in range(topics[topic_id])]


def check_whole(
    assigned: dict[str, Assignment], members: dict[str, MemberSpec], topics: dict[bytes, int]
) -> None:
    """Every partition that somebody reads has one owner, which reads it."""
    assert assigned.keys() == members.keys()
    given_out = [partition for each in assigned.values() for partition in each]
    read = {topic_id for member in members.values() for topic_id in member.subscribed}
    assert sorted(given_out) == sorted(partitions(topics, *read) if read else [])
    for member_id, each in assigned.items():
        assert {topic_id for topic_id, _ in each} <= members[member_id].subscribed


def after(
    members: dict[str, MemberSpec], assigned: dict[str, Assignment], subscribed: frozenset[bytes]
) -> dict[str, MemberSpec]:
    return {member_id: MemberSpec(subscribed, assigned.get(member_id, NOTHING)) for member_id in members}


@given(topics=counts, first=names, second=names)
def test_uniform_with_one_subscription_is_even_and_moves_as_little_as_that_allows(
    topics: dict[bytes, int], first: list[str], second: list[str]
) -> None:
    everything = frozenset(TOPICS)
    before = assign_uniform(dict.fromkeys(first, MemberSpec(everything)), topics)
    members = {name: MemberSpec(everything, before.get(name, NOTHING)) for name in second}
    assigned = assign_uniform(members, topics)
    check_whole(assigned, members, topics)
    sizes = [len(each) for each in assigned.values()]
    assert max(sizes) - min(sizes) <= 1
    kept = sum(len(assigned[name] & members[name].assigned) for name in second)
    quota, extra = divmod(sum(topics.values()), len(second))
    had = [len(member.assigned) for member in members.values()]
    most = sum(min(size, quota) for size in had) + min(extra, sum(size > quota for size in had))
    assert kept == most, "no assignment as even keeps more"
    assert assign_uniform(after(members, assigned, everything), topics) == assigned


@given(topics=counts, names=names, old=subscriptions, new=subscriptions)
def test_uniform_with_different_subscriptions_is_as_even_as_can_be(
    topics: dict[bytes, int],
    names: list[str],
    old: list[frozenset[bytes]],
    new: list[frozenset[bytes]],
) -> None:
    before = assign_uniform({name: MemberSpec(topics_) for name, topics_ in zip(names, old)}, topics)
    members = {name: MemberSpec(topics_, before[name]) for name, topics_ in zip(names, new)}
    assigned = assign_uniform(members, topics)
    check_whole(assigned, members, topics)
    again = {name: MemberSpec(members[name].subscribed, assigned[name]) for name in names}
    assert assign_uniform(again, topics) == assigned, "what is even stays where it is"
    assert sorted(map(len, assigned.values())) == most_even(members, topics)


def most_even(members: dict[str, MemberSpec], topics: dict[bytes, int]) -> list[int]:
    """The sizes of a most even assignment, by another way: one partition after the other, each by augmenting paths.

    Every optimal semi-matching has the same sizes, whatever way it is found.
    """
    sizes = dict.fromkeys(members, 0)
    owner: dict[TopicPartition, str] = {}
    for partition in partitions(topics):
        readers = [name for name in members if partition[0] in members[name].subscribed]
        if not readers:
            continue
        # The least loaded member that any chain of swaps reaches from here.
        via: dict[str, tuple[TopicPartition, str | None]] = dict.fromkeys(readers, (partition, None))
        queue = list(readers)
        for name in queue:
            for held in [held for held, who in owner.items() if who == name]:
                for other in members:
                    if held[0] in members[other].subscribed and other not in via:
                        via[other] = (held, name)
                        queue.append(other)
        name = min(via, key=lambda candidate: sizes[candidate])
        sizes[name] += 1
        taker: str | None = name
        while taker is not None:
            moved, giver = via[taker]
            owner[moved] = taker
            taker = giver
    return sorted(sizes.values())


@given(topics=counts, names=names, new=subscriptions)
def test_range_divides_every_topic_into_runs(
    topics: dict[bytes, int], names: list[str], new: list[frozenset[bytes]]
) -> None:
    members = {name: MemberSpec(topics_) for name, topics_ in zip(names, new)}
    assigned = assign_range(members, topics)
    check_whole(assigned, members, topics)
    for topic_id in TOPICS:
        runs = sorted(sorted(index for id_, index in each if id_ == topic_id) for each in assigned.values())
        readers = [name for name in names if topic_id in members[name].subscribed]
        sizes = [len([1 for id_, _ in assigned[name] if id_ == topic_id]) for name in readers]
        assert not sizes or max(sizes) - min(sizes) <= 1
        assert all(run == list(range(run[0], run[0] + len(run))) for run in runs if run)


@given(count=st.integers(0, 20), first=names, second=names)
def test_range_divides_topics_alike_whenever_they_were_subscribed_to(
    count: int, first: list[str], second: list[str]
) -> None:
    topics = dict.fromkeys(TOPICS, count)
    one = frozenset(TOPICS[:1])
    before = assign_range(dict.fromkeys(first, MemberSpec(one)), topics)
    members = {name: MemberSpec(frozenset(TOPICS[:3]), before.get(name, NOTHING)) for name in second}
    for each in assign_range(members, topics).values():
        by_topic = [sorted(index for id_, index in each if id_ == topic_id) for topic_id in TOPICS[:3]]
        assert by_topic[0] == by_topic[1] == by_topic[2]


def test_a_newcomer_to_range_moves_borders_only() -> None:
    topics = {TOPICS[0]: 12}
    one = frozenset(TOPICS[:1])
    before = assign_range(dict.fromkeys(["m", "z"], MemberSpec(one)), topics)
    members = {"a": MemberSpec(one), **{name: MemberSpec(one, before[name]) for name in before}}
    assigned = assign_range(members, topics)
    assert {name: min(index for _, index in each) for name, each in assigned.items()} == {
        "m": 0,
        "z": 4,
        "a": 8,
    }


@given(names=names, topics=counts, new=subscriptions, seed=st.randoms(use_true_random=False))
def test_the_order_of_members_does_not_matter(
    names: list[str], topics: dict[bytes, int], new: list[frozenset[bytes]], seed: object
) -> None:
    members = [(name, MemberSpec(topics_)) for name, topics_ in zip(names, new)]
    shuffled = list(members)
    seed.shuffle(shuffled)  # type: ignore[attr-defined]
    for assign in ASSIGNORS.values():
        assert assign(dict(members), topics) == assign(dict(shuffled), topics)


def test_nobody_is_assigned_nothing() -> None:
    for assign in ASSIGNORS.values():
        assert assign({}, {}) == {}
        assert assign({"a": MemberSpec(frozenset())}, {}) == {"a": NOTHING}


def test_most_votes_win() -> None:
    assert preferred([], "uniform") == "uniform"
    assert preferred([None, None], "uniform") == "uniform"
    assert preferred(["range", None], "uniform") == "range"
    assert preferred(["uniform", "range", "range"], "uniform") == "range"
    assert preferred(["uniform", "range"], "uniform") == "range"
