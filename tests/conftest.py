"""Fixtures all tests share: a real Floe process, and settings for Hypothesis."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.floe_process import FloeProcess

SOAK = os.environ.get("FLOE_SOAK") == "1"

settings.register_profile(
    "floe",
    deadline=None,  # a shared machine is slow at times; a timed test would flake
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    print_blob=True,
)
settings.load_profile("floe")


@pytest.fixture
def start_floe(tmp_path: Path) -> Iterator[Callable[..., FloeProcess]]:
    """Start Floe processes; all are gone when the test ends."""
    started: list[FloeProcess] = []

    def start(name: str = "data", **settings: str) -> FloeProcess:
        """`settings` are Kafka's names with underscores for dots."""
        process = FloeProcess(
            tmp_path / name, {key.replace("_", "."): value for key, value in settings.items()}
        )
        started.append(process)
        return process.start()

    yield start
    for process in started:
        process.end()


@pytest.fixture
def floe(start_floe: Callable[..., FloeProcess]) -> FloeProcess:
    """One running Floe with default settings."""
    return start_floe()


@pytest.fixture(scope="module")
def shared_floe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FloeProcess]:
    """One running Floe for all tests of a module that do not mind each other."""
    process = FloeProcess(tmp_path_factory.mktemp("floe") / "data").start()
    yield process
    process.end()
