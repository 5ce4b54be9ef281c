"""`make diagrams`: the state machines, drawn from the tables they run by.

    python -m broker.coordinator.diagrams

prints Mermaid (https://mermaid.js.org) for every table of transitions, and decision tables as Markdown. A machine
gets its picture by being entered in MACHINES.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from importlib import import_module
from typing import Any, Final, NamedTuple


class Machine(NamedTuple):
    """A table of transitions: (from, to) to what causes it. States are Enums whose value is their name."""

    title: str
    module: str
    table: str
    first: str
    """Name of the state everything begins in."""


class Decisions(NamedTuple):
    """A table from conditions to an action, both Enums or booleans."""

    title: str
    module: str
    table: str
    conditions: tuple[str, ...]


MACHINES: Final = (
    Machine("Classic group", "broker.coordinator.classic_group", "TRANSITIONS", "EMPTY"),
    Machine("Consumer group", "broker.coordinator.consumer_group", "GROUP_TRANSITIONS", "EMPTY"),
    Machine("Transaction", "broker.coordinator.transaction", "TRANSITIONS", "EMPTY"),
    Machine(
        "Member of a consumer group", "broker.coordinator.consumer_group", "MEMBER_TRANSITIONS", "STABLE"
    ),
)

DECISIONS: Final = (
    Decisions(
        "What recovery does where the batches of a segment stop",
        "wal.walk",
        "DECISIONS",
        ("found there", "below the recovery point", "the next segment begins here"),
    ),
)


def draw_machine(machine: Machine) -> Iterator[str]:
    table: Mapping[tuple[Enum, Enum], str] = getattr(import_module(machine.module), machine.table)
    states = {state.name: state for pair in table for state in pair}
    yield f"## {machine.title} (`{machine.module}.{machine.table}`)"
    yield ""
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield f"    [*] --> {states[machine.first].value}"
    for (source, target), cause in table.items():
        yield f"    {source.value} --> {target.value}: {cause}"
    sources = {source for source, _ in table}
    for state in states.values():
        if state not in sources:
            yield f"    {state.value} --> [*]"
    yield "```"


def draw_decisions(decisions: Decisions) -> Iterator[str]:
    table: Mapping[tuple[Any, ...], Enum] = getattr(import_module(decisions.module), decisions.table)
    yield f"## {decisions.title} (`{decisions.module}.{decisions.table}`)"
    yield ""
    yield "| " + " | ".join((*decisions.conditions, "then")) + " |"
    yield "|" + "---|" * (len(decisions.conditions) + 1)
    for conditions, action in table.items():
        cells = [_cell(condition) for condition in conditions]
        yield "| " + " | ".join((*cells, f"{action.name}: {action.value}")) + " |"


def _cell(condition: Any) -> str:
    if isinstance(condition, Enum):
        return str(condition.value)
    return "yes" if condition else "no"


def draw() -> Iterator[str]:
    """Every picture, as lines of Markdown."""
    for machine in MACHINES:
        yield from draw_machine(machine)
        yield ""
    for decisions in DECISIONS:
        yield from draw_decisions(decisions)
        yield ""


if __name__ == "__main__":
    print("\n".join(draw()))
