"""DescribeCluster (key 60), versions 0 to 2.

v1  endpoint type (KIP-919)     v2  fenced brokers (KIP-1073), of which there are none

The one broker is also the controller, but has no controller listener: asked for controllers it says so as Kafka's
brokers do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.security.operations import NOT_ASKED, Resource, authorized_operations
from protocol.errors import ErrorCode
from protocol.messages.describe_cluster import (
    DescribeClusterBroker,
    DescribeClusterRequest,
    DescribeClusterResponse,
)

if TYPE_CHECKING:
    from broker.request import Request
    from broker.runtime import Broker

_BROKERS: Final = 1
_CONTROLLERS: Final = 2


def handle(broker: Broker, request: Request) -> DescribeClusterResponse:
    message: DescribeClusterRequest = request.message
    if message.endpoint_type != _BROKERS:
        return _refused(message.endpoint_type)
    operations = NOT_ASKED
    if message.include_cluster_authorized_operations:
        operations = authorized_operations(Resource.CLUSTER)
    host, port = broker.advertised(request.connection)
    return DescribeClusterResponse(
        cluster_id=broker.cluster_id,
        controller_id=broker.node_id,
        brokers=[DescribeClusterBroker(broker_id=broker.node_id, host=host, port=port, rack=broker.rack)],
        cluster_authorized_operations=operations,
    )


def _refused(endpoint_type: int) -> DescribeClusterResponse:
    if endpoint_type == _CONTROLLERS:
        error = ErrorCode.MISMATCHED_ENDPOINT_TYPE
        text = (
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER"
        )
    else:
        error = ErrorCode.UNSUPPORTED_ENDPOINT_TYPE
        text = f"Unsupported endpoint type {endpoint_type}"
    return DescribeClusterResponse(error_code=error, error_message=text)
