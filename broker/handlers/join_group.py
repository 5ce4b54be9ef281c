"""JoinGroup (key 11), versions 0 to 9.

v1  a rebalance time-out of its own (KIP-62)   v4  the member id is given out first (KIP-394)
v5  static members (KIP-345)                   v6  flexible
v7  protocol type in the answer (KIP-559)      v8  the reason (KIP-800)
v9  skip_assignment for static leaders (KIP-814)

The answer waits until the join phase is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.coordinator.answers import client_host
from broker.coordinator.classic_join import Join
from broker.coordinator.outcome import NOBODY
from protocol.messages.join_group import JoinGroupRequest, JoinGroupResponse

if TYPE_CHECKING:
    from broker.request import Deferred, Request
    from broker.runtime import Broker

_MEMBER_ID_VERSION: Final = 4
_SKIP_ASSIGNMENT_VERSION: Final = 9


def handle(broker: Broker, request: Request) -> Deferred[JoinGroupResponse]:
    message: JoinGroupRequest = request.message
    version = request.version
    client_id = request.client_id or ""
    join = Join(
        token=NOBODY,
        group_id=message.group_id,
        member_id=message.member_id,
        group_instance_id=message.group_instance_id,
        client_id=client_id,
        client_host=client_host(request),
        session_timeout_ms=message.session_timeout_ms,
        rebalance_timeout_ms=message.rebalance_timeout_ms if version else message.session_timeout_ms,
        protocol_type=message.protocol_type,
        protocols=tuple((protocol.name, protocol.metadata) for protocol in message.protocols),
        new_member_id=message.group_instance_id if message.group_instance_id is not None else client_id,
        requires_member_id=version >= _MEMBER_ID_VERSION,
        can_skip_assignment=version >= _SKIP_ASSIGNMENT_VERSION,
        reason=message.reason,
    )
    return broker.groups.join(join)
