"""Decisions of consumer groups change nothing, and replaying the records gives the live state, compacted or not."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.coordinator.consumer_group import ConsumerGroup, GroupState
from broker.coordinator.group_records import decode, decode_all, encode_key
from broker.coordinator.groups import Groups
from broker.coordinator.offsets import Commit, CommitOffset
from broker.coordinator.outcome import Outcome
from tests.broker.coordinator.consumer_harness import GROUP, Coordinated, Member

MEMBERS = (("a", None), ("b", None), ("c", "i"), ("d", "j"), ("e", None))
SUBSCRIPTIONS = (("topic",), ("topic", "other"), ("other",), ())


def snapshot(group: Any) -> Any:
    """Everything a group consists of, but what is volatile."""
    if not isinstance(group, ConsumerGroup):
        return group
    return {
        name: dict(value) if isinstance(value := getattr(group, name), dict) else value
        for name in ConsumerGroup.__slots__
        if name not in ("topics_version", "asked_to_rejoin", "untold")
    }


class Script:
    """Members that are told what to do by numbers; whatever they do, the coordinator keeps its promises."""

    def __init__(self) -> None:
        self.it = Coordinated(topic=4, other=3)
        self.members: dict[str, Member] = {}
        self._watch()

    def _watch(self) -> None:
        groups = self.it.groups
        carry_out = groups._commit

        def watched(outcome: Outcome) -> bool:
            live = groups.groups.by_id.get(outcome.group_id)
            before = snapshot(live)
            assert before == self.before, "the decision changed what it was to decide on"
            done = carry_out(outcome)
            self.before = snapshot(groups.groups.by_id.get(outcome.group_id))
            return done

        groups._commit = watched  # type: ignore[method-assign]
        self.before = snapshot(groups.groups.by_id.get(GROUP))

    def do(self, step: tuple[str, int]) -> None:
        what, number = step
        it = self.it
        member_id, instance_id = MEMBERS[number % len(MEMBERS)]
        member = self.members.get(member_id)
        if what == "time":
            it.host.advance(number * 1000)
        elif what == "restart":
            it.restart()
            self._watch()
        elif what == "grow":
            topic = it.topics.by_name("topic" if number % 2 else "other")
            assert topic is not None
            it.topics.grow(topic.name, topic.partition_count + 1)
        elif what == "delete":
            it.groups.delete_group(GROUP)
        elif what == "join" or member is None:
            topics = SUBSCRIPTIONS[number // 5 % 4]
            settings_ = {} if instance_id is None else {"instance_id": instance_id}
            assignor = ("uniform", "range")[number // 20 % 2]
            member = it.member(member_id, *topics, assignor=assignor, **settings_)
            member.settings["topic_names"] = frozenset(topics)
            member.join()
            self.members[member_id] = member
        elif what == "beat":
            member.beat()
        elif what == "obey":
            member.obey()
        elif what == "subscribe":
            member.beat(topic_names=frozenset(SUBSCRIPTIONS[number // 5 % 4]))
        elif what == "leave":
            member.leave(-2 if instance_id is not None and number % 2 else -1)
        else:
            assert what == "commit"
            offsets = [CommitOffset("topic", number % 3, number, topic_id=(1).to_bytes(16, "big"))]
            it.groups.commit(Commit(GROUP, member.epoch, member_id, None, offsets))

    def check(self) -> None:
        live = self.it.groups.groups
        records = [
            record
            for index in range(self.it.log.partition_count)
            for record in decode_all(self.it.log.replay(index))
        ]
        last = {encode_key(record.key): position for position, record in enumerate(records)}
        compacted = [
            record for position, record in enumerate(records) if last[encode_key(record.key)] == position
        ]
        without_tombstones = [record for record in compacted if record.value is not None]
        # A checkpoint hands them out in the order of their keys.
        by_key = sorted(without_tombstones, key=lambda record: encode_key(record.key))
        for each in (records, compacted, without_tombstones, by_key):
            again = Groups()
            for record in each:
                again.apply("", record)
            assert again.by_id.keys() == live.by_id.keys()
            assert snapshot(again.by_id.get(GROUP)) == snapshot(live.by_id.get(GROUP))
            assert again.offsets.by_group == live.offsets.by_group
        group = live.by_id.get(GROUP)
        if isinstance(group, ConsumerGroup):
            check_owners(group)


def check_owners(group: ConsumerGroup) -> None:
    """The index says what the members say, and nothing is twice."""
    held = [
        (partition, member.member_id)
        for member in group.members.values()
        for partition in (*member.assigned, *member.revoking)
    ]
    assert len(held) == len(group.owners) and dict(held) == group.owners
    assert group.static_members == {
        member.instance_id: member.member_id for member in group.members.values() if member.instance_id
    }
    assert group.target.keys() <= group.members.keys()
    assert group.state in GroupState


steps = st.tuples(
    st.sampled_from(
        [
            "join",
            "join",
            "beat",
            "beat",
            "obey",
            "obey",
            "subscribe",
            "leave",
            "time",
            "restart",
            "grow",
            "commit",
            "delete",
        ]
    ),
    st.integers(0, 39),
)


@settings(max_examples=250)
@given(st.lists(steps, min_size=8, max_size=60))
def test_replay_from_empty_equals_live(script: list[tuple[str, int]]) -> None:
    it = Script()
    for step in script:
        it.do(step)
        it.check()


def test_records_are_kafkas_bytes() -> None:
    """Keys and values go through bytes and come back as they were (the formats are tested against Kafka's own)."""
    it = Coordinated(topic=3)
    a = it.member("a", instance_id="i")
    a.join()
    b = it.member("b")
    b.join()
    a.beat()
    kinds = set()
    for index in range(it.log.partition_count):
        for record in it.log.replay(index):
            kinds.add(type(decode(*record).key).__name__)
    assert kinds == {
        "ConsumerGroupMetadataKey",
        "ConsumerGroupMemberMetadataKey",
        "ConsumerGroupTargetAssignmentMetadataKey",
        "ConsumerGroupTargetAssignmentMemberKey",
        "ConsumerGroupCurrentMemberAssignmentKey",
    }
