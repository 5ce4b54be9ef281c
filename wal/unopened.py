"""What retention can tell of a log that nobody has opened since a clean stop, by its folder alone.

Opening a log costs tens of kilobytes and some descriptors for as long as the process runs, and most of what a broker
keeps is idle and not due. Until somebody opens a log nothing in its folder changes, so one look is enough: names, the
last entry of the first segment's time index, and sizes where a limit of size asks for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from wal.layout import (
    DELETED_SUFFIX,
    LEFTOVER_SUFFIXES,
    LOG_SUFFIX,
    SWAP_SUFFIX,
    TIME_INDEX_SUFFIX,
    parse_base_offset,
    segment_path,
)
from wal.storage import Storage
from wal.time_index import TimeIndex

if TYPE_CHECKING:
    from wal.log import LogConfig

_TO_BE_OPENED_FOR: Final = (DELETED_SUFFIX, SWAP_SUFFIX, *LEFTOVER_SUFFIXES)


class Unopened(NamedTuple):
    """The first segment of a log and what follows it."""

    newest_ms: int
    """Of the first segment's records, as an opened log would see it, or less; -1 if there are none."""
    second_base_offset: int
    """Where the second segment begins; -1 if there is only one."""
    excess_bytes: int | None
    """Of all segments but the first, which goes once they are what retention.bytes keeps; None if nobody asked."""

    def may_be_due(self, config: LogConfig, log_start_offset: int, now_ms: int) -> bool:
        """Whether retention may find something to delete. `retention.py` has the rules, and decides."""
        if 0 <= self.second_base_offset <= log_start_offset:
            return True
        if not config.delete_is_enabled or self.newest_ms < 0:
            return False
        if 0 <= config.retention_ms < now_ms - self.newest_ms:
            return True
        return self.excess_bytes is not None and 0 <= config.retention_bytes <= self.excess_bytes


def look(storage: Storage, directory: str, with_sizes: bool) -> Unopened | None:
    """Look into the folder of a log that was closed cleanly; None where only opening it can tell.

    Raises StorageFailed.
    """
    names = storage.list(directory)
    if any(name.endswith(_TO_BE_OPENED_FOR) for name in names):
        return None  # opening it clears them away
    bases = [base for name in names if (base := parse_base_offset(name, LOG_SUFFIX)) is not None]
    if not bases:
        return Unopened(newest_ms=-1, second_base_offset=-1, excess_bytes=0)
    times = TimeIndex(storage, segment_path(directory, bases[0], TIME_INDEX_SUFFIX), bases[0])
    reason = times.load()
    newest_ms = times.last().timestamp
    times.close()
    if reason is not None or (newest_ms < 0 and (len(bases) > 1 or _size(storage, directory, bases[0]))):
        return None  # an index that cannot be trusted, or records without timestamps
    excess_bytes = sum(_size(storage, directory, base) for base in bases[1:]) if with_sizes else None
    return Unopened(newest_ms, bases[1] if len(bases) > 1 else -1, excess_bytes)


def _size(storage: Storage, directory: str, base_offset: int) -> int:
    file = storage.open(segment_path(directory, base_offset, LOG_SUFFIX))
    size = file.size()
    file.close()
    return size
