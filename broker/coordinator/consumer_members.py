"""What members of a consumer group ask for: ConsumerGroupHeartbeat to join, stay and leave; and what timers decide."""

from __future__ import annotations

from typing import NamedTuple

from broker.coordinator.assignors.spec import NOTHING, Assignment
from broker.coordinator.classic_group import ClassicGroup
from broker.coordinator.consumer_draft import ConsumerDraft, World, has_left_for_a_while
from broker.coordinator.consumer_group import (
    JOIN_EPOCH,
    LEAVE_EPOCH,
    LEAVE_FOR_A_WHILE_EPOCH,
    ConsumerGroup,
    ConsumerMember,
    Heard,
    MemberState,
    Untold,
    by_topic,
    current_assignment_record,
    member_record,
)
from broker.coordinator.consumer_migration import give_back, take_over
from broker.coordinator.consumer_reconciliation import Target, next_step
from broker.coordinator.outcome import NOBODY, Outcome, Reply, TimerKey, TimerKind
from protocol.errors import ApiError, ErrorCode
from protocol.messages.consumer_group_heartbeat import Assignment as AssignmentMessage
from protocol.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatResponse,
)
from protocol.messages.consumer_group_heartbeat import TopicPartitions as TopicPartitionsMessage


class ConsumerHeartbeat(NamedTuple):
    """A ConsumerGroupHeartbeat request. None, and -1 for a time-out, is "as before"."""

    token: int
    group_id: str
    member_id: str
    member_epoch: int
    instance_id: str | None = None
    rack_id: str | None = None
    rebalance_timeout_ms: int = -1
    client_id: str = ""
    client_host: str = ""
    topic_names: frozenset[str] | None = None
    topic_regex: str | None = None
    assignor: str | None = None
    owned: Assignment | None = None
    needs_member_id: bool = False
    """KIP-1082: from v1 on the member makes its own id."""

    @property
    def is_full(self) -> bool:
        """Whether it says everything: the member has joined, or did not get its last answer."""
        return (
            self.rebalance_timeout_ms != -1
            and (self.topic_names is not None or self.topic_regex is not None)
            and self.owned is not None
        )


def heartbeat_refused(code: ErrorCode, message: str | None = None) -> ConsumerGroupHeartbeatResponse:
    return ConsumerGroupHeartbeatResponse(error_code=code, error_message=message)


def check_request(beat: ConsumerHeartbeat, assignors: tuple[str, ...]) -> None:
    """Raises INVALID_REQUEST and UNSUPPORTED_ASSIGNOR for what no group would grant."""
    epoch = beat.member_epoch
    problem = None
    if not beat.member_id and (beat.needs_member_id or epoch > 0 or epoch == LEAVE_EPOCH):
        problem = "MemberId can't be empty."
    elif not beat.group_id:
        problem = "GroupId can't be empty."
    elif beat.instance_id == "":
        problem = "InstanceId can't be empty."
    elif beat.rack_id == "":
        problem = "RackId can't be empty."
    elif epoch == JOIN_EPOCH:
        if beat.rebalance_timeout_ms == -1:
            problem = "RebalanceTimeoutMs must be provided in first request."
        elif beat.owned != NOTHING:
            problem = "TopicPartitions must be empty when (re-)joining."
        elif beat.topic_names is None and beat.topic_regex is None:
            problem = (
                "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining."
            )
    elif epoch == LEAVE_FOR_A_WHILE_EPOCH and beat.instance_id is None:
        problem = "InstanceId can't be null."
    elif epoch < LEAVE_FOR_A_WHILE_EPOCH:
        problem = "MemberEpoch is invalid."
    if problem is not None:
        raise ApiError(ErrorCode.INVALID_REQUEST, problem)
    if beat.assignor is not None and beat.assignor not in assignors:
        raise ApiError(
            ErrorCode.UNSUPPORTED_ASSIGNOR,
            f"ServerAssignor {beat.assignor} is not supported. Supported assignors: {', '.join(assignors)}.",
        )


