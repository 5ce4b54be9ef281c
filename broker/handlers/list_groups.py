"""ListGroups (key 16), versions 0 to 5.

v3  flexible   v4  by state (KIP-518)   v5  by type (KIP-848)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.messages.list_groups import ListGroupsRequest, ListGroupsResponse

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker


def handle(broker: Broker, request: Request) -> ListGroupsResponse:
    message: ListGroupsRequest = request.message
    states = {state.lower() for state in message.states_filter}
    types = {group_type.lower() for group_type in message.types_filter}
    return ListGroupsResponse(
        groups=[
            group
            for group in broker.groups.listed()
            if (not states or group.group_state.lower() in states)
            and (not types or group.group_type.lower() in types)
        ]
    )
