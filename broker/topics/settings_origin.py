"""Where the value of a setting comes from: what DescribeConfigs and CreateTopics tell beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from broker.config_table import BROKER_SETTINGS
from broker.config_tables import catalog_property
from broker.config_topics import CLIENT_METRICS_SETTINGS, GROUP_SETTINGS, TOPIC_SETTINGS
from broker.settings import Setting, Value, render
from broker.topics.state import CLIENT_METRICS, GROUP, State, usable

# DescribeConfigsResponse.ConfigSource.
SOURCE_TOPIC: Final = 1
SOURCE_DYNAMIC_BROKER: Final = 2
SOURCE_DYNAMIC_DEFAULT: Final = 3
SOURCE_STATIC: Final = 4
SOURCE_DEFAULT: Final = 5
SOURCE_LOGGER: Final = 6
SOURCE_CLIENT_METRICS: Final = 7
SOURCE_GROUP: Final = 8

Synonym = tuple[str, str | None, int]
"""(name, value, source): one place a setting's value may come from, the first given wins."""


def broker_synonyms(state: State, name: str) -> list[Synonym]:
    """Where a broker setting is set, most binding first, down to its default."""
    config = state.config
    found: list[Synonym] = []
    for resource_name, source in (
        (str(config.node_id), SOURCE_DYNAMIC_BROKER),
        ("", SOURCE_DYNAMIC_DEFAULT),
    ):
        if name in config.dynamic.get(resource_name, {}):
            found.append((name, render(config.dynamic[resource_name][name]), source))
    if name in config.given:
        found.append((name, render(config.given[name].value), SOURCE_STATIC))
    default = BROKER_SETTINGS[name].default if name in BROKER_SETTINGS else None
    if default is not None:
        found.append((name, render(default), SOURCE_DEFAULT))
    return found


def fallback_synonyms(state: State, setting: Setting) -> list[Synonym]:
    """Where a topic's or group's setting that is not set itself comes from.

    Synonyms in another unit (log.retention.hours) count where somebody set them, as their numbers mean
    something else.
    """
    found: list[Synonym] = []
    for name, factor in setting.synonyms:
        found += [
            entry for entry in broker_synonyms(state, name) if factor == 1 or entry[2] != SOURCE_DEFAULT
        ]
    return found


class Described(NamedTuple):
    """A setting with its value as text (None for none, or where it is secret) and where that comes from."""

    setting: Setting
    value: str | None
    source: int
    synonyms: list[Synonym]


def describe_topic(state: State, settings: Mapping[str, str]) -> Iterator[Described]:
    """Every topic setting, for a topic with `settings` of its own."""
    settings = usable(settings, TOPIC_SETTINGS)
    values = state.config.topic_values(settings)
    return _describe(state, TOPIC_SETTINGS, settings, values, SOURCE_TOPIC)


def describe_group(state: State, name: str) -> Iterator[Described]:
    """Every setting of a group."""
    settings = usable(state.settings_of(GROUP, name), GROUP_SETTINGS)
    return _describe(state, GROUP_SETTINGS, settings, _values(state, GROUP_SETTINGS, settings), SOURCE_GROUP)


def describe_client_metrics(state: State, name: str) -> Iterator[Described]:
    """Every setting of a client metrics subscription."""
    settings = usable(state.settings_of(CLIENT_METRICS, name), CLIENT_METRICS_SETTINGS)
    values = _values(state, CLIENT_METRICS_SETTINGS, settings)
    return _describe(state, CLIENT_METRICS_SETTINGS, settings, values, SOURCE_CLIENT_METRICS)


def describe_broker(state: State) -> Iterator[Described]:
    """Every setting of this broker, and the catalog properties it was given."""
    settings = dict(BROKER_SETTINGS)
    for name, given in state.config.given.items():
        if name not in settings:
            handed_on = catalog_property(name, render(given.value))
            assert handed_on is not None
            settings[name] = handed_on
    for name, setting in settings.items():
        synonyms = broker_synonyms(state, name)
        source = synonyms[0][2] if synonyms else SOURCE_DEFAULT
        yield _told(setting, state.config[name], source, synonyms)


def describe_all_brokers(state: State) -> Iterator[Described]:
    """What is set at run time for all brokers, and nothing else."""
    for name, value in state.config.dynamic.get("", {}).items():
        text = render(value)
        yield _told(
            BROKER_SETTINGS[name], value, SOURCE_DYNAMIC_DEFAULT, [(name, text, SOURCE_DYNAMIC_DEFAULT)]
        )


def _values(state: State, table: Mapping[str, Setting], settings: Mapping[str, str]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for name, setting in table.items():
        values[name] = state.config[setting.synonyms[0][0]] if setting.synonyms else setting.default
        if name in settings:
            values[name] = setting.parse(settings[name])
    return values


def _describe(
    state: State,
    table: Mapping[str, Setting],
    settings: Mapping[str, str],
    values: Mapping[str, Value],
    own_source: int,
) -> Iterator[Described]:
    for name, setting in table.items():
        synonyms = fallback_synonyms(state, setting)
        if name in settings:
            synonyms = [(name, render(values[name]), own_source), *synonyms]
        source = synonyms[0][2] if synonyms else SOURCE_DEFAULT
        yield _told(setting, values[name], source, synonyms)


def _told(setting: Setting, value: Value, source: int, synonyms: list[Synonym]) -> Described:
    if setting.is_sensitive:
        return Described(setting, None, source, [(name, None, origin) for name, _, origin in synonyms])
    return Described(setting, render(value), source, synonyms)
