"""Replay from empty equals live for every type of record a group is made of, written and deleted, compacted or not.

The members of one group speak both protocols, subscribe by name and by regular expression, commit, come, go and fall
silent; administrators delete offsets and groups; topics grow and go. Everything is drawn from a seed. At the end every
type of record has been there, with a value and as a tombstone.
"""

from __future__ import annotations

from random import Random
from typing import Any

from broker.coordinator.classic_group import ClassicGroup, ClassicState
from broker.coordinator.consumer_draft import ConsumerLimits
from broker.coordinator.consumer_group import RECORD_KEYS as CONSUMER_KEYS
from broker.coordinator.consumer_group import ConsumerGroup
from broker.coordinator.group_records import decode, encode_key
from broker.coordinator.groups import Groups
from broker.coordinator.offsets import Commit, CommitOffset
from broker.coordinator.outcome import Record
from protocol.messages.internal.consumer_group_records import ConsumerGroupPartitionMetadataKey
from protocol.messages.internal.offset_records import GroupMetadataKey, OffsetCommitKey
from tests.broker.coordinator.consumer_harness import GROUP, HEARTBEAT_MS, SESSION_MS, Coordinated
from tests.broker.coordinator.test_consumer_migration import Classic, assignment
from tests.broker.coordinator.test_consumer_replay import check_owners, snapshot
from tests.broker.coordinator.test_replay import durable

SEEDS = 60
STEPS = 80
SUBSCRIPTIONS = (("topic",), ("topic", "other"), ("other",))
PATTERNS = ("t.*", "o.*", "nothing", "")
HOUR_MS = 3_600_000

NEVER_WRITTEN = {ConsumerGroupPartitionMetadataKey}
"""Kafka wrote these until 4.0; here, as in Kafka by now, they are read over."""


class Script:
    """One schedule, by seed."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        self.it = it = Coordinated(topic=4, other=3)
        it.limits = ConsumerLimits(
            SESSION_MS, HEARTBEAT_MS, assignment_interval_ms=random.choice((0, 1_000, 10_000))
        )
        it.start()
        self.moderns = [
            it.member("a"),
            it.member("b", instance_id="i"),
            it.member("c", instance_id="j"),
            it.member("d"),
        ]
        self.classics = [Classic(it), Classic(it, keeps=True), Classic(it, instance_id="i")]

    def step(self) -> None:
        random, it = self.random, self.it
        what = random.random()
        if what < 0.45:
            self.modern_step()
        elif what < 0.75:
            self.classic_step()
        elif what < 0.85:
            it.host.advance(random.choice((100, 1_000, 6_000, SESSION_MS, HOUR_MS)))
        elif what < 0.88:
            it.restart()
        elif what < 0.91:
            it.topics.grow("other", it.topics.by_name("other").partition_count + 1)  # type: ignore[union-attr]
        elif what < 0.95:
            it.groups.delete_offsets(GROUP, [("topic", random.randrange(3))])
        elif what < 0.97:
            it.groups.topic_deleted("topic")
        else:
            it.groups.delete_group(GROUP)

    def modern_step(self) -> None:
        random = self.random
        member = random.choice(self.moderns)
        what = random.randrange(9)
        if what < 2:
            member.settings["topic_names"] = frozenset(random.choice(SUBSCRIPTIONS))
            member.settings["topic_regex"] = random.choice(PATTERNS)
            member.join()
        elif what < 4:
            member.beat()
        elif what < 6:
            member.obey()
        elif what == 6:
            member.beat(topic_regex=random.choice(PATTERNS), topic_names=frozenset())
        elif what == 7:
            member.leave(-2 if "instance_id" in member.settings and random.random() < 0.5 else -1)
        else:
            offsets = [CommitOffset("topic", random.randrange(3), random.randrange(99))]
            self.it.groups.commit(Commit(GROUP, member.epoch, member.member_id, None, offsets))

    def classic_step(self) -> None:
        random = self.random
        member = random.choice(self.classics)
        what = random.randrange(8)
        if what < 3:
            member.join()
        elif what < 5:
            group = self.it.groups.groups.by_id.get(GROUP)
            leads = isinstance(group, ClassicGroup) and group.leader_id == member.member_id
            member.sync([(member.member_id, assignment(topic=[0, 1, 2, 3]))] if leads else [])
        elif what == 5:
            member.heartbeat()
        elif what == 6:
            offsets = [CommitOffset("topic", random.randrange(3), random.randrange(99))]
            self.it.groups.commit(Commit(GROUP, member.generation, member.member_id, None, offsets))
        else:
            self.it.groups.commit(Commit("simple", -1, "", None, [CommitOffset("topic", 0, 1)]))

    def records(self) -> list[Record]:
        log = self.it.log
        return [
            decode(key, value) for index in range(log.partition_count) for key, value in log.replay(index)
        ]

    def check(self) -> None:
        """Whatever compaction has left of the records, they make what there is."""
        records = self.records()
        last = {encode_key(record.key): position for position, record in enumerate(records)}
        compacted = [record for at, record in enumerate(records) if last[encode_key(record.key)] == at]
        kept = [record for record in compacted if record.value is not None]
        by_key = sorted(kept, key=lambda record: encode_key(record.key))  # as the checkpoint has them
        for each in (records, compacted, kept, by_key):
            self._check(each)

    def _check(self, records: list[Record]) -> None:
        live, again = self.it.groups.groups, Groups()
        for record in records:
            again.apply("", record)
        assert again.offsets.by_group == live.offsets.by_group
        group, replayed = live.by_id.get(GROUP), again.by_id.get(GROUP)
        if isinstance(group, ConsumerGroup):
            assert snapshot(replayed) == snapshot(group)
            check_owners(group)
        elif group is None:
            assert replayed is None
        else:
            assert isinstance(group, ClassicGroup) and not isinstance(replayed, ConsumerGroup)
            if group.state in (ClassicState.STABLE, ClassicState.EMPTY):
                assert durable(replayed) == durable(group)


def test_replay_from_empty_equals_live_whatever_is_written() -> None:
    seen: set[tuple[Any, bool]] = set()
    for seed in range(SEEDS):
        script = Script(seed)
        for step in range(STEPS):
            script.step()
            try:
                script.check()
            except AssertionError as failure:
                raise AssertionError(f"seed {seed}, step {step}: {failure}") from failure
        seen.update((record.key.__class__, record.value is None) for record in script.records())
    types = {GroupMetadataKey, OffsetCommitKey, *CONSUMER_KEYS} - NEVER_WRITTEN
    assert seen == {(key, is_tombstone) for key in types for is_tombstone in (False, True)}
