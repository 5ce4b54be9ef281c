"""A data folder: whose it is, whether it was closed cleanly, and the logs in it.

Start   lock → meta.properties → was there a clean-shutdown mark? → remove the mark (durably: from here on a crash is
        a crash) → read the offset checkpoints → remove folders whose deletion was not finished.
Run     logs open at first use. After an unclean stop each is recovered as it opens, from its recovery point.
        `checkpoint` saves recovery points now and then, so that little is walked after a crash.
Stop    close every open log → save the checkpoints → clean-shutdown mark, durable → unlock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from wal.checkpoint import TopicPartition, format_offsets, read_offsets, replace_file
from wal.errors import CorruptCheckpoint, DiskFull
from wal.flusher import Flusher
from wal.layout import (
    CLEAN_SHUTDOWN,
    CLEANER_CHECKPOINT,
    DELETED_DIRECTORY_SUFFIX,
    LOCK,
    LOG_START_CHECKPOINT,
    LOG_SUFFIX,
    META_PROPERTIES,
    RECOVERY_POINT_CHECKPOINT,
    deleted_directory,
    format_properties,
    parse_base_offset,
    parse_partition_directory,
    parse_properties,
    partition_directory,
)
from wal.log import Log, LogConfig
from wal.settling import Settling
from wal.storage import Storage, read_file
from wal.unopened import Unopened, look

log = logging.getLogger("floe.wal")

CLOSED_AT_ONCE: Final = 500
"""Logs that share a sync at a stop. Closing writes three files a log, and more of them than may be open would have to
take turns."""

_META_VERSION: Final = "1"
_CLEAN_SHUTDOWN_CONTENT: Final = b'{"version":0,"brokerEpoch":-1}'  # what Kafka writes there


class DataFolder:
    """The logs of one data folder. One owner thread; one process at a time.

    Raises DirectoryLocked if another process has it open, CorruptCheckpoint and StorageFailed.
    """

    def __init__(self, storage: Storage, root: str, flusher: Flusher) -> None:
        self._storage = storage
        self._flusher = flusher
        self._open: dict[TopicPartition, Log] = {}
        self._unopened: dict[TopicPartition, Unopened] = {}
        self._settling: Settling | None = None
        self.root = root
        storage.lock(f"{root}/{LOCK}")
        clean = f"{root}/{CLEAN_SHUTDOWN}"
        self.was_clean = storage.exists(clean)
        if self.was_clean:
            storage.unlink(clean)
            storage.sync_directory(root)
        self._on_disk = self._list_partitions()
        # A crash may have come between the deletion of a folder and of its offsets: they are nobody's now.
        self._recovery_points = self._of_those_on_disk(self._read_recovery_points())
        self._log_starts = self._of_those_on_disk(read_offsets(storage, root, LOG_START_CHECKPOINT))
        self._compacted = self._of_those_on_disk(self._read_compacted())

    # --- identity ---------------------------------------------------------------------------------------------

    def identity(
        self, new_cluster_id: Callable[[], str], node_id: int, new_directory_id: Callable[[], str]
    ) -> str:
        """The cluster id in meta.properties, which is written if it is not there.

        Raises CorruptCheckpoint where the folder is another node's.
        """
        data = read_file(self._storage, f"{self.root}/{META_PROPERTIES}")
        if data is None:
            cluster_id = new_cluster_id()
            properties = {
                "version": _META_VERSION,
                "cluster.id": cluster_id,
                "node.id": str(node_id),
                "directory.id": new_directory_id(),
            }
            replace_file(self._storage, self.root, META_PROPERTIES, format_properties(properties))
            return cluster_id
        properties = parse_properties(data)
        if not properties.get("cluster.id"):
            raise CorruptCheckpoint(f"{META_PROPERTIES} in {self.root} has no cluster.id")
        owner = properties.get("node.id", str(node_id))
        if owner != str(node_id):
            raise CorruptCheckpoint(
                f"{META_PROPERTIES} in {self.root} says node.id={owner}, the configuration {node_id}"
            )
        return properties["cluster.id"]

    # --- logs -------------------------------------------------------------------------------------------------

    @property
    def open_logs(self) -> dict[TopicPartition, Log]:
        return self._open

    def has_folder(self, key: TopicPartition) -> bool:
        return key in self._on_disk or key in self._open

    @property
    def storage(self) -> Storage:
        return self._storage

    def known_end_offset(self, key: TopicPartition) -> int | None:
        """Where a log ends, if that is known without opening it: as of the last stop, if that was clean."""
        opened = self._open.get(key)
        if opened is not None:
            return opened.log_end_offset
        return self._recovery_points.get(key) if self.was_clean else None

    def open_log(self, key: TopicPartition, config: LogConfig, topic_id: bytes | None, now_ms: int) -> Log:
        """Open a partition's log, recovered if the last stop was not clean."""
        assert key not in self._open, f"{key} is open"
        is_known = key in self._on_disk
        opened = Log(
            self._storage,
            self._flusher,
            partition_directory(self.root, *key),
            config,
            topic_id=topic_id,
            log_start_offset=self._log_starts.get(key, 0),
            recovery_point=self._recovery_points.get(key, 0),
            is_clean=self.was_clean or not is_known,
            now_ms=now_ms,
            save_log_start=lambda offset: self.save_log_starts({key: offset}),
            settling=self._settling,
        )
        opened.save_recovery_point = lambda offset: self._save_recovery_point(key, offset)
        self._open[key] = opened
        self._unopened.pop(key, None)
        for damage in opened.damage:
            log.error("%s", damage)
        return opened

    @contextmanager
    def recovering(self) -> Iterator[None]:
        """Logs that are opened meanwhile are made durable together at the end, and must not be used before.

        Raises StorageFailed.
        """
        assert self._settling is None
        self._settling = Settling()
        try:
            yield
            self._settling.finish(self._storage)
        finally:
            self._settling = None

    def delete_log(self, key: TopicPartition, topic_id: bytes) -> str | None:
        """Take a partition out of service: its folder is renamed durably, and is the caller's to `remove`.

        The new name, or None if there was no folder.
        """
        opened = self._open.pop(key, None)
        self._unopened.pop(key, None)
        if opened is not None:
            opened.abandon()
        self._on_disk.discard(key)
        if key in self._recovery_points or key in self._log_starts or key in self._compacted:
            self._forget_offsets(key.topic)
        directory = partition_directory(self.root, *key)
        if not self._storage.exists(directory):
            return None
        target = deleted_directory(directory, topic_id)
        self._storage.rename(directory, target)
        self._storage.sync_directory(self.root)
        return target

    def _forget_offsets(self, topic: str) -> None:
        """Drop a topic's partitions from the checkpoints, before their folders go: a topic of the same name
        must not find the offsets of this one after a crash."""
        for offsets, write in (
            (self._recovery_points, self._write_recovery_points),
            (self._log_starts, self._write_log_starts),
            (self._compacted, self._write_compacted),
        ):
            known = [key for key in offsets if key.topic == topic]
            for key in known:
                del offsets[key]
            if known:
                write()

    def remove(self, directory: str) -> None:
        """Remove the folder of a deleted partition."""
        for name in self._storage.list(directory):
            self._storage.unlink(f"{directory}/{name}")
        self._storage.remove_directory(directory)

    def remove_leftovers(self) -> None:
        """Finish deletions that a crash interrupted."""
        for name in self._storage.list(self.root):
            if name.endswith(DELETED_DIRECTORY_SUFFIX):
                self.remove(f"{self.root}/{name}")

    def _save_recovery_point(self, key: TopicPartition, offset: int) -> None:
        if self._recovery_points.get(key, 0) < offset:
            self.checkpoint()
            assert self._recovery_points[key] >= offset

    def save_log_starts(self, starts: Mapping[TopicPartition, int]) -> None:
        """Make new log starts durable together; none goes back. Raises DiskFull: all stay as they were; StorageFailed.

        The file names every partition: a write for each of many would be quadratic.
        """
        moved = {key: offset for key, offset in starts.items() if offset > self._log_starts.get(key, 0)}
        if moved:
            self._write_log_starts(self._log_starts | moved)
            self._log_starts.update(moved)

    def _write_log_starts(self, starts: Mapping[TopicPartition, int] | None = None) -> None:
        content = format_offsets(self._log_starts if starts is None else starts)
        replace_file(self._storage, self.root, LOG_START_CHECKPOINT, content)

    # --- retention --------------------------------------------------------------------------------------------

    def may_be_due(self, key: TopicPartition, config: LogConfig, now_ms: int) -> bool:
        """Whether retention may find something in a log, as far as can be told without opening it.

        Raises StorageFailed.
        """
        if key in self._open or not self.was_clean:
            return True
        with_sizes = config.retention_bytes >= 0
        known = self._unopened.get(key)
        if known is None or (with_sizes and known.excess_bytes is None):
            known = look(self._storage, partition_directory(self.root, *key), with_sizes)
            if known is None:
                return True
            self._unopened[key] = known
        return known.may_be_due(config, self._log_starts.get(key, 0), now_ms)

    # --- compaction -------------------------------------------------------------------------------------------

    def compacted_up_to(self, key: TopicPartition) -> int | None:
        """The first offset that no round of compaction has seen; None if there was none yet."""
        return self._compacted.get(key)

    def may_be_dirty(self, key: TopicPartition) -> bool:
        """Whether a log that is not open has sealed segments that no round has seen, by its folder's names alone."""
        assert key not in self._open
        names = self._storage.list(partition_directory(self.root, *key))
        bases = [base for name in names if (base := parse_base_offset(name, LOG_SUFFIX)) is not None]
        if len(bases) < 2:
            return False
        compacted = self._compacted.get(key, -1)
        end_offset = self.known_end_offset(key)  # a checkpoint outside the log is not believed
        return not (end_offset is not None and max(bases) <= compacted <= end_offset)

    def save_compacted_up_to(self, key: TopicPartition, offset: int) -> None:
        """Save how far a round came. Raises DiskFull, StorageFailed."""
        self._compacted[key] = offset
        self._write_compacted()

    def _write_compacted(self) -> None:
        replace_file(self._storage, self.root, CLEANER_CHECKPOINT, format_offsets(self._compacted))

    def _read_compacted(self) -> dict[TopicPartition, int]:
        try:
            return read_offsets(self._storage, self.root, CLEANER_CHECKPOINT)
        except CorruptCheckpoint as error:
            log.warning("%s: every compacted partition will be compacted from its start", error)
            return {}

    # --- checkpoints ------------------------------------------------------------------------------------------

    def checkpoint(self) -> None:
        """Save up to where every log is synced. Raises DiskFull (what was saved before stays), StorageFailed."""
        points = self._recovery_points | {key: opened.durable_offset for key, opened in self._open.items()}
        if points != self._recovery_points:
            self._write_recovery_points(points)
            self._recovery_points = points

    def _write_recovery_points(self, points: Mapping[TopicPartition, int] | None = None) -> None:
        content = format_offsets(self._recovery_points if points is None else points)
        replace_file(self._storage, self.root, RECOVERY_POINT_CHECKPOINT, content)

    def _read_recovery_points(self) -> dict[TopicPartition, int]:
        try:
            return read_offsets(self._storage, self.root, RECOVERY_POINT_CHECKPOINT)
        except CorruptCheckpoint as error:
            # It only saves work: without it everything is walked.
            log.warning("%s: every log will be checked from its start", error)
            self.was_clean = False
            return {}

    def _of_those_on_disk(self, offsets: dict[TopicPartition, int]) -> dict[TopicPartition, int]:
        return {key: offset for key, offset in offsets.items() if key in self._on_disk}

    def _list_partitions(self) -> set[TopicPartition]:
        names = (parse_partition_directory(name) for name in self._storage.list(self.root))
        return {key for key in names if key is not None}

    def close(self) -> None:
        """Close every log and mark the stop as clean, if every one of them could be closed."""
        try:
            is_clean = self._close_logs() and (self.was_clean or self._is_recovered())
            self._write_recovery_points()
            if is_clean:
                replace_file(self._storage, self.root, CLEAN_SHUTDOWN, _CLEAN_SHUTDOWN_CONTENT)
        finally:
            self._storage.unlock(f"{self.root}/{LOCK}")

    def _close_logs(self) -> bool:
        """Whether all could be closed. They are written first and then share a sync: there may be thousands."""
        logs = list(self._open.values())
        try:
            self._give_back_reserved(logs)
            for start in range(0, len(logs), CLOSED_AT_ONCE):
                together = logs[start : start + CLOSED_AT_ONCE]
                for opened in together:
                    opened.save()
                self._flusher.drain()
                for opened in together:
                    opened.close()
        except DiskFull as error:
            log.error("the stop is not clean, logs will be checked at the next start: %s", error)
            return False
        self._recovery_points.update({key: opened.log_end_offset for key, opened in self._open.items()})
        return True

    def _give_back_reserved(self, logs: list[Log]) -> None:
        """Cut off what active segments have reserved, all at once: each by itself may wait for the disk."""
        last = [opened.segments[-1] for opened in logs if opened.segments]
        active = [segment for segment in last if not segment.is_sealed and segment.allocated > segment.size]
        self._storage.truncate_all([(segment.file, segment.size) for segment in active])
        for segment in active:
            segment.allocated = segment.size

    def _is_recovered(self) -> bool:
        # A log that an unclean stop left behind and nobody opened since is still to be recovered.
        return self._on_disk <= self._open.keys()
