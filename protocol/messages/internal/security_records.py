"""What `__cluster_metadata` holds of ACLs, SCRAM credentials, delegation tokens and quotas. Framed as
`topic_records.py` says."""

from __future__ import annotations

from protocol.schema import array, bool_, bytes_, float64, int8, int32, int64, persisted, string, struct, uuid


@persisted("metadata", 18, versions="0", flexible="0+")
class AccessControlEntryRecord:
    id: bytes = uuid()
    resource_type: int = int8()
    resource_name: str = string()
    pattern_type: int = int8()
    principal: str = string()
    host: str = string()
    operation: int = int8()
    permission_type: int = int8()


@persisted("metadata", 19, versions="0", flexible="0+")
class RemoveAccessControlEntryRecord:
    id: bytes = uuid()


@persisted("metadata", 11, versions="0", flexible="0+")
class UserScramCredentialRecord:
    name: str = string()
    mechanism: int = int8()
    salt: bytes = bytes_()
    stored_key: bytes = bytes_()
    server_key: bytes = bytes_()
    iterations: int = int32()


@persisted("metadata", 22, versions="0", flexible="0+")
class RemoveUserScramCredentialRecord:
    name: str = string()
    mechanism: int = int8()


@persisted("metadata", 10, versions="0", flexible="0+")
class DelegationTokenRecord:
    owner: str = string()
    requester: str = string()
    renewers: list[str] = array(string)
    issue_timestamp: int = int64()
    max_timestamp: int = int64()
    expiration_timestamp: int = int64()
    token_id: str = string()


@persisted("metadata", 26, versions="0", flexible="0+")
class RemoveDelegationTokenRecord:
    token_id: str = string()


@struct
class EntityData:
    entity_type: str = string()
    entity_name: str | None = string(nullable="0+")


@persisted("metadata", 14, versions="0", flexible="0+")
class ClientQuotaRecord:
    entity: list[EntityData] = array(EntityData)
    key: str = string()
    value: float = float64()
    remove: bool = bool_()
