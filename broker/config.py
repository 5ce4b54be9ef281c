"""Where the values of settings come from, and what they are for a topic.

A broker setting's value is the first of: set at run time for this broker, set at run time for all (KIP-226;
the catalog keeps both), flag, environment, file, default. A topic setting's is: the topic's own, that of its
broker synonyms, default.

    floe.toml      [log.retention] ms = 1000, log.retention.ms = 1000, or "max.connections" = 5
    environment    FLOE_LOG_RETENTION_MS; FLOE_DATA_DIR is log.dirs, FLOE_LOG_FORMAT floe.log.format
    flags          --set log.retention.ms=1000
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from broker.config_groups import group_settings_problem
from broker.config_table import BROKER_SETTINGS, NOT_IMPLEMENTED
from broker.config_tables import CATALOG_PREFIX, catalog_environment_name, catalog_property
from broker.config_topics import TOPIC_SETTINGS
from broker.settings import DYNAMIC, InvalidValue, Setting, Value

if TYPE_CHECKING:
    from protocol.compression import Codec
    from wal.log import LogConfig

ENVIRONMENT_PREFIX: Final = "FLOE_"
_ENVIRONMENT_ALIASES: Final = {"DATA_DIR": "log.dirs", "LISTEN": "listeners"}
_WILDCARDS: Final = ("", "0.0.0.0", "::")


class ConfigError(Exception):
    """A setting that cannot be used: says where it stands, what it is, and what would do."""

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(f"{source}: {problem}")
        self.source = source
        self.problem = problem


class Endpoint(NamedTuple):
    """One entry of listeners or advertised.listeners."""

    name: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.name}://{host}:{self.port}"


def parse_endpoint(text: str) -> Endpoint:
    """`PLAINTEXT://host:port`, `host:port`, `[::1]:9092` or `:9092`. Raises ValueError."""
    name, separator, address = text.partition("://")
    if not separator:
        name, address = "PLAINTEXT", text
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is not an address; write host:port with a port from 0 to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r}: write an IPv6 address in brackets, as [::1]:9092")
    if name.upper() != "PLAINTEXT":
        raise ValueError(f"{text!r}: only PLAINTEXT listeners are implemented")
    return Endpoint(name.upper(), host, int(port))


class TopicConfig:
    """What holds for one topic, resolved. Topics without settings of their own share one."""

    __slots__ = (
        "cleanup_policy",
        "codec",
        "compression_level",
        "compression_type",
        "delete_retention_ms",
        "file_delete_delay_ms",
        "floe_records_validate",
        "index_interval_bytes",
        "is_compacted",
        "looks_inside",
        "max_message_bytes",
        "message_timestamp_after_max_ms",
        "message_timestamp_before_max_ms",
        "message_timestamp_type",
        "min_insync_replicas",
        "preallocate_bytes",
        "producer_id_expiration_ms",
        "retention_bytes",
        "retention_ms",
        "segment_bytes",
        "segment_index_bytes",
        "segment_ms",
        "stamps_append_time",
        "validates_records",
        "values",
    )

    cleanup_policy: list[str]
    compression_type: str
    delete_retention_ms: int
    file_delete_delay_ms: int
    floe_records_validate: bool
    index_interval_bytes: int
    max_message_bytes: int
    message_timestamp_after_max_ms: int
    message_timestamp_before_max_ms: int
    message_timestamp_type: str
    min_insync_replicas: int
    retention_bytes: int
    retention_ms: int
    segment_bytes: int
    segment_index_bytes: int
    segment_ms: int

    codec: Codec | None
    """What batches are recompressed to; None keeps the producer's."""
    compression_level: int | None
    """The level for `codec`; None where it has none."""
    looks_inside: bool
    """Batches are looked into or rewritten; without, their bytes are stored as they come."""

    def __init__(
        self, values: Mapping[str, Value], preallocate_bytes: int, producer_id_expiration_ms: int
    ) -> None:
        self.values = values
        self.preallocate_bytes = preallocate_bytes
        self.producer_id_expiration_ms = producer_id_expiration_ms
        for attribute, name in _TOPIC_ATTRIBUTES:
            setattr(self, attribute, values[name])
        self.is_compacted = "compact" in self.cleanup_policy
        self.stamps_append_time = self.message_timestamp_type == "LogAppendTime"
        self.validates_records = self.floe_records_validate or self.is_compacted
        self.codec = _codec(self.compression_type)
        level = values.get(f"compression.{self.compression_type}.level")
        assert level is None or isinstance(level, int)
        self.compression_level = level
        self.looks_inside = self.validates_records or self.codec is not None

    def __getitem__(self, name: str) -> Any:
        """By Kafka's name."""
        return self.values[name]

    def log_config(self) -> LogConfig:
        """What the log needs to know of it."""
        from wal.log import LogConfig

        return LogConfig(
            segment_bytes=self.segment_bytes,
            segment_ms=self._segment_ms(),
            segment_index_bytes=self.segment_index_bytes,
            index_interval_bytes=self.index_interval_bytes,
            retention_ms=self.retention_ms,
            retention_bytes=self.retention_bytes,
            preallocate_bytes=self.preallocate_bytes,
            producer_id_expiration_ms=self.producer_id_expiration_ms,
            file_delete_delay_ms=self.file_delete_delay_ms,
            delete_is_enabled="delete" in self.cleanup_policy,
            compact_is_enabled=self.is_compacted,
        )

    def _segment_ms(self) -> int:
        # The active segment is not compacted, so it must not be open for longer than a record may wait (KIP-354).
        return min(self.segment_ms, self["max.compaction.lag.ms"]) if self.is_compacted else self.segment_ms


