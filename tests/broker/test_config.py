"""Where settings come from, what they refuse, and what a topic makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.config import BrokerConfig, ConfigError, Endpoint, parse_endpoint
from broker.config_table import BROKER_SETTINGS
from broker.config_topics import CLIENT_METRICS_SETTINGS, GROUP_SETTINGS, TOPIC_SETTINGS
from broker.settings import TYPE_CODES, InvalidValue, Setting, between, render
from protocol.compression import Codec

EVERY_SETTING = [
    pytest.param(setting, id=setting.name)
    for table in (BROKER_SETTINGS, TOPIC_SETTINGS, GROUP_SETTINGS, CLIENT_METRICS_SETTINGS)
    for setting in table.values()
]


class TestTable:
    @pytest.mark.parametrize("setting", EVERY_SETTING)
    def test_default_is_a_value_the_setting_takes(self, setting: Setting) -> None:
        text = render(setting.default)
        if text is not None:
            assert setting.parse(text) == setting.default

    @pytest.mark.parametrize("setting", EVERY_SETTING)
    def test_is_documented_and_typed(self, setting: Setting) -> None:
        assert setting.doc.endswith(".")
        assert setting.allowed
        assert setting.kind in TYPE_CODES

    def test_topic_settings_are_those_of_kafka(self) -> None:
        # TopicConfig of Kafka 4.3.1, as its DescribeConfigs lists them, and our own.
        own = [name for name in TOPIC_SETTINGS if name.startswith("floe.")]
        assert len(TOPIC_SETTINGS) == 33 + len(own)
        assert all(name == "floe.records.validate" or name.startswith("floe.table.") for name in own)
        assert list(TOPIC_SETTINGS) == sorted(TOPIC_SETTINGS)

    def test_synonyms_are_broker_settings(self) -> None:
        for setting in (*TOPIC_SETTINGS.values(), *GROUP_SETTINGS.values()):
            for name, _ in setting.synonyms:
                assert name in BROKER_SETTINGS

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("retention.ms", 604_800_000),
            ("segment.ms", 604_800_000),
            ("segment.jitter.ms", 0),
            ("segment.bytes", 1 << 30),
            ("max.message.bytes", 1_048_588),
            ("cleanup.policy", ["delete"]),
            ("message.timestamp.after.max.ms", 3_600_000),
            ("min.cleanable.dirty.ratio", 0.5),
        ],
    )
    def test_defaults_are_those_of_kafka(self, name: str, value: object) -> None:
        assert TOPIC_SETTINGS[name].default == value
        assert BrokerConfig()["node.id"] == 1
        assert BrokerConfig().topic_config({})[name] == value


class TestParsing:
    @given(st.integers(-(2**40), 2**40))
    def test_int_takes_32_bits(self, number: int) -> None:
        setting = Setting("int", "x", 0, "X.")
        if -(2**31) <= number < 2**31:
            assert setting.parse(f" {number} ") == number
        else:
            with pytest.raises(InvalidValue, match="Not a number of type INT"):
                setting.parse(str(number))

    @given(st.integers(), st.integers(-1000, 1000), st.integers(0, 1000))
    def test_bounds(self, number: int, low: int, width: int) -> None:
        setting = Setting("long", "x", 0, "X.", check=between(low, low + width))
        if low <= number <= low + width:
            assert setting.parse(str(number)) == number
        else:
            with pytest.raises(InvalidValue):
                setting.parse(str(number))

    @given(st.text())
    def test_any_text_is_a_value_or_refused(self, text: str) -> None:
        for setting in (*BROKER_SETTINGS.values(), *TOPIC_SETTINGS.values()):
            try:
                value = setting.parse(text)
            except InvalidValue as error:
                assert str(error).startswith("Invalid value ")
            else:
                rendered = render(value)
                assert rendered is not None
                assert setting.parse(rendered) == value

    # Sentences as Kafka 4.3.1 answers them.
    @pytest.mark.parametrize(
        ("name", "text", "sentence"),
        [
            (
                "retention.ms",
                "x",
                "Invalid value x for configuration retention.ms: Not a number of type LONG",
            ),
            ("retention.ms", "", "Invalid value  for configuration retention.ms: Not a number of type LONG"),
            (
                "retention.ms",
                "-5",
                "Invalid value -5 for configuration retention.ms: Value must be at least -1",
            ),
            (
                "cleanup.policy",
                "foo",
                "Invalid value foo for configuration cleanup.policy: String must be one of: compact, delete",
            ),
            (
                "compression.type",
                "bzip",
                "Invalid value bzip for configuration compression.type: "
                "String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer",
            ),
            (
                "min.cleanable.dirty.ratio",
                "2",
                "Invalid value 2.0 for configuration min.cleanable.dirty.ratio: Value must be no more than 1",
            ),
            (
                "preallocate",
                "maybe",
                "Invalid value maybe for configuration preallocate: Expected value to be either true or false",
            ),
            (
                "segment.bytes",
                "99999999999",
                "Invalid value 99999999999 for configuration segment.bytes: Not a number of type INT",
            ),
            (
                "segment.bytes",
                "1",
                "Invalid value 1 for configuration segment.bytes: Value must be at least 1048576",
            ),
            (
                "compression.gzip.level",
                "0",
                "Invalid value 0 for configuration compression.gzip.level: "
                "Value must be between 1 and 9 or equal to -1",
            ),
            (
                "follower.replication.throttled.replicas",
                "x",
                "Invalid value [x] for configuration follower.replication.throttled.replicas: "
                "follower.replication.throttled.replicas must be the literal '*' or a list of replicas in the "
                "following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...",
            ),
        ],
    )
    def test_refusals_are_worded_as_kafkas(self, name: str, text: str, sentence: str) -> None:
        with pytest.raises(InvalidValue) as caught:
            TOPIC_SETTINGS[name].parse(text)
        assert str(caught.value) == sentence

    @pytest.mark.parametrize(
        ("name", "text", "value"),
        [
            ("cleanup.policy", "", []),
            ("cleanup.policy", "delete, compact", ["delete", "compact"]),
            ("cleanup.policy", ",", []),
            ("cleanup.policy", "delete,delete", ["delete"]),
            ("compression.type", " gzip ", "gzip"),
            ("preallocate", "TRUE", True),
            ("follower.replication.throttled.replicas", "*", ["*"]),
            ("follower.replication.throttled.replicas", "0:1,1:1", ["0:1", "1:1"]),
        ],
    )
    def test_takes_what_kafka_takes(self, name: str, text: str, value: object) -> None:
        assert TOPIC_SETTINGS[name].parse(text) == value


class TestLoading:
    def test_later_sources_win(self, tmp_path: Path) -> None:
        file = tmp_path / "floe.toml"
        file.write_text('log.retention.ms = 1000\n"num.partitions" = 3\n[log.segment]\nbytes = 2097152\n')
        env = {"FLOE_LOG_RETENTION_MS": "2000", "FLOE_NUM_PARTITIONS": "4", "HOME": "/root"}
        config = BrokerConfig.load(str(file), env, {"num.partitions": "5"})
        assert config["log.segment.bytes"] == 2_097_152
        assert config["log.retention.ms"] == 2000
        assert config.num_partitions == config["num.partitions"] == 5
        assert config.given["num.partitions"].source == "command line"
        assert config.given["log.retention.ms"].source == "environment FLOE_LOG_RETENTION_MS"
        assert config.given["log.segment.bytes"].source == str(file)

    def test_file_takes_lists_and_booleans(self, tmp_path: Path) -> None:
        file = tmp_path / "floe.toml"
        file.write_text('log.cleanup.policy = ["compact", "delete"]\nauto.create.topics.enable = false\n')
        config = BrokerConfig.load(str(file))
        assert config["log.cleanup.policy"] == ["compact", "delete"]
        assert config.auto_create_topics_enable is False

    def test_environment_has_short_names(self) -> None:
        env = {"FLOE_DATA_DIR": "/data", "FLOE_LISTENERS": "0.0.0.0:9092", "FLOE_LOG_FORMAT": "json"}
        config = BrokerConfig.load(env=env)
        assert config.data_dir == "/data"
        assert config.listeners == [Endpoint("PLAINTEXT", "0.0.0.0", 9092)]
        assert config["floe.log.format"] == "json"

    def test_unknown_environment_is_a_warning(self) -> None:
        # Kubernetes sets FLOE_PORT and the like for a service named floe.
        config = BrokerConfig.load(env={"FLOE_PORT": "tcp://10.0.0.1:9092"})
        assert config.warnings == ["environment: FLOE_PORT is no setting of Floe's and has no effect"]

    @pytest.mark.parametrize(
        ("overrides", "sentence"),
        [
            (
                {"log.retention.mss": "1"},
                "command line: there is no setting log.retention.mss; did you mean log.retention.ms?",
            ),
            ({"bogus": "1"}, "command line: there is no setting bogus"),
            (
                {"log.segment.bytes": "1"},
                "command line: log.segment.bytes = '1': Value must be at least 1048576",
            ),
            (
                {"num.partitions": "x"},
                "command line: num.partitions = 'x': Not a number of type INT. Allowed: at least 1",
            ),
            (
                {"ssl.keystore.location": "k"},
                "command line: ssl.keystore.location cannot be set: TLS listeners are not implemented",
            ),
            (
                {"retention.ms": "1"},
                "command line: retention.ms is a topic's setting; the broker's is log.retention.ms",
            ),
            ({"log.dirs": "a,b"}, "command line: log.dirs names 2 folders; Floe keeps to one"),
            ({"log.dirs": ""}, "command line: log.dirs names 0 folders; Floe keeps to one"),
            ({"listeners": ""}, "command line: listeners is empty"),
            (
                {"listeners": "localhost"},
                "command line: listeners: 'localhost' is not an address; write host:port with a port from 0 to 65535",
            ),
            (
                {"listeners": "SSL://:9092"},
                "command line: listeners: 'SSL://:9092': only PLAINTEXT listeners are implemented",
            ),
            (
                {"advertised.listeners": "0.0.0.0:9092"},
                "command line: advertised.listeners: '0.0.0.0:9092' is no address a client can connect to",
            ),
            (
                {"node.id": "1", "broker.id": "2"},
                "command line: broker.id and node.id are two names of one number and differ",
            ),
            (
                {"default.replication.factor": "3"},
                "command line: default.replication.factor = '3': there is one broker. Allowed: 1 (there is one broker)",
            ),
        ],
    )
    def test_errors_say_where_what_and_how(self, overrides: dict[str, str], sentence: str) -> None:
        with pytest.raises(ConfigError) as caught:
            BrokerConfig.load(overrides=overrides)
        assert str(caught.value) == sentence

    @pytest.mark.parametrize(
        ("content", "part"),
        [
            ("log.retention.ms = [1", "is not TOML"),
            ("log.retention.ms = 2026-01-01", "write text, a number"),
            ("log.retention.mz = 1", "did you mean log.retention.ms?"),
        ],
    )
    def test_file_errors_name_the_file(self, tmp_path: Path, content: str, part: str) -> None:
        file = tmp_path / "floe.toml"
        file.write_text(content)
        with pytest.raises(ConfigError) as caught:
            BrokerConfig.load(str(file))
        assert str(caught.value).startswith(f"{file}: ")
        assert part in str(caught.value)

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be read"):
            BrokerConfig.load(str(tmp_path / "none.toml"))

    def test_node_id_and_broker_id_are_one(self) -> None:
        assert BrokerConfig.load(overrides={"broker.id": "7"}).node_id == 7
        assert BrokerConfig.load(overrides={"node.id": "7"})["broker.id"] == 7

    @pytest.mark.parametrize(
        ("text", "endpoint"),
        [
            ("PLAINTEXT://localhost:9092", Endpoint("PLAINTEXT", "localhost", 9092)),
            ("localhost:0", Endpoint("PLAINTEXT", "localhost", 0)),
            (":9092", Endpoint("PLAINTEXT", "", 9092)),
            ("[::1]:9092", Endpoint("PLAINTEXT", "::1", 9092)),
        ],
    )
    def test_endpoints(self, text: str, endpoint: Endpoint) -> None:
        assert parse_endpoint(text) == endpoint
        assert parse_endpoint(str(endpoint)) == endpoint

    @pytest.mark.parametrize("text", ["", "x", "x:", "x:y", "x:65536", "x:-1", "::1:9092", "FOO://x:1"])
    def test_endpoints_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"write|only"):
            parse_endpoint(text)


class TestTopicConfig:
    def test_retention_falls_back_from_ms_to_hours(self) -> None:
        assert (
            BrokerConfig.load(overrides={"log.retention.hours": "2"}).topic_config({}).retention_ms
            == 7_200_000
        )
        overrides = {"log.retention.hours": "2", "log.retention.minutes": "3"}
        assert BrokerConfig.load(overrides=overrides).topic_config({}).retention_ms == 180_000
        assert (
            BrokerConfig.load(overrides={**overrides, "log.retention.ms": "5"}).topic_config({}).retention_ms
            == 5
        )
        assert BrokerConfig.load(overrides={"log.retention.hours": "-1"}).topic_config({}).retention_ms == -1

    def test_own_settings_win(self) -> None:
        config = BrokerConfig.load(overrides={"message.max.bytes": "5000"})
        assert config.topic_config({}).max_message_bytes == 5000
        assert config.topic_config({"max.message.bytes": "6000"}).max_message_bytes == 6000

    def test_topics_without_settings_share_one(self) -> None:
        config = BrokerConfig()
        assert config.topic_config({}) is config.topic_config({})

    def test_derived(self) -> None:
        config = BrokerConfig()
        plain = config.topic_config({})
        assert (plain.looks_inside, plain.stamps_append_time, plain.is_compacted, plain.codec) == (
            False,
            False,
            False,
            None,
        )
        zstd = config.topic_config({"compression.type": "zstd", "message.timestamp.type": "LogAppendTime"})
        assert (zstd.codec, zstd.compression_level, zstd.looks_inside, zstd.stamps_append_time) == (
            Codec.ZSTD,
            3,
            True,
            True,
        )
        assert config.topic_config({"compression.type": "uncompressed"}).codec is Codec.NONE
        assert config.topic_config({"compression.type": "snappy"}).compression_level is None
        compacted = config.topic_config({"cleanup.policy": "compact"})
        assert compacted.is_compacted
        assert compacted.validates_records
        assert compacted.looks_inside

    def test_log_config(self) -> None:
        config = (
            BrokerConfig()
            .topic_config({"segment.bytes": "2000000", "cleanup.policy": "compact"})
            .log_config()
        )
        assert config.segment_bytes == 2_000_000
        assert config.delete_is_enabled is False
        assert config.preallocate_bytes == 16 << 20

    def test_dynamic_settings_bind_in_kafkas_order(self) -> None:
        config = BrokerConfig.load(overrides={"message.max.bytes": "1"})
        before = config.topic_config({})
        config.set_dynamic("", {"message.max.bytes": "2"})
        assert config.message_max_bytes == config.topic_config({}).max_message_bytes == 2
        config.set_dynamic("1", {"message.max.bytes": "3"})
        assert config.message_max_bytes == 3
        config.set_dynamic("1", {})
        assert config.message_max_bytes == 2
        config.forget_dynamic()
        assert config.message_max_bytes == before.max_message_bytes == 1
