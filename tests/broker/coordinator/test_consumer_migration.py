"""Groups that change their protocol: what members of both say and hear, and that nothing is lost on the way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.coordinator.classic_group import ClassicGroup
from broker.coordinator.classic_join import Join
from broker.coordinator.classic_members import Heartbeat, Leave, Sync
from broker.coordinator.consumer_group import ConsumerGroup, MemberState
from broker.coordinator.consumer_migration import subscription_of
from broker.coordinator.group_records import decode_all
from broker.coordinator.groups import Groups
from broker.coordinator.outcome import NOBODY
from protocol.compiler import decoder, encoder
from protocol.errors import ErrorCode, Malformed
from protocol.messages.internal.consumer_protocol import (
    ConsumerProtocolAssignment,
    ConsumerProtocolAssignmentTopicPartition,
    ConsumerProtocolSubscription,
)
from protocol.messages.internal.consumer_protocol import TopicPartition as OwnedPartition
from protocol.messages.leave_group import MemberIdentity
from protocol.primitives import Output
from tests.broker.coordinator.consumer_harness import GROUP, Coordinated, Member, settle
from tests.broker.coordinator.fakes import value_of
from tests.broker.coordinator.test_consumer_replay import check_owners, snapshot

SESSION_MS = 10_000
REBALANCE_MS = 20_000


def subscription(*topics: str, owned: dict[str, list[int]] | None = None, version: int = 1) -> bytes:
    message = ConsumerProtocolSubscription(topics=list(topics), user_data=None)
    message.owned_partitions = [
        OwnedPartition(topic=topic, partitions=indexes) for topic, indexes in (owned or {}).items()
    ]
    out = Output(version.to_bytes(2, "big"))
    encoder(ConsumerProtocolSubscription, version)(message, out)
    return bytes(out)


def assignment(**indexes: list[int]) -> bytes:
    entries = [
        ConsumerProtocolAssignmentTopicPartition(topic=topic, partitions=each)
        for topic, each in indexes.items()
    ]
    out = Output(b"\0\1")
    message = ConsumerProtocolAssignment(assigned_partitions=entries, user_data=None)
    encoder(ConsumerProtocolAssignment, 1)(message, out)
    return bytes(out)


class Classic:
    """A member that speaks the classic protocol. It lets go of everything before it joins, or says what it owns."""

    def __init__(
        self, it: Coordinated, *topics: str, instance_id: str | None = None, keeps: bool = False
    ) -> None:
        self.it = it
        self.topics = topics or ("topic",)
        self.instance_id = instance_id
        self.keeps = keeps
        self.member_id = ""
        self.generation = -1
        self.owned: set[int] = set()
        self.joined: Any = None

    def join(self, **exceptions: Any) -> Any:
        if not self.keeps:
            self.owned = set()
        owned = {"topic": sorted(self.owned)} if self.owned else {}
        join = Join(
            NOBODY, GROUP, self.member_id, self.instance_id, "c", "/h", SESSION_MS, REBALANCE_MS, "consumer",
            (("range", subscription(*self.topics, owned=owned)),), "classic", requires_member_id=False,
        )  # fmt: skip
        self.joined = None
        self.it.groups.join(join._replace(**exceptions)).then(self._joined)
        return self.joined

    def _joined(self, response: Any) -> None:
        self.joined = response
        if not response.error_code:
            self.member_id, self.generation = response.member_id, response.generation_id

    def sync(self, assignments: list[tuple[str, bytes]] | None = None, **exceptions: Any) -> Any:
        sync = Sync(
            NOBODY,
            GROUP,
            self.generation,
            self.member_id,
            self.instance_id,
            "consumer",
            "range",
            assignments or (),
        )
        answers: list[Any] = []
        self.it.groups.sync(sync._replace(**exceptions)).then(answers.append)
        if not answers or answers[0].error_code:
            return answers[0] if answers else None
        told = (
            decoder(ConsumerProtocolAssignment, 1)(memoryview(answers[0].assignment), 2)[0]
            if answers[0].assignment
            else None
        )
        self.owned = {
            index for entry in (told.assigned_partitions if told else ()) for index in entry.partitions
        }
        return answers[0]

    def heartbeat(self, **exceptions: Any) -> ErrorCode:
        beat = Heartbeat(NOBODY, GROUP, self.generation, self.member_id, self.instance_id)
        return ErrorCode(value_of(self.it.groups.heartbeat(beat._replace(**exceptions))).error_code)

    def go_on(self) -> None:
        """Send a heartbeat; join and sync where it says so, twice over for those who say what they let go of."""
        for _ in range(2):
            if self.heartbeat() is ErrorCode.REBALANCE_IN_PROGRESS:
                assert self.join().error_code == 0
                assert self.sync().error_code in (0, ErrorCode.REBALANCE_IN_PROGRESS)


def classic_pair(it: Coordinated, *, keeps: bool = False) -> tuple[Classic, Classic]:
    """Two members of a stable classic group."""
    a, b = Classic(it, keeps=keeps), Classic(it, keeps=keeps)
    a.join()
    b.join()
    it.host.advance(6000)
    assert a.joined.error_code == b.joined.error_code == 0
    parts = [(a.member_id, assignment(topic=[0, 1, 2])), (b.member_id, assignment(topic=[3, 4, 5]))]
    leader, follower = (a, b) if a.joined.leader == a.member_id else (b, a)
    leader.sync(parts)
    follower.sync()
    assert (a.owned, b.owned) == ({0, 1, 2}, {3, 4, 5})
    return a, b


def settle_both(classics: list[Classic], moderns: list[Member]) -> None:
    for _ in range(4):
        for classic in classics:
            classic.go_on()
        settle(*moderns, rounds=1)


@pytest.mark.parametrize("keeps", [False, True], ids=["eager", "cooperative"])
def test_members_of_both_protocols_share(keeps: bool) -> None:
    it = Coordinated(topic=6)
    a, b = classic_pair(it, keeps=keeps)
    c = it.member("c")
    c.join()
    group = it.group
    assert (group.group_epoch, len(group.members)) == (2, 3)
    assert c.told == set(), "the others have all there is"
    assert a.heartbeat() is ErrorCode.REBALANCE_IN_PROGRESS
    settle_both([a, b], [c])
    assert sorted(len(member.owned) for member in (a, b, c)) == [2, 2, 2]
    assert a.owned | b.owned | set(c.indexes) == set(range(6))
    assert it.state == "Stable" and a.heartbeat() is ErrorCode.NONE
    described = value_of(it.groups.describe_consumer(GROUP))
    assert sorted(member.member_type for member in described.members) == [0, 0, 1]
    it.restart()
    assert a.heartbeat() is ErrorCode.NONE and c.beat().error_code == 0


def test_who_waits_in_a_rebalance_is_told_to_join_again() -> None:
    it = Coordinated(topic=6)
    a, b = classic_pair(it)
    a.join()
    assert a.joined is None
    it.member("c").join()
    assert a.joined.error_code == ErrorCode.REBALANCE_IN_PROGRESS
    assert b.heartbeat() is ErrorCode.REBALANCE_IN_PROGRESS


def test_the_last_modern_member_leaves() -> None:
    it = Coordinated(topic=6)
    a, b = classic_pair(it, keeps=True)
    c = it.member("c")
    c.join()
    settle_both([a, b], [c])
    c.leave()
    group = it.groups.groups.find(GROUP)
    assert isinstance(group, ClassicGroup) and group.state.value == "PreparingRebalance"
    assert a.heartbeat() is ErrorCode.REBALANCE_IN_PROGRESS, "its generation is still good"
    a.join()
    b.join()
    assert a.joined.error_code == b.joined.error_code == 0
    assert {a.joined.leader, b.joined.leader} == {a.joined.leader}
    it.restart()
    group = it.groups.groups.find(GROUP)
    assert isinstance(group, ClassicGroup) and len(group.members) == 2
    it.host.advance(SESSION_MS + REBALANCE_MS)
    assert group.is_empty


def test_a_static_member_changes_its_protocol_and_back() -> None:
    it = Coordinated(topic=6)
    a = Classic(it, instance_id="i")
    a.join()
    it.host.advance(6000)
    a.sync([(a.member_id, assignment(topic=[0, 1, 2, 3, 4, 5]))])
    modern = it.member("m", instance_id="i")
    assert modern.join().error_code == 0, "the instance need not have left before"
    assert list(it.group.members) == ["m"] and len(modern.told) == 6
    assert a.heartbeat() is ErrorCode.FENCED_INSTANCE_ID
    again = Classic(it, instance_id="i")
    again.join()
    it.host.advance(6000)
    group = it.groups.groups.find(GROUP)
    assert isinstance(group, ClassicGroup) and list(group.members) == [again.member_id]
    other = it.member("n")
    assert other.join().error_code == 0
    back = it.member("o", instance_id="i")
    assert back.join().error_code == 0
    third = Classic(it, instance_id="i")
    assert third.join().error_code == 0, "there is another modern member, so the group stays what it is"
    assert sorted(it.group.members) == sorted(["n", third.member_id])


@pytest.mark.parametrize("policy", ["disabled", "upgrade", "downgrade"])
def test_the_policy(policy: str) -> None:
    it = Coordinated(topic=6)
    it.limits = it.limits._replace(migration=policy)
    it.start()
    a, b = classic_pair(it)
    c = it.member("c")
    if policy != "upgrade":
        response = c.join()
        assert response.error_code == ErrorCode.GROUP_ID_NOT_FOUND and "disabled" in response.error_message
        assert a.heartbeat() is ErrorCode.NONE
        return
    c.join()
    settle_both([a, b], [c])
    c.leave()
    settle_both([a, b], [])
    assert it.state == "Stable" and len(a.owned) == 3


def test_groups_that_are_not_of_consumers_stay_what_they_are() -> None:
    it = Coordinated()
    connect = Classic(it)
    connect.join(protocol_type="connect", protocols=(("default", b"?"),))
    it.host.advance(6000)
    assert it.member("m").join().error_code == ErrorCode.GROUP_ID_NOT_FOUND
    consumer = Coordinated()
    consumer.member("m").join()
    refused = Classic(consumer).join(protocol_type="connect", protocols=(("default", b"?"),))
    assert refused.error_code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    for metadata in (b"", b"\0", b"\xff\xff", b"\0\1\0\0\0\7"):
        refused = Classic(consumer).join(protocols=(("range", metadata),))
        assert refused.error_code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
        with pytest.raises(Malformed):
            subscription_of(metadata)


def test_what_classic_members_are_refused() -> None:
    it = Coordinated(topic=2)
    it.member("m").join()
    a = Classic(it, instance_id="i")
    named = Classic(it).join(requires_member_id=True)
    assert named.error_code == ErrorCode.MEMBER_ID_REQUIRED and named.member_id
    assert Classic(it).join(member_id=named.member_id).error_code == 0
    a.join()
    assert a.heartbeat(generation_id=7) is ErrorCode.ILLEGAL_GENERATION
    assert a.heartbeat(member_id="m", group_instance_id=None) is ErrorCode.UNKNOWN_MEMBER_ID
    assert a.heartbeat(member_id="x") is ErrorCode.FENCED_INSTANCE_ID
    assert a.sync(generation_id=7).error_code == ErrorCode.ILLEGAL_GENERATION
    assert a.sync(protocol_name="other").error_code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    assert Classic(it, instance_id="i").join(member_id="x").error_code == ErrorCode.FENCED_INSTANCE_ID
    assert Classic(it, instance_id="j").join(member_id="x").error_code == ErrorCode.UNKNOWN_MEMBER_ID
    other = Classic(it).join(protocols=(("sticky", subscription("topic")),))
    assert other.error_code == ErrorCode.INCONSISTENT_GROUP_PROTOCOL, "no assignor in common with the others"


def test_who_does_not_join_again_or_sync_is_out() -> None:
    it = Coordinated(topic=6)
    a, b = classic_pair(it)
    c = it.member("c")
    c.join()
    for _ in range(REBALANCE_MS // 4000 + 2):
        it.host.advance(4000)
        assert a.heartbeat() is ErrorCode.REBALANCE_IN_PROGRESS or a.member_id not in it.group.members
        b.heartbeat()
        c.beat()
    assert list(it.group.members) == ["c"]
    a.member_id = ""
    assert a.join().error_code == 0
    for _ in range(REBALANCE_MS // 4000 + 2):
        a.heartbeat()
        it.host.advance(4000)
        settle(c, rounds=1)
    assert list(it.group.members) == ["c"], "it never came for what it was to have"


def test_a_leader_that_gives_one_partition_to_two() -> None:
    it = Coordinated(topic=2)
    a, b = Classic(it), Classic(it)
    a.join()
    b.join()
    it.host.advance(6000)
    both = [(member.member_id, assignment(topic=[0, 1], gone=[3])) for member in (a, b)]
    (a if a.joined.leader == a.member_id else b).sync(both)
    c = it.member("c")
    assert c.join().error_code == 0
    check_owners(it.group)


steps = st.tuples(
    st.sampled_from(
        ["classic", "classic", "sync", "sync", "heartbeat", "modern", "beat", "beat", "obey", "leave", "quit",
         "time", "restart"]
    ),
    st.integers(0, 19),
)  # fmt: skip


def play(it: Coordinated, classics: list[Classic], moderns: list[Member], step: tuple[str, int]) -> None:
    what, number = step
    classic, modern = classics[number % len(classics)], moderns[number % len(moderns)]
    if what == "classic":
        classic.join()
    elif what == "sync":
        group = it.groups.groups.find(GROUP)
        members = list(group.members) if group is not None else []
        parts = [(member_id, assignment(topic=[index])) for index, member_id in enumerate(members)]
        classic.sync(parts)
    elif what == "heartbeat":
        if classic.heartbeat() is ErrorCode.UNKNOWN_MEMBER_ID:
            classic.member_id = ""
    elif what == "modern":
        modern.join()
    elif what == "beat":
        modern.beat()
    elif what == "obey":
        modern.obey()
    elif what == "leave":
        modern.leave(-2 if "instance_id" in modern.settings and number % 2 else -1)
    elif what == "quit":
        identity = MemberIdentity(member_id=classic.member_id, group_instance_id=classic.instance_id)
        it.groups.leave(Leave(NOBODY, GROUP, [identity]))
    elif what == "time":
        it.host.advance(number * 1000)
    else:
        it.restart()


@settings(max_examples=250)
@given(st.lists(steps, min_size=8, max_size=60))
def test_replay_from_empty_equals_live(script: list[tuple[str, int]]) -> None:
    it = Coordinated(topic=4)
    classics = [Classic(it), Classic(it, keeps=True), Classic(it, instance_id="i")]
    moderns = [it.member("a"), it.member("b", instance_id="i"), it.member("c", instance_id="j")]
    for step in script:
        play(it, classics, moderns, step)
        live = it.groups.groups.by_id.get(GROUP)
        replayed = Groups()
        for index in range(it.log.partition_count):
            for record in decode_all(it.log.replay(index)):
                replayed.apply("", record)
        again = replayed.by_id.get(GROUP)
        assert type(again) is type(live)
        if isinstance(live, ConsumerGroup):
            check_owners(live)
            assert snapshot(again) == snapshot(live)


def test_a_cooperative_member_lets_go_between_two_joins() -> None:
    it = Coordinated(topic=6)
    a, _ = classic_pair(it, keeps=True)
    it.member("c").join()
    assert a.heartbeat() is ErrorCode.REBALANCE_IN_PROGRESS
    a.join()
    a.sync()
    assert it.group.members[a.member_id].state is MemberState.UNREVOKED_PARTITIONS
    assert len(a.owned) == 2, (
        "it is told what it keeps, and says at its next join that it has let go of the rest"
    )
    a.go_on()
    assert it.group.members[a.member_id].state is MemberState.STABLE