_TOPIC_ATTRIBUTES: Final = tuple(
    (attribute, attribute.replace("_", "."))
    for attribute in TopicConfig.__slots__
    if attribute.replace("_", ".") in TOPIC_SETTINGS
)


def _codec(compression_type: str) -> Codec | None:
    if compression_type == "producer":
        return None
    from protocol.compression import Codec

    return Codec["NONE" if compression_type == "uncompressed" else compression_type.upper()]


def topic_settings_problem(values: Mapping[str, Value]) -> str | None:
    """What is wrong with a topic's settings taken together, in Kafka's words (LogConfig.validateValues)."""
    low, high = values["min.compaction.lag.ms"], values["max.compaction.lag.ms"]
    assert isinstance(low, int) and isinstance(high, int)
    if low > high:
        return f"conflict topic config setting min.compaction.lag.ms ({low}) > max.compaction.lag.ms ({high})"
    if values["remote.storage.enable"]:
        return (
            "Tiered Storage functionality is disabled in the broker. "
            "Topic cannot be configured with remote log storage."
        )
    return None


class Given(NamedTuple):
    """A value somebody gave, and where."""

    value: Value
    source: str


class BrokerConfig:
    """Broker settings by Kafka's name (`config["log.retention.ms"]`); the hot ones also as attributes."""

    auto_create_topics_enable: bool
    delete_topic_enable: bool
    fetch_max_bytes: int
    message_max_bytes: int
    num_partitions: int

    def __init__(self, given: Mapping[str, Given] | None = None, warnings: Iterable[str] = ()) -> None:
        self.given = dict(given or {})
        self.warnings = list(warnings)
        """What was ignored and should be said once logging is set up."""
        self.dynamic: dict[str, dict[str, Value]] = {}
        """Values set at run time: under "" for all brokers, under the node's id for this one."""
        self._values: dict[str, Value] = {}
        self._topic_configs: dict[frozenset[tuple[str, str]], TopicConfig] = {}
        self._resolve()
        _check_together(self)

    @classmethod
    def load(
        cls,
        file: str | None = None,
        env: Mapping[str, str] | None = None,
        overrides: Mapping[str, str] | None = None,
    ) -> BrokerConfig:
        """Read `file` (TOML), then the environment, then flags. Raises ConfigError."""
        given: dict[str, Given] = {}
        warnings: list[str] = []
        if file is not None:
            _give(given, _read_file(file), file)
        for variable, text in sorted((env or {}).items()):
            if variable.startswith(ENVIRONMENT_PREFIX):
                name = _environment_name(variable)
                if name is None:
                    warnings.append(f"environment: {variable} is no setting of Floe's and has no effect")
                else:
                    _give(given, {name: text}, f"environment {variable}")
        _give(given, overrides or {}, "command line")
        return cls(given, warnings)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    @property
    def node_id(self) -> int:
        node_id = self._values["node.id"]
        assert isinstance(node_id, int)
        return node_id

    @property
    def data_dir(self) -> str:
        folders = self._values["log.dirs"] or self._values["log.dir"]
        assert isinstance(folders, list)
        return folders[0]

    @property
    def listeners(self) -> list[Endpoint]:
        return [parse_endpoint(text) for text in self["listeners"]]

    @property
    def advertised_listeners(self) -> list[Endpoint] | None:
        """None where they follow from the listeners."""
        texts = self["advertised.listeners"]
        return [parse_endpoint(text) for text in texts] if texts else None

    @property
    def catalog_properties(self) -> dict[str, str]:
        """What was given below `floe.table.catalog.`, for pyiceberg."""
        return {
            name.removeprefix(CATALOG_PREFIX): str(given.value)
            for name, given in self.given.items()
            if name.startswith(CATALOG_PREFIX) and name not in BROKER_SETTINGS
        }

    def set_dynamic(self, resource_name: str, values: Mapping[str, str]) -> None:
        """Replace what is set at run time for all brokers ("") or for this one (its id)."""
        parsed = {name: BROKER_SETTINGS[name].parse(text) for name, text in values.items()}
        assert all(BROKER_SETTINGS[name].update == DYNAMIC for name in parsed)
        self.dynamic.pop(resource_name, None)
        if parsed:
            self.dynamic[resource_name] = parsed
        self._resolve()

    def forget_dynamic(self) -> None:
        """Back to what was given at start."""
        self.dynamic.clear()
        self._resolve()

    def topic_config(self, overrides: Mapping[str, str]) -> TopicConfig:
        """What holds for a topic with these settings of its own. Raises InvalidValue and KeyError."""
        key = frozenset(overrides.items())
        config = self._topic_configs.get(key)
        if config is None:
            config = TopicConfig(
                self.topic_values(overrides),
                self["floe.log.preallocate.bytes"],
                self["producer.id.expiration.ms"],
            )
            if len(self._topic_configs) >= _KEPT_TOPIC_CONFIGS:
                self._topic_configs.clear()
            self._topic_configs[key] = config
        return config

    def topic_values(self, overrides: Mapping[str, str]) -> dict[str, Value]:
        """Every topic setting's value. Raises InvalidValue, and KeyError for a name that is none."""
        values = {name: self._topic_default(setting) for name, setting in TOPIC_SETTINGS.items()}
        for name, text in overrides.items():
            values[name] = TOPIC_SETTINGS[name].parse(text)
        return values

    def _topic_default(self, setting: Setting) -> Value:
        for name, factor in setting.synonyms:
            value = self._values[name]
            if value is None:
                continue
            if factor != 1:
                assert isinstance(value, int)
                return value * factor if value >= 0 else value
            return value
        return setting.default

    def _resolve(self) -> None:
        values = {name: setting.default for name, setting in BROKER_SETTINGS.items()}
        values.update((name, given.value) for name, given in self.given.items())
        if "node.id" not in self.given and isinstance(values["broker.id"], int) and values["broker.id"] >= 0:
            values["node.id"] = values["broker.id"]
        values["broker.id"] = values["node.id"]
        values.update(self.dynamic.get("", {}))
        values.update(self.dynamic.get(str(values["node.id"]), {}))
        self._values = values
        self._topic_configs.clear()
        for attribute, name in _BROKER_ATTRIBUTES:
            setattr(self, attribute, values[name])


