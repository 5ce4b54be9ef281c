from __future__ import annotations

from broker.tiering.admin import MASK, masked


def test_catalog_properties_are_shown_without_their_secrets() -> None:
    shown = masked(
        {
            "type": "sql",
            "uri": "postgresql+psycopg2://floe:hush@db:5432/lake",
            "warehouse": "s3://bucket/folder",
            "s3.region": "eu-central-1",
            "s3.access-key-id": "hush",
            "s3.secret-access-key": "hush",
            "token": "hush",
            "credential": "me:hush",
        }
    )
    assert shown["uri"] == f"postgresql+psycopg2://floe:{MASK}@db:5432/lake"
    assert shown["warehouse"] == "s3://bucket/folder" and shown["type"] == "sql"
    assert "hush" not in str(shown)
