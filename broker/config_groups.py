"""The part of the settings table that belongs to the group coordinator: see `config_table.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from broker.settings import INT_MAX, Setting, between, one_of

_POSITIVE: Final = between(1)
_NOT_NEGATIVE: Final = between(0)

GROUP_COORDINATOR_SETTINGS: Final = (
    Setting(
        "int",
        "group.min.session.timeout.ms",
        6000,
        "The shortest session time-out a classic member may ask for.",
        check=_POSITIVE,
    ),
    Setting(
        "int",
        "group.max.session.timeout.ms",
        1_800_000,
        "The longest session time-out a classic member may ask for.",
        check=_POSITIVE,
    ),
    Setting(
        "int",
        "group.initial.rebalance.delay.ms",
        3000,
        "How long an empty classic group waits for more members.",
        check=_NOT_NEGATIVE,
    ),
    Setting("int", "group.max.size", INT_MAX, "The most members of a classic group.", check=_POSITIVE),
    Setting(
        "int",
        "group.consumer.session.timeout.ms",
        45000,
        "Session time-out of the consumer protocol (KIP-848).",
        check=_POSITIVE,
    ),
    Setting(
        "int",
        "group.consumer.min.session.timeout.ms",
        45000,
        "The shortest session time-out a group may set.",
        check=_POSITIVE,
    ),
    Setting(
        "int",
        "group.consumer.max.session.timeout.ms",
        60000,
        "The longest session time-out a group may set.",
        check=_POSITIVE,
    ),
    Setting(
        "int",
        "group.consumer.heartbeat.interval.ms",
        5000,
        "Heartbeat interval of the consumer protocol.",
        check=_POSITIVE,
    ),
    Setting(
        "int",
        "group.consumer.min.heartbeat.interval.ms",
        5000,
        "The shortest heartbeat interval a group may set.",
        check=_POSITIVE,
    ),
    Setting(
        "int",
        "group.consumer.max.heartbeat.interval.ms",
        15000,
        "The longest heartbeat interval a group may set.",
        check=_POSITIVE,
    ),
    Setting(
        "int",
        "group.consumer.assignment.interval.ms",
        1000,
        "How long a consumer group goes by one assignment at least, however many join or leave meanwhile (KIP-1263).",
        check=_NOT_NEGATIVE,
    ),
    Setting(
        "int",
        "group.consumer.min.assignment.interval.ms",
        0,
        "The shortest assignment interval a group may set.",
        check=_NOT_NEGATIVE,
    ),
    Setting(
        "int",
        "group.consumer.max.assignment.interval.ms",
        15000,
        "The longest assignment interval a group may set.",
        check=_NOT_NEGATIVE,
    ),
    Setting(
        "int",
        "group.consumer.max.size",
        INT_MAX,
        "The most members of a consumer group.",
        check=_POSITIVE,
    ),
    Setting(
        "list",
        "group.consumer.assignors",
        ["uniform", "range"],
        "Server-side assignors that may be asked for, the default first.",
        check=one_of("uniform", "range"),
    ),
    Setting(
        "string",
        "group.consumer.migration.policy",
        "bidirectional",
        "Whether a group with members goes from the classic to the consumer protocol (upgrade) and back (downgrade).",
        check=one_of("disabled", "upgrade", "downgrade", "bidirectional"),
    ),
)

_BOUNDED: Final = ("heartbeat.interval.ms", "session.timeout.ms", "assignment.interval.ms")
"""Of `group.consumer.`, each with a `min.` and a `max.` that hold for the broker's own value, too."""


def group_settings_problem(values: Mapping[str, Any]) -> tuple[str, str] | None:
    """(setting, what is wrong with it), as Kafka says it when it does not start; None if all is well."""
    for name in _BOUNDED:
        own, least, most = (f"group.consumer.{bound}{name}" for bound in ("", "min.", "max."))
        if values[most] < values[least]:
            return most, f"{most} must be greater than or equal to {least}"
        if values[own] < values[least]:
            return own, f"{own} must be greater than or equal to {least}"
        if values[own] > values[most]:
            return own, f"{own} must be less than or equal to {most}"
    heartbeat, session = "group.consumer.heartbeat.interval.ms", "group.consumer.session.timeout.ms"
    if values[heartbeat] >= values[session]:
        return heartbeat, f"{heartbeat} must be less than {session}"
    return None
