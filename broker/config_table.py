"""THE table of settings, under Kafka's names: type, default, bounds, scope, doc.

From it come `floe.toml`, environment and flag parsing, CLI help, DescribeConfigs, the validation of
AlterConfigs and CreateTopics, and the README's section. Here are the broker's settings (those of the group
coordinator in `config_groups.py`), in `config_topics.py` those of topics, groups and client metrics.
Defaults are Kafka 4.3's; where Floe differs the doc says so.

A broker setting of Kafka's that is not here is refused, not ignored. A topic setting that concerns what a
single broker does not have (replication quotas, elections, remote storage) is stored, as tools set it without
being asked to, and refused only where honouring it would matter.
"""

from __future__ import annotations

from typing import Final

from broker.config_compaction import COMPACTION_SETTINGS
from broker.config_groups import GROUP_COORDINATOR_SETTINGS
from broker.config_tables import TABLE_BROKER_SETTINGS, TABLE_TOPIC_SETTINGS
from broker.config_transactions import TRANSACTION_COORDINATOR_SETTINGS
from broker.settings import DYNAMIC, INT_MAX, LONG_MAX, Setting, between, gzip_level, one_of, only

_MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
_MIB: Final = 1 << 20

_POLICIES: Final = one_of("compact", "delete")
_COMPRESSIONS: Final = one_of("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer")
_TIMESTAMP_TYPES: Final = one_of("CreateTime", "LogAppendTime")
_LEVELS: Final = one_of("debug", "info", "warning", "error")
_ONE_BROKER: Final = only(1, "there is one broker")
_PLAINTEXT: Final = only(["PLAINTEXT:PLAINTEXT"], "only PLAINTEXT listeners are implemented")
_POSITIVE: Final = between(1)
_NOT_NEGATIVE: Final = between(0)
_MINUS_ONE_UP: Final = between(-1)
_MINUS_TWO_UP: Final = between(-2)

_LISTENING: Final = (
    Setting(
        "list",
        "listeners",
        ["PLAINTEXT://127.0.0.1:9092"],
        (
            "Addresses to listen on, NAME://host:port or host:port; port 0 picks a free one. Kafka's "
            "default is every address."
        ),
    ),
    Setting(
        "list",
        "advertised.listeners",
        None,
        "Addresses given to clients, NAME://host:port; from listeners where not set. Never 0.0.0.0.",
    ),
    Setting(
        "list",
        "listener.security.protocol.map",
        ["PLAINTEXT:PLAINTEXT"],
        "Security protocol of each listener name.",
        check=_PLAINTEXT,
    ),
    Setting("int", "node.id", 1, "This broker's id.", check=_NOT_NEGATIVE),
    Setting("int", "broker.id", -1, "Another name of node.id; -1 follows it.", check=_MINUS_ONE_UP),
    Setting(
        "string",
        "broker.rack",
        None,
        "The rack told to clients in Metadata (KIP-36); nothing is placed by it.",
    ),
    Setting(
        "int",
        "socket.listen.backlog.size",
        1024,
        "Connections the kernel holds before they are accepted. Kafka's default is 50.",
        check=_POSITIVE,
    ),
    Setting(
        "int",
        "socket.send.buffer.bytes",
        256 << 10,
        (
            "Send buffer of a connection (SO_SNDBUF), -1 for the system's own. A small one stays in the processor's "
            "cache; across a slow, distant network a larger one carries more. Kafka's default is 102400."
        ),
        check=_MINUS_ONE_UP,
    ),
    Setting(
        "int",
        "socket.request.max.bytes",
        100 * _MIB,
        "The largest request frame; a larger one closes its connection.",
        check=_POSITIVE,
    ),
    Setting(
        "long",
        "connections.max.idle.ms",
        10 * _MINUTE_MS,
        "A connection without traffic for so long is closed; negative never.",
    ),
    Setting(
        "int",
        "max.connections",
        INT_MAX,
        "Connections in all; further ones are closed at once. Kafka makes them wait.",
        check=_NOT_NEGATIVE,
    ),
    Setting(
        "int",
        "max.connections.per.ip",
        INT_MAX,
        "Connections from one address; further ones are closed at once.",
        check=_NOT_NEGATIVE,
    ),
    Setting(
        "long",
        "queued.max.request.bytes",
        256 * _MIB,
        (
            "Memory for requests being received, over all connections; reading pauses at it. Kafka's "
            "default is no limit."
        ),
        check=between(_MIB),
    ),
)

