"""SyncGroup (key 14), versions 0 to 5.

v3  static members (KIP-345)   v4  flexible   v5  protocol type and name, checked (KIP-559)

The answer waits for the leader's assignment, and until that is durable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.coordinator.classic_members import Sync
from broker.coordinator.outcome import NOBODY
from protocol.errors import ErrorCode
from protocol.messages.sync_group import SyncGroupRequest, SyncGroupResponse

if TYPE_CHECKING:
    from broker.request import Deferred, Request
    from broker.runtime import Broker


_PROTOCOL_VERSION: Final = 5  # KIP-559


def handle(broker: Broker, request: Request) -> Deferred[SyncGroupResponse] | SyncGroupResponse:
    message: SyncGroupRequest = request.message
    if request.version >= _PROTOCOL_VERSION and (
        message.protocol_type is None or message.protocol_name is None
    ):
        return SyncGroupResponse(error_code=ErrorCode.INCONSISTENT_GROUP_PROTOCOL, assignment=b"")
    return broker.groups.sync(
        Sync(
            token=NOBODY,
            group_id=message.group_id,
            generation_id=message.generation_id,
            member_id=message.member_id,
            group_instance_id=message.group_instance_id,
            protocol_type=message.protocol_type,
            protocol_name=message.protocol_name,
            assignments=[(given.member_id, given.assignment) for given in message.assignments],
        )
    )
