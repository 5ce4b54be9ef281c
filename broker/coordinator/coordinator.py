"""The group coordinator: where decisions meet the log, the clock and the clients.

    request ──► decide ──► records appended ──► events applied ──► … durable … ──► replies
    timer ────►    (pure)        │                    └ timers set
                                 └ a write that is refused leaves everything as it was

Events are applied as soon as they are written, so that the next request is decided on a state that has them; what
leaves this process is held back until all that its partition of `__consumer_offsets` holds is durable. So nobody
ever sees what a crash could take back. A reply that has to wait for other members is parked under a token.

One timer of the loop stands for all timers of all groups: it is set to the earliest.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from broker.coordinator.classic_group import COMPLETING, ClassicGroup
from broker.coordinator.classic_join import Join, decide_join
from broker.coordinator.classic_members import (
    Heartbeat,
    Leave,
    Sync,
    decide_heartbeat,
    decide_leave,
    decide_loaded,
    decide_sync,
    decide_timer,
)
from broker.coordinator.classic_rebalance import join_refused, sync_refused
from broker.coordinator.consumer_catalog import NoTopics, Topics
from broker.coordinator.consumer_classic import (
    decide_classic_heartbeat,
    decide_classic_join,
    decide_classic_leave,
    decide_classic_sync,
)
from broker.coordinator.consumer_describe import describe_consumer_group
from broker.coordinator.consumer_draft import World
from broker.coordinator.consumer_group import JOIN_EPOCH, ConsumerGroup
from broker.coordinator.consumer_members import (
    ConsumerHeartbeat,
    decide_consumer_heartbeat,
    decide_consumer_loaded,
    decide_consumer_timer,
    heartbeat_refused,
)
from broker.coordinator.consumer_offsets import consumer_fetch_refusal
from broker.coordinator.group_records import encode, partition_for
from broker.coordinator.groups import Groups
from broker.coordinator.loading import load
from broker.coordinator.offsets import (
    Commit,
    Committed,
    decide_commit,
    decide_expiry,
    decide_group_delete,
    decide_offset_delete,
    decide_topic_deleted,
)
from broker.coordinator.outcome import Outcome, Record, Reply, TimerChange, TimerKey, TimerKind
from broker.coordinator.settings import GroupSettings
from broker.coordinator.waiting import (
    EXPIRY,
    MAX_STRING_BYTES,
    RETRY_MS,
    WRITE_REFUSED,
    Alarm,
    Host,
    Parked,
    Requests,
    StateTopic,
    at_once,
)
from broker.topics.names import CONSUMER_OFFSETS
from protocol.errors import ErrorCode
from protocol.messages.consumer_group_describe import DescribedGroup as DescribedConsumerGroup
from protocol.messages.consumer_group_heartbeat import ConsumerGroupHeartbeatResponse
from protocol.messages.describe_groups import DescribedGroup
from protocol.messages.heartbeat import HeartbeatResponse
from protocol.messages.join_group import JoinGroupResponse
from protocol.messages.leave_group import LeaveGroupResponse
from protocol.messages.list_groups import ListedGroup
from protocol.messages.sync_group import SyncGroupResponse
from protocol.primitives import format_uuid

if TYPE_CHECKING:
    from broker.coordinator.offsets_topic import GroupLog
    from broker.coordinator.timers import Timers
    from broker.request import Deferred

log = logging.getLogger("floe.groups")

GROUPS_PER_TURN: Final = 200
"""How many groups are looked at for expired offsets before clients get their turn."""

NO_TOPICS: Final = NoTopics()

_SURELY_SHORT: Final = MAX_STRING_BYTES // 4
"""Characters that are not too many bytes, whichever they are."""


class GroupCoordinator:
    """All groups of this broker. `groups` is for everybody to read; every change goes through a decision."""

    def __init__(
        self,
        group_log: GroupLog,
        host: Host,
        settings: GroupSettings,
        kick: Callable[[], None] = lambda: None,
        topics: Topics = NO_TOPICS,
    ) -> None:
        """`kick` wakes the flusher after an append that no request has caused."""
        self.groups = Groups()
        self.settings = settings
        self._log = group_log
        self._host = host
        self._topics = topics
        self._kick = kick
        self._topic = StateTopic(group_log, host, kick)
        self._requests = Requests()
        self._alarm = Alarm(host, self._timer_ended, kick)
        self._expiring: Iterator[str] | None = None

    @property
    def timers(self) -> Timers:
        return self._alarm.timers

    # --- start and end ------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Take up what there is. Raises StorageFailed."""
        groups = self.groups
        for index in range(self._topic.look()):
            load(groups, self._log.records(index), index, self._log.note)
        now_ms = self._host.clock_ms()
        for group in list(groups.by_id.values()):
            if isinstance(group, ConsumerGroup):
                self._commit(decide_consumer_loaded(group, self._world(group.group_id)))
            else:
                self._commit(decide_loaded(group, self.settings.classic, now_ms))
        for topic in groups.offsets.topics():
            if not self._log.has_topic(topic):  # deleted shortly before a crash
                self.topic_deleted(topic)
        self._alarm.set(EXPIRY, now_ms + self.settings.expiry_interval_ms)

    def release_waiting(self) -> None:
        """The broker stops: members that wait for others are sent to look for a coordinator again, as in Kafka."""
        for group in self.groups.by_id.values():
            if not isinstance(group, ClassicGroup):
                continue
            for member in group.members.values():
                refused = join_refused(WRITE_REFUSED, member.member_id)
                self._requests.answer(
                    [Reply(member.join_token, refused), Reply(member.sync_token, sync_refused(WRITE_REFUSED))]
                )

    def close(self) -> None:
        """No timer ends any more, and nothing more is written. Requests that wait stay unanswered."""
        self._alarm.close()
        self._log.close()

    def checkpoint_steps(self) -> Iterator[Callable[[], None]]:
        """What makes the next start quick, in small steps."""
        return self._log.checkpoint_steps()

    # --- members ------------------------------------------------------------------------------------------------

    def join(self, join: Join) -> Deferred[JoinGroupResponse]:
        """JoinGroup. `token` and `new_member_id` of `join` are given out here: `new_member_id` comes as a prefix."""
        if not join.group_id:
            return at_once(join_refused(ErrorCode.INVALID_GROUP_ID, join.member_id))
        settings = self.settings
        if not settings.min_session_timeout_ms <= join.session_timeout_ms <= settings.max_session_timeout_ms:
            return at_once(join_refused(ErrorCode.INVALID_SESSION_TIMEOUT, join.member_id))
        if _is_too_long(
            join.group_id, join.member_id, join.group_instance_id, join.protocol_type
        ) or _is_too_long(*(name for name, _ in join.protocols)):
            return at_once(join_refused(ErrorCode.INVALID_REQUEST, join.member_id))
        if join.reason:
            log.info("group %s: %s joins: %s", join.group_id, join.member_id or join.client_id, join.reason)
        deferred, token = self._requests.park()
        asked = join._replace(token=token)
        if asked.rebalance_timeout_ms < 0:
            asked = asked._replace(rebalance_timeout_ms=join.session_timeout_ms)
        if not asked.member_id:
            asked = asked._replace(new_member_id=f"{join.new_member_id}-{_format_uuid(self._host.new_id())}")

        def decide() -> Outcome:
            group = self.groups.find(asked.group_id)
            if isinstance(group, ConsumerGroup):
                return decide_classic_join(group, asked, self._world(asked.group_id))
            return decide_join(group, asked, settings.classic, self._host.clock_ms())

        self._run_when_created(decide, token, join_refused(WRITE_REFUSED, join.member_id))
        return deferred

    def sync(self, sync: Sync) -> Deferred[SyncGroupResponse]:
        """SyncGroup. `token` is given out here."""
        if not sync.group_id:
            return at_once(sync_refused(ErrorCode.INVALID_GROUP_ID))
        deferred, token = self._requests.park()
        group = self.groups.find(sync.group_id)
        asked = sync._replace(token=token)
        if isinstance(group, ConsumerGroup):
            outcome = decide_classic_sync(group, asked, self._world(sync.group_id))
        else:
            outcome = decide_sync(group, asked, self.settings.classic, self._host.clock_ms())
        self._run(outcome, token, sync_refused(WRITE_REFUSED))
        return deferred

    def heartbeat(self, heartbeat: Heartbeat) -> Deferred[HeartbeatResponse]:
        """Heartbeat. `token` is given out here."""
        if not heartbeat.group_id:
            return at_once(HeartbeatResponse(error_code=ErrorCode.INVALID_GROUP_ID))
        deferred, token = self._requests.park()
        group = self.groups.find(heartbeat.group_id)
        asked = heartbeat._replace(token=token)
        if isinstance(group, ConsumerGroup):
            outcome = decide_classic_heartbeat(group, asked, self._world(heartbeat.group_id))
        else:
            outcome = decide_heartbeat(group, asked, self._host.clock_ms())
        self._run(outcome, token, None)
        return deferred

    def leave(self, leave: Leave) -> Deferred[LeaveGroupResponse]:
        """LeaveGroup. `token` is given out here."""
        if not leave.group_id:
            return at_once(LeaveGroupResponse(error_code=ErrorCode.INVALID_GROUP_ID))
        for member in leave.members:
            name = member.member_id or member.group_instance_id
            log.info("group %s: %s leaves: %s", leave.group_id, name, member.reason or "no reason given")
        deferred, token = self._requests.park()
        group = self.groups.find(leave.group_id)
        asked = leave._replace(token=token)
        if isinstance(group, ConsumerGroup):
            outcome = decide_classic_leave(group, asked, self._world(leave.group_id))
        else:
            outcome = decide_leave(group, asked, self.settings.classic, self._host.clock_ms())
        self._run(outcome, token, LeaveGroupResponse(error_code=WRITE_REFUSED))
        return deferred

    def consumer_heartbeat(self, beat: ConsumerHeartbeat) -> Deferred[ConsumerGroupHeartbeatResponse]:
        """ConsumerGroupHeartbeat. `token` is given out here, and an id where the member may come without one."""
        if _is_too_long(beat.group_id, beat.member_id):
            return at_once(heartbeat_refused(ErrorCode.INVALID_REQUEST))
        deferred, token = self._requests.park()
        asked = beat._replace(token=token)
        if not beat.member_id and not beat.needs_member_id and beat.member_epoch == JOIN_EPOCH:
            asked = asked._replace(member_id=format_uuid(self._host.new_id()))

        def decide() -> Outcome:
            group = self.groups.find(asked.group_id)
            return decide_consumer_heartbeat(group, asked, self._world(asked.group_id))

        refusal = heartbeat_refused(WRITE_REFUSED)
        if beat.member_epoch == JOIN_EPOCH:
            self._run_when_created(decide, token, refusal)
        else:
            self._run(decide(), token, refusal)
        return deferred

    # --- offsets ------------------------------------------------------------------------------------------------

    def commit(self, commit: Commit) -> Deferred[list[ErrorCode]]:
        """OffsetCommit: an error code for each offset, in order."""
        if _is_too_long(commit.group_id):
            return at_once([ErrorCode.INVALID_GROUP_ID] * len(commit.offsets))
        deferred, token = self._requests.park()

        def decide() -> Outcome:
            group = self.groups.find(commit.group_id)
            return decide_commit(
                group, commit, token, self.settings.max_metadata_length, self._host.clock_ms()
            )

        self._run_when_created(decide, token, [WRITE_REFUSED] * len(commit.offsets))
        return deferred

    def committed(
        self, group_id: str, partitions: Sequence[tuple[str, int]]
    ) -> Deferred[list[Committed | None]]:
        """What a group has stored for partitions, in order; it is durable when it comes."""
        deferred, token = self._requests.park()
        found = [self.groups.offsets.get(group_id, topic, partition) for topic, partition in partitions]
        self._run(Outcome(group_id, replies=[Reply(token, found)]), token, None)
        return deferred

    def fetch_refusal(self, group_id: str, member_id: str | None, member_epoch: int) -> ErrorCode:
        """Why offsets of a group are not told to somebody (KIP-848); NONE if they are."""
        group = self.groups.find(group_id)
        if isinstance(group, ConsumerGroup):
            return consumer_fetch_refusal(group, member_id, member_epoch)
        return ErrorCode.NONE

    def all_committed(self, group_id: str) -> Deferred[list[tuple[str, int, Committed]]]:
        """Everything a group has stored, as (topic, partition, committed)."""
        deferred, token = self._requests.park()
        found = list(self.groups.offsets.all_of(group_id))
        self._run(Outcome(group_id, replies=[Reply(token, found)]), token, None)
        return deferred

    def delete_offsets(
        self, group_id: str, partitions: Sequence[tuple[str, int]]
    ) -> Deferred[tuple[ErrorCode, list[ErrorCode]]]:
        """OffsetDelete: the error for all, and one for each partition, in order."""
        deferred, token = self._requests.park()
        groups = self.groups
        outcome = decide_offset_delete(groups.find(group_id), groups.offsets, token, group_id, partitions)
        self._run(outcome, token, (WRITE_REFUSED, []))
        return deferred

    def delete_group(self, group_id: str) -> Deferred[ErrorCode]:
        """DeleteGroups, for one group."""
        deferred, token = self._requests.park()
        outcome = decide_group_delete(self.groups.find(group_id), self.groups.offsets, token, group_id)
        self._run(outcome, token, WRITE_REFUSED)
        return deferred

    def transactions_partition(self, group_id: str) -> Deferred[int]:
        """Where the group's offsets are, which are part of a transaction; -1 if they cannot be anywhere."""
        deferred, token = self._requests.park()

        def decide() -> Outcome:
            return Outcome(
                group_id, replies=[Reply(token, partition_for(group_id, self._topic.partition_count))]
            )

        self._run_when_created(decide, token, -1)
        return deferred

    def end_transaction(self, index: int, producer_id: int, is_committed: bool) -> None:
        """A marker has been written to a partition of `__consumer_offsets`."""
        records = self.groups.end_transaction(index, producer_id, is_committed)
        self._log.note(index, [encode(record) for record in records])

    # --- for administrators -------------------------------------------------------------------------------------

    def describe(self, group_id: str) -> Deferred[DescribedGroup | None]:
        """The group as DescribeGroups shows it; None if there is no such classic group."""
        deferred, token = self._requests.park()
        group = self._classic(group_id)
        described = group.described() if group is not None else None
        self._run(Outcome(group_id, replies=[Reply(token, described)]), token, None)
        return deferred

    def describe_consumer(self, group_id: str) -> Deferred[DescribedConsumerGroup | None]:
        """The group as ConsumerGroupDescribe shows it; None if there is no such consumer group."""
        deferred, token = self._requests.park()
        group = self.groups.find(group_id)
        described = None
        if isinstance(group, ConsumerGroup):
            described = describe_consumer_group(group, self._world(group_id))
        self._run(Outcome(group_id, replies=[Reply(token, described)]), token, None)
        return deferred

    def listed(self) -> Iterator[ListedGroup]:
        """Every group as ListGroups shows it."""
        for group_id in self.groups.ids():
            group = self.groups.find(group_id)
            assert group is not None
            yield group.listed()

    def topic_deleted(self, topic: str) -> None:
        """Forget what groups have stored for a topic that is gone."""
        if topic == CONSUMER_OFFSETS:
            self._forget_everything()
            return
        for group_id in self.groups.offsets.groups_with(topic):
            self._commit(decide_topic_deleted(self.groups.offsets, group_id, topic))
        self._kick()

    def _forget_everything(self) -> None:
        """Somebody has deleted the topic all this is kept in. Who waits finds out by a time-out of their own."""
        log.warning("%s was deleted: all groups and committed offsets are gone", CONSUMER_OFFSETS)
        self._topic.deleted()
        self.groups = Groups()
        self._requests.forget()
        self._expiring = None
        self._alarm.forget()
        self._alarm.set(EXPIRY, self._host.clock_ms() + self.settings.expiry_interval_ms)

    # --- decisions ----------------------------------------------------------------------------------------------

    def _world(self, group_id: str) -> World:
        limits = self.settings.consumer.of_group(self._topics.group_settings(group_id))
        return World(self._topics, limits, self._host.clock_ms(), self.settings.classic)

    def _classic(self, group_id: str) -> ClassicGroup | None:
        group = self.groups.find(group_id)
        return group if isinstance(group, ClassicGroup) else None

    def _run(self, outcome: Outcome, token: int, refusal: Any) -> None:
        """Carry a request's decision out; `refusal` is the answer if its records cannot be written."""
        if not self._commit(outcome):
            self._requests.answer([Reply(token, refusal)])

    def _commit(self, outcome: Outcome) -> bool:
        """Write, apply, set timers, and answer when it is durable. False: refused, and nothing has changed."""
        group_id, events, replies, timers, _ = outcome
        partition_count = self._topic.partition_count
        index = partition_for(group_id, partition_count) if partition_count else 0
        if events:
            records = [encode(event) for event in events if event.__class__ is Record]
            offset = self._topic.write(index, records, outcome) if records else 0
            if offset < 0:
                return False
            self._apply(outcome, index, offset)
        if timers:
            self._alarm.change(timers)
        if replies and not self._topic.when_durable(index, Parked(self._requests.answer, replies)):
            self._requests.answer(replies)
        return True

    def _apply(self, outcome: Outcome, index: int, offset: int) -> None:
        groups = self.groups
        group = groups.by_id.get(outcome.group_id)
        before = group.state if group is not None else None
        groups.apply_outcome(outcome, index, offset)
        group = groups.by_id.get(outcome.group_id)
        if group is not None and group.state is not before:
            # Between the beginning and the end of a rebalance there is nothing new to most readers.
            log.log(logging.DEBUG if group.state is COMPLETING else logging.INFO, "%r", group)

    def _run_when_created(self, decide: Callable[[], Outcome], token: int, refusal: Any) -> None:
        """Run what may write the first record, as soon as there is a topic for it."""
        if self._topic.partition_count:
            self._run(decide(), token, refusal)
            return
        self._topic.run(
            lambda: self._run(decide(), token, refusal),
            lambda: self._requests.answer([Reply(token, refusal)]),
        )

    # --- timers -------------------------------------------------------------------------------------------------

    def _timer_ended(self, key: TimerKey, now_ms: int) -> None:
        if key.kind is TimerKind.EXPIRY:
            self._expire(now_ms)
            return
        group = self.groups.by_id.get(key.group_id)
        if group is None:
            return
        if isinstance(group, ConsumerGroup):
            outcome = decide_consumer_timer(group, key, self._world(key.group_id))
        else:
            outcome = decide_timer(group, key, self.settings.classic, now_ms)
        if not self._commit(outcome):
            self.timers.change(TimerChange(key, now_ms + RETRY_MS))

    def _expire(self, now_ms: int) -> None:
        """Look at the next groups for expired offsets; when all have been seen, again after the interval."""
        if self._expiring is None:
            self._expiring = iter(list(self.groups.ids()))
        group_ids = list(islice(self._expiring, GROUPS_PER_TURN))
        for group_id in group_ids:
            group = self.groups.find(group_id)
            if group is not None:
                self._commit(decide_expiry(group, self.groups.offsets, self.settings.retention_ms, now_ms))
        if len(group_ids) < GROUPS_PER_TURN:
            self._expiring = None
            now_ms += self.settings.expiry_interval_ms
        self.timers.change(TimerChange(EXPIRY, now_ms))


def _is_too_long(*texts: str | None) -> bool:
    for text in texts:
        if text is not None and len(text) > _SURELY_SHORT and len(text.encode()) > MAX_STRING_BYTES:
            return True
    return False


def _format_uuid(value: bytes) -> str:
    text = value.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
