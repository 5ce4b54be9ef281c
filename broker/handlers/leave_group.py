"""LeaveGroup (key 13), versions 0 to 5.

v3  many members, by member or instance id (KIP-345)   v4  flexible   v5  the reason (KIP-800)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.coordinator.answers import mapped
from broker.coordinator.classic_members import Leave
from broker.coordinator.outcome import NOBODY
from protocol.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse, MemberIdentity

if TYPE_CHECKING:
    from broker.request import Deferred, Request
    from broker.runtime import Broker

_BATCH_VERSION: Final = 3


def handle(broker: Broker, request: Request) -> Deferred[LeaveGroupResponse]:
    message: LeaveGroupRequest = request.message
    if request.version >= _BATCH_VERSION:
        return broker.groups.leave(Leave(NOBODY, message.group_id, message.members))
    leave = Leave(NOBODY, message.group_id, [MemberIdentity(member_id=message.member_id)])
    return mapped(broker.groups.leave(leave), _of_one_member)


def _of_one_member(response: LeaveGroupResponse) -> LeaveGroupResponse:
    code = response.error_code or response.members[0].error_code
    return LeaveGroupResponse(error_code=code)
