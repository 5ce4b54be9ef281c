"""What `floe tables describe` prints, of answers that a broker does not give when it is asked to."""

from __future__ import annotations

from typing import Any

import pytest

from broker.cli.tables import _print_description

DESCRIBED: dict[str, Any] = {
    "topic": "t",
    "table": "floe.t",
    "metadata_location": None,
    "snapshot_id": None,
    "committed_ms": None,
    "settings": {"value": "json", "key": "raw", "partition_by": ""},
    "lag_records": 0,
    "lag_seconds": 0.0,
    "dead_letters_metadata_location": None,
    "error": None,
    "maintenance_error": None,
    "maintenance_failed_ms": None,
    "partitions": [],
}


def test_maintenance_that_failed(capsys: pytest.CaptureFixture[str]) -> None:
    _print_description(DESCRIBED)
    assert "maintenance" not in capsys.readouterr().out
    failed = {"maintenance_error": "no space left", "maintenance_failed_ms": 1_700_000_000_000}
    _print_description(DESCRIBED | failed)
    [line] = [line for line in capsys.readouterr().out.splitlines() if "maintenance" in line]
    assert "failed at 2023-11-14" in line and line.endswith(": no space left")
