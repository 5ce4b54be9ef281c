"""Counters of a run, and percentiles of what was timed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

PERCENTILES: Final = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0))


def percentiles_ms(latencies_s: Sequence[float]) -> dict[str, float]:
    """Seconds -> {"p50": milliseconds, …}; empty without samples. The nearest rank: always a value that
    occurred.
    """
    if not latencies_s:
        return {}
    ordered = sorted(latencies_s)
    last = len(ordered) - 1
    return {
        name: round(ordered[min(last, int(fraction * len(ordered)))] * 1000, 3)
        for name, fraction in PERCENTILES
    }


@dataclass(slots=True)
class Measurement:
    """What a run did. `bytes` are record batches as they went over the wire; `records` those acknowledged
    or read.
    """

    seconds: float = 0.0
    requests: int = 0
    records: int = 0
    bytes: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)

    def add(self, other: "Measurement") -> None:
        """Add another connection's counters; the time is the longest."""
        self.seconds = max(self.seconds, other.seconds)
        self.requests += other.requests
        self.records += other.records
        self.bytes += other.bytes
        self.errors += other.errors
        self.latencies_s += other.latencies_s

    @property
    def records_per_s(self) -> float:
        """Records a second."""
        return self.records / self.seconds if self.seconds else 0.0

    @property
    def requests_per_s(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def megabytes_per_s(self) -> float:
        """Megabytes (10^6) of record batches a second."""
        return self.bytes / self.seconds / 1e6 if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return rates and percentiles as plain numbers."""
        return {
            "seconds": round(self.seconds, 3),
            "requests": self.requests,
            "records": self.records,
            "bytes": self.bytes,
            "records_per_s": round(self.records_per_s, 1),
            "requests_per_s": round(self.requests_per_s, 1),
            "megabytes_per_s": round(self.megabytes_per_s, 2),
            "latency_ms": percentiles_ms(self.latencies_s),
            "errors": dict(self.errors),
        }
