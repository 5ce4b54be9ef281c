"""What can be done to what: the operations and resources of Kafka's ACLs (KIP-11), and what applies where."""

from __future__ import annotations

import enum
from typing import Final

NOT_ASKED: Final = -(2**31)
"""`*_authorized_operations` where the client did not ask for them (KIP-430)."""


NO_AUTHORIZER: Final = "No Authorizer is configured."
"""The text that goes with SECURITY_DISABLED."""


class Operation(enum.IntEnum):
    """ACL operations, numbered as Kafka's AclOperation."""

    NONE = -1
    """Needs no authorisation: ApiVersions and the SASL exchange."""
    ALL = 2
    READ = 3
    WRITE = 4
    CREATE = 5
    DELETE = 6
    ALTER = 7
    DESCRIBE = 8
    CLUSTER_ACTION = 9
    DESCRIBE_CONFIGS = 10
    ALTER_CONFIGS = 11
    IDEMPOTENT_WRITE = 12


class Resource(enum.IntEnum):
    """ACL resource types, numbered as Kafka's ResourceType."""

    NONE = 0
    TOPIC = 2
    GROUP = 3
    CLUSTER = 4
    TRANSACTIONAL_ID = 5


_APPLICABLE: Final = {
    Resource.TOPIC: (
        Operation.READ,
        Operation.WRITE,
        Operation.CREATE,
        Operation.DELETE,
        Operation.ALTER,
        Operation.DESCRIBE,
        Operation.DESCRIBE_CONFIGS,
        Operation.ALTER_CONFIGS,
    ),
    Resource.GROUP: (
        Operation.READ,
        Operation.DELETE,
        Operation.DESCRIBE,
        Operation.DESCRIBE_CONFIGS,
        Operation.ALTER_CONFIGS,
    ),
    Resource.CLUSTER: (
        Operation.CREATE,
        Operation.ALTER,
        Operation.DESCRIBE,
        Operation.CLUSTER_ACTION,
        Operation.DESCRIBE_CONFIGS,
        Operation.ALTER_CONFIGS,
        Operation.IDEMPOTENT_WRITE,
    ),
}


def authorized_operations(resource: Resource) -> int:
    """The bit field of every operation that applies to a resource: what anyone may do without an authoriser."""
    return sum(1 << operation for operation in _APPLICABLE[resource])
