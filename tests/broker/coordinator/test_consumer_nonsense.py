"""Heartbeats without sense: whatever ids, epochs and partitions they name, the group stays a group."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.coordinator.classic_join import Join
from broker.coordinator.classic_members import Heartbeat, Leave, Sync
from broker.coordinator.consumer_group import ConsumerGroup
from broker.coordinator.consumer_members import ConsumerHeartbeat
from broker.coordinator.outcome import NOBODY
from protocol.messages.leave_group import MemberIdentity
from tests.broker.coordinator.consumer_harness import GROUP, Coordinated
from tests.broker.coordinator.test_consumer_migration import assignment, subscription
from tests.broker.coordinator.test_consumer_replay import check_owners

ids = st.sampled_from(["a", "b", "c", ""])
instances = st.sampled_from([None, None, "i", "j", ""])
epochs = st.sampled_from([0, 0, 0, 1, 2, 3, 5, -1, -2, -3, 2**31 - 1])
partitions = st.frozensets(
    st.tuples(st.sampled_from([(1).to_bytes(16, "big"), (9).to_bytes(16, "big")]), st.integers(-1, 4))
)
topics = st.none() | st.frozensets(st.sampled_from(["topic", "other", "missing"]))

heartbeats = st.builds(
    ConsumerHeartbeat,
    token=st.just(NOBODY),
    group_id=st.just(GROUP),
    member_id=ids,
    member_epoch=epochs,
    instance_id=instances,
    rebalance_timeout_ms=st.sampled_from([-1, -5, 0, 5000, 2**31 - 1]),
    topic_names=topics,
    topic_regex=st.sampled_from([None, None, None, "", "t.*", "[", ".*"]),
    assignor=st.sampled_from([None, "uniform", "range", "no"]),
    owned=st.none() | st.just(frozenset()) | partitions,
    needs_member_id=st.booleans(),
)
classic_ids = st.sampled_from(["", "a", "b", "x"])
joins = st.builds(
    Join,
    token=st.just(NOBODY),
    group_id=st.just(GROUP),
    member_id=classic_ids,
    group_instance_id=st.sampled_from([None, None, "i", "j"]),
    client_id=st.just("c"),
    client_host=st.just("/h"),
    session_timeout_ms=st.just(10_000),
    rebalance_timeout_ms=st.just(5_000),
    protocol_type=st.sampled_from(["consumer", "consumer", "consumer", "connect"]),
    protocols=st.sampled_from(
        [
            (("range", subscription("topic")),),
            (("range", subscription("other", owned={"topic": [0], "gone": [1]})), ("sticky", b"")),
            (("sticky", b"\0"),),
        ]
    ),
    new_member_id=st.just("c"),
    requires_member_id=st.booleans(),
)
syncs = st.builds(
    Sync, st.just(NOBODY), st.just(GROUP), st.integers(0, 4), classic_ids,
    st.none(), st.none(), st.none(), st.just((("a", assignment(topic=[0, 1])), ("b", assignment(topic=[1, 2])))),
)  # fmt: skip
beats = st.builds(Heartbeat, st.just(NOBODY), st.just(GROUP), st.integers(0, 4), classic_ids, st.none())
leaves = st.builds(
    Leave,
    st.just(NOBODY),
    st.just(GROUP),
    st.lists(st.builds(MemberIdentity, member_id=classic_ids, group_instance_id=instances), max_size=3),
)
times = st.integers(1, 20_000)


def check_targets(group: ConsumerGroup, it: Coordinated) -> None:
    """When the target is that of the group epoch, everything somebody reads is to be somebody's."""
    if group.group_epoch != group.assignment_epoch or it.topics.version != group.topics_version:
        return
    given_out = [partition for each in group.target.values() for partition in each]
    assert len(given_out) == len(set(given_out))
    names = [name for name in group.subscribed_topics() if it.topics.by_name(name) is not None]
    assert set(given_out) == (it.topics.partitions(*names) if names and group.members else set())


@settings(max_examples=200)
@given(
    st.lists(
        st.one_of(heartbeats, heartbeats, heartbeats, heartbeats, joins, syncs, beats, leaves, times),
        min_size=10,
        max_size=60,
    )
)
def test_nothing_breaks(requests: list[object]) -> None:
    it = Coordinated(topic=3, other=2)
    for request in requests:
        if isinstance(request, ConsumerHeartbeat):
            it.groups.consumer_heartbeat(request)
        elif isinstance(request, Join):
            it.groups.join(request)
        elif isinstance(request, Sync):
            it.groups.sync(request)
        elif isinstance(request, Heartbeat):
            it.groups.heartbeat(request)
        elif isinstance(request, Leave):
            it.groups.leave(request)
        else:
            assert isinstance(request, int)
            it.host.advance(request)
        group = it.groups.groups.by_id.get(GROUP)
        if isinstance(group, ConsumerGroup):
            check_owners(group)
            check_targets(group, it)
