"""The part of the settings table that belongs to Iceberg tables: see `config_table.py`.

`floe.table.catalog.<name>` takes any property of pyiceberg's catalogs (`uri`, `type`, `s3.access-key-id` …): what is
below the prefix is handed on as it is, so that whatever pyiceberg can reach, Floe can.
"""

from __future__ import annotations

import re
from typing import Final

from broker.settings import DYNAMIC, InvalidValue, Setting, Value, between, one_of

_MIB: Final = 1 << 20

CATALOG_PREFIX: Final = "floe.table.catalog."
CATALOG_ENVIRONMENT_PREFIX: Final = "FLOE_TABLE_CATALOG_"

_MODES: Final = one_of("raw", "text", "json")
_SECRET_NAME: Final = re.compile(
    r"secret|password|token|credential|access-key|account-key|sas|connection-string"
)
_SECRET_VALUE: Final = re.compile(r"://[^/@]*:[^/@]+@")
"""A URL with a password in it."""

_COLUMN: Final = r"\s*[\w.]+\s*"
_WITH_WIDTH: Final = rf"(?:bucket|truncate)\(\s*[1-9]\d*\s*,{_COLUMN}\)"
_TRANSFORM: Final = rf"(?:(?:hour|day|month|year|identity)\({_COLUMN}\)|{_WITH_WIDTH}|[\w.]+)"
_PARTITION_SPEC: Final = re.compile(rf"(?:\s*{_TRANSFORM}\s*(?:,\s*{_TRANSFORM}\s*)*)?")
_TEMPLATE_FIELD: Final = re.compile(r"\{([^{}]*)\}")


def _check_partition_by(setting: Setting, value: Value) -> None:
    if not _PARTITION_SPEC.fullmatch(str(value)):
        raise InvalidValue(setting.name, value, f"Value must be {setting.allowed}")


def _check_template(setting: Setting, value: Value) -> None:
    assert isinstance(value, str)
    fields = set(_TEMPLATE_FIELD.findall(value))
    names_topic = bool(fields & {"topic", "topic_lower"}) and not fields - {
        "namespace",
        "topic",
        "topic_lower",
    }
    if not names_topic or "." not in value or re.search(r"[{}]", _TEMPLATE_FIELD.sub("", value)):
        raise InvalidValue(setting.name, value, f"Value must be {setting.allowed}")


def _check_url(setting: Setting, value: Value) -> None:
    if value is not None and not re.fullmatch(r"[a-z][a-z0-9+.-]*://.*", str(value)):
        raise InvalidValue(setting.name, value, f"Value must be {setting.allowed}")


_PARTITION_BY: Final = (
    _check_partition_by,
    "columns or hour, day, month, year, identity(column), bucket or truncate(number, column), "
    "separated by commas, or nothing",
)

