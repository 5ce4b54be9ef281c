"""Ids that each broker makes up: replaced by names that mean the same on both sides.

So an id may differ, but must be the same wherever one and the same thing is meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Field names that hold such an id; what a value stands for is numbered in order of appearance.
MADE_UP = {
    "topic_id": "topic id",
    "member_id": "member",
    "leader": "member",
    "cluster_id": "cluster",
    "producer_id": "producer",
    "session_id": "fetch session",
    "host": "host",
    "port": "port",
    "directory_id": "directory",
    "log_dir": "folder",
    "incarnation_id": "incarnation",
}
NOT_IDS = (None, "", -1, 0)
LONG_ENOUGH = 12  # characters of an id that is looked for inside texts (member ids in messages)


class Symbols:
    """What one side's ids are called, for one shape. `learn` may give a better name than a number."""

    def __init__(self, known: Mapping[Any, str] | None = None) -> None:
        self._names: dict[Any, str] = dict(known or {})
        self._counts: dict[str, int] = {}

    def learn(self, value: Any, name: str) -> None:
        self._names[value] = name

    def value(self, name: str) -> Any:
        """The id that is called so."""
        return next(value for value, known in self._names.items() if known == name)

    def known(self) -> dict[Any, str]:
        return dict(self._names)

    def replace(self, answer: Any, field: str = "") -> Any:
        if isinstance(answer, Mapping):
            return {name: self.replace(value, name) for name, value in answer.items()}
        if isinstance(answer, list):
            return [self.replace(item, field) for item in answer]
        if isinstance(answer, bool) or answer in NOT_IDS:
            return answer
        kind = MADE_UP.get(field)
        # Numbers mean something only with their kind; texts are found wherever they occur.
        identity = answer if isinstance(answer, str) else (kind, answer)
        if kind is not None and identity not in self._names:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._names[identity] = f"<{kind} {self._counts[kind]}>"
        if identity in self._names:
            return self._names[identity]
        return self._in_text(answer) if isinstance(answer, str) else answer

    def _in_text(self, text: str) -> str:
        for value, name in self._names.items():
            if isinstance(value, str) and len(value) >= LONG_ENOUGH and value in text:
                text = text.replace(value, name)
        return text
