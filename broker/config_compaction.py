"""The part of the settings table that belongs to log compaction: see `config_table.py`."""

from __future__ import annotations

from typing import Final

from broker.settings import DYNAMIC, LONG_MAX, Setting, between

_MIB: Final = 1 << 20
_DAY_MS: Final = 24 * 60 * 60 * 1000

_NOT_NEGATIVE: Final = between(0)
_POSITIVE: Final = between(1)
_RATIO: Final = between(0, 1)

COMPACTION_SETTINGS: Final = (
    Setting(
        "boolean",
        "log.cleaner.enable",
        True,
        "Compact the topics whose cleanup.policy has compact, __consumer_offsets among them.",
    ),
    Setting(
        "long",
        "log.cleaner.backoff.ms",
        15_000,
        "How often partitions are looked at that could be compacted, while there is nothing to do.",
        check=_NOT_NEGATIVE,
        update=DYNAMIC,
    ),
    Setting(
        "long",
        "log.cleaner.dedupe.buffer.size",
        128 * _MIB,
        "Memory for the keys of one round, in the worker process; 24 bytes a key. It is taken as it is needed.",
        check=between(_MIB),
        update=DYNAMIC,
    ),
    Setting(
        "double",
        "log.cleaner.io.buffer.load.factor",
        0.9,
        "How full that memory may get: fuller takes more keys a round, and longer to find each.",
        check=between(0.1, 0.99),
        update=DYNAMIC,
    ),
    Setting(
        "double",
        "log.cleaner.io.max.bytes.per.second",
        1.7976931348623157e308,
        "Bytes a second that compaction reads and writes at most.",
        check=between(1.0),
        update=DYNAMIC,
    ),
    Setting(
        "long",
        "log.cleaner.delete.retention.ms",
        _DAY_MS,
        "How long compaction keeps tombstones and transaction markers that it could remove.",
        check=_NOT_NEGATIVE,
        update=DYNAMIC,
    ),
    Setting(
        "long",
        "log.cleaner.min.compaction.lag.ms",
        0,
        "Age below which a record is not compacted.",
        check=_NOT_NEGATIVE,
        update=DYNAMIC,
    ),
    Setting(
        "long",
        "log.cleaner.max.compaction.lag.ms",
        LONG_MAX,
        "Age by which a record is compacted, whatever the ratio.",
        check=_POSITIVE,
        update=DYNAMIC,
    ),
    Setting(
        "double",
        "log.cleaner.min.cleanable.ratio",
        0.5,
        "Share of a partition's bytes that must be dirty before it is compacted.",
        check=_RATIO,
        update=DYNAMIC,
    ),
)