_BROKER_ATTRIBUTES: Final = tuple(
    (attribute, attribute.replace("_", ".")) for attribute in BrokerConfig.__annotations__
)
_KEPT_TOPIC_CONFIGS: Final = 1024  # distinct sets of topic settings; there are few in practice


def _check_together(config: BrokerConfig) -> None:
    """What no single setting can know. Raises ConfigError."""
    given = config.given
    both = given.get("node.id"), given.get("broker.id")
    if both[0] and both[1] and both[1].value not in (-1, both[0].value):
        raise ConfigError(both[1].source, "broker.id and node.id are two names of one number and differ")
    for name in ("log.dirs", "log.dir"):
        folders = config[name]
        if folders is not None and len(folders) != 1:
            raise ConfigError(
                _source(config, name), f"{name} names {len(folders)} folders; Floe keeps to one"
            )
    if not config["listeners"]:
        raise ConfigError(_source(config, "listeners"), "listeners is empty")
    found = group_settings_problem(config._values)
    if found is not None:
        raise ConfigError(_source(config, found[0]), found[1])
    for name in ("listeners", "advertised.listeners"):
        for text in config[name] or ():
            try:
                endpoint = parse_endpoint(text)
            except ValueError as error:
                raise ConfigError(_source(config, name), f"{name}: {error}") from error
            if name == "advertised.listeners" and (endpoint.host in _WILDCARDS or endpoint.port == 0):
                problem = f"advertised.listeners: {text!r} is no address a client can connect to"
                raise ConfigError(_source(config, name), problem)


