"""The catalog that knows the tables, from settings.

`floe.table.catalog.*` are pyiceberg's properties without the prefix (`type`, `uri`, `s3.endpoint`, …); with none of
them it is a SQLite file of the broker's own. What goes wrong is told in terms of those settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

NAME: Final = "floe"
"""The catalog's name: part of the key in SQL catalogs, so that Spark's has to be the same."""

_DRIVERS: Final = {
    "postgresql": "psycopg2-binary",
    "mysql": "mysqlclient",
    "glue": "boto3",
    "dynamodb": "boto3",
    "hive": "thrift",
}
_EXTRAS: Final = {"postgresql": "postgresql", "glue": "glue", "dynamodb": "glue", "hive": "hive"}
"""Ours, by kind of catalog: what brings the driver."""


class CatalogUnusable(Exception):
    """The settings name no catalog, or it cannot be reached. `str()` says which and what to do."""


def properties(given: Mapping[str, str], data_dir: str, warehouse: str | None = None) -> dict[str, str]:
    """The properties as users paste them into PyIceberg: what is given, the embedded catalog where nothing is.

    A warehouse that is a path becomes a file URL.
    """
    filled = dict(given)
    if "uri" not in filled and filled.get("type", "sql") == "sql":
        filled["uri"] = f"sqlite:///{Path(data_dir).absolute()}/catalog.db"
    if "type" not in filled and "py-catalog-impl" not in filled:
        filled["type"] = _type_of(filled["uri"]) if "uri" in filled else "sql"
    if filled.get("type") == "hive":
        # How the metastore shows columns, which no reader of Iceberg looks at: the other way it refuses every commit
        # to a table that has timestamps, if it is a Hive 2.
        filled.setdefault("hive.hive2-compatible", "true")
    place = warehouse or filled.get("warehouse")
    if place is None and filled.get("type") == "sql":
        place = f"{Path(data_dir).absolute()}/warehouse"
    if place is not None:
        filled["warehouse"] = f"file://{place}" if place.startswith("/") else place
    return filled


def _type_of(uri: str) -> str:
    scheme = urlsplit(uri).scheme
    if scheme.startswith("http"):
        return "rest"
    return "hive" if scheme == "thrift" else "sql"


def load(given: Mapping[str, str], name: str = NAME) -> Catalog:
    """Opens the catalog. Raises CatalogUnusable."""
    from pyiceberg.catalog import AVAILABLE_CATALOGS, CatalogType, load_catalog
    from pyiceberg.exceptions import NotInstalledError

    from broker.tiering.local_files import IMPLEMENTATION

    AVAILABLE_CATALOGS[CatalogType.HIVE] = _hive
    AVAILABLE_CATALOGS[CatalogType.REST] = _rest
    _check_place(given.get("warehouse", ""))
    try:
        _make_folder(given.get("uri", ""))
        return load_catalog(name, **{"py-io-impl": IMPLEMENTATION, **given})
    except (ModuleNotFoundError, NotInstalledError) as error:
        kind = _kind(given)
        package = _DRIVERS.get(kind) or getattr(error, "name", None) or error
        wanted = f"floe[{_EXTRAS[kind]}]" if kind in _EXTRAS else package
        raise CatalogUnusable(
            f"the catalog needs the Python package {package}, which is not installed: pip install '{wanted}'"
        ) from error
    except ValueError as error:
        raise CatalogUnusable(f"floe.table.catalog.* ({_without_password(given)}): {error}") from error
    except Exception as error:  # each kind of catalog has its own exceptions, from SQLAlchemy's to botocore's
        raise CatalogUnusable(
            f"the catalog at {_without_password(given)} cannot be used: {_first_line(error)}"
        ) from error


def _check_place(warehouse: str) -> None:
    """Readers differ in what such a path of a file URL means; pyiceberg writes where it ends at the # or ?."""
    odd = [character for character in "%#?" if character in warehouse]
    if warehouse.startswith("file:") and odd:
        raise CatalogUnusable(
            f"the warehouse {warehouse} has {' and '.join(odd)} in its path, which files of tables cannot have: name "
            "another folder by floe.table.warehouse"
        )


def _hive(name: str, given: Mapping[str, str]) -> Catalog:
    from broker.tiering.hive_catalog import LastingHiveCatalog

    return LastingHiveCatalog(name, **given)


def _rest(name: str, given: Mapping[str, str]) -> Catalog:
    from broker.tiering.rest_catalog import PunctualRestCatalog

    return PunctualRestCatalog(name, **given)


def _kind(given: Mapping[str, str]) -> str:
    scheme = urlsplit(given.get("uri", "")).scheme
    return (
        scheme.partition("+")[0]
        if scheme in ("postgresql", "mysql") or "+" in scheme
        else given.get("type", scheme)
    )


def _make_folder(uri: str) -> None:
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)


def _without_password(given: Mapping[str, str]) -> str:
    uri = given.get("uri", given.get("type", "?"))
    who, at, _ = urlsplit(uri).netloc.rpartition("@")
    return uri.replace(who + at, "", 1)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def warehouse_url(given: Mapping[str, str]) -> str | None:
    """The warehouse if it is a place that files can be written under; None where the catalog decides."""
    place = given.get("warehouse", "")
    return place.rstrip("/") if "://" in place else None
