"""What the settings of the group coordinator refuse together."""

from __future__ import annotations

import pytest

from broker.config import BrokerConfig, ConfigError

PREFIX = "group.consumer."


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"session.timeout.ms": "44999"}, "session.timeout.ms must be greater than or equal to .*min"),
        ({"session.timeout.ms": "60001"}, "session.timeout.ms must be less than or equal to .*max"),
        ({"max.session.timeout.ms": "1"}, "max.session.timeout.ms must be greater than or equal to .*min"),
        ({"heartbeat.interval.ms": "4999"}, "heartbeat.interval.ms must be greater than or equal to .*min"),
        ({"assignment.interval.ms": "15001"}, "assignment.interval.ms must be less than or equal to .*max"),
        (
            {"heartbeat.interval.ms": "50000", "max.heartbeat.interval.ms": "60000"},
            "heartbeat.interval.ms must be less than group.consumer.session.timeout.ms",
        ),
    ],
)
def test_bounds_hold_for_the_brokers_own_values(settings: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        BrokerConfig.load(overrides={PREFIX + name: value for name, value in settings.items()})
    assert "command line" in str(caught.value)


def test_what_is_moved_together_is_taken() -> None:
    config = BrokerConfig.load(
        overrides={f"{PREFIX}session.timeout.ms": "6000", f"{PREFIX}min.session.timeout.ms": "6000"}
    )
    assert config["group.consumer.session.timeout.ms"] == 6000
