"""What `__cluster_metadata` holds of the cluster itself: brokers, controllers, features, producer ids, and the
brackets of its own transactions (KIP-631, KIP-868). Framed as `topic_records.py` says."""

from __future__ import annotations

from protocol.schema import array, bool_, int8, int16, int32, int64, persisted, string, struct, uint16, uuid


@struct
class BrokerEndpoint:
    name: str = string()
    host: str = string()
    port: int = uint16()
    security_protocol: int = int16()


@struct
class BrokerFeature:
    name: str = string()
    min_supported_version: int = int16()
    max_supported_version: int = int16()


@persisted("metadata", 0, versions="0-4", flexible="0+")
class RegisterBrokerRecord:
    broker_id: int = int32()
    is_migrating_zk_broker: bool = bool_("2+")
    incarnation_id: bytes = uuid()
    broker_epoch: int = int64()
    end_points: list[BrokerEndpoint] = array(BrokerEndpoint)
    features: list[BrokerFeature] = array(BrokerFeature)
    rack: str | None = string(nullable="0+")
    fenced: bool = bool_(default=True)
    in_controlled_shutdown: bool = bool_("1+")
    log_dirs: list[bytes] = array(uuid, tag=0, tagged="3+")
    cordoned_log_dirs: list[bytes] | None = array(uuid, nullable="4+", default=None, tag=1, tagged="4+")


@persisted("metadata", 1, versions="0", flexible="0+")
class UnregisterBrokerRecord:
    broker_id: int = int32()
    broker_epoch: int = int64()


@persisted("metadata", 7, versions="0", flexible="0+")
class FenceBrokerRecord:
    id: int = int32()
    epoch: int = int64()


@persisted("metadata", 8, versions="0", flexible="0+")
class UnfenceBrokerRecord:
    id: int = int32()
    epoch: int = int64()


@persisted("metadata", 17, versions="0-3", flexible="0+")
class BrokerRegistrationChangeRecord:
    broker_id: int = int32()
    broker_epoch: int = int64()
    fenced: int = int8(tag=0, tagged="0+")
    in_controlled_shutdown: int = int8(tag=1, tagged="1+")
    log_dirs: list[bytes] = array(uuid, tag=2, tagged="2+")
    cordoned_log_dirs: list[bytes] | None = array(uuid, nullable="3+", default=None, tag=3, tagged="3+")


@struct
class ControllerEndpoint:
    name: str = string()
    host: str = string()
    port: int = uint16()
    security_protocol: int = int16()


@struct
class ControllerFeature:
    name: str = string()
    min_supported_version: int = int16()
    max_supported_version: int = int16()


@persisted("metadata", 27, versions="0", flexible="0+")
class RegisterControllerRecord:
    controller_id: int = int32()
    incarnation_id: bytes = uuid()
    zk_migration_ready: bool = bool_()
    end_points: list[ControllerEndpoint] = array(ControllerEndpoint)
    features: list[ControllerFeature] = array(ControllerFeature)


@persisted("metadata", 12, versions="0", flexible="0+")
class FeatureLevelRecord:
    name: str = string()
    feature_level: int = int16()


@persisted("metadata", 15, versions="0", flexible="0+")
class ProducerIdsRecord:
    broker_id: int = int32()
    broker_epoch: int = int64(default=-1)
    next_producer_id: int = int64()


@persisted("metadata", 21, versions="0", flexible="0+")
class ZkMigrationStateRecord:
    zk_migration_state: int = int8()


@persisted("metadata", 23, versions="0", flexible="0+")
class BeginTransactionRecord:
    name: str | None = string(nullable="0+", tag=0, tagged="0+")


@persisted("metadata", 24, versions="0", flexible="0+")
class EndTransactionRecord:
    """Carries nothing."""


@persisted("metadata", 25, versions="0", flexible="0+")
class AbortTransactionRecord:
    reason: str | None = string(nullable="0+", tag=0, tagged="0+")


@persisted("metadata", 20, versions="0", flexible="0+")
class NoOpRecord:
    """Carries nothing."""
