"""How long a consumer group keeps a target (KIP-1263): who joins or leaves meanwhile is seen to in one go."""

from __future__ import annotations

from broker.coordinator.consumer_draft import ConsumerLimits
from tests.broker.coordinator.consumer_harness import HEARTBEAT_MS, SESSION_MS, Coordinated, Member, settle

INTERVAL_MS = 1_000


def paced(**topics: int) -> Coordinated:
    it = Coordinated(**topics)
    it.limits = ConsumerLimits(SESSION_MS, HEARTBEAT_MS, assignment_interval_ms=INTERVAL_MS)
    it.start()
    return it


def joined(it: Coordinated, *member_ids: str) -> list[Member]:
    members = [it.member(member_id) for member_id in member_ids]
    for member in members:
        member.join()
        member.obey()
    return members


def test_who_joins_right_after_another_is_in_and_has_nothing_yet() -> None:
    it = paced(topic=6)
    a, b = joined(it, "a", "b")
    assert len(a.owned) == 6 and not b.owned
    assert b.epoch == it.group.assignment_epoch < it.group.group_epoch
    assert it.state == "Assigning"


def test_a_newcomer_is_asked_to_come_again_when_the_interval_is_over() -> None:
    it = paced(topic=6)
    (a,) = joined(it, "a")
    it.host.now_ms += 300
    assert it.member("b").join().heartbeat_interval_ms == INTERVAL_MS - 300
    assert a.beat().heartbeat_interval_ms == HEARTBEAT_MS, "who has what it is to have is in no hurry"


def test_a_crowd_is_assigned_once() -> None:
    it = paced(topic=60)
    members = joined(it, *(f"m-{number}" for number in range(20)))
    assert it.group.assignment_epoch == 1
    it.host.now_ms += INTERVAL_MS
    settle(*members)
    assert it.state == "Stable"
    assert [len(member.owned) for member in members] == [3] * 20
    assert it.group.assignment_epoch == it.group.group_epoch == 20


def test_who_leaves_within_the_interval_is_not_waited_for() -> None:
    it = paced(topic=6)
    a, b = joined(it, "a", "b")
    it.host.now_ms += INTERVAL_MS
    settle(a, b)
    b.leave()
    a.beat()
    assert len(a.told) == 3, "the target is still the old one"
    it.host.now_ms += INTERVAL_MS
    settle(a)
    assert len(a.owned) == 6


def test_the_first_of_an_empty_group_does_not_wait() -> None:
    it = paced(topic=6)
    (a,) = joined(it, "a")
    a.leave()
    (b,) = joined(it, "b")
    assert len(b.owned) == 6 and it.state == "Stable"


def test_a_topic_that_is_created_is_assigned_at_once_where_nobody_had_anything() -> None:
    it = paced(other=1)
    (a,) = joined(it, "a")
    it.topics.create("topic", 3)
    a.beat()
    assert len(a.told) == 3


def test_what_is_not_read_any_more_is_taken_before_there_is_a_new_target() -> None:
    it = paced(topic=2, other=1)
    a = it.member("a", "topic", "other")
    a.join()
    a.obey()
    answer = a.beat(topic_names=frozenset(["topic"]), owned=frozenset(a.owned))
    assert (answer.member_epoch, answer.heartbeat_interval_ms) == (1, INTERVAL_MS)
    assert a.told == it.topics.partitions("topic")
    a.obey()
    assert (a.epoch, it.state) == (1, "Assigning")
    it.host.now_ms += INTERVAL_MS
    a.beat()
    assert (a.epoch, it.state) == (2, "Stable")


def test_the_interval_goes_on_over_a_restart() -> None:
    it = paced(topic=6)
    joined(it, "a")
    it.restart()
    (b,) = joined(it, "b")
    assert not b.told and it.state == "Assigning"


def test_a_group_may_have_an_interval_of_its_own() -> None:
    it = paced(topic=6)
    it.topics.settings["consumer.assignment.interval.ms"] = "0"
    joined(it, "a", "b")
    assert it.group.assignment_epoch == 2


def test_a_clock_that_was_set_back_holds_nothing_up() -> None:
    it = paced(topic=6)
    joined(it, "a")
    it.host.now_ms -= 10 * INTERVAL_MS
    joined(it, "b")
    assert it.group.assignment_epoch == 2
