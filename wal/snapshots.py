"""Producer snapshots as files, and the state at the start of a segment, replayed where its snapshot is missing.

Every segment but the first has a sound snapshot at its base offset, durable before an earlier segment is deleted:
what producers have written must be known for as long as any of it can be sent again, and batches that are gone
cannot be replayed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from wal.checkpoint import put_file
from wal.layout import SNAPSHOT_SUFFIX, parse_base_offset, segment_path
from wal.producer_state import CorruptSnapshot, ProducerState
from wal.segment import Segment
from wal.storage import File, Storage, read_file

if TYPE_CHECKING:
    from wal.log import LogConfig


def snapshot_offsets(names: list[str]) -> list[int]:
    """The offsets of the snapshots among a folder's names, in order."""
    found = (parse_base_offset(name, SNAPSHOT_SUFFIX) for name in names if name.endswith(SNAPSHOT_SUFFIX))
    return sorted(offset for offset in found if offset is not None)


class Snapshots:
    """The snapshots of one log's folder."""

    __slots__ = ("_config", "_directory", "_now_ms", "_storage")

    def __init__(self, storage: Storage, directory: str, config: LogConfig, now_ms: int) -> None:
        self._storage = storage
        self._directory = directory
        self._config = config
        self._now_ms = now_ms

    def path(self, offset: int) -> str:
        return segment_path(self._directory, offset, SNAPSHOT_SUFFIX)

    def read(self, offset: int) -> ProducerState | None:
        """The state at `offset`, without expired producers; None if there is no sound snapshot."""
        data = read_file(self._storage, self.path(offset))
        if data is None:
            return None
        try:
            return ProducerState.from_snapshot(data, self._now_ms, self._config.producer_id_expiration_ms)
        except CorruptSnapshot:
            return None

    def write(self, offset: int, state: ProducerState) -> File:
        """Write the state at `offset`; the file to be synced. Raises DiskFull."""
        name = self.path(offset).rpartition("/")[2]
        return put_file(self._storage, self._directory, name, state.encode_snapshot())

    def state_before(self, bases: list[int], index: int, loaded: Callable[[int], Segment]) -> ProducerState:
        """The producers' state at the start of segment `index`: the newest sound snapshot, and what follows it."""
        start = bases[index]
        state, replay_from = ProducerState(), 0
        for offset in reversed(snapshot_offsets(self._storage.list(self._directory))):
            found = self.read(offset) if offset <= start else None
            if found is not None:
                state, replay_from = found, offset
                break
        for earlier in range(index):
            if bases[earlier + 1] > replay_from:
                _replay(loaded(earlier), replay_from, state)
        return state

    def ensure(self, bases: list[int], index: int, loaded: Callable[[int], Segment]) -> None:
        """See to it that there is a sound, durable snapshot at the start of segment `index`."""
        offset = bases[index]
        if self.read(offset) is None:
            self.write(offset, self.state_before(bases, index, loaded))
        file = self._storage.open(self.path(offset))
        file.open_file()
        file.sync()
        file.close()
        self._storage.sync_directory(self._directory)


def _replay(segment: Segment, from_offset: int, state: ProducerState) -> None:
    for batch in segment.scan(0, segment.size):
        if batch.base_offset >= from_offset and batch.producer_id >= 0:
            position, batch.position = batch.position, 0
            data = segment.file.read_at(position, batch.size) if batch.is_control else b""
            state.apply(data, batch)
