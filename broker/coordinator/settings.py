"""What the broker's settings say of groups and of transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from broker.coordinator.classic_rebalance import ClassicLimits
from broker.coordinator.consumer_draft import ConsumerLimits

if TYPE_CHECKING:
    from broker.config import BrokerConfig


class GroupSettings(NamedTuple):
    """What the broker's settings say of groups."""

    classic: ClassicLimits = ClassicLimits()
    min_session_timeout_ms: int = 6000
    max_session_timeout_ms: int = 1_800_000
    max_metadata_length: int = 4096
    retention_ms: int = 7 * 24 * 3_600_000
    expiry_interval_ms: int = 600_000
    consumer: ConsumerLimits = ConsumerLimits()

    @classmethod
    def of(cls, config: BrokerConfig) -> GroupSettings:
        return cls(
            ClassicLimits(config["group.initial.rebalance.delay.ms"], config["group.max.size"]),
            config["group.min.session.timeout.ms"],
            config["group.max.session.timeout.ms"],
            config["offset.metadata.max.bytes"],
            config["offsets.retention.minutes"] * 60_000,
            config["offsets.retention.check.interval.ms"],
            ConsumerLimits(
                config["group.consumer.session.timeout.ms"],
                config["group.consumer.heartbeat.interval.ms"],
                config["group.consumer.max.size"],
                tuple(config["group.consumer.assignors"]) or ConsumerLimits().assignors,
                config["group.consumer.migration.policy"],
                config["group.consumer.assignment.interval.ms"],
            ),
        )


class TransactionSettings(NamedTuple):
    """What the broker's settings say of transactions."""

    max_timeout_ms: int = 900_000
    id_expiration_ms: int = 7 * 24 * 3_600_000
    expiry_interval_ms: int = 3_600_000

    @classmethod
    def of(cls, config: BrokerConfig) -> TransactionSettings:
        return cls(
            config["transaction.max.timeout.ms"],
            config["transactional.id.expiration.ms"],
            config["transaction.remove.expired.transaction.cleanup.interval.ms"],
        )
