"""Log lines: the same event for people and for machines."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import datetime

import pytest

from broker.logs import HumanFormatter, configure_logging


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger("floe")
    before = (root.handlers[:], root.level, root.propagate)
    yield
    root.handlers[:], root.level, root.propagate = before[0], before[1], before[2]


def lines(log_format: str, level: str = "info") -> list[str]:
    stream = io.StringIO()
    configure_logging(log_format, level, stream)
    log = logging.getLogger("floe.wal")
    log.debug("too little to say")
    log.warning("%s: %d bytes cut off", "orders-0", 17)
    try:
        raise OSError("disk")
    except OSError:
        log.exception("it failed")
    return stream.getvalue().splitlines()


def test_people_read_level_part_and_message() -> None:
    first, second, *rest = lines("human")
    assert first.endswith("WARN  wal: orders-0: 17 bytes cut off")
    assert second.endswith("ERROR wal: it failed")
    assert rest[-1] == "OSError: disk"


def test_each_line_has_its_own_time() -> None:
    formatter = HumanFormatter()
    for second, thousandths in (
        (1_700_000_000, 7),
        (1_700_000_000, 250),
        (1_700_003_661, 999),
        (1_700_000_000, 0),
    ):
        created = second + thousandths / 1000
        record = logging.makeLogRecord(
            {"created": created, "msecs": thousandths, "msg": "m", "name": "floe.wal", "levelname": "INFO"}
        )
        expected = datetime.fromtimestamp(second).strftime("%H:%M:%S") + f".{thousandths:03d} "
        assert formatter.format(record).startswith(expected)


def test_machines_read_one_object_a_line() -> None:
    first, second = (json.loads(line) for line in lines("json"))
    assert first["level"] == "WARNING" and first["logger"] == "floe.wal"
    assert first["message"] == "orders-0: 17 bytes cut off"
    assert first["time"].endswith("+00:00")
    assert "OSError: disk" in second["exception"]


def test_the_level_is_honoured() -> None:
    assert len(lines("json", "error")) == 1
