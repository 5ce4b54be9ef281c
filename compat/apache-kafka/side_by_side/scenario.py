"""What is asked: scenarios, each of one API, run at every version both brokers serve."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from kio.schema.index import api_key_map

from side_by_side.side import Side

KEYS = {name: key for key, name in api_key_map.items()}
NEWEST = 99


class Scenario(NamedTuple):
    """Requests of one API that belong together. `first` and `last` version; `smoke`: in the short form."""

    api: int
    name: str
    run: Callable[[Side], None]
    first: int
    last: int
    smoke: bool


class Shape(NamedTuple):
    """One scenario at one version: what is counted."""

    scenario: Scenario
    version: int

    @property
    def name(self) -> str:
        return f"{api_key_map[self.scenario.api]}/v{self.version}/{self.scenario.name}"

    @property
    def label(self) -> str:
        """For names of topics and groups."""
        return self.name.replace("/", "-")


SCENARIOS: list[Scenario] = []


def scenario(
    api: str, first: int = 0, last: int = NEWEST, smoke: bool = False
) -> Callable[..., Callable[[Side], None]]:
    """Register a function as a scenario of an API, named as the function is."""

    def register(run: Callable[[Side], None]) -> Callable[[Side], None]:
        name = run.__name__.strip("_").replace("_", "-")
        assert not any(known.name == name and known.api == KEYS[api] for known in SCENARIOS), name
        SCENARIOS.append(Scenario(KEYS[api], name, run, first, last, smoke))
        return run

    return register


def load() -> list[Scenario]:
    """Every scenario there is, in the order of API keys."""
    for path in sorted((Path(__file__).parent / "scenarios").glob("*.py")):
        import_module(f"side_by_side.scenarios.{path.stem}")
    return sorted(SCENARIOS, key=lambda known: known.api)
