"""How other engines read a table: lines to paste, made from its catalog's properties."""

import json
import shlex
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from broker.tiering.object_store import literal

DUCKDB: Final = "1.5.5"
SPARK_PACKAGE: Final = "org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.11.0"
SPARK_AWS: Final = "org.apache.iceberg:iceberg-aws-bundle:1.11.0"
"""For S3 and Glue: Amazon's client, which the runtime does not have."""
JDBC_DRIVERS: Final = {
    "sqlite": "org.xerial:sqlite-jdbc:3.49.1.0",
    "postgresql": "org.postgresql:postgresql:42.7.7",
}
"""By the scheme of a SQL catalog's URL."""

S3_SCHEMES: Final = ("s3", "s3a")

HIDDEN: Final = "***"
"""What `tables.describe` has in place of passwords and keys."""


def pyiceberg(described: Mapping[str, Any]) -> str:
    """Python, through the catalog."""
    catalog = described["catalog"]
    properties = ",\n".join(
        f"    {name!r}: {value!r}" for name, value in sorted(catalog["properties"].items())
    )
    return (
        f"{_hidden(catalog['properties'])}"
        "from pyiceberg.catalog import load_catalog\n"
        f"catalog = load_catalog({catalog['name']!r}, **{{\n{properties},\n}})\n"
        f"catalog.load_table({described['table']!r}).scan().to_arrow()"
    )


def _hidden(properties: Mapping[str, str]) -> str:
    if not any(HIDDEN in value for value in properties.values()):
        return ""
    return f"# {HIDDEN} stands for what the broker tells nobody: write it in\n"


def duckdb(described: Mapping[str, Any]) -> str | None:
    """Python, from the metadata file as it is now; None before there is one, and where it is neither a file nor in S3.

    With the extensions as packages: a plain `LOAD iceberg` would download it.
    """
    location = described["metadata_location"] or ""
    scheme = urlsplit(location).scheme
    if not location or scheme not in ("", "file", *S3_SCHEMES):
        return None
    in_s3 = scheme in S3_SCHEMES
    properties = described["catalog"]["properties"]
    query = f"SELECT count(*) FROM iceberg_scan({literal(location.removeprefix('file://'))})"
    extensions = ("avro", "httpfs", "iceberg") if in_s3 else ("avro", "iceberg")
    packages = [f"duckdb=={DUCKDB}", *(f"duckdb-extension-{name}=={DUCKDB}" for name in extensions)]
    return (
        f"# pip install {' '.join(packages)}\n"
        f"{_hidden(properties) if in_s3 else ''}"
        "import duckdb\n"
        "from importlib.resources import files\n"
        f"for name in {json.dumps(extensions).replace('[', '(').replace(']', ')')}:\n"
        '    package = files(f"duckdb_extension_{name}")\n'
        '    duckdb.load_extension(str(next(package.glob("**/*.duckdb_extension"))))\n\n'
        f"{_s3_secret(properties) if in_s3 else ''}"
        f"duckdb.sql({json.dumps(query)}).show()"
    )


def _s3_secret(properties: Mapping[str, str]) -> str:
    endpoint = urlsplit(properties.get("s3.endpoint", ""))
    values = {
        "KEY_ID": properties.get("s3.access-key-id"),
        "SECRET": properties.get("s3.secret-access-key"),
        "SESSION_TOKEN": properties.get("s3.session-token"),
        "REGION": properties.get("s3.region"),
        "ENDPOINT": endpoint.netloc or None,
        "URL_STYLE": "path" if endpoint.netloc else None,
    }
    parts = ["TYPE s3", *(f"{name} {literal(value)}" for name, value in values.items() if value)]
    if endpoint.scheme == "http":
        parts.append("USE_SSL false")
    if len(parts) == 1:
        return ""
    statement = f"CREATE SECRET ({', '.join(parts)})"
    return f"duckdb.sql({json.dumps(statement)})\n"


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
    uri = properties.get("uri", "")
    if uri:
        settings[f"spark.sql.catalog.{name}.uri"] = _spark_uri(kind, uri)
    for what, value in _jdbc_login(kind, uri).items():
        settings[f"spark.sql.catalog.{name}.jdbc.{what}"] = value
    if "warehouse" in properties:
        settings[f"spark.sql.catalog.{name}.warehouse"] = properties["warehouse"]
    in_s3 = (
        urlsplit(described.get("metadata_location") or properties.get("warehouse", "")).scheme in S3_SCHEMES
    )
    for what, value in (_spark_s3(properties) if in_s3 else {}).items():
        settings[f"spark.sql.catalog.{name}.{what}"] = value
    packages = [SPARK_PACKAGE]
    if in_s3 or kind == "glue":
        packages.append(SPARK_AWS)
    if kind == "jdbc" and _database(uri) in JDBC_DRIVERS:
        packages.append(JDBC_DRIVERS[_database(uri)])
    lines = [f"--conf {shlex.quote(f'{key}={value}')}" for key, value in settings.items()]
    namespace, _, table = described["table"].rpartition(".")
    query = f"-e 'SELECT count(*) FROM {name}.{namespace}.`{table}`'"  # a shell runs what is in backticks otherwise
    return _hidden(settings) + " \\\n".join([f"spark-sql --packages {','.join(packages)}", *lines, query])


def _spark_s3(properties: Mapping[str, str]) -> dict[str, str]:
    """Iceberg's own file access, with PyIceberg's properties under the names that it has there."""
    settings = {"io-impl": "org.apache.iceberg.aws.s3.S3FileIO"}
    endpoint = properties.get("s3.endpoint")
    if endpoint:
        virtual = properties.get("s3.force-virtual-addressing", "").lower() == "true"
        settings["s3.endpoint"] = endpoint if "://" in endpoint else f"https://{endpoint}"
        settings["s3.path-style-access"] = "false" if virtual else "true"
    region = properties.get("s3.region") or properties.get("client.region")
    if region or endpoint:  # Amazon's client wants one, whoever answers
        settings["client.region"] = region or "us-east-1"
    for what in ("access-key-id", "secret-access-key", "session-token"):
        value = properties.get(f"s3.{what}") or properties.get(f"client.{what}")
        if value:
            settings[f"s3.{what}"] = value
    return settings


def _spark_kind(properties: Mapping[str, str]) -> str | None:
    kinds = {"sql": "jdbc", "rest": "rest", "hive": "hive", "glue": "glue"}
    return kinds.get(properties.get("type", ""))


def _database(uri: str) -> str:
    """`postgresql` of SQLAlchemy's `postgresql+psycopg2://…`."""
    return uri.partition("://")[0].partition("+")[0]


def _jdbc_login(kind: str, uri: str) -> dict[str, str]:
    if kind != "jdbc" or _database(uri) == "sqlite":
        return {}
    parts = urlsplit(uri)
    login = {"user": parts.username, "password": parts.password}
    return {what: unquote(value) for what, value in login.items() if value}


def _spark_uri(kind: str, uri: str) -> str:
    if kind != "jdbc":
        return uri
    # SQLAlchemy's URL to JDBC's: no driver name, no credentials, which are settings of their own.
    scheme, rest = _database(uri), uri.partition("://")[2]
    if scheme == "sqlite":
        return f"jdbc:sqlite:{rest.removeprefix('/')}"
    parts = urlsplit(uri)
    port = f":{parts.port}" if parts.port else ""
    return f"jdbc:{scheme}://{parts.hostname or ''}{port}{parts.path}"
