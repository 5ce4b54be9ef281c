"""The part of the settings table that belongs to the transaction coordinator: see `config_table.py`."""

from __future__ import annotations

from typing import Final

from broker.settings import Setting, between, only

_POSITIVE: Final = between(1)
_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 24 * 60 * _MINUTE_MS
_MIB: Final = 1 << 20

TRANSACTION_COORDINATOR_SETTINGS: Final = (
    Setting(
        "int",
        "transaction.max.timeout.ms",
        15 * _MINUTE_MS,
        "The longest transaction time-out a producer may ask for.",
        check=_POSITIVE,
    ),
    Setting(
        "int",
        "transactional.id.expiration.ms",
        7 * _DAY_MS,
        "How long an unused transactional id is remembered.",
        check=_POSITIVE,
    ),
    Setting(
        "int",
        "transaction.remove.expired.transaction.cleanup.interval.ms",
        60 * _MINUTE_MS,
        "How often expired transactional ids are looked for.",
        check=_POSITIVE,
    ),
    Setting(
        "int",
        "transaction.state.log.num.partitions",
        50,
        "Partitions of __transaction_state.",
        check=_POSITIVE,
    ),
    Setting(
        "short",
        "transaction.state.log.replication.factor",
        1,
        "There is one broker. Kafka's default is 3.",
        check=only(1, "there is one broker"),
    ),
    Setting(
        "int",
        "transaction.state.log.segment.bytes",
        100 * _MIB,
        "Segment size of __transaction_state.",
        check=between(_MIB),
    ),
)
