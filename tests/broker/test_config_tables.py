from __future__ import annotations

from pathlib import Path

import pytest

from broker.config import BrokerConfig, ConfigError
from broker.settings import InvalidValue
from broker.topics.settings_origin import describe_broker
from broker.topics.state import State


def test_a_topic_takes_its_own_value_or_the_brokers() -> None:
    config = BrokerConfig.load(None, {}, {"floe.table.enable": "false", "floe.table.value": "json"})
    assert config.topic_config({})["floe.table.enable"] is False
    assert config.topic_config({"floe.table.enable": "true"})["floe.table.enable"] is True
    assert config.topic_config({})["floe.table.value"] == "json"
    config.set_dynamic("", {"floe.table.enable": "true"})
    assert config.topic_config({})["floe.table.enable"] is True


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hour(kafka_timestamp)",
        "day( kafka_timestamp ), bucket(16, user.id)",
        "country",
        "truncate(4,kafka_key)",
    ],
)
def test_partition_specs(text: str) -> None:
    assert (
        BrokerConfig().topic_config({"floe.table.partition.by": text})["floe.table.partition.by"]
        == text.strip()
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("floe.table.partition.by", "hour(kafka_timestamp"),
        ("floe.table.partition.by", "bucket(kafka_key)"),
        ("floe.table.partition.by", "bucket(0, kafka_key)"),
        ("floe.table.partition.by", "a,,b"),
        ("floe.table.partition.by", "week(kafka_timestamp)"),
        ("floe.table.value", "avro"),
        ("floe.table.name.template", "everything"),
        ("floe.table.name.template", "{topic}_{day}"),
        ("floe.table.commit.interval.ms", "5"),
    ],
)
def test_what_is_no_value_is_refused(name: str, text: str) -> None:
    with pytest.raises(InvalidValue):
        BrokerConfig().topic_config({name: text})


def test_a_warehouse_is_a_url() -> None:
    with pytest.raises(ConfigError, match=r"file:///srv/warehouse or s3://bucket/folder"):
        BrokerConfig.load(None, {}, {"floe.table.warehouse": "/srv/warehouse"})


class TestCatalogProperties:
    def test_any_name_below_the_prefix_reaches_pyiceberg(self, tmp_path: Path) -> None:
        file = tmp_path / "floe.toml"
        file.write_text('[floe.table.catalog]\nuri = "http://rest:8181"\n"s3.region" = "eu-central-1"\n')
        env = {"FLOE_TABLE_CATALOG_S3__ACCESS_KEY_ID": "me", "FLOE_TABLE_CATALOG_TYPE": "rest"}
        flags = {"floe.table.catalog.uri": "http://other:8181", "floe.table.catalog.name": "lake"}
        config = BrokerConfig.load(str(file), env, flags)
        assert config.catalog_properties == {
            "uri": "http://other:8181",
            "s3.region": "eu-central-1",
            "s3.access-key-id": "me",
            "type": "rest",
        }
        assert config["floe.table.catalog.name"] == "lake"
        assert not config.warnings

    def test_secrets_do_not_leave_the_broker(self) -> None:
        secrets = {
            "s3.secret-access-key": "hush",
            "s3.access-key-id": "hush",
            "token": "hush",
            "uri": "postgresql+psycopg://floe:hush@db/lake",
        }
        names = {f"floe.table.catalog.{name}": text for name, text in secrets.items()}
        config = BrokerConfig.load(None, {}, {**names, "floe.table.catalog.type": "sql"})
        described = {entry.setting.name: entry for entry in describe_broker(State(config, lambda *_: None))}  # type: ignore[arg-type, return-value]
        assert described["floe.table.catalog.type"].value == "sql"
        for name in names:
            assert described[name].setting.is_sensitive
            assert described[name].value is None
            assert all(value is None for _, value, _ in described[name].synonyms)

    def test_the_bare_prefix_is_no_setting(self) -> None:
        with pytest.raises(ConfigError, match="there is no setting"):
            BrokerConfig.load(None, {}, {"floe.table.catalog.": "x"})
