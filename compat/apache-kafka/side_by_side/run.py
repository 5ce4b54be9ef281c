"""Runs shapes on both brokers at once and compares."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from kio.schema.index import api_key_map

from side_by_side import brokers
from side_by_side.compare import Difference, Rules, differences
from side_by_side.scenario import Scenario, Shape
from side_by_side.side import Side
from side_by_side.symbols import Symbols
from side_by_side.values import versions_of
from tests.bench.brokers import BrokerProcess

API_VERSIONS = 18
FAILED = "scenario failed"


class Result(NamedTuple):
    """A shape's outcome. `explained` counts differences that have a reason."""

    shape: Shape
    answers: int
    differences: list[Difference]
    explained: int
    kafka: list[tuple[str, Any]]
    floe: list[tuple[str, Any]]


class Range(NamedTuple):
    """The versions of one API: what each broker advertises, None for not at all."""

    api: int
    kafka: tuple[int, int] | None
    floe: tuple[int, int] | None

    @property
    def common(self) -> range:
        if self.kafka is None or self.floe is None:
            return range(0)
        known = versions_of(self.api)
        first = max(self.kafka[0], self.floe[0], known.start)
        return range(first, min(self.kafka[1], self.floe[1], known.stop - 1) + 1)


class Pair:
    """Both brokers, ready to be asked."""

    def __init__(self, kafka: BrokerProcess, floe: BrokerProcess) -> None:
        self._executor = ThreadPoolExecutor(2)
        self._brokers = (kafka, floe)
        self._known = self._both(self._prepare)
        self.ranges = self._ranges()

    def close(self) -> None:
        self._executor.shutdown()

    def run(self, shape: Shape, rules: Rules) -> Result:
        kafka, floe = self._both(lambda number: self._answers(number, shape))
        left, explained = rules.split(shape.name, differences(kafka, floe, rules))
        for title, value in [*kafka, *floe]:
            if title == FAILED:
                left.append(Difference(title, value, ""))
        return Result(shape, len(kafka), left, explained, kafka, floe)

    def shapes(self, scenarios: Iterable[Scenario]) -> Iterator[Shape]:
        """Each scenario at each version that both serve."""
        common = {entry.api: entry.common for entry in self.ranges}
        for known in scenarios:
            for version in common.get(known.api, range(0)):
                if known.first <= version <= known.last:
                    yield Shape(known, version)

    def _both(self, act: Callable[[int], Any]) -> tuple[Any, Any]:
        kafka, floe = self._executor.map(act, (0, 1))
        return kafka, floe

    def _side(self, number: int, api: int, version: int, label: str) -> Side:
        broker = self._brokers[number]
        known = self._known[number] if hasattr(self, "_known") else None
        return Side(broker.name, broker.address, Symbols(known), api, version, label)

    def _prepare(self, number: int) -> dict[Any, str]:
        side = self._side(number, API_VERSIONS, 0, "")
        brokers.prepare(side)
        side.close()
        return side.symbols.known()

    def _answers(self, number: int, shape: Shape) -> list[tuple[str, Any]]:
        side = self._side(number, shape.scenario.api, shape.version, shape.label)
        try:
            shape.scenario.run(side)
        except Exception:  # one shape's failure, told as such, leaves the others
            side.transcript.append((FAILED, f"{side.name}: {traceback.format_exc(limit=-3)}"))
        finally:
            side.close()
        return side.transcript

    def _ranges(self) -> list[Range]:
        advertised = self._both(self._advertised)
        keys = sorted(advertised[0].keys() | advertised[1].keys())
        return [Range(key, *(ranges.get(key) for ranges in advertised)) for key in keys if key in api_key_map]

    def _advertised(self, number: int) -> dict[int, tuple[int, int]]:
        side = self._side(number, API_VERSIONS, 0, "")
        answer = side.quietly(API_VERSIONS, 0)
        side.close()
        return {row["api_key"]: (row["min_version"], row["max_version"]) for row in answer["api_keys"]}
