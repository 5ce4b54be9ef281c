"""Decisions change nothing, and replaying the records gives the live state: whatever is asked, in whatever order."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.coordinator.classic_group import ClassicGroup, ClassicState
from broker.coordinator.group_records import decode_all
from broker.coordinator.groups import Groups
from broker.coordinator.offsets import CommitOffset
from broker.coordinator.outcome import Outcome
from tests.broker.coordinator.harness import RANGE, Coordinated

INSTANCES = (None, None, "a", "b")
OTHER = (("range", b"\0\0\0\0\0\0\xff\xff\xff\xff"), ("roundrobin", b""))


def snapshot(group: ClassicGroup | None) -> Any:
    """Everything a group consists of."""
    if group is None:
        return None
    return {
        name: dict(value) if isinstance(value := getattr(group, name), dict) else value
        for name in ClassicGroup.__slots__
        if name != "_topics"
    }


def durable(group: ClassicGroup | None) -> Any:
    """What a restart must find again."""
    return None if group is None else (group.state, group.metadata_record().value, group.static_members)


class Script:
    """Members that are told what to do by numbers; whatever they do, the coordinator keeps its promises."""

    def __init__(self) -> None:
        self.it = Coordinated(retention_ms=3_600_000, expiry_interval_ms=600_000)
        self.answers: list[Any] = []
        self._watch()

    def _watch(self) -> None:
        """See every decision before it is carried out: it must not have changed anything."""
        groups = self.it.groups
        carry_out = groups._commit

        def watched(outcome: Outcome) -> bool:
            live = groups.groups.by_id.get(outcome.group_id)
            before = self.before.get(outcome.group_id, snapshot(live))
            assert snapshot(live) == before, "the decision changed what it was to decide on"
            draft = Groups()
            if live is not None:
                draft.by_id[outcome.group_id] = live.copy()
            done = carry_out(outcome)
            self._remember()
            draft.apply_outcome(outcome)
            assert snapshot(draft.by_id.get(outcome.group_id)) == snapshot(
                groups.groups.by_id.get(outcome.group_id)
            )
            return done

        groups._commit = watched  # type: ignore[method-assign]
        self._remember()

    def _remember(self) -> None:
        self.before = {group_id: snapshot(group) for group_id, group in self.it.groups.groups.by_id.items()}

    def member(self, number: int) -> Any:
        return self.answers[number % len(self.answers)] if self.answers else None

    def do(self, step: tuple[str, int]) -> None:
        what, number = step
        answer = self.member(number)
        it = self.it
        if what == "time":
            it.host.advance(number * 700)
        elif what == "settle":
            self.settle()
        elif what == "restart":
            it.restart()
            self._watch()
        elif what == "delete":
            it.groups.delete_group("group")
        elif what == "join" or answer is None:
            protocols = RANGE if number % 3 else OTHER
            instance = INSTANCES[number % 4]
            it.join(group_instance_id=instance, protocols=protocols).then(self.answers.append)
        elif what == "rejoin":
            protocols = RANGE if number % 5 else OTHER
            it.join(answer.member_id, protocols=protocols).then(self.answers.append)
        elif what == "sync":
            it.sync(answer, [(answer.member_id, b"%d" % number)])
        elif what == "heartbeat":
            it.heartbeat(answer)
        elif what == "leave":
            it.leave((answer.member_id, None))
        else:
            assert what == "commit"
            offsets = [CommitOffset("topic", number % 3, number)]
            it.commit(number, answer.member_id, answer.generation_id, offsets=offsets)

    def settle(self) -> None:
        """Everybody who is still there joins, and those who have a generation sync."""
        for _ in range(2):  # a follower that asked before its leader has to ask again
            group = self.it.groups.groups.by_id.get("group")
            for member in list(group.members.values()) if group is not None else ():
                if not member.join_token:
                    instance_id, protocols = member.group_instance_id, member.protocols
                    joining = self.it.join(
                        member.member_id, group_instance_id=instance_id, protocols=protocols
                    )
                    joining.then(self.answers.append)
        self.it.host.advance(6000)
        for answer in list(self.answers):
            self.it.sync(answer, [(answer.member_id, b"settled")])

    def check(self) -> None:
        live = self.it.groups.groups
        replayed = Groups()
        for index in range(self.it.log.partition_count):
            for record in decode_all(self.it.log.replay(index)):
                replayed.apply("", record)
        assert replayed.offsets.by_group == live.offsets.by_group
        group = live.by_id.get("group")
        if group is not None and group.state in (ClassicState.STABLE, ClassicState.EMPTY):
            assert durable(replayed.find("group")) == durable(group)


WORDS = (
    "join",
    "join",
    "rejoin",
    "sync",
    "sync",
    "heartbeat",
    "leave",
    "commit",
    "time",
    "time",
    "restart",
    "delete",
)


@settings(max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(WORDS), st.integers(0, 11)), min_size=10, max_size=40))
def test_replay_gives_the_live_state(steps: list[tuple[str, int]]) -> None:
    script = Script()
    for step in steps:
        script.do(step)
        script.check()
