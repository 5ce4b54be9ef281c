"""ListPartitionReassignments (key 46), version 0 (KIP-455): there is one broker, so there never is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.messages.list_partition_reassignments import ListPartitionReassignmentsResponse

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker


def handle(broker: Broker, request: Request) -> ListPartitionReassignmentsResponse:
    return ListPartitionReassignmentsResponse()
