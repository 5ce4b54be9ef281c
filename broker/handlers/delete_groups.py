"""DeleteGroups (key 42), versions 0 to 2 (KIP-229).

v2  flexible
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.coordinator.answers import gathered, mapped
from protocol.messages.delete_groups import DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse

if TYPE_CHECKING:
    from broker.request import Deferred, Request
    from broker.runtime import Broker


def handle(broker: Broker, request: Request) -> Deferred[DeleteGroupsResponse]:
    message: DeleteGroupsRequest = request.message
    deleted = [broker.groups.delete_group(group_id) for group_id in message.groups_names]
    return mapped(
        gathered(deleted),
        lambda codes: DeleteGroupsResponse(
            results=[
                DeletableGroupResult(group_id=group_id, error_code=code)
                for group_id, code in zip(message.groups_names, codes)
            ]
        ),
    )