def decide_consumer_heartbeat(
    group: ConsumerGroup | ClassicGroup | None, beat: ConsumerHeartbeat, world: World
) -> Outcome:
    """What a ConsumerGroupHeartbeat comes to. A request that is refused changes nothing."""
    assert beat.token != NOBODY
    try:
        check_request(beat, world.limits.assignors)
        draft = ConsumerDraft(_consumer_group(group, beat), world)
        if isinstance(group, ClassicGroup):
            take_over(draft, group)
        if beat.member_epoch in (LEAVE_EPOCH, LEAVE_FOR_A_WHILE_EPOCH):
            response = _leave(draft, beat)
        else:
            response = _heartbeat(draft, beat)
    except ApiError as error:
        return Outcome(
            beat.group_id, replies=[Reply(beat.token, heartbeat_refused(error.code, error.message))]
        )
    draft.reply(beat.token, response)
    return draft.outcome()


def _consumer_group(group: ConsumerGroup | ClassicGroup | None, beat: ConsumerHeartbeat) -> ConsumerGroup:
    """The group, or a new one in place of nothing or of a classic group."""
    if isinstance(group, ConsumerGroup):
        return group
    if beat.member_epoch != JOIN_EPOCH:
        found = f"Consumer group {beat.group_id} not found."
        if group is not None:
            found = f"Group {beat.group_id} is not a consumer group."
        raise ApiError(ErrorCode.GROUP_ID_NOT_FOUND, found)
    return ConsumerGroup(beat.group_id)


# --- joining and staying --------------------------------------------------------------------------------------------


def _heartbeat(draft: ConsumerDraft, beat: ConsumerHeartbeat) -> ConsumerGroupHeartbeatResponse:
    check_size(draft, beat.member_id, beat.instance_id)
    before = _member(draft, beat)
    has_new_subscription = update(draft, before, _as_said(before, beat))
    member = advance(draft, beat.member_id, beat.owned, has_new_subscription)
    is_untold = _is_untold(draft, beat, before, member)
    draft.start_session(member)
    interval_ms = draft.world.limits.heartbeat_interval_ms
    wait_ms = draft.target_wait_ms()
    if wait_ms and (has_new_subscription or beat.member_epoch == JOIN_EPOCH):
        interval_ms = min(wait_ms, interval_ms)  # it is to hear of the target that knows of it at once
    response = ConsumerGroupHeartbeatResponse(
        member_id=member.member_id,
        member_epoch=member.member_epoch,
        heartbeat_interval_ms=interval_ms,
    )
    # A member in an older epoch has not got the answer that told it of this one.
    if (
        beat.member_epoch != before.member_epoch
        or beat.is_full
        or before.assigned.keys() != member.assigned.keys()
        or is_untold
    ):
        response.assignment = _assignment(member)
    return response


def _is_untold(
    draft: ConsumerDraft, beat: ConsumerHeartbeat, before: ConsumerMember, member: ConsumerMember
) -> bool:
    """Whether it may not know what it has: that was changed within its epoch, and it has not said that it owns it.

    By the protocol it says everything again when an answer does not come. librdkafka does not when it gave the request
    up; with Kafka it keeps what it was to let go of until its rebalance time-out, and never reads what it was given.
    """
    is_in_epoch = member.member_epoch == beat.member_epoch
    is_untold = member.member_id in draft.group.untold
    if is_in_epoch and before.assigned.keys() != member.assigned.keys():
        if not is_untold:
            draft.do(Untold(member.member_id))
        return True
    if not is_untold:
        return False
    has_heard = beat.owned == frozenset(member.assigned)
    if has_heard or not is_in_epoch:
        draft.do(Heard(member.member_id))  # of a new epoch it hears with this, or is fenced
    return not has_heard


def _assignment(member: ConsumerMember) -> AssignmentMessage:
    return AssignmentMessage(
        topic_partitions=[
            TopicPartitionsMessage(topic_id=topic_id, partitions=indexes)
            for topic_id, indexes in by_topic(member.assigned).items()
        ]
    )


