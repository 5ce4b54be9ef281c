"""The requests Floe answers: one file per API, and this table of them in key order.

A row is an API's registration: its module, the versions it implements, and the operation and resource that are
authorised before it runs, so that no handler can exist without one. ApiVersions is computed from this table alone:
what has no row is not advertised (and Floe's private API is not, either). Modules are imported at their first
request, because the message classes of forty APIs would otherwise be most of the start-up time.
"""

from __future__ import annotations

from typing import NamedTuple

from broker.security.operations import Operation, Resource
from protocol.api import ApiKey


class HandlerSpec(NamedTuple):
    """The registration of one API. `versions` is inclusive at both ends."""

    api: ApiKey
    module: str
    versions: tuple[int, int]
    operation: Operation
    resource: Resource


HANDLERS: tuple[HandlerSpec, ...] = (
    HandlerSpec(ApiKey.PRODUCE, "produce", (0, 13), Operation.WRITE, Resource.TOPIC),
    HandlerSpec(ApiKey.FETCH, "fetch", (0, 18), Operation.READ, Resource.TOPIC),
    HandlerSpec(ApiKey.LIST_OFFSETS, "list_offsets", (0, 11), Operation.DESCRIBE, Resource.TOPIC),
    HandlerSpec(ApiKey.METADATA, "metadata", (0, 13), Operation.DESCRIBE, Resource.TOPIC),
    HandlerSpec(ApiKey.OFFSET_COMMIT, "offset_commit", (0, 10), Operation.READ, Resource.GROUP),
    HandlerSpec(ApiKey.OFFSET_FETCH, "offset_fetch", (0, 10), Operation.DESCRIBE, Resource.GROUP),
    HandlerSpec(ApiKey.FIND_COORDINATOR, "find_coordinator", (0, 6), Operation.DESCRIBE, Resource.GROUP),
    HandlerSpec(ApiKey.JOIN_GROUP, "join_group", (0, 9), Operation.READ, Resource.GROUP),
    HandlerSpec(ApiKey.HEARTBEAT, "heartbeat", (0, 4), Operation.READ, Resource.GROUP),
    HandlerSpec(ApiKey.LEAVE_GROUP, "leave_group", (0, 5), Operation.READ, Resource.GROUP),
    HandlerSpec(ApiKey.SYNC_GROUP, "sync_group", (0, 5), Operation.READ, Resource.GROUP),
    HandlerSpec(ApiKey.DESCRIBE_GROUPS, "describe_groups", (0, 6), Operation.DESCRIBE, Resource.GROUP),
    HandlerSpec(ApiKey.LIST_GROUPS, "list_groups", (0, 5), Operation.DESCRIBE, Resource.CLUSTER),
    HandlerSpec(ApiKey.API_VERSIONS, "api_versions", (0, 4), Operation.NONE, Resource.NONE),
    HandlerSpec(ApiKey.CREATE_TOPICS, "create_topics", (0, 7), Operation.CREATE, Resource.CLUSTER),
    HandlerSpec(ApiKey.DELETE_TOPICS, "delete_topics", (0, 6), Operation.DELETE, Resource.TOPIC),
    HandlerSpec(ApiKey.DELETE_RECORDS, "delete_records", (0, 2), Operation.DELETE, Resource.TOPIC),
    HandlerSpec(
        ApiKey.INIT_PRODUCER_ID, "init_producer_id", (0, 5), Operation.IDEMPOTENT_WRITE, Resource.CLUSTER
    ),
    HandlerSpec(
        ApiKey.OFFSET_FOR_LEADER_EPOCH, "offset_for_leader_epoch", (0, 4), Operation.DESCRIBE, Resource.TOPIC
    ),
    HandlerSpec(
        ApiKey.ADD_PARTITIONS_TO_TXN,
        "add_partitions_to_txn",
        (0, 5),
        Operation.WRITE,
        Resource.TRANSACTIONAL_ID,
    ),
    HandlerSpec(
        ApiKey.ADD_OFFSETS_TO_TXN, "add_offsets_to_txn", (0, 4), Operation.WRITE, Resource.TRANSACTIONAL_ID
    ),
    HandlerSpec(ApiKey.END_TXN, "end_txn", (0, 5), Operation.WRITE, Resource.TRANSACTIONAL_ID),
    HandlerSpec(
        ApiKey.WRITE_TXN_MARKERS, "write_txn_markers", (1, 2), Operation.CLUSTER_ACTION, Resource.CLUSTER
    ),
    HandlerSpec(
        ApiKey.TXN_OFFSET_COMMIT, "txn_offset_commit", (0, 5), Operation.WRITE, Resource.TRANSACTIONAL_ID
    ),
    HandlerSpec(ApiKey.DESCRIBE_ACLS, "describe_acls", (0, 3), Operation.DESCRIBE, Resource.CLUSTER),
    HandlerSpec(ApiKey.CREATE_ACLS, "create_acls", (0, 3), Operation.ALTER, Resource.CLUSTER),
    HandlerSpec(ApiKey.DELETE_ACLS, "delete_acls", (0, 3), Operation.ALTER, Resource.CLUSTER),
    HandlerSpec(
        ApiKey.DESCRIBE_CONFIGS, "describe_configs", (0, 4), Operation.DESCRIBE_CONFIGS, Resource.CLUSTER
    ),
    HandlerSpec(ApiKey.ALTER_CONFIGS, "alter_configs", (0, 2), Operation.ALTER_CONFIGS, Resource.CLUSTER),
    HandlerSpec(
        ApiKey.ALTER_REPLICA_LOG_DIRS,
        "alter_replica_log_dirs",
        (0, 2),
        Operation.ALTER,
        Resource.CLUSTER,
    ),
    HandlerSpec(ApiKey.DESCRIBE_LOG_DIRS, "describe_log_dirs", (0, 5), Operation.DESCRIBE, Resource.CLUSTER),
    HandlerSpec(ApiKey.CREATE_PARTITIONS, "create_partitions", (0, 3), Operation.ALTER, Resource.TOPIC),
    HandlerSpec(ApiKey.DELETE_GROUPS, "delete_groups", (0, 2), Operation.DELETE, Resource.GROUP),
    HandlerSpec(ApiKey.ELECT_LEADERS, "elect_leaders", (0, 2), Operation.ALTER, Resource.CLUSTER),
    HandlerSpec(
        ApiKey.INCREMENTAL_ALTER_CONFIGS,
        "incremental_alter_configs",
        (0, 1),
        Operation.ALTER_CONFIGS,
        Resource.CLUSTER,
    ),
    HandlerSpec(
        ApiKey.ALTER_PARTITION_REASSIGNMENTS,
        "alter_partition_reassignments",
        (0, 1),
        Operation.ALTER,
        Resource.CLUSTER,
    ),
    HandlerSpec(
        ApiKey.LIST_PARTITION_REASSIGNMENTS,
        "list_partition_reassignments",
        (0, 0),
        Operation.DESCRIBE,
        Resource.CLUSTER,
    ),
    HandlerSpec(ApiKey.OFFSET_DELETE, "offset_delete", (0, 0), Operation.DELETE, Resource.GROUP),
    HandlerSpec(
        ApiKey.DESCRIBE_CLIENT_QUOTAS,
        "describe_client_quotas",
        (0, 1),
        Operation.DESCRIBE_CONFIGS,
        Resource.CLUSTER,
    ),
    HandlerSpec(
        ApiKey.DESCRIBE_USER_SCRAM_CREDENTIALS,
        "describe_user_scram_credentials",
        (0, 0),
        Operation.DESCRIBE,
        Resource.CLUSTER,
    ),
    HandlerSpec(ApiKey.DESCRIBE_QUORUM, "describe_quorum", (0, 2), Operation.DESCRIBE, Resource.CLUSTER),
    HandlerSpec(ApiKey.DESCRIBE_CLUSTER, "describe_cluster", (0, 2), Operation.DESCRIBE, Resource.CLUSTER),
    HandlerSpec(ApiKey.DESCRIBE_PRODUCERS, "describe_producers", (0, 0), Operation.READ, Resource.TOPIC),
    HandlerSpec(ApiKey.UNREGISTER_BROKER, "unregister_broker", (0, 0), Operation.ALTER, Resource.CLUSTER),
    HandlerSpec(
        ApiKey.DESCRIBE_TRANSACTIONS,
        "describe_transactions",
        (0, 0),
        Operation.DESCRIBE,
        Resource.TRANSACTIONAL_ID,
    ),
    HandlerSpec(
        ApiKey.LIST_TRANSACTIONS,
        "list_transactions",
        (0, 2),
        Operation.DESCRIBE,
        Resource.TRANSACTIONAL_ID,
    ),
    HandlerSpec(
        ApiKey.CONSUMER_GROUP_HEARTBEAT, "consumer_group_heartbeat", (0, 1), Operation.READ, Resource.GROUP
    ),
    HandlerSpec(
        ApiKey.CONSUMER_GROUP_DESCRIBE, "consumer_group_describe", (0, 1), Operation.DESCRIBE, Resource.GROUP
    ),
    HandlerSpec(
        ApiKey.LIST_CONFIG_RESOURCES,
        "list_config_resources",
        (0, 1),
        Operation.DESCRIBE_CONFIGS,
        Resource.CLUSTER,
    ),
    HandlerSpec(
        ApiKey.DESCRIBE_TOPIC_PARTITIONS,
        "describe_topic_partitions",
        (0, 0),
        Operation.DESCRIBE,
        Resource.TOPIC,
    ),
    HandlerSpec(ApiKey.FLOE_ADMIN, "floe_admin", (0, 0), Operation.NONE, Resource.NONE),
)
