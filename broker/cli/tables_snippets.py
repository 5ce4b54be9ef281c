"""How other engines read a table: lines to paste, made from its catalog's properties."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit


def pyiceberg(described: Mapping[str, Any]) -> str:
    """Python, through the catalog."""
    catalog = described["catalog"]
    properties = ",\n".join(
        f"    {name!r}: {value!r}" for name, value in sorted(catalog["properties"].items())
    )
    return (
        "from pyiceberg.catalog import load_catalog\n"
        f"catalog = load_catalog({catalog['name']!r}, **{{\n{properties},\n}})\n"
        f"catalog.load_table({described['table']!r}).scan().to_arrow()"
    )


def duckdb(described: Mapping[str, Any]) -> str | None:
    """SQL, from the metadata file as it is now; None before there is one."""
    location = described["metadata_location"]
    if location is None:
        return None
    path = location.removeprefix("file://").replace("'", "''")
    return f"LOAD iceberg;\nSELECT count(*) FROM iceberg_scan('{path}');"


def spark(described: Mapping[str, Any]) -> str | None:
    """Settings of a Spark session, through the catalog; None for kinds of catalogs that Spark reads in other ways."""
    catalog = described["catalog"]
    name, properties = catalog["name"], catalog["properties"]
    kind = _spark_kind(properties)
    if kind is None:
        return None
    settings = {
        f"spark.sql.catalog.{name}": "org.apache.iceberg.spark.SparkCatalog",
        f"spark.sql.catalog.{name}.type": kind,
    }
    if "uri" in properties:
        settings[f"spark.sql.catalog.{name}.uri"] = _spark_uri(kind, properties["uri"])
    if "warehouse" in properties:
        settings[f"spark.sql.catalog.{name}.warehouse"] = properties["warehouse"]
    lines = [f"--conf {key}={value}" for key, value in settings.items()]
    namespace, _, table = described["table"].rpartition(".")
    return " \\\n".join(["spark-sql", *lines, f'-e "SELECT count(*) FROM {name}.{namespace}.`{table}`"'])


def _spark_kind(properties: Mapping[str, str]) -> str | None:
    kinds = {"sql": "jdbc", "rest": "rest", "hive": "hive", "glue": "glue"}
    return kinds.get(properties.get("type", ""))


def _spark_uri(kind: str, uri: str) -> str:
    if kind != "jdbc":
        return uri
    # SQLAlchemy's URL to JDBC's: no driver name, no credentials.
    scheme, _, rest = uri.partition("://")
    scheme = scheme.partition("+")[0]
    if scheme == "sqlite":
        return f"jdbc:sqlite:{rest.removeprefix('/')}"
    parts = urlsplit(uri)
    port = f":{parts.port}" if parts.port else ""
    return f"jdbc:{scheme}://{parts.hostname or ''}{port}{parts.path}"
