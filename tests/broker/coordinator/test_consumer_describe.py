"""Consumer groups as administrators see them, and what of the classic protocol they answer."""

from __future__ import annotations

from broker.coordinator.classic_join import Join
from broker.coordinator.classic_members import Heartbeat, Leave
from broker.coordinator.outcome import NOBODY
from protocol.errors import ErrorCode
from protocol.messages.leave_group import MemberIdentity
from tests.broker.coordinator.consumer_harness import GROUP, Coordinated, settle
from tests.broker.coordinator.fakes import value_of

CLASSIC = Join(NOBODY, GROUP, "", None, "c", "/h", 10_000, 10_000, "consumer", (("range", b""),), "c", False)


def test_described_as_it_is() -> None:
    it = Coordinated(topic=4)
    a, b = it.member("a", instance_id="i", rack_id="r", client_id="c", client_host="/h"), it.member("b")
    a.join()
    a.obey()
    b.join()
    group = value_of(it.groups.describe_consumer(GROUP))
    assert (group.error_code, group.group_state, group.group_epoch, group.assignment_epoch) == (
        0, "Reconciling", 2, 2,
    )  # fmt: skip
    assert group.assignor_name == "uniform"
    first, second = group.members
    assert (first.member_id, first.instance_id, first.rack_id, first.member_epoch) == ("a", "i", "r", 1)
    assert (first.client_id, first.client_host, first.member_type) == ("c", "/h", 1)
    assert first.subscribed_topic_names == ["topic"] and first.subscribed_topic_regex == ""
    (assigned,) = first.assignment.topic_partitions
    assert (assigned.topic_name, assigned.partitions) == ("topic", [0, 1, 2, 3])
    (target,) = first.target_assignment.topic_partitions
    assert target.partitions == [0, 1]
    assert second.assignment.topic_partitions == []
    settle(a, b)
    assert value_of(it.groups.describe_consumer(GROUP)).group_state == "Stable"
    it.topics.delete("topic")
    (gone, _) = value_of(it.groups.describe_consumer(GROUP)).members
    assert gone.assignment.topic_partitions == [], "what is gone has no name"


def test_listed_by_type() -> None:
    it = Coordinated()
    it.member("a").join()
    (listed,) = it.groups.listed()
    assert (listed.group_id, listed.group_type, listed.protocol_type, listed.group_state) == (
        GROUP, "consumer", "consumer", "Stable",
    )  # fmt: skip
    assert value_of(it.groups.describe(GROUP)) is None, "it is not a classic group"
    assert value_of(it.groups.describe_consumer("other")) is None


def test_an_empty_group_changes_its_protocol() -> None:
    it = Coordinated()
    a = it.member("a")
    a.join()
    a.leave()
    it.groups.join(CLASSIC)
    it.restart()
    assert value_of(it.groups.describe_consumer(GROUP)) is None
    described = value_of(it.groups.describe(GROUP))
    assert described is not None and described.group_state == "Empty"
    a.join()
    it.restart()
    assert value_of(it.groups.describe(GROUP)) is None
    assert list(it.group.members) == ["a"]


def test_classic_requests_find_no_classic_member() -> None:
    it = Coordinated()
    it.member("a").join()
    heartbeat = Heartbeat(NOBODY, GROUP, 1, "a")
    assert value_of(it.groups.heartbeat(heartbeat)).error_code == ErrorCode.UNKNOWN_MEMBER_ID


def test_an_administrator_takes_members_out() -> None:
    it = Coordinated()
    a, b, c = it.member("a", instance_id="i"), it.member("b"), it.member("c")
    for member in (a, b, c):
        member.join()
    asked = [("", "i"), ("b", None), ("b", None), ("nobody", None), ("a", "other"), ("z", "i")]
    identities = [MemberIdentity(member_id=id_, group_instance_id=instance) for id_, instance in asked]
    response = value_of(it.groups.leave(Leave(NOBODY, GROUP, identities)))
    assert [ErrorCode(member.error_code) for member in response.members] == [
        ErrorCode.NONE,
        ErrorCode.NONE,
        ErrorCode.UNKNOWN_MEMBER_ID,
        ErrorCode.UNKNOWN_MEMBER_ID,
        ErrorCode.UNKNOWN_MEMBER_ID,
        ErrorCode.FENCED_INSTANCE_ID,
    ]
    assert list(it.group.members) == ["c"]
    assert b.beat().error_code == ErrorCode.UNKNOWN_MEMBER_ID
