"""How DuckDB reaches a warehouse that is not on this machine: PyIceberg's FileIO properties as its secret. Pure.

Only S3 and what speaks like it. Where keys are neither in the properties nor in the environment they may come from a
profile or a machine's role, and where requests go through somebody else (a signer, a role to take on, a proxy) DuckDB
does not know how: PyIceberg reads those.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

_FOR_PYICEBERG: Final = ("s3.signer", "s3.role-arn", "client.role-arn", "s3.proxy-uri")


def duckdb_secret(
    location: str, properties: Mapping[str, str], environment: Mapping[str, str] = os.environ
) -> str | None:
    """The statement that tells DuckDB, or None where `location` is for PyIceberg to read."""
    if urlsplit(location).scheme not in ("s3", "s3a", "s3n"):
        return None
    if any(properties.get(name) for name in _FOR_PYICEBERG):
        return None
    values = _login(properties, environment)
    if not values and properties.get("s3.anonymous", "").lower() != "true":
        return None
    values["REGION"] = (
        properties.get("s3.region")
        or properties.get("client.region")
        or environment.get("AWS_REGION")
        or environment.get("AWS_DEFAULT_REGION")
        or "us-east-1"
    )
    parts = [f"{name} {literal(value)}" for name, value in values.items()]
    endpoint = properties.get("s3.endpoint") or environment.get("AWS_ENDPOINT_URL_S3") or ""
    endpoint = endpoint or environment.get("AWS_ENDPOINT_URL") or ""
    if endpoint:
        url = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        virtual = properties.get("s3.force-virtual-addressing", "").lower() == "true"
        parts.append(f"ENDPOINT {literal(url.netloc)}")
        parts.append(f"URL_STYLE '{'vhost' if virtual else 'path'}'")
        parts.append(f"USE_SSL {'false' if url.scheme == 'http' else 'true'}")
    return f"CREATE OR REPLACE SECRET __floe (TYPE s3, {', '.join(parts)})"


def _login(properties: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    for prefix in ("s3", "client"):
        key, secret = (properties.get(f"{prefix}.{name}") for name in ("access-key-id", "secret-access-key"))
        if key and secret:
            token = properties.get(f"{prefix}.session-token")
            return {"KEY_ID": key, "SECRET": secret} | ({"SESSION_TOKEN": token} if token else {})
    names = {
        "KEY_ID": "AWS_ACCESS_KEY_ID",
        "SECRET": "AWS_SECRET_ACCESS_KEY",
        "SESSION_TOKEN": "AWS_SESSION_TOKEN",
    }
    found = {what: environment[name] for what, name in names.items() if environment.get(name)}
    return found if "KEY_ID" in found and "SECRET" in found else {}


def literal(text: str) -> str:
    """An SQL string."""
    return "'" + text.replace("'", "''") + "'"
