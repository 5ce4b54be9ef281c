"""DescribeGroups (key 15), versions 0 to 6.

v3  authorised operations (KIP-430)   v4  instance ids (KIP-345)   v5  flexible
v6  GROUP_ID_NOT_FOUND and its message (KIP-1043); before, a group that is not there is "Dead"
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.coordinator.answers import gathered, mapped, not_found_message
from broker.security.operations import NOT_ASKED, Resource, authorized_operations
from protocol.errors import ErrorCode
from protocol.messages.describe_groups import DescribedGroup, DescribeGroupsRequest, DescribeGroupsResponse

if TYPE_CHECKING:
    from broker.request import Deferred, Request
    from broker.runtime import Broker

_NOT_FOUND_VERSION: Final = 6


def handle(broker: Broker, request: Request) -> Deferred[DescribeGroupsResponse]:
    message: DescribeGroupsRequest = request.message
    asked = message.include_authorized_operations
    operations = authorized_operations(Resource.GROUP) if asked else NOT_ASKED
    described = [broker.groups.describe(group_id) for group_id in message.groups]

    def respond(groups: list[DescribedGroup | None]) -> DescribeGroupsResponse:
        results = [
            group if group is not None else _not_found(broker, group_id, request.version)
            for group_id, group in zip(message.groups, groups)
        ]
        for result in results:
            result.authorized_operations = operations
        return DescribeGroupsResponse(groups=results)

    return mapped(gathered(described), respond)


def _not_found(broker: Broker, group_id: str, version: int) -> DescribedGroup:
    if version < _NOT_FOUND_VERSION:
        return DescribedGroup(group_id=group_id, group_state="Dead")
    return DescribedGroup(
        error_code=ErrorCode.GROUP_ID_NOT_FOUND,
        error_message=not_found_message(broker, group_id, "a classic group"),
        group_id=group_id,
        group_state="Dead",
    )
