"""ConsumerGroupDescribe (key 69), versions 0 and 1 (KIP-848).

v1  the member's protocol (KIP-1099)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.coordinator.answers import gathered, mapped, not_found_message
from broker.security.operations import NOT_ASKED, Resource, authorized_operations
from protocol.errors import ErrorCode
from protocol.messages.consumer_group_describe import (
    ConsumerGroupDescribeRequest,
    ConsumerGroupDescribeResponse,
    DescribedGroup,
)

if TYPE_CHECKING:
    from broker.request import Deferred, Request
    from broker.runtime import Broker


def handle(broker: Broker, request: Request) -> Deferred[ConsumerGroupDescribeResponse]:
    message: ConsumerGroupDescribeRequest = request.message
    asked = message.include_authorized_operations
    operations = authorized_operations(Resource.GROUP) if asked else NOT_ASKED
    described = [broker.groups.describe_consumer(group_id) for group_id in message.group_ids]

    def respond(groups: list[DescribedGroup | None]) -> ConsumerGroupDescribeResponse:
        results = [
            group if group is not None else _not_found(broker, group_id)
            for group_id, group in zip(message.group_ids, groups)
        ]
        for result in results:
            if not result.error_code:
                result.authorized_operations = operations
        return ConsumerGroupDescribeResponse(groups=results)

    return mapped(gathered(described), respond)


def _not_found(broker: Broker, group_id: str) -> DescribedGroup:
    if not group_id:
        return DescribedGroup(error_code=ErrorCode.INVALID_GROUP_ID, group_id=group_id)
    return DescribedGroup(
        error_code=ErrorCode.GROUP_ID_NOT_FOUND,
        error_message=not_found_message(broker, group_id, "a consumer group"),
        group_id=group_id,
    )
