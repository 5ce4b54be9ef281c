"""Heartbeat (key 12), versions 0 to 4.

v3  static members (KIP-345)   v4  flexible
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.coordinator.classic_members import Heartbeat
from broker.coordinator.outcome import NOBODY
from protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse

if TYPE_CHECKING:
    from broker.request import Deferred, Request
    from broker.runtime import Broker


def handle(broker: Broker, request: Request) -> Deferred[HeartbeatResponse]:
    message: HeartbeatRequest = request.message
    return broker.groups.heartbeat(
        Heartbeat(
            NOBODY, message.group_id, message.generation_id, message.member_id, message.group_instance_id
        )
    )
