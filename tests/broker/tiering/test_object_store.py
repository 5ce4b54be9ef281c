"""PyIceberg's properties as DuckDB's secret, and what is left to PyIceberg."""

import pytest

from broker.tiering.object_store import duckdb_secret

HERE = "s3://lake/w/x.json"
KEYS = {"s3.access-key-id": "a'k", "s3.secret-access-key": "sk"}
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "ek", "AWS_SECRET_ACCESS_KEY": "es"}


@pytest.mark.parametrize(
    ("properties", "environment", "parts"),
    [
        (KEYS, {}, "KEY_ID 'a''k', SECRET 'sk', REGION 'us-east-1'"),
        (
            {"client.access-key-id": "ck", "client.secret-access-key": "cs", "client.session-token": "ct"},
            ENVIRONMENT,
            "KEY_ID 'ck', SECRET 'cs', SESSION_TOKEN 'ct', REGION 'us-east-1'",
        ),
        (
            {"s3.region": "eu"},
            {**ENVIRONMENT, "AWS_REGION": "us"},
            "KEY_ID 'ek', SECRET 'es', REGION 'eu'",
        ),
        ({}, {**ENVIRONMENT, "AWS_DEFAULT_REGION": "us"}, "KEY_ID 'ek', SECRET 'es', REGION 'us'"),
        ({"s3.anonymous": "true"}, {}, "REGION 'us-east-1'"),
        (
            {**KEYS, "s3.endpoint": "http://store:9000"},
            {},
            "KEY_ID 'a''k', SECRET 'sk', REGION 'us-east-1', "
            "ENDPOINT 'store:9000', URL_STYLE 'path', USE_SSL false",
        ),
        (
            {**KEYS, "s3.endpoint": "store", "s3.force-virtual-addressing": "True"},
            {},
            "KEY_ID 'a''k', SECRET 'sk', REGION 'us-east-1', ENDPOINT 'store', URL_STYLE 'vhost', USE_SSL true",
        ),
    ],
)
def test_how_s3_is_reached(properties: dict[str, str], environment: dict[str, str], parts: str) -> None:
    made = duckdb_secret(HERE, properties, environment)
    assert made == f"CREATE OR REPLACE SECRET __floe (TYPE s3, {parts})"


@pytest.mark.parametrize(
    ("location", "properties"),
    [
        ("gs://lake/x.json", KEYS),
        ("abfss://lake/x.json", KEYS),
        (HERE, {}),
        (HERE, {"s3.access-key-id": "half"}),
        (HERE, {**KEYS, "s3.signer": "S3V4RestSigner"}),
        (HERE, {**KEYS, "s3.role-arn": "arn:aws:iam::1:role/x"}),
    ],
)
def test_what_duckdb_does_not_reach(location: str, properties: dict[str, str]) -> None:
    assert duckdb_secret(location, properties, {}) is None