def _source(config: BrokerConfig, name: str) -> str:
    given = config.given.get(name)
    return given.source if given else "default"


def _give(given: dict[str, Given], texts: Mapping[str, str], source: str) -> None:
    for name, text in texts.items():
        setting = BROKER_SETTINGS.get(name) or catalog_property(name, text)
        if setting is None:
            raise ConfigError(source, unknown_setting(name, BROKER_SETTINGS))
        try:
            given[name] = Given(setting.parse(text), source)
        except InvalidValue as error:
            allowed = "" if setting.allowed in error.reason else f". Allowed: {setting.allowed}"
            problem = f"{name} = {text!r}: {error.reason}{allowed}"
            raise ConfigError(source, problem) from error


def unknown_setting(name: str, settings: Mapping[str, Setting]) -> str:
    """Says that there is no such setting, why, or which one may be meant."""
    if settings is BROKER_SETTINGS:
        for prefix, reason in NOT_IMPLEMENTED.items():
            if name.startswith(prefix):
                return f"{name} cannot be set: {reason}"
        if name in TOPIC_SETTINGS and TOPIC_SETTINGS[name].synonyms:
            return f"{name} is a topic's setting; the broker's is {TOPIC_SETTINGS[name].synonyms[0][0]}"
    from difflib import get_close_matches

    close = get_close_matches(name, settings, n=1, cutoff=0.75)
    return f"there is no setting {name}" + (f"; did you mean {close[0]}?" if close else "")


def _environment_name(variable: str) -> str | None:
    rest = variable.removeprefix(ENVIRONMENT_PREFIX)
    name = _ENVIRONMENT_ALIASES.get(rest, rest.lower().replace("_", "."))
    if name not in BROKER_SETTINGS and f"floe.{name}" in BROKER_SETTINGS:
        name = f"floe.{name}"
    return name if name in BROKER_SETTINGS else catalog_environment_name(variable)


def _read_file(path: str) -> dict[str, str]:
    import tomllib

    try:
        with open(path, "rb") as file:
            tree = tomllib.load(file)
    except OSError as error:
        raise ConfigError(path, f"cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(path, f"is not TOML: {error}") from error
    return dict(_flatten(tree, "", path))


def _flatten(tree: Mapping[str, Any], prefix: str, path: str) -> Iterable[tuple[str, str]]:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flatten(value, f"{name}.", path)
        elif isinstance(value, bool):
            yield name, "true" if value else "false"
        elif isinstance(value, str | int | float):
            yield name, str(value)
        elif isinstance(value, list) and all(isinstance(entry, str | int) for entry in value):
            yield name, ",".join(str(entry) for entry in value)
        else:
            raise ConfigError(path, f"{name} = {value!r}: write text, a number, true or false, or a list")
