"""The part of the settings table that belongs to topics, groups and client metrics: see `config_table.py`.

Topic settings are those of `org.apache.kafka.common.config.TopicConfig` of Kafka 4.3.
"""

from __future__ import annotations

from typing import Final

from broker.config_table import BROKER_SETTINGS
from broker.config_tables import TABLE_TOPIC_SETTINGS
from broker.settings import DYNAMIC, LONG_MAX, Setting, between, throttled_replicas

_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 3_600_000
_NOT_NEGATIVE: Final = between(0)
_REPLICAS: Final = "Stored; there is one replica and nothing to throttle."
_REMOTE: Final = "Stored; there is no remote storage."
_POLICY: Final = (
    "delete, compact, both or nothing. compact keeps the last value of every key; records need one."
)


def _topic(kind: str, name: str, synonym: str, doc: str = "", *more: tuple[str, int]) -> Setting:
    """A setting that takes bounds and default from its broker synonym."""
    broker = BROKER_SETTINGS[synonym]
    check = (broker.check, broker.allowed) if broker.check is not None else None
    default = broker.default
    for fallback_name, factor in more:
        fallback = BROKER_SETTINGS[fallback_name].default
        if default is None and isinstance(fallback, int):
            default = fallback * factor
    assert default is not None
    synonyms = ((synonym, 1), *more)
    return Setting(kind, name, default, doc or broker.doc, check=check, update=DYNAMIC, synonyms=synonyms)


_ROWS: Final = (
    _topic("list", "cleanup.policy", "log.cleanup.policy", _POLICY),
    _topic("int", "compression.gzip.level", "compression.gzip.level"),
    _topic("int", "compression.lz4.level", "compression.lz4.level"),
    _topic("string", "compression.type", "compression.type"),
    _topic("int", "compression.zstd.level", "compression.zstd.level"),
    _topic("long", "delete.retention.ms", "log.cleaner.delete.retention.ms"),
    _topic("long", "file.delete.delay.ms", "log.segment.delete.delay.ms"),
    _topic("boolean", "floe.records.validate", "floe.records.validate"),
    *(_topic(setting.kind, setting.name, setting.name) for setting in TABLE_TOPIC_SETTINGS),
    _topic("long", "flush.messages", "log.flush.interval.messages"),
    Setting(
        "long",
        "flush.ms",
        LONG_MAX,
        "Stored, as flush.messages.",
        check=_NOT_NEGATIVE,
        update=DYNAMIC,
        synonyms=(("log.flush.interval.ms", 1),),
    ),
    Setting(
        "list",
        "follower.replication.throttled.replicas",
        [],
        _REPLICAS,
        check=throttled_replicas(),
        update=DYNAMIC,
    ),
    _topic("int", "index.interval.bytes", "log.index.interval.bytes"),
    Setting(
        "list",
        "leader.replication.throttled.replicas",
        [],
        _REPLICAS,
        check=throttled_replicas(),
        update=DYNAMIC,
    ),
    _topic("long", "local.retention.bytes", "log.local.retention.bytes", _REMOTE),
    _topic("long", "local.retention.ms", "log.local.retention.ms", _REMOTE),
    _topic("long", "max.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms"),
    _topic("int", "max.message.bytes", "message.max.bytes"),
    _topic("long", "message.timestamp.after.max.ms", "log.message.timestamp.after.max.ms"),
    _topic("long", "message.timestamp.before.max.ms", "log.message.timestamp.before.max.ms"),
    _topic("string", "message.timestamp.type", "log.message.timestamp.type"),
    _topic("double", "min.cleanable.dirty.ratio", "log.cleaner.min.cleanable.ratio"),
    _topic("long", "min.compaction.lag.ms", "log.cleaner.min.compaction.lag.ms"),
    _topic("int", "min.insync.replicas", "min.insync.replicas"),
    _topic("boolean", "preallocate", "log.preallocate"),
    Setting("boolean", "remote.log.copy.disable", False, _REMOTE, update=DYNAMIC),
    Setting("boolean", "remote.log.delete.on.disable", False, _REMOTE, update=DYNAMIC),
    Setting(
        "boolean",
        "remote.storage.enable",
        False,
        "There is no remote storage; true is refused.",
        update=DYNAMIC,
    ),
    _topic("long", "retention.bytes", "log.retention.bytes"),
    _topic(
        "long",
        "retention.ms",
        "log.retention.ms",
        "Age at which segments are deleted, -1 never.",
        ("log.retention.minutes", _MINUTE_MS),
        ("log.retention.hours", _HOUR_MS),
    ),
    _topic("int", "segment.bytes", "log.segment.bytes"),
    _topic("int", "segment.index.bytes", "log.index.size.max.bytes"),
    _topic(
        "long",
        "segment.jitter.ms",
        "log.roll.jitter.ms",
        "Stored; segments roll at segment.ms exactly.",
        ("log.roll.jitter.hours", _HOUR_MS),
    ),
    _topic(
        "long",
        "segment.ms",
        "log.roll.ms",
        "Age at which a new segment is begun.",
        ("log.roll.hours", _HOUR_MS),
    ),
    _topic("boolean", "unclean.leader.election.enable", "unclean.leader.election.enable"),
)

TOPIC_SETTINGS: Final[dict[str, Setting]] = {setting.name: setting for setting in _ROWS}

# KIP-848's group settings (config resource type 32); each falls back to a broker setting.
GROUP_SETTINGS: Final[dict[str, Setting]] = {
    setting.name: setting
    for setting in (
        _topic("int", "consumer.assignment.interval.ms", "group.consumer.assignment.interval.ms"),
        _topic("int", "consumer.heartbeat.interval.ms", "group.consumer.heartbeat.interval.ms"),
        _topic("int", "consumer.session.timeout.ms", "group.consumer.session.timeout.ms"),
    )
}

# KIP-714's subscriptions (config resource type 16): kept for tools that manage them. Without a receiver no
# client is asked for anything.
CLIENT_METRICS_SETTINGS: Final[dict[str, Setting]] = {
    setting.name: setting
    for setting in (
        Setting("int", "interval.ms", 300_000, "How often a client would push its metrics.", update=DYNAMIC),
        Setting("list", "match", [], "Which clients, as selector=regular expression.", update=DYNAMIC),
        Setting("list", "metrics", [], "Prefixes of the metrics wanted.", update=DYNAMIC),
    )
}
