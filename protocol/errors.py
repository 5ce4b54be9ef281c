"""Every error Kafka's protocol knows, in one table, and the exceptions that say whose fault something was.

The table's columns are the code on the wire, whether a client may simply try again (Kafka's
RetriableException), and the text a response carries when nobody has anything better to say.

Whose fault:
    Malformed       the peer's: its bytes are not what the protocol allows. The connection is closed.
    ApiError        the caller's: a well-formed request that cannot be granted. It becomes an error code.
    StorageFailed   the disk's: the partition goes offline. DiskFull is the one that leaves it online.
    Unencodable     ours: a message holds something its version cannot carry.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Self

_RETRY, _FINAL = True, False


class ErrorCode(IntEnum):
    """An error as it stands on the wire: an int16, with `retriable` and a default `message` beside it."""

    retriable: bool
    message: str

    def __new__(cls, code: int, retriable: bool, message: str) -> Self:
        member = int.__new__(cls, code)
        member._value_ = code
        member.retriable = retriable
        member.message = message
        return member

    UNKNOWN_SERVER_ERROR = -1, _FINAL, "The broker met an unexpected error."
    NONE = 0, _FINAL, ""
    OFFSET_OUT_OF_RANGE = 1, _FINAL, "The offset lies outside what the partition holds."
    CORRUPT_MESSAGE = 2, _RETRY, "The record batch is corrupt: its CRC or a length does not match."
    UNKNOWN_TOPIC_OR_PARTITION = 3, _RETRY, "There is no such topic or partition here."
    INVALID_FETCH_SIZE = 4, _FINAL, "The fetch size is not valid."
    LEADER_NOT_AVAILABLE = 5, _RETRY, "The partition has no leader at the moment."
    NOT_LEADER_OR_FOLLOWER = 6, _RETRY, "This broker does not serve the partition."
    REQUEST_TIMED_OUT = 7, _RETRY, "The request timed out."
    BROKER_NOT_AVAILABLE = 8, _FINAL, "The broker is not available."
    REPLICA_NOT_AVAILABLE = 9, _RETRY, "The replica is not available."
    MESSAGE_TOO_LARGE = 10, _FINAL, "The record batch is larger than max.message.bytes allows."
    STALE_CONTROLLER_EPOCH = 11, _FINAL, "The controller has moved on to a newer epoch."
    OFFSET_METADATA_TOO_LARGE = 12, _FINAL, "The metadata of the committed offset is too long."
    NETWORK_EXCEPTION = 13, _RETRY, "The connection was lost before the answer came."
    COORDINATOR_LOAD_IN_PROGRESS = 14, _RETRY, "The coordinator is still loading its state."
    COORDINATOR_NOT_AVAILABLE = 15, _RETRY, "The coordinator is not available."
    NOT_COORDINATOR = 16, _RETRY, "This broker does not coordinate that group or transaction."
    INVALID_TOPIC_EXCEPTION = 17, _FINAL, "The topic name is not valid, or the topic is off limits."
    RECORD_LIST_TOO_LARGE = 18, _FINAL, "The record batch is larger than a segment may be."
    NOT_ENOUGH_REPLICAS = 19, _RETRY, "There are fewer in-sync replicas than min.insync.replicas asks for."
    NOT_ENOUGH_REPLICAS_AFTER_APPEND = (
        20,
        _RETRY,
        "The records are written, but to fewer in-sync replicas than min.insync.replicas asks for.",
    )
    INVALID_REQUIRED_ACKS = 21, _FINAL, "acks must be -1, 0 or 1."
    ILLEGAL_GENERATION = 22, _FINAL, "The generation is not the group's current one."
    INCONSISTENT_GROUP_PROTOCOL = 23, _FINAL, "The member shares no assignment protocol with its group."
    INVALID_GROUP_ID = 24, _FINAL, "The group id is not valid."
    UNKNOWN_MEMBER_ID = 25, _FINAL, "The coordinator does not know this member."
    INVALID_SESSION_TIMEOUT = 26, _FINAL, "The session timeout lies outside the broker's bounds."
    REBALANCE_IN_PROGRESS = 27, _FINAL, "The group is rebalancing; join again."
    INVALID_COMMIT_OFFSET_SIZE = 28, _FINAL, "The offset commit is too large."
    TOPIC_AUTHORIZATION_FAILED = 29, _FINAL, "Not authorised for the topic."
    GROUP_AUTHORIZATION_FAILED = 30, _FINAL, "Not authorised for the group."
    CLUSTER_AUTHORIZATION_FAILED = 31, _FINAL, "Not authorised for the cluster."
    INVALID_TIMESTAMP = 32, _FINAL, "A record's timestamp is out of the accepted range."
    UNSUPPORTED_SASL_MECHANISM = 33, _FINAL, "The broker does not offer this SASL mechanism."
    ILLEGAL_SASL_STATE = 34, _FINAL, "The request does not fit the state of the SASL exchange."
    UNSUPPORTED_VERSION = 35, _FINAL, "This version of the API is not supported."
    TOPIC_ALREADY_EXISTS = 36, _FINAL, "A topic of this name exists already."
    INVALID_PARTITIONS = 37, _FINAL, "The number of partitions is not valid."
    INVALID_REPLICATION_FACTOR = 38, _FINAL, "The replication factor exceeds the brokers, or is below 1."
    INVALID_REPLICA_ASSIGNMENT = 39, _FINAL, "The replica assignment is not valid."
    INVALID_CONFIG = 40, _FINAL, "The configuration is not valid."
    NOT_CONTROLLER = 41, _RETRY, "This broker is not the controller."
    INVALID_REQUEST = 42, _FINAL, "The request contradicts itself or lacks something it needs."
    UNSUPPORTED_FOR_MESSAGE_FORMAT = 43, _FINAL, "The partition's message format cannot do this."
    POLICY_VIOLATION = 44, _FINAL, "The request is against the configured policy."
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45, _FINAL, "The batch's sequence number does not follow the last one."
    DUPLICATE_SEQUENCE_NUMBER = 46, _FINAL, "A batch with this sequence number has been written before."
    INVALID_PRODUCER_EPOCH = 47, _FINAL, "The producer's epoch is older than the one known here."
    INVALID_TXN_STATE = 48, _FINAL, "The transaction's state does not allow this."
    INVALID_PRODUCER_ID_MAPPING = 49, _FINAL, "The producer id does not belong to this transactional id."
    INVALID_TRANSACTION_TIMEOUT = 50, _FINAL, "The timeout is above transaction.max.timeout.ms."
    CONCURRENT_TRANSACTIONS = 51, _RETRY, "Another operation on the same transaction is still under way."
    TRANSACTION_COORDINATOR_FENCED = 52, _FINAL, "A newer coordinator has taken over this transaction."
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53, _FINAL, "Not authorised for the transactional id."
    SECURITY_DISABLED = 54, _FINAL, "Security features are switched off."
    OPERATION_NOT_ATTEMPTED = 55, _FINAL, "Not tried, because another part of the request failed."
    KAFKA_STORAGE_ERROR = 56, _RETRY, "The disk failed or is full."
    LOG_DIR_NOT_FOUND = 57, _FINAL, "The broker has no such log directory."
    SASL_AUTHENTICATION_FAILED = 58, _FINAL, "SASL authentication failed."
    UNKNOWN_PRODUCER_ID = 59, _FINAL, "Nothing is known here of this producer id; its records may be gone."
    REASSIGNMENT_IN_PROGRESS = 60, _FINAL, "A reassignment of the partition is under way."
    DELEGATION_TOKEN_AUTH_DISABLED = 61, _FINAL, "Delegation tokens are switched off."
    DELEGATION_TOKEN_NOT_FOUND = 62, _FINAL, "There is no such delegation token."
    DELEGATION_TOKEN_OWNER_MISMATCH = 63, _FINAL, "The principal neither owns the token nor may renew it."
    DELEGATION_TOKEN_REQUEST_NOT_ALLOWED = (
        64,
        _FINAL,
        "Token requests are refused on unauthenticated channels and on those authenticated by a token.",
    )
    DELEGATION_TOKEN_AUTHORIZATION_FAILED = 65, _FINAL, "Not authorised for the delegation token."
    DELEGATION_TOKEN_EXPIRED = 66, _FINAL, "The delegation token has expired."
    INVALID_PRINCIPAL_TYPE = 67, _FINAL, "This type of principal is not supported."
    NON_EMPTY_GROUP = 68, _FINAL, "The group still has members."
    GROUP_ID_NOT_FOUND = 69, _FINAL, "There is no such group."
    FETCH_SESSION_ID_NOT_FOUND = 70, _RETRY, "There is no such fetch session."
    INVALID_FETCH_SESSION_EPOCH = 71, _RETRY, "The fetch session is at another epoch."
    LISTENER_NOT_FOUND = 72, _RETRY, "The leader has no listener of the name this request came in by."
    TOPIC_DELETION_DISABLED = 73, _FINAL, "Deletion of topics is switched off."
    FENCED_LEADER_EPOCH = 74, _RETRY, "The request's leader epoch is older than the partition's."
    UNKNOWN_LEADER_EPOCH = 75, _RETRY, "The request's leader epoch is newer than the partition's."
    UNSUPPORTED_COMPRESSION_TYPE = 76, _FINAL, "The client cannot read the partition's compression."
    STALE_BROKER_EPOCH = 77, _FINAL, "The broker has registered anew since."
    OFFSET_NOT_AVAILABLE = 78, _RETRY, "The high watermark has not caught up with the new leader yet."
    MEMBER_ID_REQUIRED = 79, _FINAL, "Join again with the member id given in this answer."
    PREFERRED_LEADER_NOT_AVAILABLE = 80, _RETRY, "The preferred leader is not available."
    GROUP_MAX_SIZE_REACHED = 81, _FINAL, "The group is full."
    FENCED_INSTANCE_ID = 82, _FINAL, "Another member has taken over this group.instance.id."
    ELIGIBLE_LEADERS_NOT_AVAILABLE = 83, _RETRY, "No replica that may lead is available."
    ELECTION_NOT_NEEDED = 84, _RETRY, "The partition's leader is already the right one."
    NO_REASSIGNMENT_IN_PROGRESS = 85, _FINAL, "No reassignment of the partition is under way."
    GROUP_SUBSCRIBED_TO_TOPIC = 86, _FINAL, "The group is subscribed to the topic, so its offsets stay."
    INVALID_RECORD = 87, _FINAL, "A record breaks a rule of its topic."
    UNSTABLE_OFFSET_COMMIT = 88, _RETRY, "Offsets of an open transaction are still undecided."
    THROTTLING_QUOTA_EXCEEDED = 89, _RETRY, "The quota is used up; wait as throttle_time_ms says."
    PRODUCER_FENCED = 90, _FINAL, "A newer producer with the same transactional id has taken over."
    RESOURCE_NOT_FOUND = 91, _FINAL, "There is no such resource."
    DUPLICATE_RESOURCE = 92, _FINAL, "The request names the same resource twice."
    UNACCEPTABLE_CREDENTIAL = 93, _FINAL, "The credential does not meet the requirements."
    INCONSISTENT_VOTER_SET = 94, _FINAL, "Sender or receiver is not one of the expected voters."
    INVALID_UPDATE_VERSION = 95, _FINAL, "The version to update to is not valid."
    FEATURE_UPDATE_FAILED = 96, _FINAL, "The features could not be updated."
    PRINCIPAL_DESERIALIZATION_FAILURE = 97, _FINAL, "The forwarded principal could not be read."
    SNAPSHOT_NOT_FOUND = 98, _FINAL, "There is no such snapshot."
    POSITION_OUT_OF_RANGE = 99, _FINAL, "The position lies outside the snapshot."
    UNKNOWN_TOPIC_ID = 100, _RETRY, "There is no topic of this id here."
    DUPLICATE_BROKER_REGISTRATION = 101, _FINAL, "The broker id is in use."
    BROKER_ID_NOT_REGISTERED = 102, _FINAL, "The broker id is not registered."
    INCONSISTENT_TOPIC_ID = 103, _RETRY, "The topic id is not that of the partition's log."
    INCONSISTENT_CLUSTER_ID = 104, _FINAL, "The cluster id is not this cluster's."
    TRANSACTIONAL_ID_NOT_FOUND = 105, _FINAL, "There is no such transactional id."
    FETCH_SESSION_TOPIC_ID_ERROR = 106, _RETRY, "The fetch session mixes requests with and without topic ids."
    INELIGIBLE_REPLICA = 107, _FINAL, "The new in-sync set holds a replica that may not be in it."
    NEW_LEADER_ELECTED = 108, _FINAL, "The partition is updated, and its leader has changed."
    OFFSET_MOVED_TO_TIERED_STORAGE = 109, _FINAL, "The offset has moved to tiered storage."
    FENCED_MEMBER_EPOCH = 110, _FINAL, "The member's epoch is fenced: give up all partitions and join again."
    UNRELEASED_INSTANCE_ID = 111, _FINAL, "Another member still holds this instance id."
    UNSUPPORTED_ASSIGNOR = 112, _FINAL, "The group cannot use this assignor."
    STALE_MEMBER_EPOCH = 113, _FINAL, "The member's epoch is stale; take the new one from a heartbeat first."
    MISMATCHED_ENDPOINT_TYPE = 114, _FINAL, "The request went to the wrong type of endpoint."
    UNSUPPORTED_ENDPOINT_TYPE = 115, _FINAL, "This type of endpoint is not supported."
    UNKNOWN_CONTROLLER_ID = 116, _FINAL, "There is no controller of this id."
    UNKNOWN_SUBSCRIPTION_ID = 117, _FINAL, "The telemetry subscription is unknown or outdated."
    TELEMETRY_TOO_LARGE = 118, _FINAL, "The pushed telemetry is larger than the broker takes."
    INVALID_REGISTRATION = 119, _FINAL, "The controller refuses the broker's registration."
    TRANSACTION_ABORTABLE = 120, _FINAL, "The transaction failed; abort it and go on."
    INVALID_RECORD_STATE = 121, _FINAL, "The record's delivery state does not allow this acknowledgement."
    SHARE_SESSION_NOT_FOUND = 122, _RETRY, "There is no such share session."
    INVALID_SHARE_SESSION_EPOCH = 123, _RETRY, "The share session is at another epoch."
    FENCED_STATE_EPOCH = 124, _FINAL, "The share-group state is at another epoch."
    INVALID_VOTER_KEY = 125, _FINAL, "The voter key is not the receiver's."
    DUPLICATE_VOTER = 126, _FINAL, "The voter is already one of the voters."
    VOTER_NOT_FOUND = 127, _FINAL, "The voter is not one of the voters."
    INVALID_REGULAR_EXPRESSION = 128, _FINAL, "The regular expression is not valid."
    REBOOTSTRAP_REQUIRED = 129, _FINAL, "The client's metadata is stale; bootstrap again."
    STREAMS_INVALID_TOPOLOGY = 130, _FINAL, "The topology is not valid."
    STREAMS_INVALID_TOPOLOGY_EPOCH = 131, _FINAL, "The topology epoch is not valid."
    STREAMS_TOPOLOGY_FENCED = 132, _FINAL, "The topology epoch is outdated."
    SHARE_SESSION_LIMIT_REACHED = 133, _RETRY, "There are as many share sessions as the broker allows."


class Malformed(Exception):
    """The peer sent bytes that are not a message. Its connection is closed; nothing of the request is done.

    `message`, `version` and `field` say where, as far as known: ("FetchRequest", 13, "topics.partitions").
    """

    def __init__(self, reason: str, *, message: str = "", version: int = -1, field: str = "") -> None:
        where = message if version < 0 else f"{message} v{version}"
        super().__init__(": ".join(part for part in (where, field, reason) if part))
        self.reason = reason
        self.message = message
        self.version = version
        self.field = field


class ApiError(Exception):
    """The caller asked for something that cannot be granted: `code` goes into the response, `message` with it
    where the response has room for one."""

    def __init__(self, code: ErrorCode, message: str | None = None) -> None:
        self.code = code
        self.message = code.message if message is None else message
        super().__init__(f"{code.name}: {self.message}")


class Repeated(ApiError):
    """Refused because it was done before, and what came after it must not be touched: nothing is amiss."""


class StorageFailed(Exception):
    """The disk failed under a partition, which is offline from now on (KAFKA_STORAGE_ERROR)."""


class DiskFull(StorageFailed):
    """There was no room for a write. It is refused (KAFKA_STORAGE_ERROR) and the partition stays online,
    so whoever catches StorageFailed catches this first."""


class Unencodable(ValueError):
    """A message of ours cannot be written: its type or the version has no place for a field's value."""
