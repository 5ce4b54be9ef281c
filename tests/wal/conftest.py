"""What the tests of the log share: both storages, and batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from protocol.records import Record, RecordBatch, build, iterate, parse_batches
from tests.simulation.memory_storage import MemoryStorage
from wal.errors import StorageFailed
from wal.flusher import Flusher
from wal.log import Log, LogConfig
from wal.storage import FileStorage, Storage

TOPIC_ID = bytes(range(16))
NOW_MS = 1_700_000_000_000


@pytest.fixture(params=["files", "memory"])
def root_and_storage(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Storage]:
    root = str(tmp_path)
    return root, FileStorage(root) if request.param == "files" else MemoryStorage(root)


@pytest.fixture
def storage(root_and_storage: tuple[str, Storage]) -> Storage:
    return root_and_storage[1]


@pytest.fixture
def root(root_and_storage: tuple[str, Storage]) -> str:
    return root_and_storage[0]


def fail(failure: StorageFailed) -> None:
    raise failure


@pytest.fixture
def flusher(storage: Storage) -> Flusher:
    """A flusher whose rounds are the test's to run; they are applied at once."""
    return Flusher(storage, lambda durables: [durable.apply() for durable in durables] and None, fail)


@pytest.fixture
def open_log(root: str, storage: Storage, flusher: Flusher) -> Iterator[Callable[..., Log]]:
    """Open the log of `t-0` with config settings, or with Log's own arguments."""

    def open_with(**settings: object) -> Log:
        arguments = {
            name: settings.pop(name)
            for name in ("log_start_offset", "recovery_point", "is_clean", "now_ms", "save_log_start")
            if name in settings
        }
        config = LogConfig(**settings)  # type: ignore[arg-type]
        return Log(storage, flusher, f"{root}/t-0", config, topic_id=TOPIC_ID, **arguments)  # type: ignore[arg-type]

    yield open_with


def batch(
    *values: bytes, timestamp: int = NOW_MS, **fields: int | bool
) -> tuple[memoryview, list[RecordBatch]]:
    """One batch, ready to be appended; record timestamps count up from `timestamp`."""
    records = [Record(timestamp=timestamp + index, value=value) for index, value in enumerate(values)]
    view = memoryview(build(records, **fields))  # type: ignore[arg-type]
    return view, parse_batches(view)


def append(log: Log, *values: bytes, timestamp: int = NOW_MS, **fields: int | bool) -> int:
    """Append one batch; its base offset."""
    return log.append(*batch(*values, timestamp=timestamp, **fields), NOW_MS).base_offset


def read_all(log: Log, max_bytes: int = 1000) -> list[tuple[int, bytes | None]]:
    """Every record below the high watermark, read as a consumer does; offsets have to follow one another."""
    found: list[tuple[int, bytes | None]] = []
    offset = log.log_start_offset
    while offset < log.high_watermark:
        piece = log.read(offset, max_bytes, log.high_watermark, True)
        assert piece is not None, offset
        data = memoryview(piece.read())
        for header in parse_batches(data):
            for record in iterate(data, header, 1 << 20):
                if record.offset >= offset:
                    assert record.offset == offset
                    found.append((record.offset, record.value))
                    offset += 1
    return found