def advance(
    draft: ConsumerDraft, member_id: str, owned: Assignment | None, has_new_subscription: bool
) -> ConsumerMember:
    """Bring the group up to date, and the member, which has just been heard of, a step towards its target."""
    has_changed = draft.look_at_topics()
    if has_changed or has_new_subscription or not draft.group.group_epoch:
        draft.next_epoch()
    if draft.group.group_epoch > draft.group.assignment_epoch and not draft.target_wait_ms():
        draft.assign()
    group = draft.group
    member = group.members[member_id]
    if not has_new_subscription and member.is_reconciled_to(group.assignment_epoch):
        return member
    target = Target(
        group.assignment_epoch, group.target.get(member_id, NOTHING), draft.subscribed_ids(member)
    )
    after = next_step(member, target, group.owners, owned, has_new_subscription=has_new_subscription)
    draft.settle(member, after)
    return after


def check_size(draft: ConsumerDraft, member_id: str, instance_id: str | None) -> None:
    """Raises GROUP_MAX_SIZE_REACHED."""
    group = draft.group
    is_known = member_id in group.members or instance_id in group.static_members
    if len(group.members) >= draft.world.limits.max_size and not is_known:
        raise ApiError(
            ErrorCode.GROUP_MAX_SIZE_REACHED,
            f"The consumer group has reached its maximum capacity of {draft.world.limits.max_size} members.",
        )


def _member(draft: ConsumerDraft, beat: ConsumerHeartbeat) -> ConsumerMember:
    """The member the request is from; one that nothing has been written of yet if it joins."""
    group = draft.group
    joins = beat.member_epoch == JOIN_EPOCH
    if beat.instance_id is not None:
        return _static_member(draft, beat, joins)
    member = group.members.get(beat.member_id)
    if member is None:
        if not joins:
            raise _unknown_member(beat)
        return ConsumerMember(beat.member_id)
    if not joins:
        _check_epoch(member, beat)
    return member


def _static_member(draft: ConsumerDraft, beat: ConsumerHeartbeat, joins: bool) -> ConsumerMember:
    group = draft.group
    known = group.members.get(group.static_members.get(beat.instance_id or "", ""))
    if not joins:
        _check_instance(known, beat)
        assert known is not None
        _check_epoch(known, beat)
        return known
    if known is None:
        return group.members.get(beat.member_id) or ConsumerMember(beat.member_id)
    if known.member_id == beat.member_id and not has_left_for_a_while(known):
        return known  # it joins anew, or did not get the answer
    if not has_left_for_a_while(known) and known.classic is None:
        raise ApiError(
            ErrorCode.UNRELEASED_INSTANCE_ID,
            f"Static member {beat.member_id} with instance id {beat.instance_id} cannot join the group "
            f"because the instance id is owned by {known.member_id} member.",
        )
    if beat.member_id != known.member_id and beat.member_id in group.members:
        raise ApiError(ErrorCode.INVALID_REQUEST, f"Member id {beat.member_id} is another member's.")
    returned = known._replace(
        member_id=beat.member_id, member_epoch=JOIN_EPOCH, previous_member_epoch=JOIN_EPOCH
    )
    draft.replace_static(known, returned)
    return returned


def _check_instance(known: ConsumerMember | None, beat: ConsumerHeartbeat) -> None:
    if known is None:
        raise ApiError(ErrorCode.UNKNOWN_MEMBER_ID, f"Instance id {beat.instance_id} is unknown.")
    if known.member_id != beat.member_id:
        raise ApiError(
            ErrorCode.FENCED_INSTANCE_ID,
            f"Static member {beat.member_id} with instance id {beat.instance_id} was fenced by member "
            f"{known.member_id}.",
        )


def _unknown_member(beat: ConsumerHeartbeat) -> ApiError:
    return ApiError(
        ErrorCode.UNKNOWN_MEMBER_ID, f"Member {beat.member_id} is not a member of group {beat.group_id}."
    )


def _check_epoch(member: ConsumerMember, beat: ConsumerHeartbeat) -> None:
    """A member is in the epoch it was last told, or, if it did not get that answer, in the one before."""
    if beat.member_epoch == member.member_epoch:
        return
    is_behind = (
        beat.member_epoch == member.previous_member_epoch
        and beat.member_epoch < member.member_epoch
        and beat.owned is not None
        and beat.owned <= member.assigned.keys()
    )
    if not is_behind:
        than = "greater" if beat.member_epoch > member.member_epoch else "smaller"
        raise ApiError(
            ErrorCode.FENCED_MEMBER_EPOCH,
            f"The consumer group member has a {than} member epoch ({beat.member_epoch}) than the one known by "
            f"the group coordinator ({member.member_epoch}). The member must abandon all its partitions and rejoin.",
        )


