"""A topic's table settings, as the broker keeps them and as they travel in a job. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

PREFIX: Final = "floe.table."


@dataclass(frozen=True, slots=True)
class TableSettings:
    """`floe.table.*` of one topic; attributes are the names without the prefix, dots as underscores."""

    enable: bool
    value: str
    key: str
    partition_by: str
    commit_interval_ms: int
    commit_bytes: int
    name_template: str
    delete_with_topic: bool
    retention_wait: bool
    maintenance_compact: bool
    maintenance_expire: bool
    maintenance_file_bytes: int
    maintenance_orphan_age_ms: int
    maintenance_orphans: bool
    snapshot_expire_ms: int
    snapshot_keep: int

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> TableSettings:
        """From a topic's configuration by Kafka's names."""
        return cls(**{name: values[PREFIX + name.replace("_", ".")] for name in cls.__slots__})

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> TableSettings:
        return cls(**fields)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class CatalogSettings:
    """Where tables live: pyiceberg's name and properties of the catalog, and the namespace in it."""

    name: str
    namespace: str
    properties: Mapping[str, str]

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> CatalogSettings:
        return cls(**fields)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "namespace": self.namespace, "properties": dict(self.properties)}
