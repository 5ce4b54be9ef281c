"""The table people read and the JSON that stays."""

import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from broker.cli.output import Quantity, format_table
from tests.bench.runners import Figures
from tests.bench.workloads import Goal, Workload


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of one workload for both brokers."""

    workload: str
    goal: Goal
    floe: float | None
    kafka: float | None

    @property
    def ratio(self) -> float | None:
        """Floe : Kafka."""
        return self.floe / self.kafka if self.floe is not None and self.kafka else None

    @property
    def verdict(self) -> str:
        """`met` or `missed`; empty without a floor or without Kafka."""
        if self.ratio is None or self.goal.floor is None:
            return ""
        met = self.ratio <= self.goal.floor if self.goal.lower_is_better else self.ratio >= self.goal.floor
        if not met:
            return "floor missed"
        aim = self.goal.aim
        return "aim met" if aim is not None and self.ratio >= aim else "floor met"


def make_lines(workload: Workload, floe: list[Figures], kafka: list[Figures]) -> list[Line]:
    """Return a line for each goal, with the medians."""
    return [
        Line(workload.name, goal, _median(floe, goal.metric), _median(kafka, goal.metric))
        for goal in workload.goals
    ]


def _median(runs: list[Figures], metric: str) -> float | None:
    values = [figures[metric] for figures in runs if metric in figures]
    return median(values) if values else None


def table(lines: list[Line]) -> str:
    """Return the table."""
    columns = ("WORKLOAD", "FIGURE", "FLOE", "KAFKA", "RATIO", "FLOOR", "AIM", "")
    return format_table(columns, [_row(line) for line in lines])


def _row(line: Line) -> tuple[object, ...]:
    goal = line.goal
    sign = "<= " if goal.lower_is_better else ">= "
    return (
        line.workload,
        goal.metric,
        _number(line.floe),
        _number(line.kafka),
        None
        if line.ratio is None
        else Quantity(f"{line.ratio:.3f}" if line.ratio < 0.1 else f"{line.ratio:.2f}"),
        None if goal.floor is None else Quantity(f"{sign}{goal.floor:.3g}"),
        None if goal.aim is None else Quantity(f"{goal.aim:.3g}"),
        line.verdict,
    )


def _number(value: float | None) -> Quantity | None:
    if value is None:
        return None
    return Quantity(f"{value:,.0f}" if value >= 1000 else f"{value:.3g}")


def write_json(
    path: Path, results: dict[str, dict[str, list[Figures]]], lines: list[Line], setup: dict[str, Any]
) -> None:
    """Write every run of every workload, the medians and the verdicts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "setup": setup
        | {"cpus": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
        "summary": [
            {
                "workload": line.workload,
                "figure": line.goal.metric,
                "floe": line.floe,
                "kafka": line.kafka,
                "ratio": line.ratio,
                "floor": line.goal.floor,
                "aim": line.goal.aim,
                "verdict": line.verdict,
            }
            for line in lines
        ],
        "runs": results,
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