_STORAGE: Final = (
    Setting("list", "log.dirs", None, "The data folder; overrides log.dir. One folder only."),
    Setting("list", "log.dir", ["floe-data"], "The data folder. Kafka's default is /tmp/kafka-logs."),
    Setting(
        "long",
        "log.retention.ms",
        None,
        "Age at which segments are deleted, -1 never; overrides log.retention.minutes.",
        check=_MINUS_ONE_UP,
        update=DYNAMIC,
    ),
    Setting(
        "int",
        "log.retention.minutes",
        None,
        "Age in minutes; overrides log.retention.hours.",
        check=_MINUS_ONE_UP,
    ),
    Setting("int", "log.retention.hours", 168, "Age in hours.", check=_MINUS_ONE_UP),
    Setting(
        "long",
        "log.retention.bytes",
        -1,
        "Size at which a partition's oldest segments are deleted, -1 never.",
        check=_MINUS_ONE_UP,
        update=DYNAMIC,
    ),
    Setting(
        "long",
        "log.retention.check.interval.ms",
        5 * _MINUTE_MS,
        "How often retention is enforced.",
        check=_POSITIVE,
    ),
    Setting(
        "int",
        "log.segment.bytes",
        1 << 30,
        "Size at which a new segment is begun.",
        check=between(_MIB),
        update=DYNAMIC,
    ),
    Setting(
        "long",
        "log.roll.ms",
        None,
        "Age at which a new segment is begun; overrides log.roll.hours.",
        check=_POSITIVE,
        update=DYNAMIC,
    ),
    Setting("int", "log.roll.hours", 168, "Age in hours at which a new segment is begun.", check=_POSITIVE),
    Setting(
        "long",
        "log.roll.jitter.ms",
        None,
        "Stored; segments roll at log.roll.ms exactly. Overrides log.roll.jitter.hours.",
        check=_NOT_NEGATIVE,
        update=DYNAMIC,
    ),
    Setting("int", "log.roll.jitter.hours", 0, "Stored, as log.roll.jitter.ms.", check=_NOT_NEGATIVE),
    Setting(
        "int",
        "log.index.size.max.bytes",
        10 * _MIB,
        "Size of an offset index at which a new segment is begun.",
        check=between(4),
        update=DYNAMIC,
    ),
    Setting(
        "int",
        "log.index.interval.bytes",
        4096,
        "Bytes of log between two index entries.",
        check=_NOT_NEGATIVE,
        update=DYNAMIC,
    ),
    Setting(
        "long",
        "log.segment.delete.delay.ms",
        _MINUTE_MS,
        "How long a deleted segment's files stay for those still reading them.",
        check=_NOT_NEGATIVE,
        update=DYNAMIC,
    ),
    Setting(
        "boolean",
        "log.preallocate",
        False,
        "Stored; disk is reserved ahead of a segment's end in any case (floe.log.preallocate.bytes).",
        update=DYNAMIC,
    ),
    Setting(
        "list",
        "log.cleanup.policy",
        ["delete"],
        "delete, compact, or both; nothing keeps everything.",
        check=_POLICIES,
        update=DYNAMIC,
    ),
    *COMPACTION_SETTINGS,
    Setting(
        "long",
        "log.flush.interval.messages",
        LONG_MAX,
        "Stored; every write is synced in any case, and before it is acknowledged with acks=all.",
        check=_POSITIVE,
        update=DYNAMIC,
    ),
    Setting(
        "long",
        "log.flush.interval.ms",
        None,
        "Stored, as log.flush.interval.messages.",
        check=_NOT_NEGATIVE,
        update=DYNAMIC,
    ),
    Setting(
        "string",
        "log.message.timestamp.type",
        "CreateTime",
        "Whose clock stamps a record: the producer's or the broker's.",
        check=_TIMESTAMP_TYPES,
        update=DYNAMIC,
    ),
    Setting(
        "long",
        "log.message.timestamp.before.max.ms",
        LONG_MAX,
        "How far a record's timestamp may lie in the past.",
        check=_NOT_NEGATIVE,
        update=DYNAMIC,
    ),
    Setting(
        "long",
        "log.message.timestamp.after.max.ms",
        _HOUR_MS,
        "How far a record's timestamp may lie in the future.",
        check=_NOT_NEGATIVE,
        update=DYNAMIC,
    ),
    Setting(
        "long",
        "log.local.retention.ms",
        -2,
        "Stored; there is no remote storage.",
        check=_MINUS_TWO_UP,
        update=DYNAMIC,
    ),
    Setting(
        "long",
        "log.local.retention.bytes",
        -2,
        "Stored; there is no remote storage.",
        check=_MINUS_TWO_UP,
        update=DYNAMIC,
    ),
)

