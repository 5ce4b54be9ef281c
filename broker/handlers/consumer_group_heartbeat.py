"""ConsumerGroupHeartbeat (key 68), versions 0 and 1 (KIP-848).

v1  subscriptions by regular expression; the member makes its own id (KIP-1082)

Members join, stay and leave by this one request. Null, and -1 for the rebalance time-out, is "as before"; an empty
list or string is "none". Assignors of the client's own are not part of the protocol any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.coordinator.answers import client_host
from broker.coordinator.consumer_group import pairs
from broker.coordinator.consumer_members import ConsumerHeartbeat
from broker.coordinator.outcome import NOBODY
from protocol.messages.consumer_group_heartbeat import (
    ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
)

if TYPE_CHECKING:
    from broker.request import Deferred, Request
    from broker.runtime import Broker

_MEMBER_ID_VERSION: Final = 1


def handle(broker: Broker, request: Request) -> Deferred[ConsumerGroupHeartbeatResponse]:
    message: ConsumerGroupHeartbeatRequest = request.message
    names, owned = message.subscribed_topic_names, message.topic_partitions
    beat = ConsumerHeartbeat(
        token=NOBODY,
        group_id=message.group_id,
        member_id=message.member_id,
        member_epoch=message.member_epoch,
        instance_id=message.instance_id,
        rack_id=message.rack_id,
        rebalance_timeout_ms=message.rebalance_timeout_ms,
        client_id=request.client_id or "",
        client_host=client_host(request),
        topic_names=None if names is None else frozenset(names),
        topic_regex=message.subscribed_topic_regex,
        assignor=message.server_assignor,
        owned=None if owned is None else frozenset(pairs(owned)),
        needs_member_id=request.version >= _MEMBER_ID_VERSION,
    )
    return broker.groups.consumer_heartbeat(beat)