def _as_said(before: ConsumerMember, beat: ConsumerHeartbeat) -> ConsumerMember:
    """The member with what the heartbeat says of it."""
    return before._replace(
        instance_id=before.instance_id if beat.instance_id is None else beat.instance_id,
        rack_id=before.rack_id if beat.rack_id is None else beat.rack_id,
        client_id=beat.client_id,
        client_host=beat.client_host,
        rebalance_timeout_ms=(
            before.rebalance_timeout_ms if beat.rebalance_timeout_ms == -1 else beat.rebalance_timeout_ms
        ),
        topic_names=before.topic_names if beat.topic_names is None else beat.topic_names,
        topic_regex=before.topic_regex if beat.topic_regex is None else beat.topic_regex,
        assignor=before.assignor if beat.assignor is None else beat.assignor,
        classic=None,
    )


def update(draft: ConsumerDraft, before: ConsumerMember, member: ConsumerMember) -> bool:
    """Write down what a member says of itself; True if it subscribes to something else than before."""
    if member == before and before.member_id in draft.group.members:
        return False
    draft.do(member_record(draft.group.group_id, member))
    has_new_regex = member.topic_regex != before.topic_regex
    if has_new_regex:
        if member.topic_regex and member.topic_regex not in draft.group.regexes:
            draft.resolve(member.topic_regex)
        draft.drop_unused_regexes()
    return has_new_regex or member.topic_names != before.topic_names


# --- leaving --------------------------------------------------------------------------------------------------------


def _leave(draft: ConsumerDraft, beat: ConsumerHeartbeat) -> ConsumerGroupHeartbeatResponse:
    group = draft.group
    if beat.instance_id is None:
        member = group.members.get(beat.member_id)
        if member is None:
            raise _unknown_member(beat)
    else:
        member = group.members.get(group.static_members.get(beat.instance_id, ""))
        _check_instance(member, beat)
        assert member is not None
    if beat.member_epoch == LEAVE_FOR_A_WHILE_EPOCH:
        # Its session goes on: until that is over, everything is kept for it.
        away = member._replace(member_epoch=LEAVE_FOR_A_WHILE_EPOCH, state=MemberState.STABLE, revoking={})
        draft.do(current_assignment_record(group.group_id, away))
        draft.cancel(TimerKind.REBALANCE, member.member_id)
    else:
        remove_all(draft, [member])
    return ConsumerGroupHeartbeatResponse(member_id=beat.member_id, member_epoch=beat.member_epoch)


def remove_all(draft: ConsumerDraft, members: list[ConsumerMember]) -> None:
    """Take members out. The next heartbeat of another finds a new epoch, and makes a target without them."""
    for member in members:
        draft.remove(member)
    draft.drop_unused_regexes()
    if give_back(draft):
        return
    draft.next_epoch()
    if not draft.group.members:
        draft.target_is_made()  # of nobody; and it is known since when


# --- timers ---------------------------------------------------------------------------------------------------------


def decide_consumer_timer(group: ConsumerGroup, timer: TimerKey, world: World) -> Outcome:
    """What the end of a timer comes to: the member is out."""
    draft = ConsumerDraft(group, world)
    member = group.members.get(timer.member_id)
    if member is not None:
        is_late = member.state is MemberState.UNREVOKED_PARTITIONS
        if timer.kind is not TimerKind.REBALANCE or is_late:
            remove_all(draft, [member])
    return draft.outcome()


def decide_consumer_loaded(group: ConsumerGroup, world: World) -> Outcome:
    """After a restart every member has a session's time to be heard of, and one to let go of what it has to."""
    draft = ConsumerDraft(group, world)
    for member in group.members.values():
        draft.start_session(member)
        if member.state is MemberState.UNREVOKED_PARTITIONS and member.classic is None:
            draft.start(TimerKind.REBALANCE, max(member.rebalance_timeout_ms, 0), member.member_id)
    return draft.outcome()