_RECORDS: Final = (
    Setting(
        "int", "message.max.bytes", 1048588, "The largest record batch.", check=_NOT_NEGATIVE, update=DYNAMIC
    ),
    Setting(
        "int",
        "fetch.max.bytes",
        55 * _MIB,
        "The most one fetch returns, whatever the client asks for.",
        check=between(1024),
    ),
    Setting(
        "int",
        "max.incremental.fetch.session.cache.slots",
        1000,
        "Fetch sessions kept (KIP-227).",
        check=_NOT_NEGATIVE,
    ),
    Setting(
        "string",
        "compression.type",
        "producer",
        "Codec in which batches are stored; producer keeps the producer's.",
        check=_COMPRESSIONS,
        update=DYNAMIC,
    ),
    Setting(
        "int",
        "compression.gzip.level",
        -1,
        "Level when recompressing to gzip.",
        check=gzip_level(),
        update=DYNAMIC,
    ),
    Setting(
        "int",
        "compression.lz4.level",
        9,
        "Level when recompressing to lz4.",
        check=between(1, 17),
        update=DYNAMIC,
    ),
    Setting(
        "int",
        "compression.zstd.level",
        3,
        "Level when recompressing to zstd.",
        check=between(-131072, 22),
        update=DYNAMIC,
    ),
    Setting(
        "int",
        "min.insync.replicas",
        1,
        (
            "Replicas that must have a record before acks=all is answered. There is one, for which more are "
            "taken (KIP-966)."
        ),
        check=_POSITIVE,
        update=DYNAMIC,
    ),
    Setting(
        "boolean",
        "unclean.leader.election.enable",
        False,
        "Stored; there is one replica and no election.",
        update=DYNAMIC,
    ),
    Setting(
        "int",
        "producer.id.expiration.ms",
        _DAY_MS,
        "How long an idle producer's sequence numbers are remembered.",
        check=_POSITIVE,
        update=DYNAMIC,
    ),
)

_TOPICS: Final = (
    Setting("int", "num.partitions", 1, "Partitions of a topic created without a count.", check=_POSITIVE),
    Setting("int", "default.replication.factor", 1, "There is one broker.", check=_ONE_BROKER),
    Setting("boolean", "auto.create.topics.enable", True, "Create topics that clients name in Metadata."),
    Setting("boolean", "delete.topic.enable", True, "Whether topics may be deleted at all."),
)

# Told to clients and tools that ask; the group and transaction coordinators take theirs from here.
_COORDINATORS: Final = (
    Setting("int", "offsets.topic.num.partitions", 50, "Partitions of __consumer_offsets.", check=_POSITIVE),
    Setting(
        "short",
        "offsets.topic.replication.factor",
        1,
        "There is one broker. Kafka's default is 3.",
        check=_ONE_BROKER,
    ),
    Setting(
        "int",
        "offsets.topic.segment.bytes",
        100 * _MIB,
        "Segment size of __consumer_offsets.",
        check=between(_MIB),
    ),
    Setting(
        "int",
        "offsets.retention.minutes",
        10080,
        "How long the offsets of an empty group are kept.",
        check=_POSITIVE,
    ),
    Setting(
        "long",
        "offsets.retention.check.interval.ms",
        10 * _MINUTE_MS,
        "How often expired offsets are looked for.",
        check=_POSITIVE,
    ),
    Setting("int", "offset.metadata.max.bytes", 4096, "The longest metadata of a committed offset."),
)

_FLOE: Final = (
    Setting(
        "string", "floe.log.format", "human", "Log lines for people, or JSON.", check=one_of("human", "json")
    ),
    Setting("string", "floe.log.level", "info", "The least severe log line written.", check=_LEVELS),
    Setting(
        "boolean",
        "floe.records.validate",
        False,
        "Look into every batch that producers send, not only at its header and CRC; costs throughput.",
        update=DYNAMIC,
    ),
    Setting(
        "int",
        "floe.log.preallocate.bytes",
        16 * _MIB,
        "Largest step in which disk is reserved ahead of a segment's end; 0 reserves none.",
        check=_NOT_NEGATIVE,
    ),
    Setting("int", "floe.log.max.open.files", 1024, "Segment files kept open at once.", check=between(16)),
    Setting(
        "int",
        "floe.metadata.checkpoint.interval.ms",
        10_000,
        "How often the catalog's checkpoint follows its log.",
        check=between(100),
    ),
    Setting(
        "int",
        "floe.shutdown.timeout.ms",
        10_000,
        "How long a stopping broker waits for requests under way.",
        check=_NOT_NEGATIVE,
    ),
)

BROKER_SETTINGS: Final[dict[str, Setting]] = {
    setting.name: setting
    for setting in (
        *_LISTENING,
        *_STORAGE,
        *_RECORDS,
        *_TOPICS,
        *_COORDINATORS,
        *GROUP_COORDINATOR_SETTINGS,
        *TRANSACTION_COORDINATOR_SETTINGS,
        *_FLOE,
        *TABLE_TOPIC_SETTINGS,
        *TABLE_BROKER_SETTINGS,
    )
}

NOT_IMPLEMENTED: Final = {
    "ssl.": "TLS listeners are not implemented",
    "sasl.": "authentication is not implemented",
    "authorizer.": "authorisation is not implemented",
    "super.users": "authorisation is not implemented",
    "remote.": "there is no remote storage",
    "controller.": "one process is broker and controller; there is nothing to set",
    "process.roles": "one process is broker and controller; there is nothing to set",
    "replica.": "there is one replica",
    "num.replica.": "there is one replica",
    "quota.": "quotas are not implemented",
    "num.network.threads": "one event loop does all network work",
    "num.io.threads": "one event loop answers all requests",
    "metric.reporters": "there are no metric reporters",
    "group.share.": "share groups are not implemented",
    "group.streams.": "streams groups are not implemented",
}
"""Prefixes of Kafka settings that are refused with their reason rather than as unknown."""