TABLE_TOPIC_SETTINGS: Final = (
    Setting(
        "long",
        "floe.table.commit.bytes",
        64 * _MIB,
        "Bytes of log that are committed before the interval is over, and the most that one commit takes.",
        check=between(_MIB),
        update=DYNAMIC,
    ),
    Setting(
        "long",
        "floe.table.commit.interval.ms",
        10_000,
        "How long a record waits, at most, before it is committed to the table.",
        check=between(100),
        update=DYNAMIC,
    ),
    Setting(
        "boolean",
        "floe.table.delete.with.topic",
        False,
        "Whether deleting the topic deletes its table, files included.",
        update=DYNAMIC,
    ),
    Setting(
        "boolean",
        "floe.table.enable",
        True,
        "Whether the topic is an Iceberg table. Switched on late, the table is filled from the log's start.",
        update=DYNAMIC,
    ),
    Setting(
        "string",
        "floe.table.key",
        "raw",
        "What the key becomes in column kafka_key, as floe.table.value.",
        check=_MODES,
        update=DYNAMIC,
    ),
    Setting(
        "boolean",
        "floe.table.maintenance.compact",
        True,
        "Merge small files. Off where the catalog's owner does it.",
        update=DYNAMIC,
    ),
    Setting(
        "boolean",
        "floe.table.maintenance.expire",
        True,
        "Expire snapshots. Off where the catalog's owner does it.",
        update=DYNAMIC,
    ),
    Setting(
        "long",
        "floe.table.maintenance.file.bytes",
        128 * _MIB,
        "Size up to which files are merged.",
        check=between(_MIB),
        update=DYNAMIC,
    ),
    Setting(
        "long",
        "floe.table.maintenance.orphan.age.ms",
        3 * 86_400_000,
        "Age at which a file that no snapshot names is taken for left behind, not for somebody's next commit.",
        check=between(3_600_000),
        update=DYNAMIC,
    ),
    Setting(
        "boolean",
        "floe.table.maintenance.orphans",
        True,
        "Remove files that no snapshot names, in folders that are the table's alone.",
        update=DYNAMIC,
    ),
    Setting(
        "string",
        "floe.table.name.template",
        "{namespace}.{topic}",
        "The table's name. {topic} is the topic's with underscores for all but letters and digits, {topic_lower} the "
        "same in small letters.",
        check=(_check_template, "namespace.table, with {topic} or {topic_lower} and maybe {namespace} in it"),
        update=DYNAMIC,
    ),
    Setting(
        "string",
        "floe.table.partition.by",
        "hour(kafka_timestamp)",
        "Iceberg's partition spec of a table made from now on; empty for none.",
        check=_PARTITION_BY,
        update=DYNAMIC,
    ),
    Setting(
        "boolean",
        "floe.table.retention.wait",
        True,
        "Whether retention keeps a segment until its records are in the table. DeleteRecords never waits.",
        update=DYNAMIC,
    ),
    Setting(
        "long",
        "floe.table.snapshot.expire.ms",
        3_600_000,
        "How long a snapshot can be read after it was replaced.",
        check=between(0),
        update=DYNAMIC,
    ),
    Setting(
        "int",
        "floe.table.snapshot.keep",
        10,
        "Snapshots that stay, however old they are.",
        check=between(1),
        update=DYNAMIC,
    ),
    Setting(
        "string",
        "floe.table.value",
        "raw",
        "What the value becomes: raw, a binary column; text, a string column; json, a column for each field.",
        check=_MODES,
        update=DYNAMIC,
    ),
)
"""Settings of a topic and, under the same name, the broker's default for all topics."""

TABLE_BROKER_SETTINGS: Final = (
    Setting("string", "floe.table.namespace", "floe", "The namespace of the tables in the catalog."),
    Setting(
        "string",
        "floe.table.catalog.name",
        "floe",
        "The catalog's name; engines that share a SQL catalog have to use the same.",
    ),
    Setting(
        "string",
        "floe.table.warehouse",
        None,
        "URL of the folder of new tables (file, s3, gs, abfs …); `warehouse` in the data folder where not set.",
        check=(_check_url, "a URL, as file:///srv/warehouse or s3://bucket/folder"),
    ),
)


def catalog_property(name: str, text: str | None) -> Setting | None:
    """The setting for a `floe.table.catalog.` name of pyiceberg's; None for any other name.

    It is sensitive if its name says so, or its value is a URL with a password.
    """
    below = name.removeprefix(CATALOG_PREFIX)
    if below == name or not below:
        return None
    is_secret = _SECRET_NAME.search(below.lower()) or (text is not None and _SECRET_VALUE.search(text))
    return Setting(
        "password" if is_secret else "string", name, None, f"Catalog property {below} of pyiceberg."
    )


def catalog_environment_name(variable: str) -> str | None:
    """FLOE_TABLE_CATALOG_S3__ACCESS_KEY_ID is floe.table.catalog.s3.access-key-id (as in pyiceberg's own variables)."""
    rest = variable.removeprefix(CATALOG_ENVIRONMENT_PREFIX)
    if rest == variable or not rest:
        return None
    return CATALOG_PREFIX + rest.lower().replace("__", ".").replace("_", "-")
