"""SyncGroup (key 14), versions 0 to 5.

v3  static members (KIP-345)   v4  flexible   v5  protocol type and name, checked (KIP-559)

The answer waits for the leader's assignment, and until that is durable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.coordinator.classic_members import Sync
from broker.coordinator.outcome import NOBODY
from protocol.messages.sync_group import SyncGroupRequest, SyncGroupResponse

if TYPE_CHECKING:
    from broker.request import Deferred, Request
    from broker.runtime import Broker


def handle(broker: Broker, request: Request) -> Deferred[SyncGroupResponse]:
    message: SyncGroupRequest = request.message
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
